import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Events } from "../../bench/node-loss/events.ts";
import type { NodeView } from "../../node/core/view-types.ts";
import { bound, ProcessCluster } from "../fixtures/process-cluster.ts";
import { FIXED_JOBS, settledJobs, startJobs } from "./jobs.ts";
import { Namespaces } from "./namespaces.ts";

/**
 * Nodes that are hard pressed, none of which is gone: every core busy with something else, and on every line one packet of twenty lost:
 *
 *     npm run alarms -- [--nodes 5] [--minutes 30] [--folder DIR]
 *
 * Exits with 1 when one is taken for down, or changes its tasks. Needs root, Linux, `ip` and `iptables`.
 */
const OPTIONS = {
  nodes: { type: "string", default: "5" },
  minutes: { type: "string", default: "30" },
  folder: { type: "string" },
} as const;

const SLACK_MS = 300_000;
const LOOK_EVERY_MS = 1_000;

const { values } = parseArgs({ options: OPTIONS });
const minutes = Number(values.minutes);
const count = Number(values.nodes);
if (process.getuid?.() !== 0 || !existsSync("/usr/bin/setpriv")) {
  process.stderr.write("this needs Linux, root and /usr/bin/setpriv\n");
  process.exit(2);
}
bound(minutes * 60_000 + SLACK_MS);
process.exit(await run());

async function run(): Promise<number> {
  const namespaces = new Namespaces(count);
  const cluster = await ProcessCluster.start({
    nodes: count,
    flags: [],
    parent: values.folder ?? null,
    places: namespaces.places,
    docker: null,
  });
  await startJobs(cluster, Math.ceil(minutes * 60) + SLACK_MS / 1_000);
  await settledJobs(cluster, FIXED_JOBS);
  const events = new Events(cluster.nodes);
  const before = events.heard.length;
  for (const { namespace } of namespaces.places) namespaces.disturb(namespace);
  const burners = Array.from({ length: availableParallelism() }, burn);
  say(`${count} nodes, ${minutes} minutes, ${burners.length} busy processes, 5 % of packets lost`);
  const suspicions = await look(cluster, performance.now() + minutes * 60_000);
  const [, load = 0] = loadavg();
  for (const burner of burners) burner.kill("SIGKILL");
  events.end();
  const heard = events.heard.slice(before).map(({ event }) => event);
  const alarms = heard.filter(({ type, to }) => type === "node" && to === "down");
  const moved = heard.filter(({ type, to }) => type === "task" && to === "lost");
  for (const { time, message } of [...alarms, ...moved]) say(`${time} ${message}`);
  say(
    `${alarms.length} nodes taken for down, ${moved.length} tasks lost, ${suspicions} looks at which a node was suspect; load ${load.toFixed(1)}`,
  );
  cluster.destroy();
  return alarms.length + moved.length === 0 ? 0 : 1;
}

/** A process that does nothing but that, as important as any other, and no longer than this one. */
function burn(): ChildProcess {
  const words = ["--pdeathsig", "KILL", "--", process.execPath, "-e", "for (;;);"];
  return spawn("/usr/bin/setpriv", words, { stdio: "ignore" });
}

/** Returns how often a node was seen to be suspect. */
async function look(cluster: ProcessCluster, endMs: number): Promise<number> {
  let suspicions = 0;
  while (performance.now() < endMs) {
    try {
      const manager = await cluster.manager();
      const nodes = await manager?.get<readonly NodeView[]>("/v1/nodes");
      suspicions += nodes?.filter(({ status }) => status === "suspect").length ?? 0;
    } catch {
      // A busy node may answer late; that is not what is looked for.
    }
    await delay(LOOK_EVERY_MS);
  }
  return suspicions;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
