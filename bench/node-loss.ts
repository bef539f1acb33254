import { existsSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { Namespaces } from "../test/chaos/namespaces.ts";
import { bound } from "../test/fixtures/process-cluster.ts";
import { count, refuse } from "./arguments.ts";
import { type Contender, FAULTS, isFault } from "./node-loss/contender.ts";
import { OrchContender } from "./node-loss/orch.ts";
import { besideEachOther, HEAD, type Row, rowLine } from "./node-loss/report.ts";
import { loseOne, loseTwo, type One, type Two, VICTIMS } from "./node-loss/rounds.ts";
import { SwarmContender, whyNoSwarm } from "./node-loss/swarm.ts";

/**
 * From the loss of a node to the replacement of its tasks, with five real nodes, each in a network namespace of its own:
 *
 *     node bench/node-loss.ts [--rounds 20] [--swarm [--swarm-rounds 5]] [--only WORDS] [--verbose] [--folder DIR]
 *
 * A node that does not manage, or the manager, is killed (kill -9), stopped (SIGSTOP), cut off (its packets are dropped both ways) or
 * loses its power (it is cut off, and killed with all its tasks). Of seven nodes, two of the five that vote lose their power one after the other.
 * Times are those at which the first of the other nodes tells it in its task log: the node is down, all its tasks have a new one that is
 * placed, all of these run. Needs root and Linux. With --swarm as many dockerd in such namespaces go through the same, see CONTRIBUTING.md.
 */
const OPTIONS = {
  rounds: { type: "string", default: "20" },
  swarm: { type: "boolean", default: false },
  "swarm-rounds": { type: "string", default: "5" },
  only: { type: "string", default: "" },
  verbose: { type: "boolean", default: false },
  folder: { type: "string" },
} as const;

const NODES = 5;
/** The least of which five vote. */
const NODES_FIVE_VOTE = 7;
const TWO = "power loss, two of five voters";

/** How many of the two managed when they were lost; null: as it comes. */
const MANAGERS: Readonly<Record<string, number | null>> = {
  all: null,
  "no manager": 0,
  "one manager": 1,
  "the manager and its successor": 2,
};

const { values } = parseArgs({ options: OPTIONS });
const rounds = count(values.rounds, "--rounds");
const swarmRounds = values.swarm ? count(values["swarm-rounds"], "--swarm-rounds") : 0;
const parent = values.folder ?? null;
if (process.getuid?.() !== 0 || !existsSync("/usr/bin/setpriv"))
  refuse("this needs Linux, root and /usr/bin/setpriv");
const noSwarm = swarmRounds > 0 ? whyNoSwarm() : null;
if (noSwarm !== null) refuse(`--swarm: ${noSwarm}: install docker.io and busybox-static`);
bound(300_000 + (rounds + swarmRounds) * 9 * 120_000);
await run();
process.exit(0);

async function run(): Promise<void> {
  const namespaces = new Namespaces(NODES_FIVE_VOTE);
  const rows: Row[] = [];
  say(`${cpus().length} × ${cpus()[0]?.model ?? "?"}; ms from the fault, p50 / p99`);
  say(HEAD);
  if (rounds > 0) {
    const five = new OrchContender(namespaces, NODES, "any", parent);
    await single(five, rounds, rows);
    five.end();
    const seven = new OrchContender(namespaces, NODES_FIVE_VOTE, "voters", parent);
    await double(seven, rounds, rows);
    seven.end();
  }
  if (swarmRounds === 0) return;
  const swarm = await SwarmContender.start(namespaces, NODES, parent);
  await single(swarm, swarmRounds, rows);
  await double(swarm, swarmRounds, rows);
  const version = await swarm.version();
  swarm.end();
  say(`orch beside ${version}`);
  for (const line of besideEachOther(rows, "orch", swarm.name)) say(line);
}

async function single(contender: Contender, times: number, rows: Row[]): Promise<void> {
  for (const fault of Object.keys(FAULTS).filter(isFault)) {
    for (const victim of VICTIMS) {
      const name = `${fault}, ${victim}`;
      if (!name.includes(values.only)) continue;
      const ones: One[] = [];
      for (let made = 0; made < times; made++) {
        const one = await loseOne(contender, fault, victim);
        ones.push(one);
        detail(contender, name, one);
      }
      row(rows, contender, name, ones, FAULTS[fault].targetMs);
    }
  }
}

async function double(contender: Contender, times: number, rows: Row[]): Promise<void> {
  if (!TWO.includes(values.only)) return;
  const all: Two[] = [];
  for (let made = 0; made < times; made++) {
    const two = await loseTwo(contender, made);
    all.push(two);
    for (const one of two.ones) detail(contender, `${TWO}, ${two.managers} managed`, one);
  }
  for (const [kind, managers] of Object.entries(MANAGERS)) {
    const some = all.filter((two) => managers === null || two.managers === managers);
    if (some.length === 0) continue;
    for (const [at, which] of ["first", "second"].entries()) {
      const ones = some.flatMap((two) => two.ones.slice(at, at + 1));
      row(rows, contender, `${TWO}, ${kind}: ${which}`, ones, FAULTS["power loss"].targetMs);
    }
  }
}

/** What is asked is asked of orch. */
function row(
  rows: Row[],
  { name: contender }: Contender,
  name: string,
  ones: readonly One[],
  asked: number,
): void {
  const made: Row = {
    contender,
    name,
    losses: ones.map(({ loss }) => loss),
    acceptedMs: ones.map(({ acceptedMs }) => acceptedMs).filter((ms) => ms !== null),
    targetMs: contender === "orch" ? asked : null,
    load: load(),
  };
  rows.push(made);
  say(rowLine(made));
}

function detail({ name }: Contender, fault: string, { loss, acceptedMs }: One): void {
  if (!values.verbose) return;
  const { downMs, committedMs, runningMs } = loss;
  const times = [downMs, committedMs, runningMs, acceptedMs].map((ms) => ms?.toFixed(0) ?? "-");
  say(`    ${name}, ${fault}: ${times.join(", ")}; load ${load().toFixed(1)}`);
}

function load(): number {
  return loadavg()[0] ?? 0;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
