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

/** The message of a pending task of a service on these nodes. */
function whyPending(
  prepare: (cluster: TestCluster) => void,
  changes: Partial<ServiceSpec>,
): string {
  const cluster = new TestCluster();
  prepare(cluster);
  cluster.put("j", serviceSpec("s", changes));
  cluster.pass();
  const task = newest(cluster);
  expect([task.state, task.node]).toEqual(["pending", null]);
  return task.message;
}

describe("replacing", () => {
  const restart = (condition: "any" | "on-failure" | "none") => ({
    restart: { ...RESTART, condition },
  });

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
    if (replaced) expect(newest(cluster)).toMatchObject({ previous: first.id, state: "assigned" });
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
      const { wakeAtMs, steps } = schedule(cluster.state, cluster.now, 10);
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
    for (const name of ["a", "b", "c", "a", "b", "c"]) {
      for (const other of ["a", "b", "c"])
        cluster.liveness(other, other === name ? "ready" : "down");
      cluster.settle();
    }
    const lost = () =>
      cluster.state.tasksOfSlot("j", "s", 1).filter((task) => task.state === "lost");
    expect(lost().length).toBeGreaterThan(2);
    for (const name of ["a", "b", "c"]) cluster.liveness(name, "ready");
    cluster.settle();
    expect(lost().length).toBe(2);
  });
});

describe("choosing a node", () => {
  const on = (cluster: TestCluster): readonly string[] =>
    cluster.live("j").map((task) => task.node?.slice(3) ?? "-");

  it("spreads a service over nodes before anything else", () => {
    const cluster = new TestCluster();
    cluster.admit("a", "b");
    cluster.admitWith("huge", {
      resources: { cpuMilli: 64_000, memoryMib: 500_000, diskMib: 1_000_000 },
    });
    cluster.put("j", serviceSpec("s", { replicas: 6 }));
    cluster.pass();
    expect(on(cluster).toSorted()).toEqual(["a", "a", "b", "b", "huge", "huge"]);
  });

  it("takes the node with most left, by share", () => {
    const cluster = new TestCluster();
    cluster.admit("a", "b");
    cluster.put(
      "k",
      serviceSpec("s", { reservations: { cpuMilli: 2000, memoryMib: 64, diskMib: 0 } }),
    );
    cluster.pass();
    cluster.put("j", serviceSpec("s"));
    cluster.pass();
    expect([cluster.task("k", "s", 1).node, newest(cluster).node]).toEqual([idOf("a"), idOf("b")]);
  });

  it("counts tasks that reserve nothing, so that not all go to one node", () => {
    const cluster = new TestCluster();
    cluster.admit("a", "b");
    const nothing = { cpuMilli: 0, memoryMib: 0, diskMib: 0 };
    for (const job of ["k", "l", "m", "n"])
      cluster.put(job, serviceSpec("s", { reservations: nothing }));
    cluster.pass();
    expect([
      cluster.state.allocated(idOf("a")).tasks,
      cluster.state.allocated(idOf("b")).tasks,
    ]).toEqual([2, 2]);
  });

  it("never gives more than a node has", () => {
    const cluster = new TestCluster();
    cluster.admit("a", "b");
    cluster.put(
      "j",
      serviceSpec("s", { replicas: 20, reservations: { cpuMilli: 900, memoryMib: 0, diskMib: 0 } }),
    );
    cluster.settle();
    expect(cluster.live("j").filter((task) => task.state === "running")).toHaveLength(8);
    expect(newest(cluster, 9).message).toBe(
      "no node fits: 2 nodes, 2 lack cpu (need 900 milli-CPU, best has 400 milli-CPU free)",
    );
    cluster.admit("c");
    cluster.settle();
    expect(cluster.live("j").filter((task) => task.state === "running")).toHaveLength(12);
  });

  it("wakes waiting tasks when room is freed", () => {
    const cluster = new TestCluster();
    cluster.admit("a");
    const all = { reservations: { cpuMilli: 4000, memoryMib: 0, diskMib: 0 } };
    cluster.put("k", serviceSpec("s", all));
    cluster.settle();
    cluster.put("j", serviceSpec("s", all));
    cluster.settle();
    expect(newest(cluster).state).toBe("pending");
    cluster.apply({ kind: "job-stop", job: "k", service: null });
    cluster.settle();
    expect(newest(cluster).state).toBe("running");
  });
});

