import { existsSync } from "node:fs";
import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { present } from "../lib/assert.ts";
import type { NodeView, TaskView } from "../node/core/view-types.ts";
import { Namespaces } from "../test/chaos/namespaces.ts";
import { type NodeProcess, until } from "../test/fixtures/node-process.ts";
import { bound, ProcessCluster } from "../test/fixtures/process-cluster.ts";
import { quantile } from "./consensus/numbers.ts";
import { Events } from "./node-loss/events.ts";

/**
 * From the loss of a node to the replacement of its tasks, with five real nodes, each in a network namespace of its own:
 *
 *     node bench/node-loss.ts [--rounds 20] [--only WORDS] [--folder DIR]
 *
 * A node that does not manage, or the manager, is killed (kill -9), stopped (SIGSTOP) or cut off (its packets are dropped both ways).
 * Times are those at which the first of the other nodes tells it in its task log: the node is down, all its tasks have a new one that is
 * placed, all of these run. Needs root and Linux.
 */
const OPTIONS = {
  rounds: { type: "string", default: "20" },
  only: { type: "string", default: "" },
  folder: { type: "string" },
} as const;

const NODES = 5;
const REPLICAS = 10;
const LOSS_LIMIT_MS = 60_000;
const WHOLE_MS = 120_000;

const FAULTS = {
  "kill -9": { target: 2_000 },
  SIGSTOP: { target: 5_000 },
  "silent cut": { target: 5_000 },
} as const;
type Fault = keyof typeof FAULTS;

const VICTIMS = ["a node", "the manager's node"] as const;
type Victim = (typeof VICTIMS)[number];

/** A cluster, and how often each of its nodes went down. */
interface Arena {
  readonly namespaces: Namespaces;
  readonly cluster: ProcessCluster;
  readonly events: Events;
  readonly downs: Map<NodeProcess, number>;
}

/** So often a node may go down within minutes before it has to stay for a while to be ready again. */
const DOWNS_FREE = 2;

interface Loss {
  readonly downMs: number;
  readonly committedMs: number;
  readonly runningMs: number;
}

const { values } = parseArgs({ options: OPTIONS });
const rounds = Number(values.rounds);
if (process.getuid?.() !== 0 || !existsSync("/usr/bin/setpriv")) {
  process.stderr.write("this needs Linux, root and /usr/bin/setpriv\n");
  process.exit(2);
}
bound(120_000 + rounds * 6 * 60_000);
await run();
process.exit(0);

async function run(): Promise<void> {
  const namespaces = new Namespaces(NODES);
  let arena = await build(namespaces);
  say(
    `${NODES} nodes, ${REPLICAS} tasks, ${rounds} rounds each; ms from the fault, p50 / p99 / max`,
  );
  say(line("fault", "down committed", "replacements committed", "replacements running", "load"));
  for (const fault of Object.keys(FAULTS).filter(isFault)) {
    for (const victim of VICTIMS) {
      const name = `${fault}, ${victim}`;
      if (!name.includes(values.only)) continue;
      const losses: Loss[] = [];
      for (let round = 0; round < rounds; round++) {
        // A node that goes down once more is kept waiting when it is back: that is not what is measured.
        if (Math.max(0, ...arena.downs.values()) >= DOWNS_FREE) {
          raze(arena);
          arena = await build(namespaces);
        }
        losses.push(await lose(arena, fault, victim));
      }
      row(name, losses, FAULTS[fault].target);
    }
  }
  raze(arena);
}

async function build(namespaces: Namespaces): Promise<Arena> {
  const cluster = await ProcessCluster.start({
    nodes: NODES,
    flags: [],
    parent: values.folder ?? null,
    places: namespaces.places,
    docker: null,
  });
  return { namespaces, cluster, events: new Events(cluster.nodes), downs: new Map() };
}

function raze({ events, cluster }: Arena): void {
  events.end();
  cluster.destroy();
}

async function lose(
  { namespaces, cluster, events, downs }: Arena,
  fault: Fault,
  victim: Victim,
): Promise<Loss> {
  const job = `loss${events.heard.length}`;
  await submit(cluster, job);
  const manager = await until(
    () => "nobody manages",
    () => cluster.manager(),
    WHOLE_MS,
  );
  const tasks = await manager.get<readonly TaskView[]>(`/v1/tasks?job=${job}`);
  const others = cluster.nodes.filter(
    (node) => node !== manager && tasks.some(({ node: on }) => on === node.id),
  );
  const lost =
    victim === "a node" ? (others[events.heard.length % others.length] ?? manager) : manager;
  const slots = tasks.filter(({ node }) => node === lost.id).map(({ slot }) => slot);
  const namespace = present(lost.plan.namespace, "each node has one");
  downs.set(lost, (downs.get(lost) ?? 0) + 1);
  const from = events.heard.length;
  const startMs = performance.now();
  if (fault === "kill -9") lost.signal("SIGKILL");
  else if (fault === "SIGSTOP") lost.signal("SIGSTOP");
  else namespaces.cut(namespace, "isolated", "");
  const loss = await replaced(events, from, startMs, lost, slots);
  if (fault === "silent cut") namespaces.heal(namespace);
  else if (fault === "SIGSTOP") lost.signal("SIGCONT");
  else if (await lost.gone(LOSS_LIMIT_MS)) lost.start("start");
  await whole(cluster);
  await post(cluster, `/v1/jobs/${job}/stop`);
  return loss;
}

