import { describe, expect, it } from "vitest";
import type { ServiceSpec } from "./spec.ts";
import type { Task } from "./task.ts";
import { idOf, nodeFacts, serviceSpec, TestCluster } from "../test/fixtures/cluster.ts";

/** One task on the first of two nodes that went down; its slot has had another since. */
function lost(changes: Partial<ServiceSpec> = {}): { cluster: TestCluster; task: Task } {
  const cluster = new TestCluster();
  cluster.admit("a");
  cluster.put("j", serviceSpec("s", changes));
  cluster.settle();
  const task = cluster.task("j", "s", 1);
  cluster.admit("b");
  cluster.liveness("a", "down");
  return { cluster, task };
}

function states(cluster: TestCluster): string[] {
  return cluster.state
    .tasksOfSlot("j", "s", 1)
    .map(({ id, state, desired }) => `${id} ${state} ${desired}`);
}

describe("a task that was given up, when its node comes back (at least one)", () => {
  it("is taken back, and what took its place is stopped, once, and both say why", () => {
    const { cluster, task } = lost();
    cluster.settle();
    const rival = cluster.task("j", "s", 1);
    expect(rival.id).not.toBe(task.id);
    cluster.liveness("a", "ready", [task.id]);
    expect(cluster.state.tasks.get(task.id)).toMatchObject({
      state: "running",
      finishedAtMs: null,
    });
    expect(cluster.state.tasks.get(rival.id)).toMatchObject({
      state: "running",
      desired: "stopped",
    });
    const told = cluster.events.slice(-3).map(({ message }) => message);
    expect(told).toEqual([
      "a is back",
      `taken back: it ran on while its node a was away; ${rival.id}, which took its place, is stopped`,
      `told to stop: the slot's older task ${task.id} is back with its node a`,
    ]);
    cluster.settle();
    expect(states(cluster)).toEqual([`${rival.id} stopped stopped`, `${task.id} running running`]);
    expect(cluster.task("j", "s", 1).id, "it is the slot's task from now on").toBe(task.id);
    expect(cluster.pass()).toBe(0);
  });

  it("is taken back before anything took its place, and what only waits for one is ended", () => {
    const { cluster, task } = lost();
    cluster.liveness("a", "ready", [task.id]);
    expect(states(cluster)).toEqual([`${task.id} running running`]);
    cluster.liveness("a", "down");
    cluster.liveness("b", "down");
    cluster.pass();
    expect(cluster.task("j", "s", 1).state).toBe("pending");
    cluster.liveness("a", "ready", [task.id]);
    cluster.settle();
    expect(states(cluster).at(-1)).toBe(`${task.id} running running`);
    expect(states(cluster)).toHaveLength(2);
  });

  it("wins if it is the oldest of several, in whatever order their nodes return", () => {
    for (const order of ["ab", "ba"]) {
      const { cluster, task } = lost();
      cluster.settle();
      const second = cluster.task("j", "s", 1);
      cluster.admit("c");
      cluster.liveness("b", "down");
      cluster.settle();
      for (const name of order) {
        cluster.liveness(name, "ready", [name === "a" ? task.id : second.id]);
        cluster.settle();
      }
      const live = cluster.live("j").filter(({ desired }) => desired === "running");
      expect([order, ...live.map(({ id }) => id)]).toEqual([order, task.id]);
    }
  });

  it("stays lost if it does not run there any more", () => {
    const { cluster, task } = lost();
    cluster.settle();
    cluster.liveness("a", "ready", []);
    cluster.settle();
    expect(cluster.state.tasks.get(task.id)?.state).toBe("lost");
    expect(cluster.task("j", "s", 1).node).not.toBe(task.node);
  });

  it.each([
    [
      "its job has no place",
      (c: TestCluster) => c.apply({ kind: "job-stop", job: "j", service: null }),
    ],
    [
      "its job has no place",
      (c: TestCluster) => c.put("j", serviceSpec("s", { image: "nginx:2" })),
    ],
    ["its job has no place", (c: TestCluster) => c.put("j", serviceSpec("s", { replicas: 0 }))],
    [
      "no room",
      (c: TestCluster) =>
        c.admitWith("a", nodeFacts("a", { resources: { cpuMilli: 0, memoryMib: 0, diskMib: 0 } })),
    ],
  ])("stays lost if this is to be said of it: %s", (why, happens) => {
    const { cluster, task } = lost();
    happens(cluster);
    if (cluster.state.nodes.get(idOf("a"))?.liveness === "ready") cluster.liveness("a", "down");
    cluster.liveness("a", "ready", [task.id]);
    expect(cluster.state.tasks.get(task.id)).toMatchObject({ state: "lost" });
    expect(cluster.state.tasks.get(task.id)?.message).toContain(why);
  });

  it("is taken back to be stopped where its service must not run twice by now: its end has to be seen", () => {
    const { cluster, task } = lost();
    cluster.put("j", serviceSpec("s", { partition: "at-most-one" }));
    cluster.settle();
    expect(cluster.task("j", "s", 1)).toMatchObject({ state: "pending", node: null });
    cluster.liveness("a", "ready", [task.id]);
    cluster.pass();
    expect(cluster.live("j")).toMatchObject([
      { id: task.id, state: "running", desired: "stopped" },
    ]);
    cluster.report(cluster.task("j", "s", 1), "stopped");
    cluster.settle();
    const [next, ...others] = cluster.live("j");
    expect(others).toEqual([]);
    expect(next).toMatchObject({ state: "running", previous: task.id });
  });

  it("is not taken back at another node's word", () => {
    const { cluster, task } = lost();
    cluster.settle();
    const rival = cluster.task("j", "s", 1);
    cluster.liveness("b", "down");
    cluster.liveness("b", "ready", [task.id]);
    expect(cluster.state.tasks.get(task.id)?.state).toBe("lost");
    cluster.settle();
    expect(cluster.live("j")).toHaveLength(1);
    expect(cluster.state.tasks.get(rival.id)?.state).toBe("lost");
  });

  it("may be lost and taken back again and again", () => {
    const { cluster, task } = lost();
    for (let i = 0; i < 3; i++) {
      cluster.settle();
      cluster.liveness("a", "ready", [task.id]);
      cluster.settle();
      expect(cluster.live("j").map(({ id }) => id)).toEqual([task.id]);
      cluster.liveness("a", "down");
    }
  });
});

describe("a task that was given up, when its node comes back (at most one)", () => {
  const once = { partition: "at-most-one" } as const;

  it("is taken back while nothing has been placed in its stead", () => {
    const { cluster, task } = lost(once);
    cluster.unseenSinceMs = cluster.now;
    cluster.pass();
    expect(cluster.task("j", "s", 1)).toMatchObject({ state: "pending", node: null });
    cluster.liveness("a", "ready", [task.id]);
    cluster.settle();
    expect(cluster.live("j").map(({ id }) => id)).toEqual([task.id]);
  });

  it("stays lost once something was, also if that is lost by now: it may run still", () => {
    const { cluster, task } = lost(once);
    cluster.settle();
    const rival = cluster.task("j", "s", 1);
    expect(rival.node).not.toBe(task.node);
    cluster.liveness("b", "down");
    cluster.liveness("a", "ready", [task.id]);
    const seen = cluster.state.tasks.get(task.id);
    expect(seen).toMatchObject({ state: "lost" });
    expect(seen?.message).toBe(`its node a is back, but ${rival.id} has taken its place`);
  });
});
