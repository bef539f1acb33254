import { afterEach, expect, test, vi } from "vitest";
import { freePorts } from "../../cli/dev-ports.ts";
import type { LocalView, NodeView } from "../../node/core/view-types.ts";
import { patient, RealCluster, sleepers } from "../fixtures/real-cluster.ts";

/** Addresses are hints: what a cluster makes of it when its nodes are elsewhere than they were. */

let cluster: RealCluster | null = null;

afterEach(async () => cluster?.stop());

/** Ends all nodes at once, and plans each at another address and port of this machine. */
async function moveAll(nodes: RealCluster["nodes"], lastByte: number): Promise<string[]> {
  await Promise.all(nodes.map((node) => node.end("SIGKILL")));
  const ports = await freePorts(nodes.length);
  return nodes.map((node, at) => {
    const listen = `127.0.0.${lastByte + at}:${ports[at]}`;
    node.moveTo(listen);
    return listen;
  });
}

test("nodes that all come back at new addresses find each other, with all that was acknowledged", async () => {
  cluster = await RealCluster.start({ nodes: 3 });
  const { nodes } = cluster;
  const before = await cluster.manager();
  expect((await cluster.put(before, "kept", sleepers(2))).status).toBe(200);
  const indexBefore = (await before.get<LocalView>("/debug/raft")).commitIndex;
  for (const lastByte of [11, 21]) {
    const listens = await moveAll(nodes, lastByte);
    await Promise.all(nodes.map((node) => node.restart()));
    const manager = await cluster.manager();
    await cluster.settled("kept", 2);
    const view = await manager.get<LocalView>("/debug/raft");
    expect(view.commitIndex).toBeGreaterThanOrEqual(indexBefore);
    // And the members' records are true again, so that the next who asks need not search.
    await vi.waitFor(async () => {
      const records = await manager.get<NodeView[]>("/v1/nodes");
      const now = records.map(({ name, addresses }) => `${name} ${addresses.join()}`).toSorted();
      expect(now).toEqual(listens.map((at, n) => `n${n + 1} /ip4/${at.replace(":", "/tcp/")}`));
    }, patient);
  }
  expect((await cluster.put(await cluster.manager(), "new", sleepers(1))).status).toBe(200);
});
