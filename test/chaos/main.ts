import { existsSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { quantile } from "../../bench/consensus/numbers.ts";
import { Prng } from "../../lib/prng.ts";
import { until } from "../fixtures/node-process.ts";
import { bound, ProcessCluster, viewLine } from "../fixtures/process-cluster.ts";
import type { Operation } from "../linearizability/history.ts";
import { type Acked, Clients } from "./clients.ts";
import { settledJobs, startJobs } from "./jobs.ts";
import { Namespaces } from "./namespaces.ts";
import { type Done, Nemesis } from "./nemesis.ts";
import { type Final, violationOf } from "./verdict.ts";
import { Watch } from "./watch.ts";

/**
 * Real nodes under random harm and a load of clients, all on this machine and all drawn from the seed:
 *
 *     npm run chaos -- [--nodes 5] [--minutes 10] [--seed S] [--clients 12] [--folder DIR] [--netns]
 *
 * Processes are killed, stopped, restarted, and leadership is handed over; `--netns` (root, Linux) also cuts the
 * network, each node being in a namespace of its own. In the end all is healed, and then: every acknowledged write is
 * there, the history of all clients is linearizable, all replicas hold the same state, every wanted task runs exactly
 * once. Exits with 1 otherwise, and writes the history to a file.
 */
const OPTIONS = {
  nodes: { type: "string", default: "5" },
  minutes: { type: "string", default: "10" },
  seed: { type: "string", default: String(Date.now() % 1_000_000) },
  clients: { type: "string", default: "12" },
  folder: { type: "string" },
  netns: { type: "boolean", default: false },
} as const;

const HEAL_MS = 90_000;
const WRITES_AFTER = 500;
/** For the start, the healing, the tasks, and the search for an order. */
const SLACK_MS = 600_000;
/** Longer times without an acknowledged write are shown with what the nodes said meanwhile. */
const LONG_MS = 8_000;
const LINES = 60;

const { values } = parseArgs({ options: OPTIONS });
const seed = number(values.seed, "--seed");
const minutes = number(values.minutes, "--minutes");
const count = number(values.nodes, "--nodes");
const clientCount = number(values.clients, "--clients");
if (!existsSync("/usr/bin/setpriv")) refuse("chaos needs Linux with /usr/bin/setpriv");
bound(minutes * 60_000 + SLACK_MS);

let startedMs = performance.now();
const kept = join(values.folder ?? tmpdir(), `orch-chaos-${seed}-${process.pid}`);
process.exit(await run());

async function run(): Promise<number> {
  say(`seed ${seed}: ${count} nodes, ${minutes} minutes, ${clientCount} clients, load ${load()}`);
  const namespaces = values.netns ? new Namespaces(count) : null;
  const cluster = await ProcessCluster.start({
    nodes: count,
    flags: [],
    parent: values.folder ?? null,
    places: namespaces?.places ?? null,
  });
  await startJobs(cluster, Math.ceil(minutes * 60) + SLACK_MS / 1_000);
  await settledJobs(cluster);
  const prng = new Prng(seed);
  const watch = new Watch(cluster.nodes);
  const nemesis = new Nemesis(cluster, namespaces, prng.fork(), say);
  const clients = new Clients(cluster.nodes, prng.fork());
  startedMs = performance.now();
  watch.start();
  clients.start(clientCount);
  await nemesis.run(seed, startedMs + minutes * 60_000);
  const healedMs = performance.now();
  say("all faults are undone");
  const problems: string[] = [];
  const step = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      problems.push(error instanceof Error ? error.message : "?");
    }
  };
  await step(() => ready(cluster));
  say(`all nodes are ready after ${seconds(performance.now() - healedMs)}`);
  await step(() => serves(clients));
  await clients.end();
  let final: Final = new Map();
  await step(async () => {
    final = await readAll(cluster, clients);
  });
  await step(() => settledJobs(cluster));
  say("tasks are settled");
  await step(() => same(cluster));
  await watch.end();
  for (const { name, death } of cluster.nodes)
    if (death !== null) problems.push(`${name}: ${death}`);
  problems.push(...nemesis.problems, ...clients.problems, ...watch.problems);
  const { history } = clients.recorder;
  report(nemesis, clients, watch);
  longGaps(nemesis, clients, watch);
  const startMs = performance.now();
  const violation = violationOf(history, final);
  if (violation !== null) problems.push(violation);
  say(`${history.length} operations judged in ${seconds(performance.now() - startMs)}`);
  if (problems.length === 0) {
    say(`seed ${seed}: no violation; load ${load()}`);
    return 0;
  }
  keep(cluster, problems, history, watch);
  return 1;
}

/** What is healed takes writes again. */
async function serves({ acked }: Clients): Promise<void> {
  const goal = acked.length + WRITES_AFTER;
  await until(
    () =>
      `only ${WRITES_AFTER - goal + acked.length} of ${WRITES_AFTER} writes were acknowledged after all had healed`,
    () => (acked.length >= goal ? true : null),
    HEAL_MS,
  );
}

async function ready(cluster: ProcessCluster): Promise<void> {
  await Promise.all(cluster.nodes.map((node) => node.ready(HEAL_MS)));
}

