import { expect, it } from "vitest";
import { serviceSpec, TestCluster } from "../../test/fixtures/cluster.ts";
import { Unseen } from "./unseen.ts";

const START = 1_000_000;

/** One task that may run once, one that may run twice, both lost just now. */
function lost(): TestCluster {
  const cluster = new TestCluster();
  cluster.admit("a");
  cluster.put("j", serviceSpec("once", { partition: "at-most-one" }), serviceSpec("s"));
  cluster.settle();
  cluster.events.length = 0;
  cluster.liveness("a", "down");
  return cluster;
}

it("counts from when this node applied the loss, on its own clock; of earlier ones from when it began", () => {
  const cluster = lost();
  const { id } = cluster.task("j", "once", 1);
  const unseen = new Unseen(START);
  expect(unseen.since(id)).toBe(START);
  unseen.applied(cluster.events, cluster.state, START + 5_000);
  expect(unseen.since(id)).toBe(START + 5_000);
  expect(unseen.since(cluster.task("j", "s", 1).id), "it needs no lease").toBe(START);
  cluster.events.length = 0;
  cluster.liveness("a", "ready", [id]);
  cluster.liveness("a", "down");
  unseen.applied(cluster.events, cluster.state, START + 9_000);
  expect(unseen.since(id), "lost again").toBe(START + 9_000);
});

it("knows nothing of what a snapshot brought, and counts from then", () => {
  const cluster = lost();
  const { id } = cluster.task("j", "once", 1);
  const unseen = new Unseen(START);
  unseen.applied(cluster.events, cluster.state, START + 5_000);
  unseen.restored(START + 60_000);
  expect(unseen.since(id)).toBe(START + 60_000);
});
