import { describe, expect, it } from "vitest";
import { AssertionError } from "../lib/assert.ts";
import {
  idOf,
  jobSpec,
  nodeFacts,
  serviceSpec,
  taskReport,
  TestCluster,
} from "../test/fixtures/cluster.ts";
import { ClusterState, decodeEnvelope, encodeEnvelope, MAX_KEYS } from "./cluster.ts";
import type { Envelope } from "./command.ts";
import type { TaskId } from "./ids.ts";
import { taskId } from "./ids.ts";

function code(outcome: ReturnType<TestCluster["apply"]>): string {
  return outcome.kind === "refused"
    ? outcome.fault.code
    : `done ${outcome.changed} ${outcome.version}`;
}

/** One task, placed on one of two nodes. */
function started(): TestCluster {
  const cluster = new TestCluster();
  cluster.admit("a", "b");
  cluster.put("j", serviceSpec("s"));
  cluster.pass();
  return cluster;
}

describe("cluster and nodes", () => {
  it("is founded once", () => {
    const cluster = new TestCluster();
    expect(cluster.state.clusterId).toBe("");
    expect(
      code(
        cluster.apply({ kind: "cluster-init", clusterId: "c1", joinSecret: "s", featureLevel: 1 }),
      ),
    ).toBe("done true null");
    expect(
      code(
        cluster.apply({ kind: "cluster-init", clusterId: "c2", joinSecret: "t", featureLevel: 2 }),
      ),
    ).toBe("already-initialized");
    const { clusterId, joinSecret, featureLevel, membersIndex } = cluster.state;
    expect([clusterId, joinSecret, featureLevel, membersIndex]).toEqual(["c1", "s", 1, 1]);
  });

  it("gives every admission a raft id of its own and retires the old one", () => {
    const cluster = new TestCluster();
    cluster.admit("a", "b");
    cluster.liveness("a", "down");
    cluster.now += 5;
    cluster.admit("a");
    const node = cluster.state.nodes.get(idOf("a"));
    expect(node).toMatchObject({ name: "a", raftId: 3, liveness: "ready", joinedAtMs: 1_000_000 });
    expect([1, 2, 3].map((id) => cluster.state.isRetired(id))).toEqual([true, false, false]);
  });

  it("has another join secret when it is told one, and tells those who keep lists of members", () => {
    const cluster = new TestCluster();
    const init = {
      kind: "cluster-init",
      clusterId: "c1",
      joinSecret: "s",
      featureLevel: 1,
    } as const;
    cluster.apply(init);
    cluster.admit("a");
    expect(code(cluster.apply({ kind: "join-secret-put", joinSecret: "t" }))).toBe(
      "done true null",
    );
    const { clusterId, joinSecret, membersIndex } = cluster.state;
    expect([clusterId, joinSecret, membersIndex]).toEqual(["c1", "t", 3]);
    expect(cluster.events.at(-1)).toMatchObject({
      type: "cluster",
      message: "the join token was replaced",
    });
    expect(JSON.stringify(cluster.events)).not.toContain('"t"');
    expect(code(cluster.apply({ kind: "join-secret-put", joinSecret: "t" }))).toBe(
      "done false null",
    );
  });

  it("keeps names apart, also when facts change", () => {
    const cluster = new TestCluster();
    cluster.apply({ kind: "node-admit", node: idOf("x"), facts: nodeFacts("web") });
    cluster.apply({ kind: "node-admit", node: idOf("y"), facts: nodeFacts("web") });
    cluster.apply({ kind: "node-admit", node: idOf("z"), facts: nodeFacts("web") });
    expect([...cluster.state.nodes.values()].map((node) => node.name)).toEqual([
      "web",
      "web-2",
      "web-3",
    ]);
    expect(
      code(cluster.apply({ kind: "node-facts", node: idOf("y"), facts: nodeFacts("web") })),
    ).toBe("done false null");
    expect(
      code(cluster.apply({ kind: "node-facts", node: idOf("x"), facts: nodeFacts("db") })),
    ).toBe("done true null");
    expect(cluster.state.findNode("db")?.id).toBe(idOf("x"));
    expect(cluster.state.findNode("web")).toBeUndefined();
    expect(cluster.state.findNode(idOf("y"))?.name).toBe("web-2");
  });

  it("says at which index members changed: not for facts that say the same", () => {
    const cluster = new TestCluster();
    cluster.admit("a");
    cluster.apply({ kind: "node-facts", node: idOf("a"), facts: nodeFacts("a") });
    expect(cluster.state.membersIndex).toBe(1);
    cluster.apply({
      kind: "node-facts",
      node: idOf("a"),
      facts: nodeFacts("a", { addresses: [] }),
    });
    expect(cluster.state.membersIndex).toBe(3);
    expect(
      code(cluster.apply({ kind: "node-facts", node: idOf("q"), facts: nodeFacts("q") })),
    ).toBe("not-found");
  });

  it("loses the tasks of a node that goes down, and their room with them", () => {
    const cluster = new TestCluster();
    cluster.admit("a");
    cluster.put("j", serviceSpec("s", { replicas: 3 }));
    cluster.settle();
    expect(cluster.state.allocated(idOf("a"))).toMatchObject({
      tasks: 3,
      resources: { cpuMilli: 300 },
    });
    cluster.apply({ kind: "task-stop", task: cluster.task("j", "s", 1).id });
    cluster.liveness("a", "down");
    const states = cluster.state.tasksOfJob("j").map((task) => [task.state, task.message]);
    expect(states).toEqual([
      ["lost", "its node a went down before it had confirmed the stop"],
      ["lost", "its node a went down"],
      ["lost", "its node a went down"],
    ]);
    expect(cluster.state.allocated(idOf("a"))).toMatchObject({
      tasks: 0,
      resources: { cpuMilli: 0 },
    });
    cluster.liveness("a", "ready");
    expect(cluster.state.nodes.get(idOf("a"))?.liveness).toBe("ready");
    expect(cluster.state.tasksOfJob("j").every((task) => task.state === "lost")).toBe(true);
  });
});

