import { parseArgs } from "node:util";
import { present } from "../lib/assert.ts";
import { bound } from "../test/fixtures/process-cluster.ts";
import type { Account, Longest } from "./scale/meter.ts";
import { form, type Joins, type Loss, lose, middle, quiet, type Traffic, Victims } from "./scale/scenes.ts";
import { ScaleWorld } from "./scale/world.ts";

const OPTIONS = {
  nodes: { type: "string", default: "10,30,100,300,1000" },
} as const;

const { values } = parseArgs({ options: OPTIONS });
const sizes = values.nodes.split(",").map(Number);
bound(1_800_000);

const SINGLE_LOSSES = 5;
const MANAGER_LOSSES = 2;
const DETECTIONS = [
  ["a node, stream reset", "reset", false],
  ["a node, silent", "silent", false],
  ["the manager's node, stream reset", "reset", true],
  ["the manager's node, silent", "silent", true],
] as const;

interface Measured {
  readonly nodes: number;
  readonly joins: Joins;
  readonly traffic: Traffic;
  readonly losses: ReadonlyMap<string, readonly Loss[]>;
  readonly seconds: number;
}

async function measure(nodes: number): Promise<Measured> {
  const startMs = performance.now();
  const say = (what: string): void => {
    const s = ((performance.now() - startMs) / 1000).toFixed(1);
    const mb = (process.memoryUsage().rss / 2 ** 20).toFixed(0);
    process.stderr.write(`${nodes}: ${what} ${s} s, ${mb} MB\n`);
  };
  const world = new ScaleWorld();
  const joins = await form(world, nodes);
  say(`joined ${JSON.stringify(joins)}`);
  const traffic = await quiet(world);
  say(`quiet ${JSON.stringify([...world.meter.byKind])}`);
  const losses = new Map<string, Loss[]>();
  const victims = new Victims(world);
  for (const [name, how, isManager] of DETECTIONS) {
    const found: Loss[] = [];
    for (let i = 0; i < (isManager ? MANAGER_LOSSES : SINGLE_LOSSES); i++) {
      const fallen = isManager ? [present(world.manager(), "somebody manages")] : victims.take(1);
      found.push(await lose(world, fallen, how));
    }
    losses.set(name, found);
    say(`${name} ${JSON.stringify(found)} ${JSON.stringify([...world.meter.byKind])}`);
  }
  for (const how of ["reset", "silent"] as const) {
    const fallen = victims.take(Math.max(1, Math.floor(nodes / 10)));
    losses.set(`a tenth, ${how}`, [await lose(world, fallen, how)]);
    say(`a tenth ${how} ${JSON.stringify(losses.get(`a tenth, ${how}`))} ${JSON.stringify([...world.meter.byKind])}`);
  }
  world.meter.end();
  return { nodes, joins, traffic, losses, seconds: (performance.now() - startMs) / 1000 };
}

const all: Measured[] = [];
for (const n of sizes) {
  const m = await measure(n);
  all.push(m);
  const { members, holders, manager } = m.traffic;
  for (const [name, r] of Object.entries({ members, holders, manager })) {
    if (r.nodes === 0) continue;
    const show = (pick: (a: Account) => number) => `${r.medianOf(pick).toFixed(2)}/${r.maxOf(pick).toFixed(2)}`;
    process.stderr.write(`${n} ${name} ${r.nodes}: sent ${show((a) => a.sent)} rx ${show((a) => a.received)} B ${show((a) => a.sentBytes)} rxB ${show((a) => a.receivedBytes)} cpu ${show((a) => a.cpuMs)} enc ${show((a) => a.encodeMs)} conn ${middle(r.connections)}/${Math.max(...r.connections)}\n`);
  }
  process.stderr.write(`gossip ${m.traffic.gossipsPerSecond} ${JSON.stringify(m.traffic.longest)} ${JSON.stringify(m.traffic.longestOther)} ${m.seconds}\n`);
}
process.exit(0);
