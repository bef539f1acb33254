import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DockerDriver } from "../../runtime/docker.ts";
import { MemoryDriver } from "../../runtime/memory-driver.ts";
import type { MemoryMachine } from "../../runtime/memory.ts";
import { memoryMachine } from "../../runtime/memory.ts";
import { PROCESS_LOG_BOUND, ProcessDriver } from "../../runtime/process.ts";
import type { EngineSetup } from "../compliance/engine.ts";
import { engineSuite } from "../compliance/engine.ts";
import type { DockerEngine } from "../fixtures/docker-engine.ts";
import { startDockerEngine } from "../fixtures/docker-engine.ts";

const shell = (script: string): readonly string[] => ["/bin/sh", "-c", script];

/** What a shell does, in a container or without one. As PID 1 a process ignores the signals that it does not handle. */
const shellCommands: EngineSetup["commands"] = {
  exit: (code, afterMs) => shell(`sleep ${afterMs / 1000}; exit ${code}`),
  forever: shell("trap 'exit 143' TERM; while :; do sleep 0.1; done"),
  stubborn: shell("trap '' TERM; echo up; while :; do sleep 0.1; done"),
  print: (text) => shell(`trap 'exit 143' TERM; echo '${text}'; while :; do sleep 0.1; done`),
  printVariable: (name) => shell(`echo "$${name}"; while :; do sleep 0.1; done`),
};

const machines = new Map<string, MemoryMachine>();

engineSuite({
  name: "memory",
  prepare: () => Promise.resolve(() => Promise.resolve()),
  open: (node) => {
    const machine = machines.get(node) ?? memoryMachine();
    machines.set(node, machine);
    return new MemoryDriver(machine);
  },
  image: "busybox",
  commands: {
    exit: (code, afterMs) => ["exit", String(code), "after", String(afterMs)],
    forever: ["serve"],
    stubborn: ["stubborn"],
    print: (text) => ["print", text],
    printVariable: (name) => ["env", name],
  },
  missing: { change: { image: "missing" }, code: "image-missing" },
  publishes: true,
});

let dataDir = "";

engineSuite({
  name: "process",
  prepare: () => {
    dataDir = mkdtempSync(join(tmpdir(), "orch-process-"));
    return Promise.resolve(() =>
      Promise.resolve(rmSync(dataDir, { recursive: true, force: true })),
    );
  },
  open: (node) => new ProcessDriver({ dataDir: join(dataDir, node), logBound: PROCESS_LOG_BOUND }),
  image: null,
  commands: shellCommands,
  missing: { change: { command: ["missing-program"] }, code: "engine-refused" },
  publishes: false,
});

let engine: DockerEngine;

engineSuite({
  name: "docker",
  prepare: async () => {
    engine = await startDockerEngine();
    await engine.importBusybox("orch-test/busybox:1");
    return () => engine.stop();
  },
  open: (nodeId) => new DockerDriver({ address: engine.address, clusterId: "compliance", nodeId }),
  image: "orch-test/busybox:1",
  commands: shellCommands,
  missing: { change: { image: "orch-test/missing:1" }, code: "image-missing" },
  publishes: true,
});
