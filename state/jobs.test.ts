import { describe, expect, it } from "vitest";
import { jobSpec, serviceSpec, TestCluster } from "../test/fixtures/cluster.ts";
import { taskId } from "./ids.ts";

function code(outcome: ReturnType<TestCluster["apply"]>): string {
  return outcome.kind === "refused"
    ? outcome.fault.code
    : `done ${outcome.changed} ${outcome.version}`;
}

describe("jobs", () => {
  it("counts versions, and does nothing for the same spec again", () => {
    const cluster = new TestCluster();
    expect(code(cluster.put("j", serviceSpec("s")))).toBe("done true 1");
    expect(code(cluster.put("j", serviceSpec("s")))).toBe("done false 1");
    expect(code(cluster.put("j", serviceSpec("s", { replicas: 2 })))).toBe("done true 2");
  });

  it("does not take another order of keys for another spec", () => {
    const cluster = new TestCluster();
    cluster.put("j", serviceSpec("s", { environment: { A: "1", B: "2" } }));
    expect(code(cluster.put("j", serviceSpec("s", { environment: { B: "2", A: "1" } })))).toBe(
      "done false 1",
    );
  });

  it("gives a service a new version when more than its replicas changed", () => {
    const cluster = new TestCluster();
    cluster.put("j", serviceSpec("s"), serviceSpec("t"));
    cluster.put(
      "j",
      serviceSpec("s", { replicas: 4 }),
      serviceSpec("t", { image: "nginx:2" }),
      serviceSpec("constructor"),
    );
    expect(cluster.state.jobs.get("j")?.serviceVersions).toEqual({ s: 1, t: 2, constructor: 2 });
  });

  it("refuses a version that is not the job's, and says both", () => {
    const cluster = new TestCluster();
    cluster.put("j", serviceSpec("s"));
    const put = (ifVersion: number) =>
      cluster.apply({
        kind: "job-put",
        spec: jobSpec("j", serviceSpec("s", { replicas: 2 })),
        ifVersion,
      });
    const refused = put(0);
    expect(code(refused)).toBe("version-mismatch");
    expect(refused.kind === "refused" && refused.fault.details).toEqual({
      job: "j",
      expected: 0,
      actual: 1,
    });
    expect(code(put(7))).toBe("version-mismatch");
    expect(code(put(1))).toBe("done true 2");
    const missing = cluster.apply({
      kind: "job-put",
      spec: jobSpec("k", serviceSpec("s")),
      ifVersion: 3,
    });
    expect(missing.kind === "refused" && missing.fault.message).toBe(
      'job "k" does not exist; version 3 was expected',
    );
  });

  it.each([
    ["replicas above the bound", serviceSpec("s", { replicas: 100_001 })],
    ["negative replicas", serviceSpec("s", { replicas: -1 })],
    ["half a replica", serviceSpec("s", { replicas: 0.5 })],
    [
      "negative memory",
      serviceSpec("s", { reservations: { cpuMilli: 0, memoryMib: -1, diskMib: 0 } }),
    ],
    [
      "a port out of range",
      serviceSpec("s", { ports: [{ container: 80, host: 70_000, protocol: "tcp" }] }),
    ],
    ["a bad name", serviceSpec("__proto__")],
    [
      "one host port twice",
      serviceSpec("s", {
        ports: [
          { container: 80, host: 80, protocol: "tcp" },
          { container: 81, host: 80, protocol: "tcp" },
        ],
      }),
    ],
  ])("refuses %s", (_, service) => {
    expect(code(new TestCluster().put("j", service))).toBe("invalid");
  });

  it("refuses bad names and services that are missing or named twice", () => {
    expect(code(new TestCluster().put("a.b", serviceSpec("s")))).toBe("invalid");
    expect(code(new TestCluster().put("j"))).toBe("invalid");
    expect(code(new TestCluster().put("j", serviceSpec("s"), serviceSpec("s")))).toBe("invalid");
  });

  it("stops a service, then the rest, then starts all again when it is put again", () => {
    const cluster = new TestCluster();
    cluster.admit("a");
    cluster.put("j", serviceSpec("s"), serviceSpec("t"));
    cluster.settle();
    expect(code(cluster.apply({ kind: "job-stop", job: "j", service: "s" }))).toBe("done true 1");
    expect(code(cluster.apply({ kind: "job-stop", job: "j", service: "s" }))).toBe("done false 1");
    expect(cluster.task("j", "s", 1)).toMatchObject({ state: "running", desired: "stopped" });
    expect(cluster.task("j", "t", 1)).toMatchObject({ desired: "running" });
    expect(code(cluster.apply({ kind: "job-stop", job: "j", service: null }))).toBe("done true 1");
    expect(cluster.state.jobs.get("j")?.stopped).toEqual(["s", "t"]);
    cluster.settle();
    expect(cluster.live("j")).toEqual([]);
    expect(code(cluster.put("j", serviceSpec("s"), serviceSpec("t")))).toBe("done true 2");
    cluster.settle();
    expect(cluster.live("j").map((task) => [task.service, task.state])).toEqual([
      ["s", "running"],
      ["t", "running"],
    ]);
  });

  it("ends a pending task at once when its job is stopped", () => {
    const cluster = new TestCluster();
    cluster.put("j", serviceSpec("s"));
    cluster.pass();
    expect(cluster.task("j", "s", 1).state).toBe("pending");
    cluster.apply({ kind: "job-stop", job: "j", service: null });
    expect(cluster.task("j", "s", 1)).toMatchObject({
      state: "stopped",
      finishedAtMs: cluster.now,
    });
  });

  it("names the likely job or service when there is none of that name", () => {
    const cluster = new TestCluster();
    cluster.put("website", serviceSpec("frontend"));
    const job = cluster.apply({ kind: "job-stop", job: "webiste", service: null });
    expect(job.kind === "refused" && [job.fault.code, job.fault.hint]).toEqual([
      "not-found",
      'Did you mean "website"? See `orch job ls`.',
    ]);
    const service = cluster.apply({ kind: "job-stop", job: "website", service: "fronted" });
    expect(service.kind === "refused" && service.fault.hint).toContain('"frontend"');
    expect(code(cluster.apply({ kind: "task-stop", task: taskId("zz-9") }))).toBe("not-found");
  });
});

