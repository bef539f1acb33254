import { existsSync } from "node:fs";
import { join } from "node:path";
import type { SnapshotId, SnapshotMeta } from "../consensus/snapshot.ts";
import { assert } from "../lib/assert.ts";
import type { DataDir } from "./data-dir.ts";
import { damaged, KEY_FILE, LOG_FOLDER, unwritable } from "./data-dir.ts";
import {
  beginningOf,
  lastOf,
  oldestOf,
  placed,
  recordOf,
  Replay,
  stateAfter,
  wrongCut,
} from "./disk-log.ts";
import type { Kept, LogState } from "./disk-log.ts";
import { Damage, encodeRecord } from "./disk-records.ts";
import type { Marker } from "./disk-records.ts";
import { readSegments, Segments } from "./disk-segments.ts";
import type { Tail } from "./disk-segments.ts";
import { SnapshotFolder } from "./disk-snapshots.ts";
import { FailStop } from "./fail-stop.ts";
import type { Disk, DiskImage, DiskWrite, SnapshotInbox, SnapshotSum } from "./storage.ts";

/**
 * The disk port over a write-ahead log. Each write is one record and one synced write to a file, done off
 * the main thread, so that the event loop lives through a stalled disk. The bytes of a record and how a torn
 * one is told from a damaged one: disk-frames.ts; what a record says: disk-records.ts; what the records
 * come to: disk-log.ts; the files: disk-segments.ts. Snapshots are files beside the log:
 * disk-snapshots.ts (which there are), disk-snapshot-file.ts (one of them). The order that makes them
 * safe: the file is durable, then one record marks it and cuts the log, then older files go.
 *
 * Only the last record can be torn: one write is in flight at a time. A torn one was never acknowledged; it
 * is cleared away before anything else is written. Whatever else does not fit is damage, and nothing is
 * ever cut off: what it would lose may have been acknowledged. What no check on this disk can find is an
 * older state that is whole in itself: a disk that lost the last synced write, or a sector of it, so that
 * zeros are there again, or an old copy of the folder put back. A data folder must never be restored.
 */
export interface OpenDisk {
  readonly disk: Disk;
  readonly image: DiskImage;
}

/**
 * Opens the log of a data folder and reads all of it. The disk's `close` releases the folder.
 * Throws OrchError data-damaged (the message names what failed) or data-unwritable; the folder then
 * stays locked until the caller releases it.
 */
export async function openDisk(dir: DataDir): Promise<OpenDisk> {
  const { image, state, tail } = readLog(dir);
  if (image.identity !== null && !existsSync(join(dir.path, KEY_FILE))) {
    throw damaged(
      dir.path,
      `the node's key (${KEY_FILE}) is missing, but the log of node ${image.identity.node} is there`,
    );
  }
  const failStop = new FailStop();
  const snapshots = await SnapshotFolder.open(dir.path, state.marker, failStop);
  const segments = takeOver(dir, tail);
  const { identity, worker } = image;
  const disk = new LogDisk({ dir, segments, snapshots, failStop }, state, { identity, worker });
  return { disk, image };
}

interface Parts {
  readonly dir: DataDir;
  readonly segments: Segments;
  readonly snapshots: SnapshotFolder;
  readonly failStop: FailStop;
}

class LogDisk implements Disk {
  readonly #parts: Parts;
  #state: LogState;
  #kept: Kept;
  /** The write in flight, or the last one: settles when it does, and never rejects. */
  #last: Promise<void> = Promise.resolve();
  /** What is done beside the writes, and never rejects: `close` waits for it. */
  readonly #beside = new Set<Promise<void>>();
  #closing: Promise<void> | null = null;

  constructor(parts: Parts, state: LogState, kept: Kept) {
    this.#parts = parts;
    this.#state = state;
    this.#kept = kept;
    this.#removeDead();
  }

