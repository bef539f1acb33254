import { quantile } from "../../bench/consensus/numbers.ts";
import type { Acked, Clients } from "./clients.ts";
import type { Done } from "./ground.ts";
import type { JobChanges } from "./job-changes.ts";
import type { Watch } from "./watch.ts";

/** Longer times without an acknowledged write are shown with what the nodes said meanwhile. */
const LONG_MS = 8_000;
const LINES = 60;

/** Says a line, with the time since the start of the load. */
export type Say = (text: string) => void;

/** What was done, and what came of it. */
export function report(
  say: Say,
  done: readonly Done[],
  clients: Clients,
  changes: JobChanges,
  watch: Watch,
): void {
  const kinds = new Map<string, number>();
  for (const { kind } of done) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  const { counts, acked } = clients;
  const times = acked.map(({ tookMs }) => tookMs);
  say(`faults: ${[...kinds].map(([kind, n]) => `${kind} ${n}`).join(", ")} (${done.length})`);
  say(
    `${clients.recorder.history.length} operations: ${counts.writes} writes (${acked.length} acknowledged, ${counts.refused} refused by their condition, ${counts.unknown} unknown, asked again ${counts.repeats} times), ${counts.reads} reads (and ${counts.lostReads} without an answer)`,
  );
  say(`acknowledged writes: p50 ${ms(quantile(times, 0.5))}, p99 ${ms(quantile(times, 0.99))}`);
  const jobs = changes.wanted.map(({ name, version }) => `${name} at version ${version}`);
  say(
    `${changes.counts.acked} changes of jobs (asked again ${changes.counts.repeats} times): ${jobs.join(", ")}`,
  );
  say(`${watch.managers} managers, ${watch.comparedStates} states compared by their index`);
}

/** The longest times without an acknowledged write, and why. Times of performance.now(); `startedMs`: of the load. */
export function longGaps(
  say: Say,
  done: readonly Done[],
  { acked }: Clients,
  watch: Watch,
  startedMs: number,
): void {
  const gaps = gapsOf(acked).toSorted((a, b) => b.toMs - b.fromMs - (a.toMs - a.fromMs));
  const [longest] = gaps;
  if (longest === undefined) return;
  say(`longest time without an acknowledged write: ${seconds(longest.toMs - longest.fromMs)}`);
  for (const { fromMs, toMs } of gaps.slice(0, 5)) {
    const faults = done.filter((each) => each.fromMs <= toMs && each.toMs >= fromMs - 500);
    say(
      `${seconds(toMs - fromMs)} from ${seconds(fromMs - startedMs)}, during: ${faults.map((each) => describe(each, fromMs)).join("; ")}`,
    );
    if (toMs - fromMs < LONG_MS) continue;
    for (const line of watch.timeline(fromMs, toMs).slice(0, LINES)) say(`    ${line}`);
  }
}

function describe({ kind, text, fromMs }: Done, sinceMs: number): string {
  return `${kind} ${text} at ${seconds(fromMs - sinceMs)}`;
}

function gapsOf(acked: readonly Acked[]): { fromMs: number; toMs: number }[] {
  const times = acked.map(({ atMs }) => atMs).toSorted((a, b) => a - b);
  return times.slice(1).map((toMs, at) => ({ fromMs: times[at] ?? toMs, toMs }));
}

export function seconds(timeMs: number): string {
  return `${(timeMs / 1_000).toFixed(2)} s`;
}

function ms(timeMs: number): string {
  return `${timeMs.toFixed(1)} ms`;
}
