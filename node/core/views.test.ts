import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Partition } from "../../state/spec.ts";
import type { Task } from "../../state/task.ts";
import { BRAKE_PERCENT, idOf, serviceSpec, TestCluster } from "../../test/fixtures/cluster.ts";
import { isoTime } from "./iso-time.ts";
import { jobView } from "./job-view.ts";
import type { JobView, ServiceView, TaskView } from "./view-types.ts";
import type { AnswerContext } from "./views.ts";
import { answer, eventView } from "./views.ts";

const CONTEXT: AnswerContext = {
  brakePercent: BRAKE_PERCENT,
  manager: idOf("a"),
  voters: new Set([1]),
  learners: new Set([2]),
  usage: () => null,
  missedBy: (node) =>
    node === idOf("b") ? [{ observer: idOf("a"), how: "silent", sinceMs: 5_000 }] : [],
  isHidden: (node) => node === idOf("c"),
  rttMs: (node) => (node === idOf("b") ? 1.2345 : null),
  nowMs: 9_000,
  term: 3,
  commitIndex: 9,
  quorum: true,
  log: {
    baseIndex: 0,
    entries: 9,
    snapshotIndex: 0,
    snapshotAt: null,
    featureLevel: 1,
    voters: ["c"],
    transferee: null,
    followers: [],
  },
  orchVersion: "0.1.0",
};

type Asked = Parameters<typeof answer>[1];

function ask(cluster: TestCluster, query: Asked): unknown {
  const answered = answer(cluster.state, query, CONTEXT);
  return answered.kind === "ok" ? answered.body : answered.fault;
}

/** Nodes a, b, c; jobs `web` (3 tasks of `front`) and `api` (1 of `front_end`). */
function busy(): TestCluster {
  const cluster = new TestCluster();
  cluster.apply({ kind: "cluster-init", clusterId: "c1", joinSecret: "secret", featureLevel: 1 });
  cluster.admit("c", "b", "a");
  const port = { container: 80, host: 8080, protocol: "tcp" } as const;
  cluster.put("web", serviceSpec("front", { replicas: 3, ports: [port] }));
  cluster.put("api", serviceSpec("front_end"));
  cluster.settle();
  return cluster;
}

function jobOf(cluster: TestCluster, job: string): JobView {
  const record = cluster.state.jobs.get(job);
  if (record === undefined) throw new Error(`no job ${job}`);
  return jobView(cluster.state, record);
}

function serviceOf(cluster: TestCluster, job: string): ServiceView | undefined {
  return jobOf(cluster, job).services[0];
}

const ALL = { kind: "tasks", job: null, service: null, node: null, all: false } as const;

function slots(cluster: TestCluster, filter: object): readonly string[] {
  const tasks = ask(cluster, { ...ALL, ...filter });
  if (!Array.isArray(tasks)) throw new Error("refused");
  return tasks.map((task: TaskView) => `${task.slot} ${task.state}`);
}

describe("nodes", () => {
  it("are listed by name with their part, state and tasks", () => {
    const cluster = busy();
    cluster.liveness("c", "down");
    const nodes = ask(cluster, { kind: "nodes" });
    expect(nodes).toMatchObject([
      { name: "a", id: "id-a", role: "member", status: "ready", manager: true, holdsLog: false },
      { name: "b", role: "standby", status: "suspect", manager: false, driver: "docker,process" },
      { name: "c", role: "voter", status: "down", tasks: 0, hidden: true, holdsLog: true },
    ]);
    expect(ask(cluster, { kind: "node", node: "b" })).toMatchObject({
      missedBy: [{ node: "id-a", name: "a", how: "silent", forMs: 4_000 }],
      rttMs: 1.2,
      hidden: false,
    });
    expect(ask(cluster, { kind: "node", node: "b" })).toMatchObject({
      id: "id-b",
      allocated: { cpuMilli: 100, memoryMib: 64, diskMib: 0, gpus: 0 },
      resources: { cpuMilli: 4000, memoryMib: 8192, diskMib: 100_000, gpus: 0 },
      joinedAt: "1970-01-01T00:16:40.000Z",
      version: "0.1.0",
    });
    expect(ask(cluster, { kind: "node", node: "id-b" })).toMatchObject({ name: "b" });
    expect(ask(cluster, { kind: "node", node: "bb" })).toMatchObject({ code: "not-found" });
  });
});

