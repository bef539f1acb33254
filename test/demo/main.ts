import { setTimeout as delay } from "node:timers/promises";
import { request } from "undici";
import { Client } from "../../cli/client.ts";
import { type DevCluster, startDevCluster } from "../../cli/dev-cluster.ts";
import type { DevNode } from "../../cli/dev-node.ts";
import { parseHost } from "../../cli/endpoint.ts";
import { readSubmission, submit } from "../../cli/submission.ts";
import { waitForJob } from "../../cli/wait-job.ts";
import { assert, present } from "../../lib/assert.ts";
import type {
  ClusterView,
  JobView,
  LocalView,
  NodeView,
  TaskView,
} from "../../node/core/view-types.ts";

/**
 * `npm run demo`: the failover story, told by real processes. Exits 0 only if all of it held.
 */

const BOUND_MS = 30_000;
const LOOK_MS = 10;
const startedMs = performance.now();

function say(text: string): void {
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(2).padStart(7);
  process.stdout.write(`${seconds} s  ${text}\n`);
}

function clientOf(nodes: readonly DevNode[]): Client {
  return new Client({
    endpoints: nodes.map(({ socketPath }) => parseHost(`unix://${socketPath}`, null)),
    timeoutMs: BOUND_MS,
    onConnected: () => undefined,
  });
}

/** Looks until there is something to see; returns it, and how long it took since `sinceMs`. */
async function until<T>(
  what: string,
  sinceMs: number,
  look: () => Promise<T | null>,
): Promise<{ seen: T; ms: number }> {
  while (performance.now() - sinceMs < BOUND_MS) {
    const seen = await look();
    if (seen !== null) return { seen, ms: Math.round(performance.now() - sinceMs) };
    await delay(LOOK_MS);
  }
  throw new Error(`${what}: not within ${BOUND_MS / 1000} s`);
}

const running = (task: TaskView): boolean => task.state === "running";

async function tasksOf(client: Client, job: string): Promise<TaskView[]> {
  return [...(await client.get<readonly TaskView[]>(`/v1/tasks?job=${job}`))];
}

/** What a task's web server says of itself: its process id among it. */
async function pidOf(task: TaskView): Promise<number | null> {
  const port = present(task.ports[0], "the hello service publishes a port");
  try {
    const { body } = await request(`http://${port.address}:${port.host}/`, {
      signal: AbortSignal.timeout(2_000),
    });
    const match = /pid (\d+)/.exec(await body.text());
    return match === null ? null : Number(match[1]);
  } catch {
    return null;
  }
}

/** The node that says of itself that it leads; asks only the given ones, and nobody forwards. */
async function leaderAmong(nodes: readonly DevNode[]): Promise<DevNode | null> {
  for (const node of nodes) {
    const client = clientOf([node]);
    try {
      const local = await client.get<LocalView>("/debug/raft");
      if (local.role === "leader" && local.manager === local.id) return node;
    } finally {
      await client.close();
    }
  }
  return null;
}

interface Deployed {
  readonly manager: DevNode;
  readonly others: readonly DevNode[];
  readonly before: ReadonlyMap<string, { readonly task: TaskView; readonly pid: number }>;
}

async function deploy(cluster: DevCluster): Promise<Deployed> {
  const client = clientOf(cluster.nodes);
  const submission = await readSubmission("examples/hello/compose.yaml");
  const begun = performance.now();
  const { name, version } = await submit(client, submission, null, true);
  const signal = new AbortController().signal;
  await waitForJob(client, {
    name,
    version: version ?? 0,
    timeoutMs: BOUND_MS,
    progress: false,
    signal,
  });
  const tasks = (await tasksOf(client, "hello")).filter(running);
  say(`job hello: ${tasks.length} tasks run after ${Math.round(performance.now() - begun)} ms`);
  const before = new Map<string, { task: TaskView; pid: number }>();
  for (const task of tasks) {
    const { seen: pid } = await until(`${task.slot} answers`, performance.now(), () => pidOf(task));
    say(`  ${task.slot} on ${task.nodeName ?? "?"} answers, process ${pid}`);
    before.set(task.id, { task, pid });
  }
  const { manager: id } = await client.get<ClusterView>("/v1/cluster");
  const nodes = await client.get<readonly NodeView[]>("/v1/nodes");
  const name1 = nodes.find((node) => node.id === id)?.name;
  const manager = present(
    cluster.nodes.find((node) => node.name === name1),
    "the manager is one of ours",
  );
  await client.close();
  return { manager, others: cluster.nodes.filter((node) => node !== manager), before };
}

