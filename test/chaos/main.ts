import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Prng } from "../../lib/prng.ts";
import { bound, ProcessCluster } from "../fixtures/process-cluster.ts";
import type { Operation } from "../linearizability/history.ts";
import { Clients } from "./clients.ts";
import { CRATE_JOB, Crates } from "./crates.ts";
import { Ground } from "./ground.ts";
import { members, readAll, ready, same, serves } from "./healed.ts";
import { JobChanges } from "./job-changes.ts";
import { FIXED_JOBS, settledJobs, startJobs } from "./jobs.ts";
import { Namespaces } from "./namespaces.ts";
import { Nemesis } from "./nemesis.ts";
import { orphans } from "./orphans.ts";
import { longGaps, report, seconds } from "./report.ts";
import { keepSole, SOLE_JOB, soleVerdict, startSole } from "./sole-job.ts";
import { type Final, violationOf } from "./verdict.ts";
import { Watch } from "./watch.ts";

/**
 * Real nodes under random harm and a load of clients, all on this machine and all drawn from the seed:
 *
 *     npm run chaos -- [--nodes 5] [--minutes 10] [--seed S] [--clients 12] [--folder DIR] [--netns] [--docker unix:///run/docker.sock]
 *
 * Processes are killed, stopped, restarted, and come back at other addresses; leadership is handed over; nodes join, leave, and are
 * lost for good and removed. `--netns` (root, Linux) also cuts the network and changes addresses under a running node, each being in
 * a namespace of its own. Clients write and read registers, and change jobs. One job must never
 * run twice, whose tasks tell of themselves in one file. `--docker`: an engine (as DOCKER_HOST) that all nodes share, for one more job.
 * In the end all is healed, and then: every acknowledged write is there, the history of all clients is linearizable, all replicas hold
 * the same state, every wanted task runs exactly once and as its job was last changed, nothing else runs on any node that there was.
 * Exits with 1 otherwise, and writes the history to a file.
 */
const OPTIONS = {
  nodes: { type: "string", default: "5" },
  minutes: { type: "string", default: "10" },
  seed: { type: "string", default: String(Date.now() % 1_000_000) },
  clients: { type: "string", default: "12" },
  folder: { type: "string" },
  netns: { type: "boolean", default: false },
  docker: { type: "string" },
} as const;

/** For the start, the healing, the tasks, and the search for an order. */
const SLACK_MS = 900_000;

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

interface Parts {
  readonly cluster: ProcessCluster;
  /** Null: there is no Docker engine. */
  readonly crates: Crates | null;
  readonly ground: Ground;
  readonly watch: Watch;
  readonly clients: Clients;
  readonly changes: JobChanges;
}

async function run(): Promise<number> {
  say(`seed ${seed}: ${count} nodes, ${minutes} minutes, ${clientCount} clients, load ${load()}`);
  const namespaces = values.netns ? new Namespaces(count) : null;
  const cluster = await ProcessCluster.start({
    nodes: count,
    flags: [],
    parent: values.folder ?? null,
    places: namespaces?.places ?? null,
    docker: values.docker ?? null,
  });
  const lifeSeconds = Math.ceil(minutes * 60) + SLACK_MS / 1_000;
  await startJobs(cluster, lifeSeconds);
  await startSole(cluster, lifeSeconds);
  const crates = values.docker === undefined ? null : new Crates(values.docker, cluster);
  await crates?.start(lifeSeconds);
  const fixed = [...FIXED_JOBS, SOLE_JOB, ...(crates === null ? [] : [CRATE_JOB])];
  await settledJobs(cluster, fixed);
  const prng = new Prng(seed);
  const ground = new Ground({ cluster, namespaces, crates }, prng.fork(), say);
  const clients = new Clients(cluster.nodes, prng.fork());
  const changes = new JobChanges(cluster.nodes, prng.fork(), lifeSeconds);
  const parts = { cluster, crates, ground, watch: new Watch(cluster.nodes), clients, changes };
  startedMs = performance.now();
  parts.watch.start();
  clients.start(clientCount);
  changes.start();
  await new Nemesis(ground).run(seed, startedMs + minutes * 60_000);
  say("all faults are undone");
  const problems: string[] = [];
  const final = await heal(parts, problems, () => [...fixed, ...changes.wanted]);
  for (const { name, death } of cluster.all) {
    if (death !== null) problems.push(`${name}: ${death}`);
  }
  problems.push(...[ground, clients, changes, parts.watch].flatMap((part) => part.problems));
  judge(parts, final, problems);
  await crates?.clear();
  if (problems.length === 0) {
    say(`seed ${seed}: no violation; load ${load()}`);
    return 0;
  }
  keep(cluster, problems, clients.recorder.history, parts.watch);
  return 1;
}

/** Waits until all is as it has to be; what is not becomes a problem. What the registers hold then. */
async function heal(
  { cluster, crates, clients, changes, watch }: Parts,
  problems: string[],
  wanted: () => typeof FIXED_JOBS,
): Promise<Final> {
  let final: Final = new Map();
  const healedMs = performance.now();
  const step = async (done: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
      if (done !== "") say(`${done} (${seconds(performance.now() - healedMs)} after that)`);
    } catch (error) {
      problems.push(error instanceof Error ? error.message : "?");
    }
  };
  await step("all nodes are ready", () => ready(cluster));
  await step("the members are who and where they should be", () => members(cluster));
  await step("writes are acknowledged", () => serves(clients));
  await Promise.all([clients.end(), changes.end()]);
  await step("all registers are read", async () => {
    final = await readAll(cluster, clients);
  });
  await step("every slot runs once, as it was last asked for", () =>
    settledJobs(cluster, wanted()),
  );
  await step("nothing else runs", async () => {
    const found = [...(await orphans(cluster)), ...((await crates?.orphans()) ?? [])];
    if (found.length > 0) throw new Error(`no task names\n${found.join("\n")}`);
  });
  await step("", () => same(cluster, say));
  await watch.end();
  return final;
}

/** Holds what clients and tasks saw against what may be. */
function judge(
  { cluster, ground, clients, changes, watch }: Parts,
  final: Final,
  problems: string[],
): void {
  report(say, ground.done, clients, changes, watch);
  longGaps(say, ground.done, clients, watch, startedMs);
  const startMs = performance.now();
  const { history } = clients.recorder;
  const violation = violationOf(history, final);
  if (violation !== null) problems.push(violation);
  say(`${history.length} operations judged in ${seconds(performance.now() - startMs)}`);
  const { runs, stopped, violations } = soleVerdict(cluster);
  problems.push(...violations);
  say(
    `at most one: ${runs} runs, of which ${stopped} told their end, ${violations.length} at once`,
  );
}

function keep(
  cluster: ProcessCluster,
  problems: readonly string[],
  history: readonly Operation[],
  watch: Watch,
): void {
  for (const problem of problems) say(`VIOLATION: ${problem}`);
  writeFileSync(`${kept}.json`, JSON.stringify(history));
  const logs = cluster.all.map(({ name, logPath }) => `${name}\n${readFileSync(logPath, "utf8")}`);
  const seen = watch.timeline(startedMs, Number.POSITIVE_INFINITY);
  writeFileSync(`${kept}.txt`, [...problems, ...logs, ...seen].join("\n"));
  keepSole(cluster, `${kept}.log`);
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

function say(text: string): void {
  const at = ((performance.now() - startedMs) / 1_000).toFixed(2).padStart(7);
  process.stdout.write(`${at}  ${text}\n`);
}