describe("ports", () => {
  it("puts one task on a node for a host port of the file's own", () => {
    const cluster = new TestCluster();
    cluster.admit("a", "b");
    const ports = [{ container: 80, host: 8080, protocol: "tcp" }] as const;
    cluster.put("j", serviceSpec("s", { replicas: 3, ports }));
    cluster.settle();
    expect(cluster.live("j").map((task) => task.state)).toEqual(["running", "running", "pending"]);
    expect(newest(cluster, 3).message).toBe(
      "no node fits: 2 nodes, 2 have host port 8080/tcp taken",
    );
    cluster.put("k", serviceSpec("s", { ports: [{ container: 53, host: 8080, protocol: "udp" }] }));
    cluster.settle();
    expect(cluster.task("k", "s", 1).state).toBe("running");
  });

  it("gives ports of the range in turn: one just freed rests longest", () => {
    const cluster = new TestCluster();
    cluster.admit("a");
    cluster.put("j", serviceSpec("s", { ports: [{ container: 80, host: null, protocol: "tcp" }] }));
    const seen: (number | undefined)[] = [];
    for (let i = 0; i < 12; i++) {
      cluster.settle();
      seen.push(newest(cluster).ports[0]?.host);
      cluster.report(newest(cluster), "stopped");
    }
    const range = Array.from({ length: 10 }, (_, i) => 20_000 + i);
    expect(seen).toEqual([...range, 20_000, 20_001]);
  });

  it("gives each port of a task its own, and says when the range is used up", () => {
    const cluster = new TestCluster();
    cluster.admit("a");
    const ports = [
      { container: 1, host: null, protocol: "tcp" },
      { container: 2, host: 20_001, protocol: "tcp" },
      { container: 3, host: null, protocol: "tcp" },
    ] as const;
    cluster.put("j", serviceSpec("s", { ports }));
    cluster.settle();
    expect(newest(cluster).ports.map((port) => port.host)).toEqual([20_000, 20_001, 20_002]);
    cluster.put(
      "k",
      serviceSpec("s", { replicas: 8, ports: [{ container: 1, host: null, protocol: "tcp" }] }),
    );
    cluster.settle();
    expect(cluster.task("k", "s", 7).state).toBe("running");
    expect(cluster.task("k", "s", 8).message).toBe(
      "no node fits: 1 node, 1 has no free port left in its range",
    );
  });
});

