import { mkdirSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { report, reportFloor, type Row } from "./consensus/report.ts";
import type {
  CellResult,
  FloorResult,
  LoadAnswer,
  LoadAsk,
  NodeStatus,
  NodeWatched,
  Operation,
} from "./consensus/messages.ts";
import { type Child, cpuMicros, Processes, residentMib } from "./consensus/processes.ts";
import {
  etcdVersion,
  startEtcd,
  startOrch,
  startOrchApi,
  type System,
  wireBytes,
} from "./consensus/systems.ts";

/**
 * Three nodes on this machine: replicated writes of 256 bytes and linearizable reads from closed-loop clients,
 * against the least that the disk and loopback take and, where the Debian package etcd-server is installed,
 * against three etcd under the same load. All take turns, as a shared machine is never the same twice.
 *
 *     node bench/consensus.ts [--clients 1,16,128,512] [--operations write,read] [--seconds 3] [--rounds 3]
 *         [--systems orch,api,etcd] [--connections 8] [--spread] [--folder DIR] [--profile DIR]
 *
 * `orch` is the consensus (libp2p, sync, apply, read confirmation) without the HTTP API, `api` whole nodes behind
 * it. `--spread`: clients connect to all nodes, not only to the leader's. `--profile` writes a CPU profile of each
 * node of `orch` for every cell: see bench/consensus/profile.ts.
 */
const OPTIONS = {
  clients: { type: "string", default: "1,16,128,512" },
  operations: { type: "string", default: "write,read" },
  seconds: { type: "string", default: "3" },
  rounds: { type: "string", default: "3" },
  systems: { type: "string", default: "orch,api,etcd" },
  connections: { type: "string", default: "8" },
  spread: { type: "boolean", default: false },
  folder: { type: "string" },
  profile: { type: "string" },
} as const;

const STARTERS = { orch: startOrch, api: startOrchApi, etcd: startEtcd } as const;
/** Around a cell: warm-up, connections, the last answers. */
const SLACK_SECONDS = 15;
const FLOOR_SECONDS = 3;

const { values } = parseArgs({ options: OPTIONS });
const clients = values.clients.split(",").map((word) => number(word, "--clients"));
const operations = values.operations.split(",").map(operation);
const seconds = number(values.seconds, "--seconds");
const rounds = number(values.rounds, "--rounds");
const connections = number(values.connections, "--connections");
const names = values.systems.split(",").map(systemName);
if (values.profile !== undefined) mkdirSync(values.profile, { recursive: true });

const cells = operations.flatMap((each) => clients.map((count) => ({ operation: each, count })));
const limit = 120 + rounds * (FLOOR_SECONDS + cells.length * names.length * (seconds + 4));
const processes = new Processes(values.folder ?? null, limit);
try {
  await run();
} finally {
  processes.end();
}
process.exit(0);

async function run(): Promise<void> {
  say(
    `three nodes on one machine (${cpus().length} × ${cpus()[0]?.model ?? "?"}), ${processes.folder}`,
  );
  const load = (await processes.fork("load.ts", [], "load.log")).child;
  const echoes = [];
  for (let i = 1; i <= 3; i++) {
    const file = join(processes.folder, `floor-${i}`);
    echoes.push(await processes.fork<{ port: number }>("echo.ts", [file], `echo-${i}.log`));
  }
  const targets = echoes.map(({ first }) => ({ host: "127.0.0.1", port: first.port, token: "" }));
  const systems = await startSystems(load);
  const floors: FloorResult[] = [];
  const rows: Row[] = [];
  for (let round = 0; round < rounds; round++) {
    floors.push(await askFloor(load, { kind: "floor", targets, seconds: FLOOR_SECONDS }));
    for (const { operation: what, count } of cells) {
      // Nobody always comes after the same other one.
      const order = round % 2 === 0 ? systems : systems.toReversed();
      for (const system of order) rows.push(await measure(load, system, what, count, round));
    }
  }
  reportFloor(floors);
  report(rows);
  for (const { name, pids } of systems)
    say(
      `${name}: ${(residentMib(pids) / pids.length).toFixed(0)} MiB resident per node at the end`,
    );
}

async function startSystems(load: Child): Promise<System[]> {
  const systems: System[] = [];
  for (const name of names) {
    const version = name === "etcd" ? etcdVersion() : "";
    if (version === null) {
      say("no etcd: install the Debian package etcd-server to have it measured beside orch");
      continue;
    }
    const system = await STARTERS[name](processes);
    if (name === "etcd") say(version);
    const fill = { kind: "fill", door: system.door, targets: await system.targets(false) } as const;
    const { errors } = await askCell(load, fill, 60);
    if (errors > 0) say(`${name}: ${errors} errors while it was filled`);
    systems.push(system);
  }
  return systems;
}

async function measure(
  load: Child,
  system: System,
  what: Operation,
  count: number,
  round: number,
): Promise<Row> {
  const targets = await system.targets(values.spread);
  const profile = values.profile !== undefined && round === rounds - 1;
  const cell = { operation: what, clients: count, connections, seconds } as const;
  for (const node of system.nodes) await node.ask({ kind: "watch", profile });
  const wire = wireBytes(system);
  const micros = cpuMicros(system.pids);
  const result = await askCell(
    load,
    { kind: "cell", door: system.door, targets, ...cell },
    seconds,
  );
  const spent = cpuMicros(system.pids) - micros;
  const sent = wireBytes(system);
  const nodes = await watched(system, profile ? `${what}-${count}` : null);
  const done = Math.max(1, result.operations);
  return {
    system: system.name,
    operation: what,
    clients: count,
    ...result,
    serverMicros: spent / done,
    wireBytes: wire === null || sent === null ? null : (sent - wire) / done,
    nodes,
  };
}

/** Ends what `watch` began; what the nodes say of themselves, leader first. */
async function watched({ nodes }: System, cell: string | null): Promise<NodeWatched[]> {
  const found: { leads: boolean; node: NodeWatched }[] = [];
  for (const [i, node] of nodes.entries()) {
    const { leads } = await node.ask<NodeStatus>({ kind: "status" });
    const file = `${cell}-node${i + 1}-${leads ? "leader" : "follower"}.cpuprofile`;
    const profile = cell === null ? null : join(values.profile ?? "", file);
    found.push({ leads, node: await node.ask<NodeWatched>({ kind: "watched", profile }) });
  }
  return found.toSorted((a, b) => Number(b.leads) - Number(a.leads)).map(({ node }) => node);
}

async function askCell(load: Child, ask: LoadAsk, atMost: number): Promise<CellResult> {
  const answer = await load.ask<LoadAnswer>(ask, (atMost + SLACK_SECONDS) * 1000);
  if (answer.kind !== "cell") throw new Error("the generator answers another question");
  return answer.result;
}

async function askFloor(load: Child, ask: LoadAsk): Promise<FloorResult> {
  const answer = await load.ask<LoadAnswer>(ask, (FLOOR_SECONDS + SLACK_SECONDS) * 1000);
  if (answer.kind !== "floor") throw new Error("the generator answers another question");
  return answer.result;
}

function number(word: string, flag: string): number {
  const value = Number(word);
  if (Number.isFinite(value) && value > 0) return value;
  return refuse(`${flag}: "${word}" is not a number above 0`);
}

function operation(word: string): Operation {
  if (word === "write" || word === "read") return word;
  return refuse(`--operations: "${word}" is neither write nor read`);
}

function systemName(word: string): keyof typeof STARTERS {
  if (word === "orch" || word === "api" || word === "etcd") return word;
  return refuse(`--systems: "${word}" is none of orch, api and etcd`);
}

function refuse(reason: string): never {
  process.stderr.write(`${reason}\n`);
  process.exit(2);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
