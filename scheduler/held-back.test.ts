import { describe, expect, it } from "vitest";
import type { Task } from "../state/task.ts";
import { idOf, serviceSpec, TestCluster } from "../test/fixtures/cluster.ts";
import { schedule } from "./schedule.ts";

const MIDNIGHT = Date.UTC(2026, 0, 31);
const AT = MIDNIGHT + (3 * 3600 + 7 * 60 + 32) * 1000;
/** Five minutes, and up to a full quarter of a minute. */
const UNTIL = MIDNIGHT + (3 * 3600 + 12 * 60 + 45) * 1000;
const HELD =
  "held back until 03:12:45Z: 4 of 6 nodes went down within a minute; `orch cluster release` places it now";

/** Service `s` of job `j`, two tasks on each of six nodes, of which a to d went down. */
function braked(): TestCluster {
  const cluster = new TestCluster();
  cluster.now = AT;
  cluster.admit(...Array.from("abcdef"));
  cluster.put("j", serviceSpec("s", { replicas: 12 }));
  cluster.settle();
  for (const name of "abcd") cluster.liveness(name, "down");
  cluster.pass();
  return cluster;
}

function held(cluster: TestCluster, job = "j"): readonly Task[] {
  return cluster.live(job).filter(({ state }) => state === "pending");
}

function messages(tasks: readonly Task[]): readonly string[] {
  return [...new Set(tasks.map(({ message }) => message))];
}

