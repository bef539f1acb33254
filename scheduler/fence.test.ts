import { describe, expect, it } from "vitest";
import { fenceMs, LEASE_MS } from "../state/lease.ts";
import { serviceSpec, TestCluster } from "../test/fixtures/cluster.ts";
import { schedule } from "./schedule.ts";

const GRACE_MS = 10_000;
const FENCE_MS = fenceMs(GRACE_MS);

/** Its one task was on a node that went down just now. */
function lost(): TestCluster {
  const cluster = new TestCluster();
  cluster.admit("a");
  cluster.put("j", serviceSpec("s", { partition: "at-most-one", stopGraceMs: GRACE_MS }));
  cluster.settle();
  cluster.admit("b");
  cluster.liveness("a", "down");
  cluster.unseenSinceMs = cluster.now;
  return cluster;
}

describe("the slot of a leased task that is not seen any more", () => {
  it("gets its next one when lease, grace and a margin are over, and says so meanwhile", () => {
    expect(FENCE_MS).toBeGreaterThan(1.1 * (LEASE_MS + GRACE_MS) + 2_000);
    const cluster = lost();
    const { id } = cluster.task("j", "s", 1);
    cluster.pass();
    const waiting = cluster.task("j", "s", 1);
    expect(waiting).toMatchObject({ state: "pending" });
    expect(waiting.message).toBe(
      `held back until 00:17:06Z: ${id} was on a and has until then to end (partition: at-most-one)`,
    );
    cluster.now += FENCE_MS - 1;
    const { steps, wakeAtMs } = schedule(cluster.state, cluster.now, 10, cluster.caution);
    expect({ steps, wakeAtMs }).toEqual({ steps: [], wakeAtMs: cluster.now + 1 });
    cluster.now += 1;
    cluster.settle();
    expect(cluster.task("j", "s", 1)).toMatchObject({ state: "running", id: waiting.id });
  });

  it("waits also when its node was removed, or is back without it", () => {
    for (const back of [false, true]) {
      const cluster = lost();
      if (back) cluster.liveness("a", "ready");
      else
        cluster.apply({
          kind: "node-remove",
          node: cluster.task("j", "s", 1).node ?? never(),
          force: true,
        });
      cluster.settle();
      expect(cluster.task("j", "s", 1).state, `${back}`).toBe("pending");
      cluster.now += FENCE_MS;
      cluster.settle();
      expect(cluster.task("j", "s", 1).state).toBe("running");
    }
  });

  it("is not forgotten as long as it holds others back, whatever the job becomes", () => {
    const cluster = lost();
    for (let i = 2; i < 8; i++) {
      const image = `nginx:${i}`;
      cluster.put(
        "j",
        serviceSpec("s", { partition: "at-most-one", stopGraceMs: GRACE_MS, image }),
      );
      cluster.settle();
    }
    cluster.liveness("a", "ready");
    cluster.settle();
    expect(cluster.live("j").map(({ state }) => state)).toEqual(["pending"]);
    cluster.now += FENCE_MS;
    cluster.settle();
    expect(cluster.live("j").map(({ state }) => state)).toEqual(["running"]);
  });

  it("does not wait once its service may run twice", () => {
    const cluster = lost();
    cluster.put("j", serviceSpec("s", { stopGraceMs: GRACE_MS }));
    cluster.settle();
    expect(cluster.task("j", "s", 1).state).toBe("running");
  });

  it("waits for the node where the lost task has no lease, since nobody ends it there", () => {
    const cluster = new TestCluster();
    cluster.admit("a");
    cluster.put("j", serviceSpec("s"));
    cluster.settle();
    const { id } = cluster.task("j", "s", 1);
    cluster.admit("b");
    cluster.liveness("a", "down");
    cluster.put("j", serviceSpec("s", { partition: "at-most-one" }));
    cluster.now += 10 * FENCE_MS;
    cluster.settle();
    expect(cluster.task("j", "s", 1).message).toContain(
      "make sure that its machine is off and then `orch node rm a`",
    );
    // It runs there still: its end has to be seen first.
    cluster.liveness("a", "ready", [id]);
    cluster.pass();
    expect(cluster.live("j")).toMatchObject([{ id, state: "running", desired: "stopped" }]);
    expect(cluster.pass()).toBe(0);
    cluster.settle();
    const [now] = cluster.live("j");
    expect(now).toMatchObject({
      state: "running",
      desired: "running",
      spec: { partition: "at-most-one" },
    });
    expect(cluster.state.tasks.get(id)?.state).toBe("stopped");
  });

  it("goes on at once where that node is back without the task", () => {
    const cluster = new TestCluster();
    cluster.admit("a", "b");
    cluster.put("j", serviceSpec("s"));
    cluster.settle();
    const { node } = cluster.task("j", "s", 1);
    const name = cluster.state.nodes.get(node ?? never())?.name ?? "";
    cluster.liveness(name, "down");
    cluster.put("j", serviceSpec("s", { partition: "at-most-one" }));
    cluster.settle();
    cluster.liveness(name, "ready");
    cluster.settle();
    expect(cluster.task("j", "s", 1).state).toBe("running");
  });
});

function never(): never {
  throw new Error("it was placed");
}
