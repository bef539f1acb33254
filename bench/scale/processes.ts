import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { loadavg } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { freePorts } from "../../cli/dev-ports.ts";
import { present } from "../../lib/assert.ts";
import type { LocalView, NodeView } from "../../node/core/view-types.ts";
import { NodeProcess, until } from "../../test/fixtures/node-process.ts";
import { quantile } from "../consensus/numbers.ts";
import { onDisk } from "../consensus/processes.ts";
import { Events, type Heard } from "../node-loss/events.ts";
import { row, say } from "./report.ts";

const READY_MS = 180_000;
/** So many start at a time: each takes a second of a processor to begin. */
const AT_ONCE = 2;
const JOIN_TRIES = 5;
const CALM_MS = 10_000;
const MEASURE_MS = 15_000;
const KILLED = 3;
const LOSS_MS = 60_000;
/** The kernel's unit of CPU time in /proc. */
const TICKS_PER_SECOND = 100;

interface Usage {
  readonly cpuMs: number;
  readonly rssMib: number;
  readonly streams: number;
}

/** So many real nodes on loopback, without tasks: what each takes of the machine, and until a killed one is down. */
export async function measureProcesses(count: number): Promise<void> {
  const folder = mkdtempSync(join(onDisk(), "orch-scale-"));
  const ports = await freePorts(2 * count);
  const nodes = Array.from({ length: count }, (_, i) => {
    const [listen, api] = [`127.0.0.1:${ports[2 * i]}`, `127.0.0.1:${ports[2 * i + 1]}`];
    const place = { publish: "127.0.0.1", portRange: "20000-20099", namespace: null, docker: null };
    return new NodeProcess({ name: `n${i + 1}`, folder, listen, api, flags: [], ...place });
  });
  const destroy = (): void => {
    for (const node of nodes) node.destroy();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  };
  process.on("exit", destroy);
  try {
    await measure(nodes);
  } finally {
    destroy();
    process.off("exit", destroy);
  }
}

async function measure(nodes: readonly NodeProcess[]): Promise<void> {
  const startMs = performance.now();
  await start(nodes);
  const startedS = (performance.now() - startMs) / 1000;
  await delay(CALM_MS);
  const before = nodes.map(cpuMs);
  await delay(MEASURE_MS);
  const usages = nodes.map((node, i): Usage => {
    const spentMs = cpuMs(node) - (before[i] ?? 0);
    return { cpuMs: (spentMs * 1000) / MEASURE_MS, rssMib: rssMib(node), streams: streams(node) };
  });
  const views = await viewsOf(nodes);
  const kindOf = (i: number): string => {
    const role = views[i]?.role ?? "none";
    return role === "leader" ? "manager" : role === "none" ? "no log" : "log";
  };
  const [load = 0] = loadavg();
  say(
    `\n${nodes.length} processes, started in ${startedS.toFixed(0)} s, load ${load.toFixed(1)}; median / max`,
  );
  row("kind", "of them", "CPU, ms/s", "RSS, MiB", "TCP connections");
  for (const kind of ["no log", "log", "manager"]) {
    const of = usages.filter((_, i) => kindOf(i) === kind);
    if (of.length === 0) continue;
    const cell = (pick: (usage: Usage) => number): string =>
      [quantile(of.map(pick), 0.5), Math.max(...of.map(pick))].map((n) => n.toFixed(0)).join(" / ");
    row(
      kind,
      of.length,
      cell((usage) => usage.cpuMs),
      cell((usage) => usage.rssMib),
      cell((usage) => usage.streams),
    );
  }
  const manager = present(nodes[views.findIndex((view) => view.role === "leader")], "one leads");
  const victims = nodes.filter((_, i) => kindOf(i) === "no log").slice(-KILLED);
  await kill(manager, victims);
}

/** Until all are ready, know all others and agree on who manages. */
async function start(nodes: readonly NodeProcess[]): Promise<void> {
  const founder = present(nodes[0], "a cluster has a node");
  founder.start("init");
  await founder.ready(READY_MS);
  const { token } = await founder.get<{ token: string }>("/v1/nodes/token");
  for (let at = 1; at < nodes.length; at += AT_ONCE) {
    const batch = nodes.slice(at, at + AT_ONCE);
    await Promise.all(batch.map((node) => joined(node, founder.plan.listen, token)));
  }
  await until(
    () => "not all are ready",
    async () => {
      const known = await founder.get<readonly NodeView[]>("/v1/nodes", READY_MS);
      const ready = known.filter(({ status }) => status === "ready");
      return ready.length === nodes.length ? true : null;
    },
    READY_MS,
    250,
  );
}

/** Where the machine is too busy to answer a joiner in time it is told so, and asks again. */
async function joined(node: NodeProcess, door: string, token: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    node.start("join", door, "--token", token);
    try {
      await node.ready(READY_MS);
      return;
    } catch (error) {
      if (tries === JOIN_TRIES || node.state !== "down") throw error;
      node.death = null;
    }
  }
}

async function viewsOf(nodes: readonly NodeProcess[]): Promise<readonly LocalView[]> {
  return Promise.all(
    nodes.map((node) =>
      until(
        () => `${node.name} does not answer`,
        () => node.raft(),
        READY_MS,
      ),
    ),
  );
}

function isDown({ event }: Heard): boolean {
  return event.type === "node" && event.to === "down";
}

/** One after the other, as the manager tells it in its task log. */
async function kill(manager: NodeProcess, victims: readonly NodeProcess[]): Promise<void> {
  const events = new Events([manager]);
  // It tells all that ever was first.
  await until(
    () => "the manager does not tell its events",
    () => events.heard.some(({ event }) => event.node === victims.at(-1)?.id) || null,
    LOSS_MS,
  );
  const earlier = events.heard.filter(isDown).length;
  const times: number[] = [];
  for (const victim of victims) {
    const from = events.heard.length;
    const killedMs = performance.now();
    victim.signal("SIGKILL");
    const heard = await until(
      () => `${victim.name} is not down`,
      () =>
        events.heard.slice(from).find((one) => isDown(one) && one.event.node === victim.id) ?? null,
      LOSS_MS,
      5,
    );
    times.push(heard.atMs - killedMs);
  }
  events.end();
  const others = events.heard.filter(isDown).length - earlier - victims.length;
  const words = times.map((ms) => ms.toFixed(0)).join(", ");
  say(
    `kill -9, ms until down: ${words}; ${others} others taken for down, ${earlier} while they started`,
  );
}

function cpuMs({ pid }: NodeProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]?.split(" ") ?? [];
  // The 14th and 15th, counted with the two that stand before the bracket.
  const ticks = Number(fields[11]) + Number(fields[12]);
  return (ticks * 1000) / TICKS_PER_SECOND;
}

function rssMib({ pid }: NodeProcess): number {
  const line = /VmRSS:\s*(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
  return Number(line?.[1] ?? 0) / 1024;
}

/** Established connections of the process. */
function streams({ pid }: NodeProcess): number {
  const ESTABLISHED = "01";
  const inodes = new Set(
    readFileSync(`/proc/${pid}/net/tcp`, "latin1")
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[3] === ESTABLISHED)
      .map((fields) => fields[9]),
  );
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return inodes.has(/socket:\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]);
    } catch {
      // Closed since the folder was read.
      return false;
    }
  }).length;
}
