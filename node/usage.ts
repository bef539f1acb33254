import { existsSync, readFileSync, statfsSync } from "node:fs";
import { availableParallelism, cpus, freemem, loadavg, totalmem } from "node:os";
import { performance } from "node:perf_hooks";
import type { Usage } from "../runtime/engine.ts";

/** What of this machine is used, as its kernel says. */

const MIB = 1024 * 1024;
/** Of the weight of what was measured last, so that one busy second does not pass for a busy node. */
const SMOOTHING = 4;

/** What an interface has received and sent since it is there. */
export interface Traffic {
  readonly rxBytes: number;
  readonly txBytes: number;
}

/**
 * Measures the machine's usage. Rates are of the time since the call before, and go into smoothed figures. The disk is
 * the file system that `dataDir` is on; the network is that of this process's namespace.
 */
export function usageMeter(dataDir: string): () => Usage {
  let before = { atMs: performance.now(), cpu: cpuTimes(), interfaces: readInterfaces() };
  const busy = new Smoothed();
  const rx = new Smoothed();
  const tx = new Smoothed();
  return () => {
    const now = { atMs: performance.now(), cpu: cpuTimes(), interfaces: readInterfaces() };
    const total = now.cpu.total - before.cpu.total;
    const share = busy.add(total === 0 ? 0 : (now.cpu.busy - before.cpu.busy) / total);
    const seconds = Math.max(1, now.atMs - before.atMs) / 1000;
    const moved = trafficBetween(before.interfaces, now.interfaces);
    before = now;
    const disk = statfsSync(dataDir);
    return {
      cpuMilli: Math.round(share * availableParallelism() * 1000),
      memoryMib: Math.round((totalmem() - freemem()) / MIB),
      // What is kept for root is free: as `df` counts.
      diskMib: Math.round(((disk.blocks - disk.bfree) * disk.bsize) / MIB),
      load1Milli: Math.round((loadavg()[0] ?? 0) * 1000),
      networkRxBytesPerS: moved === null ? null : Math.round(rx.add(moved.rxBytes / seconds)),
      networkTxBytesPerS: moved === null ? null : Math.round(tx.add(moved.txBytes / seconds)),
    };
  };
}

class Smoothed {
  #value: number | null = null;

  add(value: number): number {
    this.#value = this.#value === null ? value : this.#value + (value - this.#value) / SMOOTHING;
    return this.#value;
  }
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

/** By name, without the loopback; null where there is no such file: not Linux, or no /proc. */
function readInterfaces(): ReadonlyMap<string, Traffic> | null {
  try {
    const all = parseInterfaces(readFileSync("/proc/self/net/dev", "utf8"));
    return realOnes(all, (name) => existsSync(`/sys/class/net/${name}/device`));
  } catch {
    return null;
  }
}

/** The interfaces in the text of /proc/net/dev, without the loopback. */
export function parseInterfaces(text: string): Map<string, Traffic> {
  const found = new Map<string, Traffic>();
  for (const line of text.split("\n")) {
    const [, name = "", counts = ""] = /^\s*(\S+):\s*(.*)$/.exec(line) ?? [];
    // Eight figures of what came, of which the first are the bytes, then as many of what went.
    const figures = counts.split(/\s+/).map(Number);
    const [rxBytes, txBytes] = [figures[0], figures[8]];
    if (name === "" || name === "lo" || rxBytes === undefined || txBytes === undefined) continue;
    if (Number.isFinite(rxBytes + txBytes)) found.set(name, { rxBytes, txBytes });
  }
  return found;
}

/**
 * Those with hardware behind them: what a container sends passes a bridge and a pair of its own as well, and would count three
 * times. Where there are none, as in a container or namespace, all.
 */
export function realOnes(
  all: ReadonlyMap<string, Traffic>,
  hasHardware: (name: string) => boolean,
): ReadonlyMap<string, Traffic> {
  const real = new Map([...all].filter(([name]) => hasHardware(name)));
  return real.size > 0 ? real : all;
}

/** What those that are there both times moved meanwhile; null: nobody knows. One whose counters began anew moved nothing. */
export function trafficBetween(
  before: ReadonlyMap<string, Traffic> | null,
  now: ReadonlyMap<string, Traffic> | null,
): Traffic | null {
  if (before === null || now === null) return null;
  let rxBytes = 0;
  let txBytes = 0;
  for (const [name, after] of now) {
    const old = before.get(name);
    if (old === undefined) continue;
    rxBytes += Math.max(0, after.rxBytes - old.rxBytes);
    txBytes += Math.max(0, after.txBytes - old.txBytes);
  }
  return { rxBytes, txBytes };
}
