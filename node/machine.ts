import { statfsSync } from "node:fs";
import { arch, availableParallelism, networkInterfaces, platform, totalmem } from "node:os";
import { FEATURE_LEVEL } from "../state/feature-level.ts";
import type { NodeFacts } from "../state/node-record.ts";
import type { DriverName, Resources } from "../state/spec.ts";
import type { NodeSettings } from "./config.ts";

/** What this machine has, and what the node says of itself. */

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
