import { describe, expect, test } from "vitest";
import type { TaskId } from "../state/ids.ts";
import { taskId } from "../state/ids.ts";
import { specOf } from "../test/compliance/engine.ts";
import { engineAddresses } from "./docker-address.ts";
import { textOf } from "./docker-client.ts";
import { demultiplex } from "./docker-logs.ts";
import { createOptions, isPassing, refusal, statusFrom } from "./docker-spec.ts";
import { Told } from "./docker-watch.ts";
import type { ContainerStatus } from "./engine.ts";
import { parseStat } from "./process-shim.ts";

const TASK = taskId("1-0");

function frame(stream: number, text: string): Buffer {
  const body = Buffer.from(text);
  const header = Buffer.from([stream, 0, 0, 0, 0, 0, 0, 0]);
  header.writeUInt32BE(body.length, 4);
  return Buffer.concat([header, body]);
}

function status(
  state: ContainerStatus["state"],
  startedAtMs: number | null,
  task: TaskId = TASK,
): ContainerStatus {
  return { task, state, exitCode: null, message: "", startedAtMs, finishedAtMs: null };
}

describe("where an engine may listen", () => {
  test("DOCKER_HOST alone counts when it is set", () => {
    expect(engineAddresses({ DOCKER_HOST: "unix:///x/y.sock", HOME: "/root" })).toEqual([
      { kind: "socket", path: "/x/y.sock" },
    ]);
    expect(engineAddresses({ DOCKER_HOST: "tcp://10.0.0.1:2375" })).toEqual([
      { kind: "tcp", host: "10.0.0.1", port: 2375, certFolder: null },
    ]);
    expect(
      engineAddresses({ DOCKER_HOST: "tcp://h", DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: "/c" }),
    ).toEqual([{ kind: "tcp", host: "h", port: 2376, certFolder: "/c" }]);
  });

  test("one that cannot be used is refused by name", () => {
    expect(() => engineAddresses({ DOCKER_HOST: "ssh://me@host" })).toThrow("ssh://me@host");
  });

  test("otherwise Docker's sockets come before Podman's", () => {
    const addresses = engineAddresses({ HOME: "/h", XDG_RUNTIME_DIR: "/r" });
    expect(addresses.map((address) => (address.kind === "socket" ? address.path : ""))).toEqual([
      "/var/run/docker.sock",
      "/r/docker.sock",
      "/h/.docker/run/docker.sock",
      "/run/podman/podman.sock",
      "/r/podman/podman.sock",
    ]);
  });
});

describe("what an inspection says", () => {
  const state = {
    Status: "exited",
    Running: false,
    Paused: false,
    Restarting: false,
    OOMKilled: false,
    Dead: false,
    Pid: 0,
    ExitCode: 0,
    Error: "",
    StartedAt: "2026-01-02T03:04:05.678901234Z",
    FinishedAt: "2026-01-02T03:04:06Z",
  };

  test("times, never as null, and the code of the last exit only when exited", () => {
    expect(
      statusFrom(TASK, { ...state, Status: "created", StartedAt: "0001-01-01T00:00:00Z" }),
    ).toEqual({
      task: TASK,
      state: "created",
      exitCode: null,
      message: "",
      startedAtMs: null,
      finishedAtMs: null,
    });
    expect(statusFrom(TASK, { ...state, Status: "running" })).toMatchObject({
      state: "running",
      finishedAtMs: null,
    });
    const exited = statusFrom(TASK, { ...state, ExitCode: 3 });
    expect(exited).toMatchObject({ state: "exited", exitCode: 3, message: "" });
    expect(exited.startedAtMs).toBe(Date.UTC(2026, 0, 2, 3, 4, 5, 678));
  });

  test.each([
    [{ ExitCode: 137, OOMKilled: true }, "out of memory"],
    [{ ExitCode: 137 }, "killed by SIGKILL"],
    [{ ExitCode: 128, Error: "no such device" }, "no such device"],
  ])("the reason %j is %s", (change, message) => {
    expect(statusFrom(TASK, { ...state, ...change }).message).toBe(message);
  });
});