describe("reports", () => {
  it("takes steps forward and emits each as an event", () => {
    const cluster = started();
    cluster.report(cluster.task("j", "s", 1), "preparing");
    cluster.report(cluster.task("j", "s", 1), "running", { startedAtMs: 5 });
    cluster.report(cluster.task("j", "s", 1), "failed", {
      exitCode: 3,
      finishedAtMs: 9,
      message: "exit 3",
    });
    const moves = cluster.events
      .filter((event) => event.type === "task")
      .map((event) => `${event.from}>${event.to}`);
    expect(moves).toEqual([
      "null>assigned",
      "assigned>preparing",
      "preparing>running",
      "running>failed",
    ]);
    expect(cluster.task("j", "s", 1)).toMatchObject({
      exitCode: 3,
      startedAtMs: 5,
      finishedAtMs: 9,
    });
    expect(cluster.events.at(-1)).toMatchObject({
      slot: "j.s.1",
      message: "exit 3",
      index: cluster.log.length,
    });
  });

  it("passes by steps back, other nodes' tasks, unknown tasks, and all after the end", () => {
    const cluster = started();
    const task = cluster.task("j", "s", 1);
    cluster.report(task, "running");
    const hash = cluster.state.hash();
    cluster.report(task, "starting");
    const other = task.node === idOf("a") ? idOf("b") : idOf("a");
    cluster.apply({ kind: "task-reports", node: other, reports: [taskReport(task.id, "failed")] });
    cluster.apply({
      kind: "task-reports",
      node: idOf("a"),
      reports: [taskReport(taskId("9-9"), "failed")],
    });
    cluster.report(task, "running", { attempts: 1.5 });
    expect(cluster.state.hash()).toBe(hash);
    cluster.report(task, "failed");
    const ended = cluster.task("j", "s", 1);
    cluster.report(task, "failed", { message: "again" });
    cluster.report(task, "stopped");
    expect(cluster.task("j", "s", 1)).toBe(ended);
  });

  it("takes changed fields within a state", () => {
    const cluster = started();
    cluster.report(cluster.task("j", "s", 1), "running");
    cluster.report(cluster.task("j", "s", 1), "running", { healthy: false, attempts: 2 });
    expect(cluster.task("j", "s", 1)).toMatchObject({
      state: "running",
      healthy: false,
      attempts: 2,
    });
    expect(cluster.events.at(-1)).toMatchObject({ from: null, to: null, message: "attempt 2" });
  });

  it("does not believe a worker's clock that is ahead", () => {
    const cluster = started();
    cluster.report(cluster.task("j", "s", 1), "complete", {
      finishedAtMs: cluster.now + 3_600_000,
    });
    expect(cluster.task("j", "s", 1).finishedAtMs).toBe(cluster.now);
  });
});

