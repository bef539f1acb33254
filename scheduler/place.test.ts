import { describe, expect, it } from "vitest";
import type { ServiceSpec } from "../state/spec.ts";
import type { Task } from "../state/task.ts";
import { idOf, serviceSpec, TestCluster } from "../test/fixtures/cluster.ts";

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

function zone(cluster: TestCluster): void {
  cluster.admitWith("a", { labels: { zone: "eu" } });
}

/** Of four nodes two leave, one is down and leaves, one takes no tasks. */
function leaving(cluster: TestCluster): void {
  cluster.admit("a", "b", "c");
  cluster.admitWith("d", { mayWork: false });
  cluster.liveness("c", "down");
  for (const name of ["a", "b", "c"]) cluster.apply({ kind: "node-leave", node: idOf(name) });
}

const on = (cluster: TestCluster): readonly string[] =>
  cluster.live("j").map((task) => task.node?.slice(3) ?? "-");
const memory = (memoryMib: number) => ({ reservations: { cpuMilli: 0, memoryMib, diskMib: 0 } });

function only(name: string): Partial<ServiceSpec> {
  return { constraints: [{ attribute: "node.name", operator: "==", value: name }] };
}

describe("choosing a node", () => {
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

  it("takes the node with most left, by share, though it has more tasks", () => {
    const cluster = new TestCluster();
    cluster.admit("a", "b");
    cluster.put(
      "k",
      serviceSpec("s", {
        ...only("a"),
        reservations: { cpuMilli: 2000, memoryMib: 64, diskMib: 0 },
      }),
    );
    cluster.put("l", serviceSpec("s", { ...only("b"), replicas: 3 }));
    cluster.put("j", serviceSpec("s"));
    cluster.pass();
    expect(newest(cluster).node).toBe(idOf("b"));
  });

  it("counts tasks that reserve nothing, so that not all go to one node", () => {
    const cluster = new TestCluster();
    cluster.admit("a", "b");
    const nothing = { reservations: { cpuMilli: 0, memoryMib: 0, diskMib: 0 } };
    cluster.put(
      "k",
      serviceSpec("s", {
        ...only("b"),
        reservations: { cpuMilli: 150, memoryMib: 100, diskMib: 0 },
      }),
    );
    cluster.put("l", serviceSpec("s", { ...only("a"), ...nothing }));
    cluster.put("j", serviceSpec("s", nothing));
    cluster.pass();
    expect(newest(cluster).node).toBe(idOf("a"));
    for (const job of ["m", "n", "o"]) {
      cluster.put(job, serviceSpec("s", nothing));
      cluster.pass();
    }
    const last = ["m", "n", "o"].map((job) => cluster.task(job, "s", 1).node);
    expect(last).toEqual([idOf("b"), idOf("a"), idOf("b")]);
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

  it("nodes that leave", () => {
    expect(whyPending(leaving, {})).toBe(
      "no node fits: 4 nodes, 1 is down, 2 are leaving, 1 takes no tasks",
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
