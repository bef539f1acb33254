import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Leader, parseStat } from "./process-shim.ts";

/** What a task's shim wrote of its last run; apart from process-files.ts, since a keeper needs this alone. */

export interface RunRecord {
  readonly run: number;
  readonly leader: Leader;
  readonly startedAtMs: number;
}

/** The last run that started; null when none did. */
export function readRun(folder: string): RunRecord | null {
  const path = join(folder, "run");
  const [run, pid, boot, stat, end] = (readText(path) ?? "").split("\n");
  if (end !== "end" || run === undefined || boot === undefined || stat === undefined) return null;
  const leader: Leader = {
    pid: Number(pid),
    boot: boot === "-" ? null : boot,
    startTicks: parseStat(stat)?.startTicks ?? null,
  };
  return { run: Number(run), leader, startedAtMs: changedAtMs(path) };
}

/** Null: it cannot be read. */
export function readText(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

export function changedAtMs(path: string): number {
  return Math.floor(statSync(path).mtimeMs);
}