describe("why a task waits", () => {
  const memory = (memoryMib: number) => ({ reservations: { cpuMilli: 0, memoryMib, diskMib: 0 } });

  it("counts every cause, and says what the best node lacks", () => {
    const sentence = whyPending(
      (cluster) => {
        cluster.admit("a", "b", "c");
        cluster.admitWith("d", {
          resources: { cpuMilli: 1, memoryMib: 300, diskMib: 0 },
          labels: { zone: "eu" },
        });
        cluster.admitWith("e", {
          resources: { cpuMilli: 1, memoryMib: 200, diskMib: 0 },
          labels: { zone: "eu" },
        });
        cluster.liveness("a", "down");
        cluster.liveness("b", "down");
      },
      {
        ...memory(512),
        constraints: [{ attribute: "node.labels.zone", operator: "==", value: "eu" }],
      },
    );
    expect(sentence).toBe(
      "no node fits: 5 nodes, 2 are down, 1 fails node.labels.zone==eu, 2 lack memory (need 512 MiB, best has 300 MiB free)",
    );
  });

  it.each([
    ["process", { image: null }, "1 lacks the driver process"],
    ["docker", {}, "1 lacks the driver docker"],
    ["memory", { driver: "process" }, "1 lacks the driver process"],
  ] as const)("a node with other drivers than %s", (_, changes, cause) => {
    expect(whyPending((cluster) => cluster.admitWith("a", { drivers: ["memory"] }), changes)).toBe(
      `no node fits: 1 node, ${cause}`,
    );
  });

  it("no nodes, or none that takes tasks", () => {
    expect(whyPending(() => {}, {})).toBe("no node fits: the cluster has no nodes");
    expect(whyPending((cluster) => cluster.admitWith("a", { mayWork: false }), {})).toBe(
      "no node fits: 1 node, 1 takes no tasks",
    );
  });

  it.each([
    ["node.id", "id-a", "node.id!=id-a"],
    ["node.name", "a", "node.name!=a"],
    ["node.datacenter", "dc1", "node.datacenter!=dc1"],
    ["node.platform.os", "linux", "node.platform.os!=linux"],
    ["node.platform.arch", "amd64", "node.platform.arch!=amd64"],
    ["node.labels.zone", "eu", "node.labels.zone!=eu"],
  ])("knows %s", (attribute, value, failing) => {
    const zone = (cluster: TestCluster) => cluster.admitWith("a", { labels: { zone: "eu" } });
    const sentence = whyPending(zone, { constraints: [{ attribute, operator: "!=", value }] });
    expect(sentence).toBe(`no node fits: 1 node, 1 fails ${failing}`);
    const cluster = new TestCluster();
    zone(cluster);
    cluster.put("j", serviceSpec("s", { constraints: [{ attribute, operator: "==", value }] }));
    cluster.pass();
    expect(newest(cluster).node).toBe(idOf("a"));
  });

  it("takes a label that the node does not have for unequal to anything", () => {
    const constraint = { attribute: "node.labels.constructor", value: "x" };
    const sentence = whyPending((cluster) => cluster.admit("a"), {
      constraints: [{ ...constraint, operator: "==" }],
    });
    expect(sentence).toContain("1 fails node.labels.constructor==x");
    const cluster = running({ constraints: [{ ...constraint, operator: "!=" }] });
    expect(newest(cluster).state).toBe("running");
  });

  it("is written again when it changes, not when only a figure does", () => {
    const cluster = new TestCluster();
    cluster.admit("a");
    cluster.put("j", serviceSpec("s", memory(9000)));
    cluster.pass();
    expect(newest(cluster).message).toContain("best has 8192 MiB free");
    cluster.put("k", serviceSpec("s"));
    cluster.settle();
    expect(newest(cluster).message).toContain("best has 8192 MiB free");
    cluster.liveness("a", "down");
    cluster.pass();
    expect(newest(cluster).message).toBe("no node fits: 1 node, 1 is down");
  });
});

describe("budget", () => {
  it("goes on in further passes and comes to the same end", () => {
    const build = (): TestCluster => {
      const cluster = new TestCluster();
      cluster.admit("a", "b", "c");
      for (const job of ["j", "k"]) cluster.put(job, serviceSpec("s", { replicas: 25 }));
      return cluster;
    };
    const cluster = build();
    expect(schedule(cluster.state, cluster.now, 7)).toMatchObject({
      more: true,
      steps: { length: 7 },
    });
    cluster.settle(7);
    expect([cluster.live("j").length, cluster.live("k").length]).toEqual([25, 25]);
    expect(schedule(cluster.state, cluster.now, 7)).toEqual({
      steps: [],
      more: false,
      wakeAtMs: null,
    });
    const whole = build();
    expect(schedule(whole.state, whole.now, 50)).toMatchObject({
      more: false,
      steps: { length: 50 },
    });
  });
});
