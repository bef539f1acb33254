import { describe, expect, it } from "vitest";
import type { ServiceSpec } from "../state/spec.ts";
import type { Task } from "../state/task.ts";
import { idOf, serviceSpec, TestCluster } from "../test/fixtures/cluster.ts";
import { schedule } from "./schedule.ts";

const RESTART = serviceSpec("s").restart;

/** One service `s` of job `j`, running on nodes a, b and c. */
function running(changes: Partial<ServiceSpec> = {}): TestCluster {
  const cluster = new TestCluster();
  cluster.admit("a", "b", "c");
  cluster.put("j", serviceSpec("s", changes));
  cluster.settle();
  return cluster;
}

function newest(cluster: TestCluster, slot = 1): Task {
  return cluster.task("j", "s", slot);
}

const restart = (condition: "any" | "on-failure" | "none") => ({
  restart: { ...RESTART, condition },
});

/** Two jobs of 25 tasks each on three nodes. */
function twoJobs(): TestCluster {
  const cluster = new TestCluster();
  cluster.admit("a", "b", "c");
  for (const job of ["j", "k"]) cluster.put(job, serviceSpec("s", { replicas: 25 }));
  return cluster;
}

describe("replacing", () => {
  it.each([
    ["any", "complete", true],
    ["any", "failed", false],
    ["any", "rejected", true],
    ["any", "stopped", true],
    ["any", "lost", true],
    ["on-failure", "complete", false],
    ["on-failure", "failed", false],
    ["on-failure", "rejected", true],
    ["on-failure", "stopped", true],
    ["on-failure", "lost", true],
    ["none", "complete", false],
    ["none", "failed", false],
    ["none", "rejected", true],
    ["none", "stopped", false],
    ["none", "lost", true],
  ] as const)("condition %s, task %s: %s", (condition, state, replaced) => {
    const cluster = running(restart(condition));
    const first = newest(cluster);
    if (state === "lost")
      cluster.liveness(cluster.state.nodes.get(first.node ?? idOf(""))?.name ?? "", "down");
    else cluster.report(first, state);
    cluster.now += 60_000;
    cluster.pass();
    expect(newest(cluster).id !== first.id).toBe(replaced);
    expect(newest(cluster).previous).toBe(replaced ? first.id : null);
  });

  it("gives a stopped task's slot a new one only when the old one is over", () => {
    const cluster = running();
    const first = newest(cluster);
    cluster.apply({ kind: "task-stop", task: first.id });
    expect(cluster.pass()).toBe(0);
    cluster.report(first, "stopped");
    cluster.pass();
    expect(newest(cluster).message).toBe(`placed on a in place of ${first.id}, which is stopped`);
  });

  it("waits ever longer after rejections, and takes another node", () => {
    const cluster = running();
    cluster.apply({ kind: "job-stop", job: "j", service: null });
    cluster.settle();
    cluster.put("j", serviceSpec("s"));
    cluster.pass();
    const waits: (number | null)[] = [];
    const nodes: string[] = [];
    for (let i = 0; i < 8; i++) {
      nodes.push(newest(cluster).node ?? "");
      expect(newest(cluster).rejections).toBe(i);
      cluster.report(newest(cluster), "rejected");
      const { wakeAtMs, steps } = schedule(cluster.state, cluster.now, 10, cluster.caution);
      expect(steps.filter((step) => step.kind === "create")).toEqual([]);
      waits.push(wakeAtMs === null ? null : wakeAtMs - cluster.now);
      cluster.now = wakeAtMs ?? cluster.now;
      cluster.pass();
    }
    expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
    expect(new Set(nodes.slice(0, 3)).size).toBe(3);
  });

  it("does not wait for an end that lies in the future", () => {
    const cluster = running();
    cluster.report(newest(cluster), "rejected");
    cluster.now -= 3_600_000;
    cluster.pass();
    expect(newest(cluster).state).toBe("assigned");
  });

  it("gives a failed slot another chance when the job changes", () => {
    const cluster = running();
    cluster.report(newest(cluster), "failed");
    expect(cluster.pass()).toBe(0);
    cluster.put("j", serviceSpec("s"), serviceSpec("other"));
    cluster.settle();
    expect(newest(cluster)).toMatchObject({ state: "running", version: 2 });
  });
});

describe("starting again", () => {
  it("runs a job anew that ended, when it was stopped and is put again", () => {
    const spec = serviceSpec("s", restart("none"));
    const cluster = running(restart("none"));
    cluster.report(newest(cluster), "complete");
    cluster.put("j", spec, serviceSpec("other"));
    cluster.settle();
    expect(newest(cluster).state).toBe("complete");
    cluster.apply({ kind: "job-stop", job: "j", service: "s" });
    cluster.put("j", spec, serviceSpec("other"));
    cluster.settle();
    expect(newest(cluster)).toMatchObject({ state: "running", version: 3 });
  });
});

describe("scaling", () => {
  it("removes the highest slots and brings them back", () => {
    const cluster = running({ replicas: 5 });
    cluster.put("j", serviceSpec("s", { replicas: 2 }));
    cluster.settle();
    expect(cluster.live("j").map((task) => task.slot)).toEqual([1, 2]);
    cluster.put("j", serviceSpec("s", { replicas: 4 }));
    cluster.settle();
    expect(cluster.live("j").map((task) => [task.slot, task.version])).toEqual([
      [1, 1],
      [2, 1],
      [3, 3],
      [4, 3],
    ]);
  });

  it("stops the tasks of a service that the job has no more", () => {
    const cluster = running();
    cluster.put("j", serviceSpec("t"));
    cluster.settle();
    expect(cluster.live("j").map((task) => task.service)).toEqual(["t"]);
    expect(newest(cluster)).toMatchObject({ state: "stopped" });
  });
});