  write(write: DiskWrite): Promise<void> {
    if (this.#closing !== null) return Promise.reject(closed());
    // Looked up now, not when its turn comes: what the write names must be durable when it is called.
    const { snapshots, failStop } = this.#parts;
    const saved = write.cut === null ? null : snapshots.find(write.cut.meta);
    const done = this.#last.then(() => failStop.run(() => this.#commit(write, saved)));
    this.#last = done.catch(() => {});
    return done;
  }

  saveSnapshot(meta: SnapshotMeta, chunks: Iterable<Uint8Array>): Promise<void> {
    if (this.#closing !== null) return Promise.reject(closed());
    return this.#waitedFor(this.#parts.snapshots.save(meta, chunks));
  }

  findSnapshot(id: SnapshotId): Promise<Marker | null> {
    return Promise.resolve(this.#parts.snapshots.find(id));
  }

  readSnapshot(id: SnapshotId, from: number): AsyncIterable<Uint8Array> {
    return this.#parts.snapshots.read(id, from);
  }

  receiveSnapshot(id: SnapshotId, sum: SnapshotSum): Promise<SnapshotInbox> {
    if (this.#closing !== null) return Promise.reject(closed());
    return this.#parts.snapshots.receive(id, sum);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { dir, segments, snapshots } = this.#parts;
    await this.#last;
    await Promise.all(this.#beside);
    await snapshots.close();
    await segments.close();
    dir.release();
  }

  async #commit(write: DiskWrite, saved: Marker | null): Promise<void> {
    if (isEmpty(write)) return;
    const { dir, segments, snapshots } = this.#parts;
    const record = recordOf(write, saved);
    const wrong = wrongCut(this.#state, write, saved);
    assert(wrong === null, wrong ?? "");
    const begin = { base: this.#state.base, last: lastOf(this.#state) };
    const next = stateAfter(this.#state, record);
    assert(typeof next !== "string", typeof next === "string" ? next : "");
    const kept = {
      identity: write.identity ?? this.#kept.identity,
      worker: write.worker ?? this.#kept.worker,
    };
    const segment = await segments
      .append(encodeRecord(record), () => encodeRecord(beginningOf(record, begin, next, kept)))
      .catch((error: unknown) => {
        throw unwritable(dir.path, "cannot write to the log", error);
      });
    this.#state = placed(next, record, segment);
    this.#kept = kept;
    this.#removeDead();
    // The write is done without it: what is not removed now is at the next start.
    if (saved !== null) void this.#waitedFor(snapshots.prune(saved));
  }

  #removeDead(): void {
    this.#parts.segments.removeBefore(oldestOf(this.#state) ?? Number.MAX_SAFE_INTEGER);
  }

  #waitedFor(work: Promise<void>): Promise<void> {
    const settled = work.catch(() => {}).finally(() => this.#beside.delete(settled));
    this.#beside.add(settled);
    return work;
  }
}

function closed(): Error {
  return new Error("a call of a closed disk");
}

function isEmpty(write: DiskWrite): boolean {
  const { identity, hardState, cut, worker, entries } = write;
  return (identity ?? hardState ?? cut ?? worker) === null && entries.length === 0;
}

function readLog(dir: DataDir): { image: DiskImage; state: LogState; tail: Tail } {
  const replay = new Replay();
  try {
    const tail = readSegments(join(dir.path, LOG_FOLDER), dir.logId, (record, segment) =>
      replay.add(record, segment),
    );
    return { ...replay.end(), tail };
  } catch (error) {
    if (error instanceof Damage)
      throw damaged(dir.path, `the log is damaged: ${error.message}`, error);
    throw unwritable(dir.path, "cannot open the log", error);
  }
}

function takeOver(dir: DataDir, tail: Tail): Segments {
  try {
    return new Segments(join(dir.path, LOG_FOLDER), dir.logId, tail);
  } catch (error) {
    throw unwritable(dir.path, "cannot open the log", error);
  }
}
