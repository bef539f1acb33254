import { describe, expect, it } from "vitest";
import { idOf, nodeFacts, serviceSpec, TestCluster } from "../test/fixtures/cluster.ts";
import { refuseRemoval } from "./apply-nodes.ts";
import type { Task } from "./task.ts";

function code(outcome: ReturnType<TestCluster["apply"]>): string {
  return outcome.kind === "refused"
    ? outcome.fault.code
    : `done ${outcome.changed} ${outcome.version}`;
}

/** Four running tasks of one service, two on each of the nodes a and b. */
function running(): TestCluster {
  const cluster = new TestCluster();
  cluster.apply({
    kind: "cluster-init",
    clusterId: "c1",
    joinSecret: "s1",
    featureLevel: 1,
  });
  cluster.admit("a", "b");
  cluster.put("j", serviceSpec("s", { replicas: 4 }));
  cluster.settle();
  return cluster;
}

function leave(cluster: TestCluster, name: string): string {
  return code(cluster.apply({ kind: "node-leave", node: idOf(name) }));
}

function remove(cluster: TestCluster, name: string): string {
  return code(cluster.apply({ kind: "node-remove", node: idOf(name), force: true }));
}

function on(cluster: TestCluster, name: string): readonly Task[] {
  return cluster.live("j").filter((task) => task.node === idOf(name));
}

describe("removal without force", () => {
  it("is refused for a node that is up, with the command that has that very node leave", () => {
    const cluster = running();
    const refusal = refuseRemoval(cluster.state.nodes.get(idOf("b")), false);
    expect(refusal?.hint).toContain("`orch node leave b`");
    leave(cluster, "b");
    expect(refuseRemoval(cluster.state.nodes.get(idOf("b")), false)).toBeNull();
  });
});

describe("a node that leaves", () => {
  it("has its tasks told to stop, and they run elsewhere", () => {
    const cluster = running();
    expect(on(cluster, "a")).toHaveLength(2);
    expect(leave(cluster, "a")).toBe("done true null");
    expect(on(cluster, "a").map((task) => task.desired)).toEqual(["stopped", "stopped"]);
    expect(on(cluster, "b").map((task) => task.desired)).toEqual(["running", "running"]);
    expect(cluster.events.slice(-3).map(({ type, message }) => [type, message])).toEqual([
      ["node", "a leaves the cluster"],
      ["task", "told to stop: its node a leaves the cluster"],
      ["task", "told to stop: its node a leaves the cluster"],
    ]);
    cluster.settle();
    expect(on(cluster, "a")).toEqual([]);
    expect(on(cluster, "b").map((task) => task.state)).toEqual(Array(4).fill("running"));
  });

  it("is a member until it is removed, keeps leaving when its facts change, and leaves once", () => {
    const cluster = running();
    leave(cluster, "a");
    const index = cluster.state.membersIndex;
    expect(index).toBe(cluster.log.length);
    expect(leave(cluster, "a")).toBe("done false null");
    const facts = nodeFacts("a", { datacenter: "dc2" });
    cluster.apply({ kind: "node-facts", node: idOf("a"), facts });
    cluster.liveness("a", "down");
    cluster.liveness("a", "ready");
    expect(cluster.state.nodes.get(idOf("a"))).toMatchObject({
      leaving: true,
      datacenter: "dc2",
      liveness: "ready",
      raftId: 1,
    });
    expect(cluster.state.nodes.get(idOf("b"))?.leaving).toBe(false);
    expect(leave(cluster, "nobody")).toBe("not-found");
  });

  it("does not leave nobody behind who may keep the log", () => {
    const cluster = running();
    expect(leave(cluster, "a")).toBe("done true null");
    expect(leave(cluster, "b")).toBe("conflict");
    const facts = nodeFacts("c", { mayVote: false });
    cluster.apply({ kind: "node-admit", node: idOf("c"), facts });
    expect(leave(cluster, "b")).toBe("conflict");
    cluster.admit("d");
    expect(leave(cluster, "b")).toBe("done true null");
    expect(leave(cluster, "c")).toBe("done true null");
  });

  it("takes no task, though a plan that was made before says so, until it is admitted again", () => {
    const cluster = new TestCluster();
    cluster.admit("a", "b");
    cluster.put("j", serviceSpec("s"));
    leave(cluster, "a");
    const create = {
      kind: "create",
      job: "j",
      service: "s",
      slot: 1,
      version: 1,
      previous: null,
      rejections: 0,
      node: idOf("a"),
      ports: [],
      message: "",
    } as const;
    const plan = { kind: "plan", steps: [create] } as const;
    expect(code(cluster.apply(plan))).toBe("done false null");
    cluster.admit("a");
    expect(cluster.state.nodes.get(idOf("a"))?.leaving).toBe(false);
    expect(code(cluster.apply(plan))).toBe("done true null");
  });
});

