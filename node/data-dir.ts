import { randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fault, OrchError } from "../lib/errors.ts";
import type { ErrorCode } from "../lib/errors.ts";
import { FIRST_RECORD } from "./disk-log.ts";
import { createSegments, segmentNumbers } from "./disk-segments.ts";

/**
 * The data folder: one process at a time, one format, and whole or refused.
 *
 *     lock          held by the running process, empty
 *     format.json   {"format": 1, "createdBy": "orch 0.1.0"}
 *     identity.key  the node's private key (written by the node, not here)
 *     log.id        the random id of the log
 *     log/          the segments of the log, each with the same id (disk-segments.ts)
 *     snapshots/    a file each; the log names the one that it begins from (made by disk-snapshots.ts)
 *
 * A new folder gets its log as `log-new`, then log.id, then format.json, and only then is the log renamed
 * to `log`. So a folder with a format.json has once had all of them: what is missing was deleted, and a
 * node that lost its log must not vote as if it had never promised anything. A folder without one is new
 * (the rest of an interrupted creation is made again) or has lost it.
 *
 * The lock is a POSIX record lock, since the kernel frees it however the process ends, it holds across
 * containers that share the folder (an abstract socket is per network namespace), and taking it is one
 * atomic step (a file with a pid can be taken over twice at once). Node has no call for it; its SQLite
 * has: BEGIN IMMEDIATE takes it, and nothing is ever written to that database. Such a lock is also lost
 * when the process closes any other descriptor of the file: nobody else may open `lock`.
 */
export interface DataDir {
  readonly path: string;
  /** Random, in hex; the log's segments must hold the same. */
  readonly logId: string;
  /** Frees the folder. Idempotent. */
  release(): void;
}

/** The node's private key, within the data folder. */
export const KEY_FILE = "identity.key";
/** The log's folder, within the data folder. */
export const LOG_FOLDER = "log";
/** The folder of the snapshots, within the data folder. */
export const SNAPSHOT_FOLDER = "snapshots";

const FORMAT = 1;
const FORMAT_FILE = "format.json";
const LOCK_FILE = "lock";
const LOG_ID_FILE = "log.id";
const NEW_LOG_FOLDER = "log-new";
const PROBE_FILE = "probe";
const TEMPORARY = ".tmp";
const LOG_ID = /^[0-9a-f]{32}$/;
/** What an interrupted creation may leave behind, and what a new file system begins with. */
const NOTHING_YET: ReadonlySet<string> = new Set([
  LOCK_FILE,
  LOG_ID_FILE,
  NEW_LOG_FOLDER,
  "lost+found",
]);
const REJOIN =
  "Keep the folder for a look at it, and start again with an empty one under a new identity: `orch node join` with --data-dir of an empty folder.";

/** Locks that this process holds: a lock whose object is collected would be free without anyone's doing. */
const held = new Set<DatabaseSync>();

/**
 * Opens the data folder for this process, and makes it (mode 0700) when it is not there. `version` is
 * orch's own, for the record of who made the folder.
 * Throws OrchError data-in-use, data-newer, data-damaged or data-unwritable; then nothing is locked.
 */
export async function openDataDir(dir: string, version: string): Promise<DataDir> {
  const path = resolve(dir);
  // Before anything of it is touched: it may be somebody else's, /tmp for instance.
  refuseForeign(path);
  trying(path, "cannot make or write to the folder", () => {
    makeFolder(path);
    probe(path);
  });
  const lock = takeLock(path);
  try {
    const names = trying(path, "cannot read the folder", () => readdirSync(path));
    if (names.includes(FORMAT_FILE)) checkFormat(path);
    else create(path, names, version);
    const logId = checkWhole(path);
    held.add(lock);
    return {
      path,
      logId,
      release: () => {
        if (held.delete(lock)) lock.close();
      },
    };
  } catch (error) {
    lock.close();
    throw error;
  }
}

/** The fault of a data folder that is there but cannot be trusted. `what` follows the folder's path. */
export function damaged(path: string, what: string, cause?: unknown): OrchError {
  return refusal("data-damaged", path, what, REJOIN, cause);
}

/** The fault of a disk that does not take what must be written. `what` says what was tried. */
export function unwritable(path: string, what: string, cause: unknown): OrchError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const hint =
    "Check that the disk is mounted read-write, healthy and has free space, and that orch may write there. Then start the node again.";
  return refusal("data-unwritable", path, `${what}: ${reason}`, hint, cause);
}

function makeFolder(path: string): void {
  mkdirSync(dirname(path), { recursive: true });
  try {
    mkdirSync(path, { mode: 0o700 });
    syncFolder(dirname(path));
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  }
  // It holds the node's key and the log: nobody else's business, whoever made the folder.
  if ((statSync(path).mode & 0o777) !== 0o700) chmodSync(path, 0o700);
}

/** Whether a synced write succeeds at all: a full or read-only disk is better found before the start. */
function probe(path: string): void {
  const file = join(path, `${PROBE_FILE}.${process.pid}${TEMPORARY}`);
  try {
    writeSynced(file, Buffer.alloc(4096));
  } finally {
    rmSync(file, { force: true });
  }
}

function takeLock(path: string): DatabaseSync {
  const file = join(path, LOCK_FILE);
  let lock: DatabaseSync | null = null;
  try {
    lock = new DatabaseSync(file);
    // The journal stays in memory: the lock is all that is wanted of this database.
    lock.exec("PRAGMA journal_mode = MEMORY; BEGIN IMMEDIATE");
    return lock;
  } catch (error) {
    lock?.close();
    if (!(error instanceof Error) || !error.message.includes("locked"))
      throw unwritable(path, "cannot take its lock", error);
    const pid = holderOf(file);
    const who = pid === null ? "another process" : `process ${pid}`;
    throw new OrchError(
      fault(
        "data-in-use",
        `The data folder ${path} is in use by ${who}.`,
        "Stop that node, or give this one a data folder of its own with --data-dir.",
        { dir: path, pid },
      ),
      error,
    );
  }
}