it("what an observer said before it went down itself makes nobody suspect", () => {
  const cluster = busy();
  cluster.liveness("a", "down");
  expect(ask(cluster, { kind: "node", node: "b" })).toMatchObject({
    status: "ready",
    missedBy: [],
  });
  cluster.liveness("a", "ready");
  expect(ask(cluster, { kind: "node", node: "b" })).toMatchObject({ status: "suspect" });
});

it("a node that leaves is draining, unless worse is to be said of it", () => {
  const cluster = busy();
  for (const name of ["a", "b", "c"]) cluster.apply({ kind: "node-leave", node: idOf(name) });
  cluster.liveness("c", "down");
  expect(ask(cluster, { kind: "nodes" })).toMatchObject([
    { name: "a", status: "draining" },
    { name: "b", status: "suspect" },
    { name: "c", status: "down" },
  ]);
});

describe("the cluster", () => {
  it("is counted", () => {
    const cluster = busy();
    cluster.liveness("c", "down");
    cluster.pass();
    expect(ask(cluster, { kind: "cluster" })).toEqual({
      id: "c1",
      manager: "id-a",
      term: 3,
      commitIndex: 9,
      voters: ["id-c"],
      standbys: ["id-b"],
      nodes: 3,
      nodesReady: 2,
      jobs: 2,
      tasksRunning:
        cluster.live("web").filter((task) => task.state === "running").length +
        cluster.live("api").filter((task) => task.state === "running").length,
      tasksPending: 1,
      quorum: true,
      brake: null,
      log: CONTEXT.log,
      version: "0.1.0",
    });
  });

  it("says that the brake is on, and whose tasks wait", () => {
    const cluster = busy();
    cluster.now = 4_321;
    for (const name of "abc") cluster.liveness(name, "down");
    cluster.pass();
    expect(ask(cluster, { kind: "cluster" })).toMatchObject({
      brake: {
        down: 3,
        nodes: 3,
        held: 4,
        since: "1970-01-01T00:00:04.321Z",
        until: "1970-01-01T00:05:15.000Z",
      },
    });
    cluster.apply({ kind: "brake-release" });
    expect(ask(cluster, { kind: "cluster" })).toMatchObject({ brake: null });
  });
});

describe("tasks", () => {
  it("are listed by slot, those that are over only when asked for", () => {
    const cluster = busy();
    const all = [
      "api.front_end.1 running",
      "web.front.1 running",
      "web.front.2 running",
      "web.front.3 running",
    ];
    expect(slots(cluster, {})).toEqual(all);
    expect(slots(cluster, { job: "web" })).toEqual(all.slice(1));
    expect(slots(cluster, { service: "front_end" })).toEqual(all.slice(0, 1));
    cluster.apply({ kind: "job-stop", job: "web", service: null });
    cluster.settle();
    expect(slots(cluster, { job: "web" })).toEqual([]);
    expect(slots(cluster, { job: "web", service: "front" })).toEqual([]);
    expect(slots(cluster, { job: "web", all: true })).toHaveLength(3);
  });

  it("are listed by node, by its name or id", () => {
    const cluster = busy();
    const byName = slots(cluster, { node: "b" });
    expect(byName.length).toBeGreaterThan(0);
    expect(slots(cluster, { node: "id-b" })).toEqual(byName);
    expect(slots(cluster, { node: "b", job: "web" })).toHaveLength(1);
  });

  it.each([
    [{ job: "wbe" }, 'Did you mean "web"?'],
    [{ node: "q" }, "See `orch node ls`."],
    [{ job: "web", service: "fron" }, 'Did you mean "front"?'],
    [{ service: "front_edn" }, 'Did you mean "front_end"?'],
  ])("of something unknown are refused with a hint: %o", (filter, hint) => {
    const cluster = busy();
    const refusal = ask(cluster, { ...ALL, ...filter });
    expect(refusal).toMatchObject({ code: "not-found", hint: expect.stringContaining(hint) });
  });

  it("are found by id and by slot", () => {
    const cluster = busy();
    const task = cluster.task("web", "front", 2);
    cluster.report(task, "running", { startedAtMs: 86_400_000 });
    const view = ask(cluster, { kind: "task", task: task.id });
    expect(view).toMatchObject({
      id: task.id,
      slot: "web.front.2",
      nodeName: task.node?.slice(3),
      image: "nginx:1",
      ports: [{ host: 8080, container: 80, protocol: "tcp", address: "10.0.0.1" }],
      startedAt: "1970-01-02T00:00:00.000Z",
      finishedAt: null,
    });
    expect(ask(cluster, { kind: "task", task: "web.front.2" })).toEqual(view);
    expect(ask(cluster, { kind: "task", task: "api.front_end.1" })).toMatchObject({
      job: "api",
      service: "front_end",
    });
    for (const none of ["web.front.9", "web.front", "zz-1", ""]) {
      expect(ask(cluster, { kind: "task", task: none })).toMatchObject({ code: "not-found" });
    }
  });

  it("tell a dialable address when ports are published everywhere", () => {
    const cluster = new TestCluster();
    cluster.admitWith("a", { publishAddress: "0.0.0.0", addresses: ["/ip4/10.0.0.7/tcp/7400"] });
    cluster.put("j", serviceSpec("s", { ports: [{ container: 1, host: 5, protocol: "udp" }] }));
    cluster.pass();
    expect(ask(cluster, { kind: "task", task: "j.s.1" })).toMatchObject({
      ports: [{ address: "10.0.0.7" }],
    });
  });
});

