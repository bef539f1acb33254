import { afterEach, expect, test, vi } from "vitest";
import { Pool } from "undici";
import { present } from "../../lib/assert.ts";
import type { ConfigContentView, LocalView } from "../../node/core/view-types.ts";
import { LOG_BOUNDS } from "../../node/core/defaults.ts";
import { patient, RealCluster, type RealNode } from "../fixtures/real-cluster.ts";

let cluster: RealCluster | null = null;

afterEach(async () => {
  await cluster?.stop();
});

/** Writes `count` versions of configs through this node, many at a time. */
async function write(node: RealNode, count: number): Promise<void> {
  const pool = new Pool("http://localhost", { connections: 32, socketPath: node.socketPath });
  let left = count;
  const client = async (name: string): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const { statusCode, body } = await pool.request({
        method: "PUT",
        path: `/v1/configs/${name}`,
        headers: { "content-type": "application/octet-stream" },
        body: `${left}`,
      });
      const text = await body.text();
      if (statusCode !== 200) throw new Error(`${statusCode}: ${text}`);
    }
  };
  await Promise.all(Array.from({ length: 32 }, (_, i) => client(`c${i}`)));
  await pool.destroy();
}

async function alike(nodes: readonly RealNode[]): Promise<LocalView[]> {
  return vi.waitFor(async () => {
    const views = await Promise.all(nodes.map((node) => node.get<LocalView>("/debug/raft")));
    expect(new Set(views.map(({ appliedIndex }) => appliedIndex)).size).toBe(1);
    expect(new Set(views.map(({ stateHash }) => stateHash)).size).toBe(1);
    return views;
  }, patient);
}

test("a voter that was away begins from a snapshot, and all do after the power was lost", async () => {
  cluster = await RealCluster.start({ nodes: 3 });
  const { nodes } = cluster;
  const manager = await cluster.manager();
  const away = present(
    nodes.find((node) => node !== manager),
    "three nodes run",
  );
  await away.end("SIGKILL");
  await write(manager, LOG_BOUNDS.snapshotEntries + 500);
  const { log, lastIndex } = await vi.waitFor(async () => {
    const view = await manager.get<LocalView>("/debug/raft");
    expect(view.log.snapshotIndex).toBeGreaterThanOrEqual(LOG_BOUNDS.snapshotEntries);
    return view;
  }, patient);
  expect(log.baseIndex).toBe(log.snapshotIndex - LOG_BOUNDS.keepEntries);
  expect(log.entries).toBe(lastIndex - log.baseIndex);

  await away.restart();
  const caughtUp = present((await alike([manager, away]))[1], "two views");
  expect(caughtUp.log).toMatchObject({ snapshotIndex: log.snapshotIndex });
  expect(await away.metrics()).toMatchObject({ orch_snapshots_fetched_total: 1 });

  for (const node of nodes) await node.end("SIGKILL");
  for (const node of nodes) node.spawn("start");
  for (const node of nodes) await node.ready();
  await alike(nodes);
  await write(away, 50);
  const config = await manager.get<ConfigContentView>("/v1/configs/c0");
  expect(config.version).toBeGreaterThan(LOG_BOUNDS.snapshotEntries / 64);
  await alike(nodes);
}, 120_000);
