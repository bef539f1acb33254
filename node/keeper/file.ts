import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { EngineAddress } from "../../runtime/docker-address.ts";
import { bootId, isAlive, type Leader, ownLeader } from "../../runtime/process-shim.ts";
import type { LeaseGuard } from "../../runtime/worker-lease.ts";

/**
 * What a node and its keeper tell each other, in files of the data folder: they outlive both. Nothing here is synced: after a power cut no container runs.
 */

/** What has to end with the lease, where it runs, and when that is. */
export interface LeaseNote extends LeaseGuard {
  /** Whose containers, and with which engine; null: the node has no engine. */
  readonly docker: {
    readonly address: EngineAddress;
    readonly clusterId: string;
    readonly nodeId: string;
  } | null;
}

/** The note as it stands in its file. */
interface Written extends Pick<LeaseNote, "tasks" | "docker"> {
  readonly boot: string | null;
  readonly untilUptimeMs: number;
}

function notePath(folder: string): string {
  return join(folder, "lease.json");
}

/** Times of the note: on the clock of `machineUptimeMs`. One write at a time. */
export async function writeNote(folder: string, note: LeaseNote): Promise<void> {
  const { untilMs, tasks, docker } = note;
  const written: Written = { boot: bootId(), untilUptimeMs: untilMs, tasks, docker };
  const path = notePath(folder);
  await writeFile(`${path}.new`, JSON.stringify(written), { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/** Null: there is none, it is cut short, or it is of before the machine started. */
export function readNote(folder: string): LeaseNote | null {
  try {
    const note: unknown = JSON.parse(readFileSync(notePath(folder), "utf8"));
    return isWritten(note) && note.boot === bootId()
      ? { untilMs: note.untilUptimeMs, tasks: note.tasks, docker: note.docker }
      : null;
  } catch {
    return null;
  }
}

/** Renamed into place when it was whole, so its outline says enough. */
function isWritten(value: unknown): value is Written {
  if (typeof value !== "object" || value === null) return false;
  const [until, tasks] = [Reflect.get(value, "untilUptimeMs"), Reflect.get(value, "tasks")];
  return Number.isFinite(until) && Array.isArray(tasks) && "docker" in value && "boot" in value;
}

function pidPath(folder: string): string {
  return join(folder, "keeper.pid");
}

/** This process is the keeper from now on. */
export function writePid(folder: string): void {
  writeFileSync(`${pidPath(folder)}.new`, JSON.stringify(ownLeader()), { mode: 0o600 });
  renameSync(`${pidPath(folder)}.new`, pidPath(folder));
}

/** This process is about to end. Another's mark stays. */
export function removePid(folder: string): void {
  if (readKeeper(folder)?.pid === process.pid) rmSync(pidPath(folder), { force: true });
}

/** The keeper that runs; null: none does. */
export function readKeeper(folder: string): Leader | null {
  try {
    const said: unknown = JSON.parse(readFileSync(pidPath(folder), "utf8"));
    return isLeader(said) && isAlive(said) ? said : null;
  } catch {
    return null;
  }
}

function isLeader(value: unknown): value is Leader {
  return (
    typeof value === "object" &&
    value !== null &&
    Number.isSafeInteger(Reflect.get(value, "pid")) &&
    "boot" in value &&
    "startTicks" in value
  );
}