function report(
  cluster: TestCluster,
  slot: number,
  state: Task["state"],
  changes: object = {},
): void {
  cluster.report(cluster.task("j", "s", slot), state, changes);
}

/** A task of job `j` that ran on `a`, which is down. */
function lostOne(partition: Partition): TestCluster {
  const cluster = new TestCluster();
  cluster.admit("a");
  cluster.put("j", serviceSpec("s", { partition }));
  cluster.settle();
  cluster.liveness("a", "down");
  return cluster;
}

/** Two tasks of job `j`, assigned. */
function placed(): TestCluster {
  const cluster = new TestCluster();
  cluster.admit("a");
  const restart = { condition: "on-failure", delayMs: 0, maxAttempts: null, windowMs: 0 } as const;
  cluster.put("j", serviceSpec("s", { replicas: 2, restart }));
  cluster.pass();
  return cluster;
}

describe("a job", () => {
  it("is pending while it first comes up, then running", () => {
    const cluster = placed();
    expect(jobOf(cluster, "j")).toMatchObject({
      status: "pending",
      version: 1,
      createdAt: "1970-01-01T00:16:40.000Z",
    });
    report(cluster, 1, "running");
    expect(jobOf(cluster, "j").status).toBe("pending");
    expect(serviceOf(cluster, "j")).toMatchObject({
      running: 1,
      healthy: 1,
      desired: 2,
      replicas: 2,
    });
    report(cluster, 2, "running");
    expect(jobOf(cluster, "j").status).toBe("running");
    expect(serviceOf(cluster, "j")?.message).toBe("");
  });

  it("is degraded when some of it does not run, and says which and why", () => {
    const cluster = placed();
    report(cluster, 1, "running");
    report(cluster, 2, "running", {
      healthy: false,
      message: "restarting in 10 s after exit code 3",
    });
    expect(jobOf(cluster, "j").status).toBe("degraded");
    expect(serviceOf(cluster, "j")).toMatchObject({
      running: 2,
      healthy: 1,
      message: "1 of 2 not running; slot 2 is unhealthy: restarting in 10 s after exit code 3",
    });
  });

  it("is degraded while what was rejected waits to be tried again", () => {
    const cluster = placed();
    report(cluster, 1, "rejected", { message: "no such image" });
    report(cluster, 2, "rejected", { message: "no such image" });
    expect(jobOf(cluster, "j").status).toBe("degraded");
    cluster.pass();
    expect(jobOf(cluster, "j").status).toBe("degraded");
    expect(serviceOf(cluster, "j")?.message).toContain("no such image");
  });

  it("is complete when all of it ended well, failed when nothing more will run", () => {
    const cluster = placed();
    report(cluster, 1, "complete");
    report(cluster, 2, "running");
    expect(jobOf(cluster, "j").status).toBe("running");
    expect(serviceOf(cluster, "j")?.message).toBe("1 of 2 complete");
    report(cluster, 2, "complete");
    expect(jobOf(cluster, "j").status).toBe("complete");
    const other = placed();
    report(other, 1, "complete");
    report(other, 2, "failed", { message: "exit 3" });
    expect(jobOf(other, "j").status).toBe("failed");
    expect(serviceOf(other, "j")?.message).toBe("1 of 2 not running; slot 2 is failed: exit 3");
  });

  it("is pending with the reason when nothing has room", () => {
    const cluster = new TestCluster();
    cluster.put("j", serviceSpec("s"));
    expect(serviceOf(cluster, "j")?.message).toBe(
      "1 of 1 not running; slot 1 waits to be scheduled",
    );
    cluster.pass();
    expect(jobOf(cluster, "j").status).toBe("pending");
    expect(serviceOf(cluster, "j")?.message).toBe(
      "1 of 1 not running; slot 1 is pending: no node fits: the cluster has no nodes",
    );
  });

  it("is stopped, and counts what is still stopping", () => {
    const cluster = placed();
    cluster.work();
    cluster.apply({ kind: "job-stop", job: "j", service: null });
    expect(jobOf(cluster, "j").status).toBe("stopped");
    expect(serviceOf(cluster, "j")).toMatchObject({
      desired: 0,
      running: 0,
      message: "stopping: 2 left",
    });
    cluster.settle();
    expect(serviceOf(cluster, "j")?.message).toBe("stopped");
    expect(ask(cluster, { kind: "job", job: "jj" })).toMatchObject({ code: "not-found" });
  });

  it("says what was lost with a node that is down and may run on there, until the node is back", () => {
    const cluster = lostOne("at-least-one");
    const { id } = cluster.task("j", "s", 1);
    cluster.admit("b");
    cluster.settle();
    const unseen = `may still run where the node is down: ${id} on a`;
    expect(serviceOf(cluster, "j")).toMatchObject({ running: 1, message: unseen });
    cluster.apply({ kind: "job-stop", job: "j", service: null });
    cluster.settle();
    expect(serviceOf(cluster, "j")?.message).toBe(`stopped; ${unseen}`);
    cluster.liveness("a", "ready");
    expect(serviceOf(cluster, "j")?.message).toBe("stopped");
    cluster.liveness("a", "down");
    expect(serviceOf(cluster, "j")?.message).toBe("stopped");
  });

  it("goes by what the task runs under, not by what its service asks for since", () => {
    const leased = lostOne("at-most-one");
    leased.put("j", serviceSpec("s"));
    expect(serviceOf(leased, "j")?.message).not.toContain("may still run");
    const unleased = lostOne("at-least-one");
    unleased.put("j", serviceSpec("s", { partition: "at-most-one" }));
    expect(serviceOf(unleased, "j")).toMatchObject({
      message: expect.stringMatching(/may still run where the node is down: .* on a$/u),
      partition: "at-most-one",
    });
  });

  it("lists are by name", () => {
    expect(ask(busy(), { kind: "jobs" })).toMatchObject([{ name: "api" }, { name: "web" }]);
  });
});