describe("an admission that comes late", () => {
  const command = { kind: "node-admit", node: idOf("a"), facts: nodeFacts("a") } as const;

  it("takes nothing from the one that was done since it was asked", () => {
    const cluster = new TestCluster();
    cluster.admit("a");
    const { state } = cluster;
    const admit = (index: number, since: number): string =>
      code(state.apply(index, { command, timeMs: 0, key: `k${index}`, since }).outcome);
    expect(admit(2, 0), "asked before index 1").toBe("conflict");
    expect(state.nodes.get(idOf("a"))).toMatchObject({ raftId: 1, admittedIndex: 1 });
    expect(admit(3, 1), "asked by whoever lost what it was given").toBe("done true null");
    expect(state.nodes.get(idOf("a"))).toMatchObject({ raftId: 2, admittedIndex: 3 });
    expect(state.isRetired(1)).toBe(true);
  });
});

describe("a node that is removed", () => {
  it("is gone with its name and its raft id, which never comes again", () => {
    const cluster = running();
    const hash = cluster.state.hash();
    expect(remove(cluster, "a")).toBe("done true null");
    expect(cluster.state.hash()).not.toBe(hash);
    expect(cluster.state.nodes.has(idOf("a"))).toBe(false);
    expect(cluster.state.findNode("a")).toBeUndefined();
    expect(cluster.state.isRetired(1)).toBe(true);
    expect(cluster.state.membersIndex).toBe(cluster.log.length);
    expect(remove(cluster, "a")).toBe("not-found");
    cluster.apply({ kind: "node-admit", node: idOf("c"), facts: nodeFacts("a") });
    expect(cluster.state.findNode("a")).toMatchObject({ id: idOf("c"), raftId: 3 });
    cluster.admit("a");
    expect(cluster.state.nodes.get(idOf("a"))).toMatchObject({ name: "a-2", raftId: 4 });
  });

  it("leaves its live tasks orphaned, and their slots get new ones", () => {
    const cluster = running();
    const ended = on(cluster, "a")[0];
    if (ended === undefined) throw new Error("nothing runs on a");
    cluster.report(ended, "failed", { message: "exit 3" });
    remove(cluster, "a");
    const tasks = cluster.state.tasksOfNode(idOf("a")).map((task) => [task.state, task.message]);
    expect(tasks).toEqual([
      ["failed", "exit 3"],
      ["orphaned", "its node a was removed"],
    ]);
    expect(cluster.state.allocated(idOf("a"))).toMatchObject({
      tasks: 0,
      resources: { cpuMilli: 0 },
    });
    expect(cluster.events.slice(-2)).toMatchObject([
      { type: "node", node: idOf("a"), from: "ready", to: "removed", message: "a was removed" },
      { type: "task", from: "running", to: "orphaned" },
    ]);
    cluster.settle();
    expect(on(cluster, "b")).toHaveLength(3);
  });

  it("left, if it was told to before", () => {
    const cluster = running();
    leave(cluster, "a");
    cluster.settle();
    remove(cluster, "a");
    expect(cluster.events.at(-1)).toMatchObject({ type: "node", to: "left", message: "a left" });
  });

  it("does not keep what it lost from being forgotten", () => {
    const cluster = running();
    cluster.liveness("a", "down");
    cluster.settle();
    const lost = cluster.state.tasksOfNode(idOf("a"))[0];
    if (lost === undefined) throw new Error("nothing ran on a");
    const forget = { kind: "plan", steps: [{ kind: "forget", task: lost.id }] } as const;
    expect(code(cluster.apply(forget))).toBe("done false null");
    remove(cluster, "a");
    expect(code(cluster.apply(forget))).toBe("done true null");
  });
});

function rise(cluster: TestCluster, level: number): string {
  return code(cluster.apply({ kind: "feature-level", level }));
}