describe("plans", () => {
  it("passes by what no longer fits", () => {
    const cluster = new TestCluster();
    cluster.admit("a");
    const port = { container: 80, host: 8080, protocol: "tcp" } as const;
    cluster.put("j", serviceSpec("s", { replicas: 2, ports: [port] }));
    const step = {
      kind: "create",
      job: "j",
      service: "s",
      slot: 1,
      version: 1,
      previous: null,
      rejections: 0,
      node: idOf("a"),
      ports: [port],
      message: "",
    } as const;
    const changed = (change: object): boolean => {
      const outcome = cluster.apply({ kind: "plan", steps: [{ ...step, ...change }] });
      return outcome.kind === "done" && outcome.changed;
    };
    expect(changed({ version: 2 })).toBe(false);
    expect(changed({ slot: 3 })).toBe(false);
    expect(changed({ slot: 0 })).toBe(false);
    expect(changed({ job: "k" })).toBe(false);
    expect(changed({ service: "constructor" })).toBe(false);
    expect(changed({ node: idOf("q") })).toBe(false);
    expect(changed({ ports: [] })).toBe(false);
    expect(changed({ ports: [{ ...port, host: 8081 }] })).toBe(false);
    expect(changed({ previous: taskId("1-1") })).toBe(false);
    expect(changed({})).toBe(true);
    expect(changed({})).toBe(false);
    expect(changed({ slot: 2 })).toBe(false);
    expect(changed({ slot: 2, node: null, ports: [] })).toBe(true);
    const pending = cluster.task("j", "s", 2);
    const assign = {
      kind: "assign",
      task: pending.id,
      node: idOf("a"),
      ports: [port],
      message: "",
    } as const;
    expect(cluster.apply({ kind: "plan", steps: [assign] })).toMatchObject({ changed: false });
    expect(changed({ previous: cluster.task("j", "s", 1).id, node: null, ports: [] })).toBe(false);
    cluster.report(cluster.task("j", "s", 1), "failed");
    expect(cluster.apply({ kind: "plan", steps: [assign] })).toMatchObject({ changed: true });
    const forget = (id: TaskId): object =>
      cluster.apply({ kind: "plan", steps: [{ kind: "forget", task: id }] });
    expect(forget(pending.id)).toMatchObject({ changed: false });
    expect(forget(cluster.task("j", "s", 1).id)).toMatchObject({ changed: false });
  });

  it("places nothing on a node that is down, takes no tasks or has too little", () => {
    const cluster = new TestCluster();
    cluster.admit("down", "full");
    cluster.admitWith("idle", { mayWork: false });
    cluster.admitWith("small", { resources: { cpuMilli: 299, memoryMib: 199, diskMib: 99 } });
    cluster.liveness("down", "down");
    const any = { container: 80, host: null, protocol: "tcp" } as const;
    const ask = { cpuMilli: 0, memoryMib: 0, diskMib: 0 };
    cluster.put("cpu", serviceSpec("s", { reservations: { ...ask, cpuMilli: 300 } }));
    cluster.put("memory", serviceSpec("s", { reservations: { ...ask, memoryMib: 200 } }));
    cluster.put("disk", serviceSpec("s", { reservations: { ...ask, diskMib: 100 } }));
    cluster.put("port", serviceSpec("s", { ports: [any, { ...any, container: 81 }] }));
    const changed = (job: string, node: string, hosts: readonly number[] = []): boolean => {
      const slot = {
        service: "s",
        slot: 1,
        version: 1,
        previous: null,
        rejections: 0,
        message: "",
      };
      const ports = hosts.map((host, i) => ({ container: 80 + i, host, protocol: "tcp" as const }));
      const create = { kind: "create", job, node: idOf(node), ports, ...slot } as const;
      const outcome = cluster.apply({ kind: "plan", steps: [create] });
      return outcome.kind === "done" && outcome.changed;
    };
    expect(["cpu", "memory", "disk"].map((job) => changed(job, "small"))).toEqual([
      false,
      false,
      false,
    ]);
    expect(["down", "idle"].map((node) => changed("cpu", node))).toEqual([false, false]);
    expect(changed("port", "full", [20_000, 20_000])).toBe(false);
    expect(changed("port", "full", [20_000, 20_010])).toBe(false);
    expect(changed("port", "full", [20_009, 20_000])).toBe(true);
    expect(changed("cpu", "full")).toBe(true);
  });

  it("numbers the tasks of one entry by index and place", () => {
    const cluster = new TestCluster();
    cluster.put("j", serviceSpec("s", { replicas: 2 }));
    cluster.pass();
    expect([...cluster.state.tasks.keys()]).toEqual(["2-0", "2-1"]);
  });

  it("lists a node's tasks in the order of creation, whenever they were placed", () => {
    const cluster = new TestCluster();
    cluster.put(
      "j",
      serviceSpec("s", {
        replicas: 12,
        constraints: [{ attribute: "node.name", operator: "==", value: "a" }],
      }),
    );
    cluster.pass();
    cluster.put(
      "k",
      serviceSpec("s", {
        replicas: 2,
        constraints: [{ attribute: "node.name", operator: "==", value: "a" }],
      }),
    );
    cluster.admit("a");
    const pending = cluster.state.tasksOfJob("j");
    cluster.pass();
    expect(
      cluster.state
        .tasksOfNode(idOf("a"))
        .slice(0, 12)
        .map((task) => task.id),
    ).toEqual(pending.map((task) => task.id));
    expect(cluster.state.tasksOfNode(idOf("a"))).toHaveLength(14);
  });
});

