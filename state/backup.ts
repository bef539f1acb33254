import type { ClusterState, FrozenState } from "./cluster.ts";
import { SnapshotReader, snapshotChunks } from "./snapshot.ts";
import { SnapshotError } from "./snapshot-shape.ts";

/*
 * A backup is text, a JSON object a line:
 *
 *   {"orchBackup": 1, …}             what it is a backup of, and as of when
 *   …                                a snapshot's chunks, without the join secret and the idempotency keys
 *   {"lines": 7, "sha256": "…"}      how many lines came before, and the hash of them, line ends included
 */

const FORMAT = 1;

export interface BackupHead {
  readonly orchBackup: number;
  readonly clusterId: string;
  /** The log index that it reflects. */
  readonly index: number;
  /** When it was made: ISO 8601, UTC. */
  readonly time: string;
  readonly orchVersion: string;
}

/** What a backup must end with. */
export interface BackupEnd {
  readonly lines: number;
  /** Of all lines before, in hexadecimal. */
  readonly sha256: string;
}

/** All lines but the last, each without its line end and made when it is asked for. */
export function* backupLines(
  frozen: FrozenState,
  about: Omit<BackupHead, "orchBackup" | "clusterId">,
): Generator<string> {
  const head: BackupHead = {
    orchBackup: FORMAT,
    clusterId: frozen.scalars.clusterId,
    ...about,
  };
  yield JSON.stringify(head);
  const decoder = new TextDecoder();
  // Whoever holds a backup must not be able to join, nor be answered in another's place.
  const kept = { ...frozen, scalars: { ...frozen.scalars, joinSecret: "" }, answers: [] };
  for (const chunk of snapshotChunks(kept)) yield decoder.decode(chunk);
}

/** Reads a backup line by line. Throws SnapshotError where it is damaged, cut off, foreign or newer. */
export class BackupReader {
  readonly #snapshot = new SnapshotReader();
  readonly #encoder = new TextEncoder();
  #head: BackupHead | null = null;
  #lines = 0;
  #end: BackupEnd | null = null;

  /** Takes the next line, without its line end. Returns the end's facts once it has come, which the caller compares. */
  add(line: string): BackupEnd | null {
    if (this.#end !== null) throw new SnapshotError("backup: more follows its last line");
    if (this.#head === null) {
      this.#head = headOf(line);
    } else {
      const end = endOf(line);
      if (end !== null) {
        if (end.lines !== this.#lines) {
          throw new SnapshotError(`backup: ${this.#lines} lines instead of ${end.lines}`);
        }
        this.#end = end;
        return end;
      }
      this.#snapshot.add(this.#encoder.encode(line));
    }
    this.#lines += 1;
    return null;
  }

  /** Once all has come. */
  finish(): { readonly head: BackupHead; readonly state: ClusterState } {
    const head = this.#head;
    if (head === null || this.#end === null) {
      throw new SnapshotError(`backup: it ends after ${this.#lines} lines, before its last one`);
    }
    return { head, state: this.#snapshot.finish() };
  }
}

function headOf(line: string): BackupHead {
  const value = parse(line);
  const { orchBackup, clusterId, index, time, orchVersion } = value;
  if (typeof orchBackup === "number" && orchBackup > FORMAT) {
    const message = `backup: format ${orchBackup}, this orch reads up to ${FORMAT}`;
    throw new SnapshotError(message, "data-newer");
  }
  if (
    orchBackup !== FORMAT ||
    typeof clusterId !== "string" ||
    typeof index !== "number" ||
    typeof time !== "string" ||
    typeof orchVersion !== "string"
  ) {
    throw new SnapshotError("backup: its first line is not that of a backup of orch");
  }
  return { orchBackup, clusterId, index, time, orchVersion };
}

/** Null: the line is another. */
function endOf(line: string): BackupEnd | null {
  // The end alone begins so: no chunk of a snapshot names lines.
  if (!line.startsWith('{"lines":')) return null;
  const { lines, sha256 } = parse(line);
  if (typeof lines !== "number" || typeof sha256 !== "string") {
    throw new SnapshotError("backup: its last line says no sum");
  }
  return { lines, sha256 };
}

function parse(line: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new SnapshotError("backup: a line is not JSON");
  }
  if (typeof value !== "object" || value === null) {
    throw new SnapshotError("backup: a line is no object");
  }
  return { ...value };
}
