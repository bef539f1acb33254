import { quantile } from "../consensus/numbers.ts";
import type { Loss } from "./contender.ts";

/** What one contender did in all rounds of one kind. */
export interface Row {
  readonly contender: string;
  readonly name: string;
  readonly losses: readonly Loss[];
  /** From the fault to the next accepted write; empty: it was not asked for. */
  readonly acceptedMs: readonly number[];
  /** For the p99 of what is committed; null: nothing is asked of it. */
  readonly targetMs: number | null;
  /** Of this machine, over the last minute. */
  readonly load: number;
}

/** The rows as they come. */
export const HEAD = lineOf([
  "",
  "fault",
  "rounds",
  "down committed",
  "replacements committed",
  "replacements running",
  "next write accepted",
  "load",
]);

/** p50 and p99 of each; of fewer than a hundred rounds the p99 is the longest. */
export function rowLine({ contender, name, losses, acceptedMs, targetMs, load }: Row): string {
  const committed = losses.map(({ committedMs }) => committedMs);
  const isMet = targetMs !== null && quantile(committed, 0.99) <= targetMs;
  const asked = targetMs === null ? "" : ` (p99 <= ${targetMs}: ${isMet ? "met" : "missed"})`;
  return lineOf([
    contender,
    name,
    String(losses.length),
    cell(losses.map(({ downMs }) => downMs)),
    cell(committed) + asked,
    cell(losses.map(({ runningMs }) => runningMs)),
    acceptedMs.length === 0 ? "" : cell(acceptedMs),
    load.toFixed(1),
  ]);
}

/** One line for each fault that both contenders had. */
export function besideEachOther(rows: readonly Row[], ours: string, theirs: string): string[] {
  const lines = rows
    .filter(({ contender }) => contender === ours)
    .flatMap((our) => {
      const their = rows.find(({ contender, name }) => contender === theirs && name === our.name);
      if (their === undefined) return [];
      const both = (of: (row: Row) => readonly number[]): string[] =>
        [our, their].map((row) => (of(row).length === 0 ? "" : cell(of(row))));
      return lineOf([
        our.name,
        ...both(({ losses }) => losses.map(({ downMs }) => downMs)),
        ...both(({ losses }) => losses.map(({ committedMs }) => committedMs)),
        ...both(({ losses }) => losses.map(({ runningMs }) => runningMs)),
        ...both(({ acceptedMs }) => acceptedMs),
      ]);
    });
  const kinds = ["down", "committed", "running", "next write"];
  const names = kinds.flatMap((kind) => [`${kind}: ${ours}`, theirs]);
  return lines.length === 0 ? [] : [lineOf(["fault", ...names]), ...lines];
}

function cell(times: readonly number[]): string {
  return [quantile(times, 0.5), quantile(times, 0.99)].map((ms) => ms.toFixed(0)).join(" / ");
}

function lineOf(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}