describe("keys", () => {
  it("applies a key once and answers alike, refusals too", () => {
    const cluster = new TestCluster();
    const stop = { kind: "job-stop", job: "j", service: null } as const;
    expect(code(cluster.apply(stop, "k1"))).toBe("not-found");
    cluster.put("j", serviceSpec("s"));
    expect(code(cluster.apply(stop, "k1"))).toBe("not-found");
    expect(cluster.state.jobs.get("j")?.stopped).toEqual([]);
    expect(code(cluster.apply(stop, "k2"))).toBe("done true 1");
    expect(code(cluster.apply(stop, "k2"))).toBe("done true 1");
    expect(cluster.state.answered("k2", stop)).toEqual({ kind: "done", changed: true, version: 1 });
    expect(cluster.state.answered("k3", stop)).toBeUndefined();
    const other = { kind: "job-stop", job: "j", service: "s" } as const;
    expect(code(cluster.apply(other, "k2"))).toBe("conflict");
    expect(cluster.state.answered("k2", other)).toMatchObject({ fault: { code: "conflict" } });
  });

  it("forgets the oldest keys, and then does not do what may have been done under one", () => {
    const cluster = new TestCluster();
    const put = { kind: "config-put", name: "c", data: "YQ", ifVersion: null } as const;
    for (let i = 0; i < MAX_KEYS + 2; i++) cluster.apply(put, `k${i}`);
    const { state } = cluster;
    expect(state.answered("k1", put)).toBeUndefined();
    expect(state.answered("k2", put)).toBeDefined();
    const version = state.configs.get("c")?.version;
    const again = (key: string, since: number): unknown =>
      state.apply(state.lastIndex + 1, { command: put, timeMs: 1, key, since }).outcome;
    // Taken before entry 2: it may have been k1.
    expect(again("k1", 1)).toMatchObject({ kind: "refused", fault: { code: "unknown" } });
    expect(state.configs.get("c")?.version).toBe(version);
    expect(again("new", 2)).toMatchObject({ kind: "done" });
  });
});

describe("envelopes", () => {
  it("come back as they were", () => {
    const envelope: Envelope = {
      command: {
        kind: "job-put",
        spec: jobSpec("j", serviceSpec("s", { environment: { A: "ü\ud800" } })),
        ifVersion: 0,
      },
      timeMs: 7,
      key: "k",
      since: 4,
    };
    expect(decodeEnvelope(encodeEnvelope(envelope))).toEqual(envelope);
  });

  it.each([
    ["an unknown command", { command: { kind: "toString" }, timeMs: 1, key: null, since: null }],
    ["a missing field", { command: { kind: "task-stop" }, timeMs: 1, key: null, since: null }],
    [
      "a level that is not whole",
      { command: { kind: "feature-level", level: 1.5 }, timeMs: 1, key: null, since: null },
    ],
    ["no time", { command: { kind: "plan", steps: [] }, key: null, since: null }],
    [
      "a key of another type",
      { command: { kind: "plan", steps: [] }, timeMs: 1, key: 3, since: null },
    ],
    ["no object", 3],
  ])("stop the process at %s", (_, value) => {
    const bytes = new TextEncoder().encode(JSON.stringify(value));
    expect(() => decodeEnvelope(bytes)).toThrow(AssertionError);
  });

  it("are applied in order only", () => {
    const state = new ClusterState();
    const envelope: Envelope = {
      command: { kind: "plan", steps: [] },
      timeMs: 1,
      key: null,
      since: null,
    };
    state.apply(3, envelope);
    expect(state.lastIndex).toBe(3);
    expect(() => state.apply(3, envelope)).toThrow(AssertionError);
  });
});
