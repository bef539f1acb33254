import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { DockerDriver } from "../../runtime/docker.ts";
import type { Driver } from "../../runtime/engine.ts";
import { PROCESS_LOG_BOUND, ProcessDriver } from "../../runtime/process.ts";
import { bootId } from "../../runtime/process-shim.ts";
import { taskId } from "../../state/ids.ts";
import { Bench, specOf } from "../../test/compliance/engine.ts";
import { type DockerEngine, startDockerEngine } from "../../test/fixtures/docker-engine.ts";
import { until } from "../../test/fixtures/node-process.ts";
import { epochMs, machineUptimeMs } from "../clock.ts";
import { type LeaseNote, writeNote } from "./file.ts";
import { Keeping } from "./keeping.ts";

/** A keeper as a real process, with real processes and containers: it ends them when nobody renews the lease. */

const IMAGE = "orch-test/busybox:1";
const OWNER = { clusterId: "cluster-12345678", nodeId: "node-a" };
const TASK = taskId("1-0");
/** It does not end when asked to. */
const STUBBORN = ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"];
const SOON_MS = 30_000;
const GRACE_MS = 1_000;

let engine: DockerEngine;
let folder: string;
const closers: (() => Promise<void> | void)[] = [];

beforeAll(async () => {
  engine = await startDockerEngine();
  await engine.importBusybox(IMAGE);
});
afterAll(() => engine.stop());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "orch-keeper-"));
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

function keeping(docker: LeaseNote["docker"] = null): Keeping {
  const made = new Keeping({ folder, docker, now: epochMs, log: () => undefined });
  closers.push(() => made.end());
  return made;
}

async function running(driver: Driver, image: string | null): Promise<Bench> {
  const bench = new Bench(driver);
  closers.push(async () => {
    await bench.removeAll();
    await driver.close();
  });
  await bench.runs(specOf({ image, commands: { forever: [] } }, TASK, { command: STUBBORN }));
  return bench;
}

const guard = (forMs: number): Parameters<Keeping["hold"]>[0] => {
  const untilMs = epochMs() + forMs;
  return { untilMs, tasks: [{ task: TASK, graceMs: GRACE_MS, untilMs }] };
};

async function ended(bench: Bench): Promise<void> {
  await until(
    () => "it runs on",
    async () => ((await bench.status(TASK))?.state === "exited" ? true : null),
    SOON_MS,
  );
}

describe.each(["process", "docker"])("what runs under a lease: %s", (name) => {
  const docker = (): LeaseNote["docker"] =>
    name === "docker" ? { address: engine.address, ...OWNER } : null;
  const driver = (): Driver =>
    name === "docker"
      ? new DockerDriver({ address: engine.address, ...OWNER })
      : new ProcessDriver({ dataDir: folder, logBound: PROCESS_LOG_BOUND });

  test("is ended when the lease is over, killed after its grace, and not before", async () => {
    const bench = await running(driver(), name === "docker" ? IMAGE : null);
    const kept = keeping(docker());
    kept.hold(guard(4_000));
    await kept.ready();
    const begunMs = performance.now();
    await ended(bench);
    expect(performance.now() - begunMs).toBeGreaterThan(3_000);
    expect(readFileSync(join(folder, "keeper.log"), "utf8")).toContain(TASK);
  });
});

test("runs on while the lease is renewed, and when it is not held any more", async () => {
  const bench = await running(
    new ProcessDriver({ dataDir: folder, logBound: PROCESS_LOG_BOUND }),
    null,
  );
  const kept = keeping();
  const untilMs = performance.now() + 8_000;
  kept.hold(guard(5_000));
  await kept.ready();
  await until(
    () => "time passes",
    async () => {
      kept.hold(guard(5_000));
      await kept.ready();
      expect((await bench.status(TASK))?.state).toBe("running");
      return performance.now() > untilMs ? true : null;
    },
    SOON_MS,
    500,
  );
  await ended(bench);
});

test("a later process of the node takes the keeper and the lease over", async () => {
  const first = keeping();
  first.hold(guard(20_000));
  await first.ready();
  const pid = readFileSync(join(folder, "keeper.pid"), "utf8");
  const second = keeping();
  const leftMs = second.leaseUntilMs() - epochMs();
  expect(leftMs).toBeGreaterThan(5_000);
  expect(leftMs).toBeLessThanOrEqual(20_100);
  second.hold(guard(20_000));
  await second.ready();
  expect(readFileSync(join(folder, "keeper.pid"), "utf8")).toBe(pid);
});

test("nothing is started when the lease is over by then", async () => {
  const kept = keeping();
  kept.hold(guard(1));
  await expect(kept.ready()).rejects.toThrow("the lease is over, or about to be");
});

test("a keeper that was killed is replaced before anything is started", async () => {
  const kept = keeping();
  kept.hold(guard(20_000));
  await kept.ready();
  const pid = readFileSync(join(folder, "keeper.pid"), "utf8");
  kept.end();
  const other = await until(
    () => "no other keeper",
    async () => {
      await kept.ready();
      const now = readFileSync(join(folder, "keeper.pid"), "utf8");
      return now === pid ? null : now;
    },
    SOON_MS,
  );
  expect(JSON.parse(other)).toMatchObject({ boot: bootId() });
});

test("a note that is not there, damaged, or of before the machine started says nothing", async () => {
  expect(keeping().leaseUntilMs()).toBe(0);
  writeFileSync(join(folder, "lease.json"), '{"boot": 1');
  expect(keeping().leaseUntilMs()).toBe(0);
  const note = {
    boot: "another",
    untilUptimeMs: machineUptimeMs() + 5_000,
    tasks: [],
    docker: null,
  };
  writeFileSync(join(folder, "lease.json"), JSON.stringify(note));
  expect(keeping().leaseUntilMs()).toBe(0);
  await writeNote(folder, { untilMs: machineUptimeMs() + 5_000, tasks: [], docker: null });
  expect(keeping().leaseUntilMs()).toBeGreaterThan(epochMs());
});
