import { existsSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { bound } from "../test/fixtures/process-cluster.ts";
import { count, refuse } from "./arguments.ts";
import { quantile } from "./consensus/numbers.ts";
import { etcdVersion } from "./consensus/systems.ts";
import { EtcdContender } from "./failover/etcd.ts";
import { OrchContender } from "./failover/orch.ts";
import { type Contender, type Failover, firstWrite, PROBE_EVERY_MS } from "./failover/probe.ts";
import { measureTransfers } from "./failover/transfers.ts";

/**
 * How long a cluster of three processes on this machine takes no writes when its leader goes:
 *
 *     node bench/failover.ts [--kills 100] [--cuts 20] [--transfers 50] [--etcd-kills 20] [--folder DIR]
 *
 * A kill is kill -9 of the leader, a silent cut is SIGSTOP (its connections stay open), a transfer is planned, under
 * the writes of 16 clients. Where the Debian package etcd-server is installed, three etcd are killed and cut likewise.
 */
const OPTIONS = {
  kills: { type: "string", default: "100" },
  cuts: { type: "string", default: "20" },
  transfers: { type: "string", default: "50" },
  "etcd-kills": { type: "string", default: "20" },
  folder: { type: "string" },
} as const;

const KILL_TARGETS = { p50: 300, p99: 1_500 } as const;
const CUT_TARGETS = { p50: 2_000 } as const;
const TRANSFER_TARGETS = { p50: 50 } as const;
/** A failover that took longer is shown with what the survivors said meanwhile. */
const OUTLIER_MS = 1_500;
const CUT_OUTLIER_MS = 4_000;
const FAILURES_SHOWN = 10;

interface Targets {
  readonly p50?: number;
  readonly p99?: number;
}

const { values } = parseArgs({ options: OPTIONS });
const kills = count(values.kills, "--kills");
const cuts = count(values.cuts, "--cuts");
const transfers = count(values.transfers, "--transfers");
const etcdKills = count(values["etcd-kills"], "--etcd-kills");
const parent = values.folder ?? null;
bound(300_000 + (kills + cuts + etcdKills) * 20_000 + transfers * 5_000);
if (!existsSync("/usr/bin/setpriv")) refuse("this needs Linux with /usr/bin/setpriv");
await run();
process.exit(0);

async function run(): Promise<void> {
  say(`three processes on one machine (${cpus().length} × ${cpus()[0]?.model ?? "?"})`);
  say(
    `a write to each survivor every ${PROBE_EVERY_MS} ms: times are up to that and one write's time too long`,
  );
  head();
  const orch = await OrchContender.start(parent);
  row("orch, leader killed", await many(orch, kills, killed), KILL_TARGETS);
  row("orch, leader cut off silently", await many(orch, cuts, cutOff), CUT_TARGETS);
  await planned(orch);
  orch.end();
  if (etcdKills === 0) return;
  const version = etcdVersion();
  if (version === null) {
    say("no etcd: install the Debian package etcd-server to have it measured beside orch");
    return;
  }
  const etcd = await EtcdContender.start(parent);
  row(`etcd, leader killed`, await many(etcd, etcdKills, killed), {});
  row(`etcd, leader cut off silently`, await many(etcd, Math.min(cuts, etcdKills), cutOff), {});
  etcd.end();
  say(version);
}

async function many(
  of: Contender,
  times: number,
  once: (of: Contender) => Promise<Failover>,
): Promise<number[]> {
  const took: number[] = [];
  for (let made = 1; made <= times; made++) {
    const { tookMs, timeline } = await once(of);
    took.push(tookMs);
    if (tookMs < (once === killed ? OUTLIER_MS : CUT_OUTLIER_MS)) continue;
    say(`${of.name}, ${once.name} ${made}: ${ms(tookMs)}, load ${load()}`);
    for (const line of timeline) say(`    ${line}`);
  }
  return took;
}

async function killed(of: Contender): Promise<Failover> {
  const { leader, others } = await of.whole();
  const sinceMs = performance.now();
  await of.kill(leader);
  const failover = await firstWrite(others, sinceMs);
  of.restart(leader);
  return failover;
}

async function cutOff(of: Contender): Promise<Failover> {
  const { leader, others } = await of.whole();
  const sinceMs = performance.now();
  of.pause(leader);
  try {
    return await firstWrite(others, sinceMs);
  } finally {
    of.resume(leader);
  }
}

async function planned(orch: OrchContender): Promise<void> {
  if (transfers === 0) return;
  const found = await measureTransfers(orch, transfers);
  if (found === null) {
    say("this orch cannot be asked to hand over: planned transfers are left out");
    return;
  }
  const { gapsMs, calmMs, tookMs, writes, failed, failedTransfers } = found;
  row("orch, longest gap without a transfer", calmMs, {});
  row("orch, longest gap around a transfer", gapsMs, TRANSFER_TARGETS);
  row("orch, the transfer itself", tookMs, {});
  const failures = [...failed.values()].reduce((sum, times) => sum + times, 0);
  const verdict = failures === 0 && failedTransfers === 0 ? "yes" : "no";
  say(
    `${writes} writes of 16 clients meanwhile, ${failures} failed, ${failedTransfers} transfers failed; asked for: none ${verdict}`,
  );
  for (const [why, times] of [...failed].slice(0, FAILURES_SHOWN)) say(`    ${times} x ${why}`);
}

function head(): void {
  const names = ["times", "p50", "p90", "p99", "max", "load"];
  say(`\n${"".padEnd(40)}${names.map((name) => name.padStart(10)).join("")}   asked for`);
}

function row(name: string, took: readonly number[], targets: Targets): void {
  if (took.length === 0) return;
  const at = (part: number): number => quantile(took, part);
  const cells = [
    String(took.length),
    ...[at(0.5), at(0.9), at(0.99), Math.max(...took)].map(ms),
    load(),
  ];
  const asked = (["p50", "p99"] as const).flatMap((part) => {
    const target = targets[part];
    if (target === undefined) return [];
    const held = at(part === "p50" ? 0.5 : 0.99) <= target ? "yes" : "no";
    return `${part} <= ${target} ms ${held}`;
  });
  say(`${name.padEnd(40)}${cells.map((cell) => cell.padStart(10)).join("")}   ${asked.join(", ")}`);
}

function ms(timeMs: number): string {
  return `${timeMs.toFixed(0)} ms`;
}

function load(): string {
  return (loadavg()[0] ?? 0).toFixed(1);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
