import { statfsSync } from "node:fs";
import {
  arch,
  availableParallelism,
  cpus,
  freemem,
  loadavg,
  networkInterfaces,
  platform,
  totalmem,
} from "node:os";
import type { Usage } from "../runtime/engine.ts";
import { FEATURE_LEVEL } from "../state/feature-level.ts";
import type { NodeFacts } from "../state/node-record.ts";
import type { DriverName, Resources } from "../state/spec.ts";
import type { NodeSettings } from "./config.ts";

/** What this machine has, what of it is used, and what the node says of itself. */

const MIB = 1024 * 1024;
/** Of the disk, a tenth stays free: full disks stop databases, orch's own among them. */
const DISK_SHARE_PERCENT = 90;

function capacity(settings: NodeSettings): Resources {
  const disk = statfsSync(settings.dataDir);
  return {
    cpuMilli: availableParallelism() * 1000 - settings.reserveCpuMilli,
    memoryMib: Math.floor(totalmem() / MIB) - settings.reserveMemoryMib,
    diskMib: Math.floor(((disk.blocks * disk.bsize) / MIB / 100) * DISK_SHARE_PERCENT),
  };
}

export function nodeFacts(
  settings: NodeSettings,
  drivers: readonly DriverName[],
  orchVersion: string,
): NodeFacts {
  return {
    name: settings.name,
    addresses: ownAddresses(settings, []),
    datacenter: settings.datacenter,
    labels: settings.labels,
    os: platform(),
    arch: arch(),
    resources: capacity(settings),
    drivers,
    publishAddress: settings.publish,
    portRange: settings.portRange,
    orchVersion,
    featureLevel: FEATURE_LEVEL,
    mayVote: settings.vote,
    mayWork: settings.worker,
  };
}

/** Where others reach this node now. `listeners`: what is really listened on, as port 0 becomes another. */
export function ownAddresses(
  { advertise, listen }: Pick<NodeSettings, "advertise" | "listen">,
  listeners: readonly string[],
): readonly string[] {
  const real = listen.map((address) => withRealPort(address, listeners));
  return [...new Set([...advertise, ...real.flatMap(reachable)])];
}

function withRealPort(address: string, listeners: readonly string[]): string {
  const match = /^(\/ip[46]\/)([^/]+)\/tcp\/0$/.exec(address);
  if (match === null) return address;
  const [, family = "", ip = ""] = match;
  const start = ip === "0.0.0.0" || ip === "::" ? family : `${family}${ip}/`;
  const port = listeners.find((listener) => listener.startsWith(start))?.split("/")[4];
  return `${family}${ip}/tcp/${port ?? 0}`;
}

/**
 * Tells where this node is reached, at once and whenever that has changed, and is the same when it is looked at
 * again: interfaces of containers come and go. Returns how to stop.
 */
export function followAddresses(
  look: () => readonly string[],
  tell: (addresses: readonly string[]) => void,
  everyMs: number,
): () => void {
  let seen = look();
  let told = seen;
  tell(told);
  const timer = setInterval(() => {
    const now = look();
    if (now.join() === seen.join() && now.join() !== told.join()) {
      told = now;
      tell(told);
    }
    seen = now;
  }, everyMs);
  return () => clearInterval(timer);
}

/** The addresses under which a listener is found: "all of them" is no address to dial. */
function reachable(address: string): string[] {
  const match = /^\/ip([46])\/(?:0\.0\.0\.0|::)\/(.*)$/.exec(address);
  if (match === null) return [address];
  const [, version, rest = ""] = match;
  const own = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ family, internal }) => !internal && family === `IPv${version}`)
    .map(({ address: ip }) => `/ip${version}/${ip}/${rest}`);
  return own.length > 0 ? own : [version === "4" ? `/ip4/127.0.0.1/${rest}` : `/ip6/::1/${rest}`];
}

/** Of the weight of what was measured last, so that one busy second does not pass for a busy node. */
const SMOOTHING = 4;

/** Measures the machine's usage; the processor's, since the call before, goes into a smoothed figure. */
export function usageMeter(dataDir: string): () => Usage {
  let before = cpuTimes();
  let smoothed: number | null = null;
  return () => {
    const now = cpuTimes();
    const total = now.total - before.total;
    const busy = total === 0 ? 0 : (now.busy - before.busy) / total;
    before = now;
    smoothed = smoothed === null ? busy : smoothed + (busy - smoothed) / SMOOTHING;
    const disk = statfsSync(dataDir);
    return {
      cpuMilli: Math.round(smoothed * availableParallelism() * 1000),
      memoryMib: Math.round((totalmem() - freemem()) / MIB),
      diskMib: Math.round(((disk.blocks - disk.bavail) * disk.bsize) / MIB),
      load1Milli: Math.round((loadavg()[0] ?? 0) * 1000),
    };
  };
}

function cpuTimes(): { total: number; busy: number } {
  let total = 0;
  let idle = 0;
  for (const { times } of cpus()) {
    total += times.user + times.nice + times.sys + times.irq + times.idle;
    idle += times.idle;
  }
  return { total, busy: total - idle };
}