describe("what an engine refuses", () => {
  test.each([
    "driver failed programming external connectivity on endpoint x (0b): Bind for 127.0.0.1:8080 failed: port is already allocated",
    "driver failed programming external connectivity on endpoint x (0b): Error starting userland proxy: listen tcp4 0.0.0.0:8080: bind: address already in use",
    "failed to set up container networking: driver failed programming external connectivity on endpoint x: failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use",
    "failed to bind host port 0.0.0.0:8080/tcp: address already in use",
    "rootlessport listen tcp 0.0.0.0:8080: bind: address already in use",
    "cannot listen on the TCP port: listen tcp4 127.0.0.1:8080: bind: address already in use",
    "driver failed programming external connectivity: Bind for [::]:8080 failed: port is already allocated",
  ])("names the port of: %s", (text) => {
    expect(refusal("Cannot start x", text, TASK)).toMatchObject({
      code: "engine-refused",
      details: { port: 8080 },
    });
  });

  test("anything else in the engine's words", () => {
    const error = Object.assign(new Error("(HTTP code 400) bad parameter - x"), {
      json: { message: "no such path " },
    });
    expect(refusal("Cannot start x", textOf(error), TASK).message).toBe(
      "Cannot start x: the engine refuses: no such path",
    );
  });

  test.each([
    [null, "connect ECONNREFUSED", true],
    [503, "", true],
    [500, "daemon is shutting down", true],
    [500, "OCI runtime create failed", false],
    [404, "no such image", false],
  ])("%s %s passes: %s", (code, text, passes) => {
    expect(isPassing(code, text)).toBe(passes);
  });
});

test("a container has limits without swap, scoped volumes and every port", () => {
  const options = createOptions(
    {
      ...specOf({ image: "nginx", commands: { forever: ["serve"] } }, TASK),
      image: "nginx",
      limits: { cpuMilli: 1_500, memoryMib: 64 },
      volumes: [
        { kind: "named", name: "data", target: "/data", readOnly: true },
        { kind: "tmpfs", target: "/tmp", sizeMib: 8 },
      ],
      ports: [
        { container: 80, host: 8_080, protocol: "tcp" },
        { container: 80, host: 8_081, protocol: "tcp" },
      ],
    },
    { clusterId: "c", nodeId: "n" },
  );
  const { HostConfig: host } = options;
  expect(host).toMatchObject({
    NanoCpus: 1_500_000_000,
    Memory: 67_108_864,
    MemorySwap: 67_108_864,
  });
  expect(host?.RestartPolicy).toEqual({ Name: "no" });
  expect(host?.Mounts).toMatchObject([
    { Type: "volume", Source: "shop_data", ReadOnly: true },
    { Type: "tmpfs", TmpfsOptions: { SizeBytes: 8_388_608 } },
  ]);
  expect(host?.PortBindings).toEqual({
    "80/tcp": [
      { HostIp: "127.0.0.1", HostPort: "8080" },
      { HostIp: "127.0.0.1", HostPort: "8081" },
    ],
  });
});

describe("the multiplexed output", () => {
  const stamp = "2026-01-02T03:04:05.000000001Z";
  const whole = Buffer.concat([
    frame(1, `${stamp} grüße\n${stamp} \n`),
    frame(2, `${stamp} bad`),
    frame(1, `${stamp} two words\n`),
    frame(2, " news\n"),
    frame(1, `${stamp} unfinished`),
  ]);
  const expected = [
    "stdout grüße",
    "stdout ",
    "stdout two words",
    "stderr bad news",
    "stdout unfinished",
  ];

  test("comes apart into lines however it is cut", async () => {
    for (let size = 1; size <= whole.length; size++) {
      const chunks: Buffer[] = [];
      for (let at = 0; at < whole.length; at += size) chunks.push(whole.subarray(at, at + size));
      const lines: string[] = [];
      for await (const line of demultiplex(chunks)) lines.push(`${line.stream} ${line.text}`);
      expect(lines, `cut every ${size} bytes`).toEqual(expected);
    }
  });
});

describe("what was told", () => {
  test("is news once, in the order of runs", () => {
    const told = new Told();
    const seen = [
      status("created", null),
      status("running", 10),
      status("running", 10),
      status("exited", 10),
      status("exited", 10),
      status("running", 10),
      status("running", 20),
      status("exited", 10),
      status("exited", 20),
      status("gone", 20),
      status("gone", 20),
    ];
    expect(seen.map((one) => told.note(one))).toEqual([
      true,
      true,
      false,
      true,
      false,
      false,
      true,
      false,
      true,
      true,
      false,
    ]);
  });
});

test("a process's start time is found behind any name", () => {
  const rest = Array.from({ length: 40 }, (_, index) => String(index + 4)).join(" ");
  expect(parseStat(`77 (a) b (c)) S ${rest}`)).toEqual({ dead: false, startTicks: "22" });
  expect(parseStat(`77 (sh) Z ${rest}`)).toEqual({ dead: true, startTicks: "22" });
  expect(parseStat("77 (sh)")).toBeNull();
});