function configured(): TestCluster {
  const cluster = new TestCluster();
  for (const [name, data] of [
    ["db", "AAEC"],
    ["app", ""],
    ["db", "_-8"],
  ] as const) {
    cluster.apply({ kind: "config-put", name, data, ifVersion: null });
    cluster.now += 1000;
  }
  return cluster;
}

describe("configs", () => {
  const db = {
    name: "db",
    version: 2,
    sizeBytes: 2,
    createdAt: "1970-01-01T00:16:40.000Z",
    updatedAt: "1970-01-01T00:16:42.000Z",
    modifiedIndex: 3,
  };

  it("are listed by name without their content", () => {
    expect(ask(configured(), { kind: "configs" })).toEqual([
      expect.objectContaining({ name: "app", version: 1, sizeBytes: 0 }),
      db,
    ]);
  });

  it("are shown with their content; one that is not there is said, with a likely name", () => {
    expect(ask(configured(), { kind: "config", config: "db" })).toEqual({ ...db, data: "_-8" });
    expect(ask(configured(), { kind: "config", config: "apq" })).toMatchObject({
      code: "not-found",
      hint: expect.stringContaining('"app"'),
    });
  });
});

describe("times and events", () => {
  it("writes times as Date does", () => {
    fc.assert(
      fc.property(fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_999 }), (ms) => {
        expect(isoTime(ms)).toBe(new Date(ms).toISOString());
      }),
      { numRuns: 2000 },
    );
    for (const ms of [0, 951_782_400_000, 4_107_542_399_999, 1_709_164_800_000]) {
      expect(isoTime(ms)).toBe(new Date(ms).toISOString());
    }
  });

  it("gives an event its time in words of the API", () => {
    const cluster = new TestCluster();
    cluster.admit("a");
    expect(cluster.events.map(eventView)).toEqual([
      {
        index: 1,
        time: "1970-01-01T00:16:40.000Z",
        type: "node",
        job: null,
        service: null,
        slot: null,
        task: null,
        node: "id-a",
        config: null,
        from: null,
        to: "ready",
        message: "a joined",
      },
    ]);
  });
});