/** When the first of the others told each of the three. */
async function replaced(
  events: Events,
  from: number,
  startMs: number,
  lost: NodeProcess,
  slots: readonly string[],
): Promise<Loss> {
  const seen = (): (number | undefined)[] => {
    const heard = events.heard.slice(from);
    const down = heard.find(
      ({ event }) => event.type === "node" && event.node === lost.id && event.to === "down",
    );
    const last = (to: string): number | undefined => {
      const times = slots.map(
        (slot) =>
          heard.find(
            ({ event }) => event.slot === slot && event.to === to && event.node !== lost.id,
          )?.atMs,
      );
      return times.reduce<number | undefined>(
        (most, atMs) =>
          most === undefined || atMs === undefined ? undefined : Math.max(most, atMs),
        0,
      );
    };
    return [down?.atMs, last("assigned"), last("running")];
  };
  const times = await until(
    () => `${lost.name} was lost: ${seen().join(", ")} of ${slots.join(" ")}`,
    () => {
      const all = seen().filter((atMs) => atMs !== undefined);
      return all.length === 3 ? all : null;
    },
    LOSS_LIMIT_MS,
    5,
  );
  const [downMs = 0, committedMs = 0, runningMs = 0] = times.map((atMs) => atMs - startMs);
  return { downMs, committedMs, runningMs };
}

async function submit(cluster: ProcessCluster, job: string): Promise<void> {
  await whole(cluster);
  const compose = [
    "services:",
    "  web:",
    "    command: [sh, -c, 'exec sleep 600']",
    "    stop_grace_period: 1s",
    `    deploy: {replicas: ${REPLICAS}, resources: {reservations: {cpus: "0.01", memory: 8m}}}`,
  ].join("\n");
  const [node] = cluster.nodes;
  const response = await node?.ask({
    method: "PUT",
    path: `/v1/jobs/${job}`,
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ compose }),
    timeoutMs: 20_000,
  });
  if (response?.status !== 200) throw new Error(`job ${job}: ${response?.text}`);
  await until(
    () => `${job} does not run`,
    async () => {
      const tasks = await node?.get<readonly TaskView[]>(`/v1/tasks?job=${job}`);
      const running = tasks?.filter(({ state }) => state === "running").length;
      return running === REPLICAS ? true : null;
    },
    WHOLE_MS,
  );
}

/** All nodes are ready and agree on a manager. */
async function whole(cluster: ProcessCluster): Promise<void> {
  await until(
    () => "not all nodes are ready",
    async () => {
      try {
        const manager = await cluster.manager();
        const nodes = await manager?.get<readonly NodeView[]>("/v1/nodes", 2_000);
        return nodes?.every(({ status }) => status === "ready") === true ? true : null;
      } catch {
        return null;
      }
    },
    WHOLE_MS,
    100,
  );
  await cluster.voting();
}

async function post(cluster: ProcessCluster, path: string): Promise<void> {
  const [node] = cluster.nodes;
  await node?.ask({ method: "POST", path, timeoutMs: 20_000 });
}

function row(name: string, losses: readonly Loss[], targetMs: number): void {
  const cell = (pick: (loss: Loss) => number): string => {
    const times = losses.map(pick);
    const figures = [quantile(times, 0.5), quantile(times, 0.99), Math.max(...times)];
    return figures.map((ms) => ms.toFixed(0)).join(" / ");
  };
  const p99 = quantile(
    losses.map(({ committedMs }) => committedMs),
    0.99,
  );
  const verdict = p99 <= targetMs ? "met" : "missed";
  const committed = `${cell(({ committedMs }) => committedMs)} (p99 <= ${targetMs}: ${verdict})`;
  const [load = 0] = loadavg();
  say(
    line(
      name,
      cell(({ downMs }) => downMs),
      committed,
      cell(({ runningMs }) => runningMs),
      load.toFixed(1),
    ),
  );
}

function line(...cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function isFault(word: string): word is Fault {
  return word in FAULTS;
}