/** What every register holds: by a linearizable read at one node, which becomes part of the history. */
async function readAll(cluster: ProcessCluster, clients: Clients): Promise<Final> {
  const registers = new Set(clients.recorder.history.map(({ key }) => key));
  const final = new Map<string, { version: number; value: string }>();
  for (const [at, register] of [...registers].entries()) {
    const node = cluster.nodes[at % cluster.nodes.length];
    const output = node === undefined ? null : await clients.read(node, register);
    if (output === null) throw new Error(`${register} cannot be read after all has healed`);
    if (output.kind === "found") {
      final.set(register, { version: output.version ?? 0, value: output.value });
    }
  }
  return final;
}

/** Waits until all that hold the log hold the same state at the same index, under one leader. */
async function same(cluster: ProcessCluster): Promise<void> {
  const views = await cluster.views(
    "one leader and one state",
    (all) =>
      all.filter(({ role }) => role === "leader").length === 1 &&
      new Set(
        all
          .filter(({ role }) => role !== "none")
          .map(({ appliedIndex, stateHash }) => `${appliedIndex} ${stateHash}`),
      ).size === 1,
    HEAL_MS,
  );
  const holders = views.filter(({ role }) => role !== "none");
  const [first] = holders;
  say(`${holders.length} replicas at index ${first?.appliedIndex}: ${first?.stateHash}`);
  for (const view of views) say(viewLine(view).trim());
}

function report({ done }: Nemesis, clients: Clients, watch: Watch): void {
  const kinds = new Map<string, number>();
  for (const { kind } of done) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  const { counts, acked } = clients;
  const times = acked.map(({ tookMs }) => tookMs);
  say(`faults: ${[...kinds].map(([kind, n]) => `${kind} ${n}`).join(", ")} (${done.length})`);
  say(
    `${clients.recorder.history.length} operations: ${counts.writes} writes (${acked.length} acknowledged, ${counts.refused} refused by their condition, ${counts.unknown} unknown, asked again ${counts.repeats} times), ${counts.reads} reads (and ${counts.lostReads} without an answer)`,
  );
  say(`acknowledged writes: p50 ${ms(quantile(times, 0.5))}, p99 ${ms(quantile(times, 0.99))}`);
  say(`${watch.managers} managers, ${watch.comparedStates} states compared by their index`);
}

/** The longest times without an acknowledged write, and why. */
function longGaps({ done }: Nemesis, { acked }: Clients, watch: Watch): void {
  const gaps = gapsOf(acked).toSorted((a, b) => b.toMs - b.fromMs - (a.toMs - a.fromMs));
  const [longest] = gaps;
  if (longest === undefined) return;
  say(`longest time without an acknowledged write: ${seconds(longest.toMs - longest.fromMs)}`);
  for (const { fromMs, toMs } of gaps.slice(0, 5)) {
    const faults = done.filter((each) => each.fromMs <= toMs && each.toMs >= fromMs - 500);
    say(
      `${seconds(toMs - fromMs)} from ${seconds(fromMs - startedMs)}, during: ${faults.map((each) => describe(each, fromMs)).join("; ")}`,
    );
    if (toMs - fromMs < LONG_MS) continue;
    for (const line of watch.timeline(fromMs, toMs).slice(0, LINES)) say(`    ${line}`);
  }
}

function describe({ kind, text, fromMs }: Done, sinceMs: number): string {
  return `${kind} ${text} at ${seconds(fromMs - sinceMs)}`;
}

function gapsOf(acked: readonly Acked[]): { fromMs: number; toMs: number }[] {
  const times = acked.map(({ atMs }) => atMs).toSorted((a, b) => a - b);
  return times.slice(1).map((toMs, at) => ({ fromMs: times[at] ?? toMs, toMs }));
}

function keep(
  cluster: ProcessCluster,
  problems: readonly string[],
  history: readonly Operation[],
  watch: Watch,
): void {
  for (const problem of problems) say(`VIOLATION: ${problem}`);
  writeFileSync(`${kept}.json`, JSON.stringify(history));
  const logs = cluster.nodes.map((node) => `${node.name}\n${node.logEnd()}`);
  const seen = watch.timeline(startedMs, Number.POSITIVE_INFINITY);
  writeFileSync(`${kept}.txt`, [...problems, ...logs, ...seen].join("\n"));
  say(`seed ${seed}: the history is in ${kept}.json, logs and states in ${kept}.txt`);
}

function number(word: string, flag: string): number {
  const value = Number(word);
  return Number.isFinite(value) && value > 0
    ? value
    : refuse(`${flag}: "${word}" is not a number above 0`);
}

function refuse(reason: string): never {
  process.stderr.write(`${reason}\n`);
  process.exit(2);
}

function load(): string {
  return (loadavg()[0] ?? 0).toFixed(1);
}

function seconds(timeMs: number): string {
  return `${(timeMs / 1_000).toFixed(2)} s`;
}

function ms(timeMs: number): string {
  return `${timeMs.toFixed(1)} ms`;
}

function say(text: string): void {
  const at = ((performance.now() - startedMs) / 1_000).toFixed(2).padStart(7);
  process.stdout.write(`${at}  ${text}\n`);
}