/** The pid that holds a record lock on the file; null when the kernel does not tell. */
function holderOf(file: string): number | null {
  try {
    const inode = statSync(file).ino;
    for (const line of readFileSync("/proc/locks", "utf8").split("\n")) {
      const [, kind, , , pid, place] = line.split(/\s+/u);
      if (kind === "POSIX" && place?.endsWith(`:${inode}`) === true && Number(pid) > 0)
        return Number(pid);
    }
  } catch {
    // Only for the message: a kernel without /proc/locks costs it the pid.
  }
  return null;
}

function checkFormat(path: string): void {
  const text = trying(path, `cannot read ${FORMAT_FILE}`, () =>
    readFileSync(join(path, FORMAT_FILE), "utf8"),
  );
  let format: unknown = null;
  let createdBy: unknown = null;
  try {
    const content: unknown = JSON.parse(text);
    if (typeof content === "object" && content !== null) {
      format = "format" in content ? content.format : null;
      createdBy = "createdBy" in content ? content.createdBy : null;
    }
  } catch (error) {
    throw damaged(path, `${FORMAT_FILE} is not JSON`, error);
  }
  if (typeof format !== "number" || !Number.isInteger(format) || format < 1) {
    throw damaged(path, `${FORMAT_FILE} does not name a format`);
  }
  if (format > FORMAT) {
    throw new OrchError(
      fault(
        "data-newer",
        `The data folder ${path} has format ${format}, made by ${String(createdBy)}; this orch reads up to ${FORMAT}.`,
        "Use the newer orch that last ran here: an older one cannot read what it wrote.",
        { dir: path, format, supported: FORMAT },
      ),
    );
  }
}

function refuseForeign(path: string): void {
  if (!existsSync(path)) return;
  const names = trying(path, "cannot read the folder", () => readdirSync(path));
  if (!names.includes(FORMAT_FILE)) refuseLeft(path, names);
}

function refuseLeft(path: string, names: readonly string[]): void {
  const left = names.filter((name) => !NOTHING_YET.has(name) && !name.endsWith(TEMPORARY));
  if (left.length > 0) {
    const there = left.toSorted().join(", ");
    throw damaged(
      path,
      `${FORMAT_FILE} is missing, but there is ${there}: not a folder of orch, or one that lost a part`,
    );
  }
}

function create(path: string, names: readonly string[], version: string): void {
  refuseLeft(path, names);
  const logId = randomBytes(16).toString("hex");
  const log = join(path, NEW_LOG_FOLDER);
  try {
    rmSync(log, { recursive: true, force: true });
    mkdirSync(log, { mode: 0o700 });
    createSegments(log, logId, FIRST_RECORD);
    syncFolder(log);
    writeDurably(path, LOG_ID_FILE, `${logId}\n`);
    writeDurably(
      path,
      FORMAT_FILE,
      `${JSON.stringify({ format: FORMAT, createdBy: `orch ${version}` })}\n`,
    );
  } catch (error) {
    throw unwritable(path, "cannot make the log", error);
  }
}

/** The log's id, once all parts are there. Finishes a creation that was interrupted at its last step. */
function checkWhole(path: string): string {
  const log = join(path, LOG_FOLDER);
  const made = join(path, NEW_LOG_FOLDER);
  if (!existsSync(log) && existsSync(made)) {
    trying(path, "cannot make the log", () => {
      renameSync(made, log);
      syncFolder(path);
    });
  }
  if (!existsSync(log))
    throw damaged(path, `the log is missing (the folder ${LOG_FOLDER}), ${presence(path)}`);
  if (trying(path, "cannot read the log", () => segmentNumbers(log)).length === 0)
    throw damaged(path, `the log is missing (${LOG_FOLDER} holds no segment), ${presence(path)}`);
  if (!existsSync(join(path, LOG_ID_FILE)))
    throw damaged(path, `${LOG_ID_FILE} is missing, but the log is there`);
  const logId = trying(path, `cannot read ${LOG_ID_FILE}`, () =>
    readFileSync(join(path, LOG_ID_FILE), "utf8"),
  ).trim();
  if (!LOG_ID.test(logId)) throw damaged(path, `${LOG_ID_FILE} does not hold the id of a log`);
  return logId;
}

function presence(path: string): string {
  return existsSync(join(path, KEY_FILE))
    ? `but the node's key (${KEY_FILE}) is there`
    : `and so is the node's key (${KEY_FILE})`;
}

/** Replaces a file: the old content or the new one, whatever happens. */
function writeDurably(folder: string, name: string, text: string): void {
  const temporary = join(folder, `${name}${TEMPORARY}`);
  writeSynced(temporary, Buffer.from(text));
  renameSync(temporary, join(folder, name));
  syncFolder(folder);
}

function writeSynced(file: string, bytes: Uint8Array): void {
  const fd = openSync(file, "w", 0o600);
  try {
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function syncFolder(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** What `work` returns; the system's refusal as data-unwritable. */
function trying<T>(path: string, what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof OrchError) throw error;
    throw unwritable(path, what, error);
  }
}

function refusal(
  code: ErrorCode,
  path: string,
  what: string,
  hint: string,
  cause: unknown,
): OrchError {
  return new OrchError(
    fault(code, `The data folder ${path}: ${what}.`, hint, { dir: path }),
    cause,
  );
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : null;
}