describe("updates", () => {
  const v2 = { replicas: 3, image: "nginx:2" };

  it("replaces one slot after the other, each when the last one runs", () => {
    const cluster = running({ replicas: 3 });
    cluster.put("j", serviceSpec("s", v2));
    let least = 3;
    for (let slot = 1; slot <= 3; slot++) {
      cluster.pass();
      expect(
        cluster
          .live("j")
          .filter((task) => task.desired === "stopped")
          .map((task) => task.slot),
      ).toEqual([slot]);
      expect(cluster.pass()).toBe(0);
      cluster.report(newest(cluster, slot), "stopped");
      cluster.pass();
      expect(cluster.pass()).toBe(0);
      least = Math.min(least, cluster.live("j").filter((task) => task.state === "running").length);
      cluster.report(newest(cluster, slot), "running", { healthy: false });
      expect(cluster.pass()).toBe(0);
      cluster.report(newest(cluster, slot), "running", { healthy: true });
    }
    expect(cluster.pass()).toBe(0);
    expect(least).toBe(2);
    expect(cluster.live("j").map((task) => task.spec.image)).toEqual([
      "nginx:2",
      "nginx:2",
      "nginx:2",
    ]);
  });

  it("stops at a version that fails, and goes on with the next", () => {
    const cluster = running({ replicas: 3 });
    cluster.put("j", serviceSpec("s", v2));
    cluster.pass();
    cluster.report(newest(cluster), "stopped");
    cluster.pass();
    cluster.report(newest(cluster), "failed");
    expect(cluster.pass()).toBe(0);
    expect(cluster.live("j").map((task) => [task.slot, task.version])).toEqual([
      [2, 1],
      [3, 1],
    ]);
    cluster.put("j", serviceSpec("s", { ...v2, image: "nginx:3" }));
    cluster.settle();
    expect(cluster.live("j").map((task) => task.version)).toEqual([3, 3, 3]);
  });

  it("replaces what does not work first", () => {
    const cluster = running({ replicas: 3 });
    cluster.report(newest(cluster, 2), "running", { healthy: false });
    cluster.put("j", serviceSpec("s", v2));
    cluster.pass();
    expect(
      cluster
        .live("j")
        .filter((task) => task.desired === "stopped")
        .map((task) => task.slot),
    ).toEqual([2]);
  });

  it("replaces waiting tasks at once: nothing is lost with them", () => {
    const cluster = new TestCluster();
    cluster.put("j", serviceSpec("s", { replicas: 3 }));
    cluster.pass();
    cluster.put("j", serviceSpec("s", v2));
    cluster.pass();
    cluster.pass();
    expect(cluster.live("j").map((task) => [task.version, task.state])).toEqual([
      [2, "pending"],
      [2, "pending"],
      [2, "pending"],
    ]);
  });
});

describe("history", () => {
  it("keeps two finished tasks besides a slot's newest", () => {
    const cluster = running();
    for (let i = 0; i < 6; i++) {
      cluster.report(newest(cluster), "stopped");
      cluster.settle();
    }
    const states = cluster.state.tasksOfSlot("j", "s", 1).map((task) => task.state);
    expect(states).toEqual(["stopped", "stopped", "running"]);
  });

  it("keeps one of a stopped job's slot", () => {
    const cluster = running();
    cluster.report(newest(cluster), "stopped");
    cluster.settle();
    cluster.apply({ kind: "job-stop", job: "j", service: null });
    cluster.settle();
    expect(cluster.state.tasksOfSlot("j", "s", 1).map((task) => task.state)).toEqual(["stopped"]);
  });

  it("keeps lost tasks until their node is back", () => {
    const cluster = running();
    cluster.admit("d", "e");
    const down: string[] = [];
    for (let i = 0; i < 4; i++) {
      const name = newest(cluster).node?.slice(3) ?? "";
      cluster.liveness(name, "down");
      down.push(name);
      cluster.settle();
      // Not at once, which would be for the brake.
      cluster.now += 100_000;
    }
    const lost = () =>
      cluster.state.tasksOfSlot("j", "s", 1).filter((task) => task.state === "lost");
    expect(lost().length).toBe(4);
    expect(cluster.pass()).toBe(0);
    for (const name of down) cluster.liveness(name, "ready");
    cluster.settle();
    expect(lost().length).toBe(2);
  });
});

describe("budget", () => {
  it("goes on in further passes and comes to the same end", () => {
    const cluster = twoJobs();
    expect(schedule(cluster.state, cluster.now, 7, cluster.caution)).toMatchObject({
      more: true,
      steps: { length: 7 },
    });
    cluster.settle(7);
    expect([cluster.live("j").length, cluster.live("k").length]).toEqual([25, 25]);
    expect(schedule(cluster.state, cluster.now, 7, cluster.caution)).toEqual({
      steps: [],
      more: false,
      wakeAtMs: null,
    });
    const whole = twoJobs();
    expect(schedule(whole.state, whole.now, 50, whole.caution)).toMatchObject({
      more: false,
      steps: { length: 50 },
    });
  });
});
