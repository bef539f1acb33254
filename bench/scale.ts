import { parseArgs } from "node:util";
import { loadavg } from "node:os";
import { present } from "../lib/assert.ts";
import { bound } from "../test/fixtures/process-cluster.ts";
import { measureProcesses } from "./scale/processes.ts";
import { type Measured, report, say } from "./scale/report.ts";
import { form, type Loss, lose, quiet, Victims } from "./scale/scenes.ts";
import { ScaleWorld } from "./scale/world.ts";

/**
 * What a cluster costs and how fast it is, against the number of its nodes:
 *
 *     node bench/scale.ts [--nodes 10,30,100,300,1000]
 *     node bench/scale.ts --processes 20,40
 *
 * Whole nodes in virtual time, with the messages' real bytes and nothing that goes wrong but what is measured: at rest, while all
 * but a few join at once, and after losses. CPU is the core's and that of making bytes of messages: what libp2p and the kernel take is
 * not in it. Virtual time does not wait for that CPU: a manager that needs a second for a second's work is too slow, whatever the times say.
 * `--processes`: so many real ones on loopback instead; needs Linux and /usr/bin/setpriv.
 */
const OPTIONS = {
  nodes: { type: "string", default: "10,30,100,300,1000" },
  processes: { type: "string" },
} as const;

const LIMIT_MS = 1_800_000;
/** So many nodes, drawn from all, fall for one figure: at the same time, since virtual time at a thousand nodes is dear. */
const SINGLE = 3;
const MANAGER_LOSSES = 2;
/** Few that fall are watched until their tasks are replaced, many for longer. */
const ALARM_MS = { few: 0, tenth: 8_000 };

const { values } = parseArgs({ options: OPTIONS });
bound(LIMIT_MS);
if (values.processes === undefined) await run(values.nodes.split(",").map(Number));
else for (const count of values.processes.split(",").map(Number)) await measureProcesses(count);
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
  const progress = (what: string): void => {
    const s = ((performance.now() - startMs) / 1000).toFixed(0);
    process.stderr.write(`${nodes} nodes: ${what} after ${s} s\n`);
  };
  const joins = await form(world, nodes);
  progress(`joined, ${JSON.stringify(joins)}`);
  const traffic = await quiet(world);
  progress(`measured at rest, ${JSON.stringify(traffic)}`);
  const losses = new Map<string, readonly Loss[]>();
  const victims = new Victims(world);
  for (const how of ["reset", "silent"] as const) {
    const word = how === "reset" ? "stream reset" : "silent";
    losses.set(`${SINGLE} nodes, ${word}`, [
      await lose(world, victims.take(SINGLE), how, ALARM_MS.few),
    ]);
    const managers: Loss[] = [];
    for (let i = 0; i < MANAGER_LOSSES; i++) {
      const manager = present(world.manager(), "somebody manages");
      managers.push(await lose(world, [manager], how, ALARM_MS.few));
    }
    losses.set(`the manager's node, ${word}`, managers);
    progress(`lost single ones (${word}), ${JSON.stringify([...losses])}`);
    const tenth = victims.take(Math.floor(nodes / 10));
    losses.set(`a tenth, ${word}`, [await lose(world, tenth, how, ALARM_MS.tenth)]);
  }
  world.meter.end();
  const [first, last] = [joins.endMs, world.queue.nowMs].map((ms) => Math.floor(ms / 1000));
  const seconds = Array.from(
    { length: (last ?? 0) - (first ?? 0) },
    (_, i) => (first ?? 0) + 1 + i,
  );
  const gossips = seconds.map((second) => world.gossips.get(second) ?? 0);
  return { nodes, joins, traffic, losses, gossips, tookS: (performance.now() - startMs) / 1000 };
}
