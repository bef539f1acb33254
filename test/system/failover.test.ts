import { inspect, isDeepStrictEqual } from "node:util";
import { afterEach, expect, test, vi } from "vitest";
import { present } from "../../lib/assert.ts";
import { LOST_MS } from "../../node/core/defaults.ts";
import type { LocalView, NodeView, TaskView } from "../../node/core/view-types.ts";
import { AckedWrites } from "../fixtures/acked-writes.ts";
import type { RealNode } from "../fixtures/real-cluster.ts";
import { patient, RealCluster, sleepers } from "../fixtures/real-cluster.ts";

/** A node that is back by then has not been missed. */
const AT_ONCE_MS = 1_200;
const ATTEMPTS = 4;

let cluster: RealCluster | null = null;
let writes: AckedWrites | null = null;

afterEach(async () => {
  await writes?.end();
  await cluster?.stop();
  writes = null;
});

/** Three nodes with a job of six tasks, two on each. */
async function busyCluster(): Promise<RealCluster> {
  const made = await RealCluster.start({ nodes: 3 });
  cluster = made;
  expect(await made.put(made.node(1), "shop", sleepers(6))).toMatchObject({ status: 200 });
  const tasks = await made.settled("shop", 6);
  for (const node of made.nodes)
    expect(tasks.filter((task) => task.node === node.id)).toHaveLength(2);
  return made;
}

/** Where each task runs, in which process, at which attempt. */
function places(of: RealCluster, tasks: readonly TaskView[]): Map<string, string> {
  const pids = new Map(of.processes("shop").map(({ task, pid }) => [task, pid]));
  return new Map(
    tasks.map(({ id, node, attempts }) => [id, `${node} pid ${pids.get(id)} attempt ${attempts}`]),
  );
}

function tasksOf(node: RealNode): Promise<readonly TaskView[]> {
  return node.get<TaskView[]>("/v1/tasks?job=shop");
}

test("the manager is killed: others take over, lost tasks run elsewhere, and nothing runs twice after its return", async () => {
  const busy = await busyCluster();
  const before = await tasksOf(busy.node(1));
  const placed = places(busy, before);
  const killed = await busy.manager();
  writes = new AckedWrites(busy, "w");
  await writes.more(20);
  await killed.end("SIGKILL");

  const next = await busy.manager();
  expect(next).not.toBe(killed);
  await writes.more(20);
  const survivor = present(
    busy.running.find((node) => node !== next),
    "two nodes are left",
  );
  const run = await survivor.orch("run", "--name", "late", "--image", "none", "--no-wait");
  expect(run).toMatchObject({ code: 0 });

  // The lost slots get new tasks elsewhere; those of the killed node's old ones still run, unattended.
  await vi.waitFor(async () => {
    const tasks = await tasksOf(survivor);
    expect(tasks.map(({ state }) => state)).toEqual(Array.from({ length: 6 }, () => "running"));
    expect(tasks.map(({ node }) => node)).not.toContain(killed.id);
  }, patient);
  const after = await tasksOf(survivor);
  const now = places(busy, after);
  const kept = before.filter(({ node }) => node !== killed.id);
  expect(kept).toHaveLength(4);
  for (const { id } of kept) expect(now.get(id)).toBe(placed.get(id));
  expect(busy.processes("shop")).toHaveLength(8);
  const seen = await survivor.get<NodeView>(`/v1/nodes/${killed.id}`);
  expect(seen.status).toBe("down");
  const events = await survivor.orch("events");
  expect(events.stdout).toMatch(new RegExp(`${killed.name} is down: .*; missed by n`));
  const lost = present(
    before.find(({ node }) => node === killed.id),
    "tasks were lost",
  );
  const unread = await survivor.orch("logs", lost.id);
  expect(unread).toMatchObject({ code: 69, stdout: "" });
  expect(unread.stderr).toContain(
    `node ${killed.name} is down, and the output of ${lost.id} is there`,
  );

  await killed.restart();
  await busy.settled("shop", 6);
  // Its own tasks are its own again, untouched, and what took their place is gone.
  expect(places(busy, await tasksOf(killed))).toEqual(placed);
  await vi.waitFor(async () => {
    const nodes = await killed.get<NodeView[]>("/v1/nodes");
    expect(nodes.map(({ status }) => status)).toEqual(["ready", "ready", "ready"]);
  }, patient);
  expect(await writes.lost()).toEqual([]);
  expect(writes.count).toBeGreaterThanOrEqual(40);
});

test("a node is killed and started again at once: it finds its tasks running and keeps them", async () => {
  const busy = await busyCluster();
  const manager = await busy.manager();
  const worker = present(
    busy.nodes.find((node) => node !== manager),
    "two nodes only follow",
  );
  for (let attempt = 1; ; attempt += 1) {
    const placed = places(busy, await tasksOf(busy.node(1)));
    const killedAtMs = performance.now();
    await worker.end("SIGKILL");
    await worker.restart();
    const awayMs = performance.now() - killedAtMs;
    await vi.waitFor(async () => {
      const nodes = await worker.get<NodeView[]>("/v1/nodes");
      expect(nodes.map(({ status }) => status)).toEqual(["ready", "ready", "ready"]);
    }, patient);
    const now = places(busy, await busy.settled("shop", 6));
    if (isDeepStrictEqual(now, placed)) break;
    // On a machine too busy to start a process in time, its tasks went elsewhere, as they should.
    if (awayMs < AT_ONCE_MS || attempt === ATTEMPTS)
      throw new Error(`away for ${awayMs} ms: ${inspect(placed)}, then ${inspect(now)}`);
  }
  expect(await busy.manager()).toBe(manager);

  // What it adopted it can still end.
  expect(await worker.orch("stop", "shop")).toMatchObject({ code: 0 });
  await busy.settled("shop", 0);
});

