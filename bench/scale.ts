import { parseArgs } from "node:util";
import { loadavg } from "node:os";
import { present } from "../lib/assert.ts";
import { bound } from "../test/fixtures/process-cluster.ts";
import { type Measured, report, say } from "./scale/report.ts";
import { form, type Loss, lose, quiet, Victims } from "./scale/scenes.ts";
import { ScaleWorld } from "./scale/world.ts";

/**
 * What a cluster costs and how fast it is, against the number of its nodes:
 *
 *     node bench/scale.ts [--nodes 10,30,100,300,1000]
 *
 * Whole nodes in virtual time, with the messages' real bytes and nothing that goes wrong but what is measured: at rest, while all
 * but a few join at once, and after losses. CPU is the core's and that of making bytes of messages: what libp2p and the kernel take is
 * not in it. Virtual time does not wait for that CPU: a manager that needs a second for a second's work is too slow, whatever the times say.
 */
const OPTIONS = {
  nodes: { type: "string", default: "10,30,100,300,1000" },
} as const;

const LIMIT_MS = 1_800_000;
const SINGLE_LOSSES = 3;
const MANAGER_LOSSES = 2;
/** A single loss is watched until its tasks are replaced, a large one for longer. */
const ALARM_MS = { single: 0, tenth: 10_000 };

const { values } = parseArgs({ options: OPTIONS });
bound(LIMIT_MS);
await run(values.nodes.split(",").map(Number));
process.exit(0);

async function run(sizes: readonly number[]): Promise<void> {
  const all: Measured[] = [];
  for (const nodes of sizes) {
    const measured = await measure(nodes);
    all.push(measured);
    const [load = 0] = loadavg();
    process.stderr.write(
      `${nodes} nodes: ${measured.tookS.toFixed(0)} s, load ${load.toFixed(1)}\n`,
    );
  }
  say(`Node ${process.version}, real core, virtual time, 1-2 ms each way, 2-5 ms a sync`);
  report(all);
}

async function measure(nodes: number): Promise<Measured> {
  const startMs = performance.now();
  const world = new ScaleWorld();
  const joins = await form(world, nodes);
  const traffic = await quiet(world);
  const losses = new Map<string, readonly Loss[]>();
  const victims = new Victims(world);
  for (const how of ["reset", "silent"] as const) {
    const word = how === "reset" ? "stream reset" : "silent";
    const alone: Loss[] = [];
    for (let i = 0; i < SINGLE_LOSSES; i++)
      alone.push(await lose(world, victims.take(1), how, ALARM_MS.single));
    losses.set(`a node, ${word}`, alone);
    const managers: Loss[] = [];
    for (let i = 0; i < MANAGER_LOSSES; i++) {
      const manager = present(world.manager(), "somebody manages");
      managers.push(await lose(world, [manager], how, ALARM_MS.single));
    }
    losses.set(`the manager's node, ${word}`, managers);
    const tenth = victims.take(Math.floor(nodes / 10));
    losses.set(`a tenth, ${word}`, [await lose(world, tenth, how, ALARM_MS.tenth)]);
  }
  world.meter.end();
  return { nodes, joins, traffic, losses, tookS: (performance.now() - startMs) / 1000 };
}
