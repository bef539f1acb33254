import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { present } from "../../lib/assert.ts";
import type { ClusterView, JobView, NodeView, TaskView } from "../../node/core/view-types.ts";
import { patient, RealCluster, sleepers } from "../fixtures/real-cluster.ts";

let cluster: RealCluster | null = null;
const folder = mkdtempSync(join(tmpdir(), "orch-t-"));

afterEach(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** What a command prints with --json at every node, once; fails when they differ. */
async function agreed(words: readonly string[]): Promise<string> {
  const nodes = present(cluster, "a cluster runs").nodes;
  const answers = await Promise.all(nodes.map((node) => node.orch(...words, "--json")));
  for (const answer of answers) expect(answer).toMatchObject({ code: 0, stderr: "" });
  const [first = ""] = answers.map(({ stdout }) => stdout);
  for (const { stdout } of answers) expect(stdout).toBe(first);
  return first;
}

test("a job through any node: all agree on it, it grows, shrinks, stops and leaves nothing", async () => {
  cluster = await RealCluster.start({ nodes: 3 });
  const manager = await cluster.manager();
  const other = present(
    cluster.nodes.find((node) => node !== manager),
    "two nodes do not manage",
  );
  const file = join(folder, "compose.yaml");
  writeFileSync(file, sleepers(3));
  const run = await other.orch("run", file, "--name", "shop", "--json");
  expect(run.stderr).toBe("");
  expect(run.code).toBe(0);
  expect(JSON.parse(run.stdout)).toMatchObject({ name: "shop", version: 1, status: "running" });

  const tasks: TaskView[] = JSON.parse(await agreed(["ps", "shop"]));
  expect(tasks.map(({ slot }) => slot).toSorted()).toEqual([
    "shop.web.1",
    "shop.web.2",
    "shop.web.3",
  ]);
  expect(new Set(tasks.map(({ nodeName }) => nodeName)).size).toBe(3);
  expect(tasks.every(({ state, attempts }) => state === "running" && attempts === 1)).toBe(true);
  expect(
    cluster
      .processes("shop")
      .map(({ task, node }) => `${task} on ${node}`)
      .toSorted(),
  ).toEqual(tasks.map(({ id, node }) => `${id} on ${node}`).toSorted());
  const job: JobView = JSON.parse(await agreed(["job", "status", "shop"]));
  expect(job.services).toMatchObject([{ name: "web", replicas: 3, running: 3, desired: 3 }]);
  expect(JSON.parse(await agreed(["job", "ls"]))).toMatchObject([{ name: "shop", version: 1 }]);

  const status: ClusterView = JSON.parse(await agreed(["cluster", "status"]));
  expect(status).toMatchObject({ manager: manager.id, nodes: 3, nodesReady: 3, quorum: true });
  expect(status.voters.toSorted()).toEqual(cluster.nodes.map(({ id }) => id).toSorted());
  const nodes = await Promise.all(cluster.nodes.map((node) => node.get<NodeView[]>("/v1/nodes")));
  for (const list of nodes) {
    expect(list).toHaveLength(3);
    for (const view of list)
      expect(view).toMatchObject({ status: "ready", tasks: 1, manager: view.id === manager.id });
  }
  const listed: NodeView[] = JSON.parse((await other.orch("node", "ls", "--json")).stdout);
  expect(listed.map(({ name }) => name).toSorted()).toEqual(["n1", "n2", "n3"]);

  // The output of all three tasks, whichever node is asked; the events in one order.
  const lines = (await agreed(["logs", "shop"])).trim().split("\n");
  const texts = lines.map((line) => JSON.parse(line)).map(({ text }: { text: string }) => text);
  expect(texts.toSorted()).toEqual(
    tasks.map(({ slot, nodeName }) => `up ${slot} on ${nodeName}`).toSorted(),
  );
  const events = (await agreed(["events", "--job", "shop"])).trim().split("\n");
  const starts = events.map((line) => JSON.parse(line)).filter(({ to }) => to === "running");
  expect(starts).toHaveLength(3);

  // The same file changes nothing; another count keeps the tasks that stay.
  const again = await manager.orch("run", file, "--name", "shop", "--json");
  expect(JSON.parse(again.stdout)).toMatchObject({ version: 1 });
  const before = new Map(cluster.processes("shop").map(({ slot, pid }) => [slot, pid]));
  writeFileSync(file, sleepers(5));
  expect(await other.orch("run", file, "--name", "shop", "-q")).toMatchObject({ code: 0 });
  await cluster.settled("shop", 5);
  const grown = new Map(cluster.processes("shop").map(({ slot, pid }) => [slot, pid]));
  for (const [slot, pid] of before) expect(grown.get(slot)).toBe(pid);
  writeFileSync(file, sleepers(2));
  expect(await manager.orch("run", file, "--name", "shop", "-q")).toMatchObject({ code: 0 });
  const left = await cluster.settled("shop", 2);
  expect(left.map(({ slot }) => slot).toSorted()).toEqual(["shop.web.1", "shop.web.2"]);

  expect(await other.orch("stop", "shop")).toMatchObject({ code: 0 });
  await cluster.settled("shop", 0);
  const all = present(cluster, "it runs").nodes;
  await vi.waitFor(async () => {
    for (const node of all) {
      const view = await node.get<JobView>("/v1/jobs/shop");
      expect(view.status).toBe("stopped");
    }
  }, patient);
  expect(JSON.parse(await agreed(["ps"]))).toEqual([]);
});