describe("while the brake is on", () => {
  it("tasks that were lost with these nodes wait, and say why, until when and what to do", () => {
    const cluster = braked();
    expect(held(cluster)).toHaveLength(8);
    expect(messages(held(cluster))).toEqual([HELD]);
    for (const { previous } of held(cluster)) {
      const lost = cluster.state.tasksOfJob("j").find(({ id }) => id === previous);
      expect(lost?.state).toBe("lost");
    }
  });

  it("nothing is decided again in each pass; the end of the hold wakes the scheduler", () => {
    const cluster = braked();
    const idle = { steps: [], more: false, wakeAtMs: UNTIL };
    expect(schedule(cluster.state, cluster.now, 100, cluster.caution)).toEqual(idle);
    cluster.now = UNTIL - 1;
    expect(schedule(cluster.state, cluster.now, 100, cluster.caution)).toEqual(idle);
    cluster.now = UNTIL;
    expect(cluster.pass()).toBe(8);
    expect(held(cluster)).toEqual([]);
    expect(schedule(cluster.state, cluster.now, 100, cluster.caution).wakeAtMs).toBeNull();
  });

  it("a node more or less says nothing new of those that wait, another end does", () => {
    const cluster = braked();
    cluster.liveness("e", "down");
    expect(cluster.pass(), "what e had").toBe(2);
    expect(messages(held(cluster))).toEqual([HELD, HELD.replace("4 of 6", "5 of 6")]);
    cluster.now += 20_000;
    cluster.liveness("e", "ready");
    cluster.liveness("e", "down");
    expect(cluster.pass()).toBe(10);
    const later = HELD.replace("4 of 6", "5 of 6").replace("03:12:45Z", "03:13:00Z");
    expect(messages(held(cluster))).toEqual([later]);
    expect(cluster.pass()).toBe(0);
  });

  it("the tasks of one that comes back are placed, and all of them once enough are", () => {
    const cluster = braked();
    cluster.liveness("e", "down");
    cluster.pass();
    expect(held(cluster)).toHaveLength(10);
    cluster.liveness("a", "ready");
    cluster.settle();
    expect(held(cluster), "four of six are down").toHaveLength(8);
    cluster.liveness("b", "ready");
    cluster.settle();
    expect(held(cluster)).toEqual([]);
  });

  it("the tasks of a node that is removed, or is to leave, are placed", () => {
    const cluster = braked();
    cluster.liveness("e", "down");
    cluster.pass();
    cluster.apply({ kind: "node-remove", node: idOf("a"), force: false });
    cluster.settle();
    expect(held(cluster)).toHaveLength(8);
    cluster.apply({ kind: "node-leave", node: idOf("b") });
    cluster.settle();
    expect(held(cluster)).toHaveLength(6);
  });

  it("a release places all of them, and holds nothing back of what was lost before", () => {
    const cluster = braked();
    cluster.apply({ kind: "brake-release" });
    expect(cluster.pass()).toBe(8);
    expect(held(cluster)).toEqual([]);
    expect(cluster.task("j", "s", 1).message).toBe("placed on e");
  });

  it("new jobs, more replicas, updates and restarts go on", () => {
    const cluster = braked();
    cluster.put("new", serviceSpec("s", { replicas: 3 }));
    cluster.put("j", serviceSpec("s", { replicas: 14 }));
    cluster.settle();
    expect(held(cluster, "new")).toEqual([]);
    expect(held(cluster), "the two that came on top run").toHaveLength(8);

    const running = cluster.live("j").filter(({ state }) => state === "running");
    expect(running).toHaveLength(6);
    const [first] = running;
    if (first === undefined) throw new Error("none runs");
    cluster.report(first, "rejected");
    cluster.now += 2000;
    cluster.settle();
    expect(cluster.task("j", "s", first.slot)).toMatchObject({ state: "running" });

    cluster.put("j", serviceSpec("s", { replicas: 14, image: "nginx:2" }));
    cluster.settle();
    expect(held(cluster), "someone wants these now").toEqual([]);
    expect(cluster.live("j").every(({ spec }) => spec.image === "nginx:2")).toBe(true);
  });

  it("an update that comes before the pass that would hold them back places them as well", () => {
    const cluster = new TestCluster();
    cluster.admit(...Array.from("abcd"));
    cluster.put("j", serviceSpec("s", { replicas: 4 }));
    cluster.settle();
    for (const name of "abc") cluster.liveness(name, "down");
    cluster.put("j", serviceSpec("s", { replicas: 4, image: "nginx:2" }));
    cluster.settle();
    expect(held(cluster)).toEqual([]);
  });

  it("another service's update, or more replicas, leave what is held held", () => {
    const cluster = braked();
    cluster.put("j", serviceSpec("s", { replicas: 12 }), serviceSpec("t"));
    cluster.settle();
    expect(held(cluster)).toHaveLength(8);
    expect(cluster.task("j", "t", 1).state).toBe("running");
  });

  it("a single task can be asked for by stopping the one that waits", () => {
    const cluster = braked();
    const [first] = held(cluster);
    if (first === undefined) throw new Error("none waits");
    cluster.apply({ kind: "task-stop", task: first.id });
    cluster.settle();
    expect(held(cluster)).toHaveLength(7);
    expect(cluster.task("j", "s", first.slot).state).toBe("running");
  });

  it("what waited for room before waits for the brake, and for room after", () => {
    const cluster = new TestCluster();
    cluster.admit(...Array.from("abcdef"));
    const reservations = { cpuMilli: 4000, memoryMib: 64, diskMib: 0 };
    cluster.put("j", serviceSpec("s", { replicas: 6, reservations }));
    cluster.settle();
    cluster.liveness("a", "down");
    cluster.settle();
    expect(messages(held(cluster))[0]).toContain("no node fits");
    for (const name of "bcd") cluster.liveness(name, "down");
    cluster.settle();
    expect(held(cluster)).toHaveLength(4);
    for (const message of messages(held(cluster))) expect(message).toContain("4 of 6 nodes");
    cluster.apply({ kind: "brake-release" });
    cluster.settle();
    for (const message of messages(held(cluster))) expect(message).toContain("no node fits");
  });

  it("with 100 percent nothing is held back", () => {
    const cluster = new TestCluster();
    cluster.admit(...Array.from("abcd"));
    cluster.put("j", serviceSpec("s", { replicas: 4 }));
    cluster.settle();
    for (const name of "abc") cluster.liveness(name, "down");
    const creates = schedule(cluster.state, cluster.now, 100, {
      ...cluster.caution,
      brakePercent: 100,
    }).steps.filter((step) => step.kind === "create" && step.node !== null);
    expect(creates).toHaveLength(3);
  });
});