test("all nodes are killed at once and started again: all that was acknowledged is there, tasks run on", async () => {
  const busy = await busyCluster();
  writes = new AckedWrites(busy, "w");
  await writes.more(20);
  const placed = places(busy, await tasksOf(busy.node(1)));
  const killed = busy.nodes.map((node) => node.end("SIGKILL"));
  await Promise.all([...killed, writes.end()]);
  expect(busy.running).toEqual([]);
  expect(busy.processes("shop")).toHaveLength(6);

  await Promise.all(busy.nodes.map((node) => node.restart()));
  await busy.manager();
  expect(await writes.lost()).toEqual([]);
  expect(writes.count).toBeGreaterThanOrEqual(20);
  expect(places(busy, await busy.settled("shop", 6))).toEqual(placed);
  expect(await busy.put(busy.node(2), "shop", sleepers(7))).toMatchObject({ status: 200 });
  await busy.settled("shop", 7);
});

test("the manager stands still for eight seconds: another manages, and it comes back without harm", async () => {
  const busy = await busyCluster();
  const frozen = await busy.manager();
  const others = busy.nodes.filter((node) => node !== frozen);
  const { term } = await frozen.get<LocalView>("/debug/raft");
  frozen.signal("SIGSTOP");
  const thawAtMs = performance.now() + 8_000;
  const [first, second] = others;
  const one = present(first, "three nodes");
  const two = present(second, "three nodes");
  const next = await vi.waitFor(async () => {
    const views = await Promise.all(others.map((node) => node.get<LocalView>("/debug/raft")));
    const [id, same] = views.map(({ manager }) => manager);
    expect(id).toBe(same);
    return present(
      others.find((node) => node.id === id),
      "one of the others manages",
    );
  }, patient);
  expect((await next.get<LocalView>("/debug/raft")).term).toBeGreaterThan(term);
  expect(await busy.put(one, "during-1", sleepers(0))).toMatchObject({ status: 200 });
  expect(await busy.put(two, "during-2", sleepers(0))).toMatchObject({ status: 200 });
  // Written while it stands still; answered, if at all, once it runs again.
  const early = busy.put(frozen, "at-thaw", sleepers(0), 20_000);

  await vi.waitFor(() => {
    expect(performance.now()).toBeGreaterThan(thawAtMs);
  }, patient);
  frozen.signal("SIGCONT");
  // It still takes itself for the manager for a moment: what it answers must hold all the same.
  const late = busy.put(frozen, "after-thaw", sleepers(0), 20_000);
  const read = await frozen.request("/v1/jobs/during-1", { timeoutMs: 20_000 });
  expect(read.status).toBe(200);
  expect((await early).status).toBe(200);
  expect((await late).status).toBe(200);

  const manager = await busy.manager();
  expect(manager).not.toBe(frozen);
  await busy.settled("shop", 6);
  await vi.waitFor(async () => {
    const views = await Promise.all(busy.nodes.map((node) => node.get<LocalView>("/debug/raft")));
    expect(views.filter(({ role }) => role === "leader")).toHaveLength(1);
    expect(new Set(views.map((view) => `${view.appliedIndex} ${view.stateHash}`)).size).toBe(1);
  }, patient);
  for (const node of busy.nodes) {
    for (const job of ["during-1", "during-2", "at-thaw", "after-thaw"])
      expect(await node.request(`/v1/jobs/${job}`)).toMatchObject({ status: 200 });
  }
});

test("a node that was away while all it knew were replaced is found by the new manager, and works", async () => {
  cluster = await RealCluster.start({ nodes: 1, spare: 2 });
  const [founder, away, heir] = [cluster.node(1), cluster.node(2), cluster.node(3)];
  const { token } = await founder.get<{ token: string }>("/v1/nodes/token");
  const join = ["join", founder.listen, "--token", token];
  away.spawn(...join, "--no-vote");
  await away.ready();
  await away.end("SIGKILL");
  heir.spawn(...join);
  await heir.ready();
  expect(await founder.orch("node", "leave")).toMatchObject({ code: 0 });
  expect(await founder.ended()).toBe(0);

  away.spawn("start", "--no-vote");
  await away.ready();
  expect(await cluster.manager()).toBe(heir);
  await cluster.put(away, "shop", sleepers(2));
  const tasks = await cluster.settled("shop", 2);
  expect(new Set(tasks.map(({ node }) => node))).toEqual(new Set([away.id, heir.id]));
  // Once is enough: what it has learned outlives it.
  await away.end("SIGKILL");
  const startedMs = performance.now();
  away.spawn("start", "--no-vote");
  await away.ready();
  expect(performance.now() - startedMs).toBeLessThan(LOST_MS);
});