describe("the feature level", () => {
  it("is the founder's, and only rises", () => {
    const cluster = new TestCluster();
    expect(cluster.state.featureLevel).toBe(0);
    cluster.apply({ kind: "cluster-init", clusterId: "c", joinSecret: "s", featureLevel: 2 });
    cluster.admitWith("a", { featureLevel: 4 });
    expect([rise(cluster, 1), rise(cluster, 2)]).toEqual(["done false null", "done false null"]);
    const hash = cluster.state.hash();
    expect(rise(cluster, 4)).toBe("done true null");
    expect(cluster.state.hash()).not.toBe(hash);
    expect(cluster.state.featureLevel).toBe(4);
    expect(cluster.events.at(-1)).toMatchObject({
      type: "cluster",
      message: "the cluster rose to feature level 4",
    });
  });

  it("does not rise above what a member understands", () => {
    const cluster = new TestCluster();
    cluster.admitWith("a", { featureLevel: 2 });
    cluster.admitWith("b", { featureLevel: 1 });
    const refused = cluster.apply({ kind: "feature-level", level: 2 });
    expect(refused).toMatchObject({ fault: { code: "too-old", details: { node: idOf("b") } } });
    cluster.apply({
      kind: "node-facts",
      node: idOf("b"),
      facts: nodeFacts("b", { featureLevel: 2 }),
    });
    expect(rise(cluster, 2)).toBe("done true null");
  });

  it("counts how often a node went down lately, until it was ready for long enough", () => {
    const cluster = new TestCluster();
    cluster.admit("a");
    const downs = (): number | undefined => cluster.state.nodes.get(idOf("a"))?.downs;
    expect(downs()).toBe(0);
    for (const count of [1, 2, 3]) {
      cluster.liveness("a", "down");
      expect(downs()).toBe(count);
      cluster.now += 3_600_000;
      cluster.liveness("a", "ready");
      expect(downs()).toBe(count);
      cluster.now += 599_999;
    }
    cluster.now += 1;
    cluster.liveness("a", "down");
    expect(downs()).toBe(1);
    cluster.admit("a");
    expect(downs()).toBe(1);
  });

  it("does not take back what a member said it understands: that was said by an earlier process", () => {
    const cluster = new TestCluster();
    cluster.admitWith("a", { featureLevel: 2 });
    rise(cluster, 2);
    const facts = nodeFacts("a", { featureLevel: 1 });
    expect(cluster.apply({ kind: "node-facts", node: idOf("a"), facts })).toMatchObject({
      fault: { code: "too-old" },
    });
    expect(cluster.state.nodes.get(idOf("a"))?.featureLevel).toBe(2);
  });

  it("keeps a node out that is below it, also one that was a member", () => {
    const cluster = new TestCluster();
    cluster.admitWith("a", { featureLevel: 2 });
    rise(cluster, 2);
    const before = cluster.state.nodes.get(idOf("a"));
    for (const name of ["a", "b"]) {
      const facts = nodeFacts(name, { featureLevel: 1 });
      expect(cluster.apply({ kind: "node-admit", node: idOf(name), facts })).toMatchObject({
        fault: {
          code: "too-old",
          message: `node ${name} runs orch 0.1.0, which understands feature level 1; this cluster is at 2`,
        },
      });
    }
    expect([...cluster.state.nodes.values()]).toEqual([before]);
    cluster.admitWith("b", { featureLevel: 3 });
    expect(cluster.state.nodes.get(idOf("b"))?.raftId).toBe(2);
  });
});

describe("a recovered cluster", () => {
  const recover = { kind: "cluster-recover", clusterId: "c2", joinSecret: "s2" } as const;

  it("is another one with one node; jobs and configs stay, tasks of the others are orphaned", () => {
    const cluster = running();
    cluster.admit("c");
    cluster.apply({ kind: "config-put", name: "app", data: "YQ", ifVersion: null });
    leave(cluster, "b");
    const hash = cluster.state.hash();
    expect(code(cluster.apply({ ...recover, node: idOf("b") }))).toBe("done true null");
    const { state } = cluster;
    expect(state.hash()).not.toBe(hash);
    expect([state.clusterId, state.joinSecret, state.featureLevel]).toEqual(["c2", "s2", 1]);
    expect(state.membersIndex).toBe(cluster.log.length);
    expect([...state.nodes.values()]).toMatchObject([{ name: "b", raftId: 2, leaving: false }]);
    expect([1, 2, 3].map((id) => state.isRetired(id))).toEqual([true, false, true]);
    expect(state.tasksOfNode(idOf("a")).map((task) => task.state)).toEqual([
      "orphaned",
      "orphaned",
    ]);
    expect([state.jobs.size, state.configs.size]).toEqual([1, 1]);
    expect(cluster.events.find(({ message }) => message.includes("recovered"))).toMatchObject({
      type: "cluster",
      message: "the cluster was recovered from the data of b",
    });
    cluster.settle();
    expect(on(cluster, "b")).toHaveLength(4);
  });

  it("needs its node", () => {
    const cluster = running();
    const hash = cluster.state.hash();
    expect(code(cluster.apply({ ...recover, node: idOf("x") }))).toBe("not-found");
    expect(cluster.state.hash()).toBe(hash);
    expect(cluster.state.clusterId).toBe("c1");
  });
});