describe("a job from a backup", () => {
  const spec = jobSpec("j", serviceSpec("s"), serviceSpec("t"));
  const restore = { kind: "job-restore", spec, stopped: ["t"], version: 7 } as const;

  it("has its version, and what was stopped stays stopped", () => {
    const cluster = new TestCluster();
    cluster.admit("a");
    expect(code(cluster.apply(restore))).toBe("done true 7");
    expect(cluster.events.at(-1)).toMatchObject({
      type: "job",
      job: "j",
      message: "version 7 was restored from a backup",
    });
    cluster.settle();
    expect(cluster.live("j").map((task) => [task.service, task.version])).toEqual([["s", 7]]);
    expect(code(cluster.put("j", serviceSpec("s", { image: "nginx:2" })))).toBe("done true 8");
  });

  it("does not replace one", () => {
    const cluster = new TestCluster();
    cluster.put("j", serviceSpec("s"));
    const before = cluster.state.jobs.get("j");
    expect(code(cluster.apply(restore))).toBe("conflict");
    expect(cluster.state.jobs.get("j")).toBe(before);
  });

  it.each([
    ["a version below 1", { version: 0 }],
    ["a version that is not exact", { version: 2 ** 53 }],
    ["a stopped service that it does not have", { stopped: ["u"] }],
    ["a wrong spec", { spec: jobSpec("J", serviceSpec("s")) }],
  ])("is refused with %s", (_, change) => {
    const cluster = new TestCluster();
    expect(code(cluster.apply({ ...restore, ...change }))).toBe("invalid");
    expect(cluster.state.jobs.size).toBe(0);
  });
});