async function failover({ manager, others, before }: Deployed): Promise<void> {
  const client = clientOf(others);
  say(`kill -9 ${manager.name}, the manager (process ${manager.pid ?? 0})`);
  const killed = performance.now();
  manager.kill("SIGKILL");
  const elected = until("a new manager", killed, () => leaderAmong(others));
  const written = submit(client, await secondJob(), "second", true).then(
    () => performance.now() - killed,
  );
  const { seen: successor, ms: electedMs } = await elected;
  say(`  ${successor.name} manages: new manager after ${electedMs} ms`);
  say(`  a new job is accepted: first write after ${Math.round(await written)} ms`);
  const { seen: tasks, ms } = await until("the lost task elsewhere", killed, async () => {
    const now = (await tasksOf(client, "hello")).filter(running);
    const elsewhere = now.every(({ nodeName }) => nodeName !== manager.name);
    return now.length === 3 && elsewhere ? now : null;
  });
  const moved = tasks.filter(({ id }) => !before.has(id));
  const names = moved.map((task) => `${task.slot} on ${task.nodeName ?? "?"}`).join(", ");
  say(`  lost tasks run again after ${ms} ms: ${names}`);
  for (const task of tasks) {
    const known = before.get(task.id);
    if (known === undefined) continue;
    const pid = await pidOf(task);
    assert(
      pid === known.pid,
      `${task.slot} was restarted: process ${known.pid}, now ${pid ?? "none"}`,
    );
    say(`  ${task.slot} ran on untouched, process ${pid}`);
  }
  await until("the second job", killed, async () => {
    const { status } = await client.get<JobView>("/v1/jobs/second");
    return status === "running" ? true : null;
  });
  say("  the new job runs");
  await client.close();
}

async function secondJob(): Promise<Awaited<ReturnType<typeof readSubmission>>> {
  const submission = await readSubmission("examples/hello/compose.yaml");
  return { ...submission, compose: submission.compose.replace("replicas: 3", "replicas: 1") };
}

async function comeback(cluster: DevCluster, { manager, before }: Deployed): Promise<void> {
  const begun = performance.now();
  say(`${manager.name} starts again on its data directory`);
  await manager.restart();
  const client = clientOf([manager]);
  const { ms } = await until(`${manager.name} is a member again`, begun, async () => {
    const nodes = await client.get<readonly NodeView[]>("/v1/nodes");
    return nodes.every(({ status }) => status === "ready") ? true : null;
  });
  say(`  ${manager.name} is back, asked itself: all nodes ready after ${ms} ms`);
  for (const { task, pid } of before.values()) {
    if (task.nodeName !== manager.name) continue;
    const { ms: keptMs } = await until(`${task.slot} is its own again`, begun, async () => {
      const tasks = await client.get<readonly TaskView[]>("/v1/tasks?job=hello");
      const isBack =
        tasks.length === 3 && tasks.some(({ id, state }) => id === task.id && state === "running");
      return isBack ? true : null;
    });
    const now = await pidOf(task);
    assert(now === pid, `${task.slot} was restarted: process ${pid}, now ${now ?? "none"}`);
    say(
      `  ${task.slot} runs there as before, process ${pid}; what took its place was stopped after ${keptMs} ms`,
    );
  }
  const jobs = await client.get<readonly JobView[]>("/v1/jobs");
  const names = jobs.map(({ name, status }) => `${name} ${status}`).toSorted();
  assert(
    names.join() === "hello running,second running",
    `all that was accepted is there: ${names.join()}`,
  );
  say(`  all that was accepted is there: ${names.join(", ")}`);
  await client.close();
  assert(
    cluster.nodes.every(({ isRunning }) => isRunning),
    "all nodes run",
  );
}

async function main(): Promise<void> {
  const cluster = await startDevCluster({ nodes: 3, driver: "process" });
  say(
    `three nodes, three processes: ${cluster.nodes.map(({ name, pid }) => `${name} ${pid ?? 0}`).join(", ")}`,
  );
  let held = false;
  try {
    const deployed = await deploy(cluster);
    await failover(deployed);
    await comeback(cluster, deployed);
    held = true;
  } finally {
    if (!held)
      for (const node of cluster.nodes)
        process.stderr.write(`${node.name}: ${await node.logEnd()}\n`);
    const left = await cluster.stop();
    say(left.length === 0 ? "ended; nothing is left behind" : `left behind: ${left.join(", ")}`);
    if (left.length > 0) process.exitCode = 1;
  }
}

await main();
