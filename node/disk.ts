import { closeSync, existsSync, fstatSync, fsyncSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import type { SnapshotId, SnapshotMeta } from "../consensus/snapshot.ts";
import type { DataDir } from "./data-dir.ts";
import { damaged, KEY_FILE, LOG_FOLDER, unwritable } from "./data-dir.ts";
import { loadLog, planWrite } from "./disk-log.ts";
import type { LogState } from "./disk-log.ts";
import { scanPages } from "./disk-pages.ts";
import type { PageSource } from "./disk-pages.ts";
import { Damage, encodeSeal } from "./disk-records.ts";
import type { Marker } from "./disk-records.ts";
import { SnapshotFolder } from "./disk-snapshots.ts";
import { DATA_FILE, openStore } from "./disk-store.ts";
import type { Store } from "./disk-store.ts";
import { FailStop } from "./fail-stop.ts";
import type { Disk, DiskImage, DiskWrite, SnapshotInbox, SnapshotSum } from "./storage.ts";

/**
 * The disk port over LMDB. Each write is one LMDB transaction, done off the main thread, so that the event
 * loop lives through a stalled disk. How a write is made durable: disk-store.ts; how damage is told from
 * a sound log: disk-pages.ts (the file), disk-log.ts (the records). Snapshots are files beside the log:
 * disk-snapshots.ts (which there are), disk-snapshot-file.ts (one of them). The order that makes them
 * safe: the file is durable, then one transaction marks it and cuts the log, then older files go.
 *
 * A torn tail needs no repair: LMDB writes a transaction to unused pages and lets the meta page point to
 * them last, so an unfinished one was never there. Whatever else does not fit is damage, and nothing is
 * ever cut off: what it would lose may have been acknowledged. What no check on this disk can find is an
 * older state that is whole in itself: a disk that lost the last synced write of a meta page, or an old
 * copy of the folder put back in its place. A data folder must never be restored.
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
  const { image, state, marker } = readLog(dir);
  if (image.identity !== null && !existsSync(join(dir.path, KEY_FILE))) {
    throw damaged(
      dir.path,
      `the node's key (${KEY_FILE}) is missing, but the log of node ${image.identity.node} is there`,
    );
  }
  const failStop = new FailStop();
  const snapshots = await SnapshotFolder.open(dir.path, marker, failStop);
  const store = openChecked(dir, state);
  return { disk: new LmdbDisk({ dir, store, snapshots, failStop }, state), image };
}

interface Parts {
  readonly dir: DataDir;
  readonly store: Store;
  readonly snapshots: SnapshotFolder;
  readonly failStop: FailStop;
}

class LmdbDisk implements Disk {
  readonly #parts: Parts;
  #state: LogState;
  /** The write in flight, or the last one: settles when it does, and never rejects. */
  #last: Promise<void> = Promise.resolve();
  /** What is done beside the writes, and never rejects: `close` waits for it. */
  readonly #beside = new Set<Promise<void>>();
  #closing: Promise<void> | null = null;

  constructor(parts: Parts, state: LogState) {
    this.#parts = parts;
    this.#state = state;
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
    const { dir, store, snapshots, failStop } = this.#parts;
    await this.#last;
    await Promise.all(this.#beside);
    await snapshots.close();
    // After a failure the process is about to end, and LMDB's state is unknown: only the lock matters.
    if (!failStop.failed) await store.close();
    dir.release();
  }

  async #commit(write: DiskWrite, saved: Marker | null): Promise<void> {
    const { dir, store, snapshots } = this.#parts;
    const { batch, next } = planWrite(this.#state, write, saved);
    await store.commit(batch).catch((error: unknown) => {
      throw unwritable(dir.path, "cannot write to the log", error);
    });
    this.#state = next;
    // The write is done without it: what is not removed now is at the next start.
    if (saved !== null) void this.#waitedFor(snapshots.prune(saved));
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

function readLog(dir: DataDir): ReturnType<typeof loadLog> {
  const fd = openFile(dir);
  try {
    // A killed process may have left pages in the cache that never reached the disk: what is read here
    // counts as durable from now on.
    try {
      fsyncSync(fd);
    } catch (error) {
      throw unwritable(dir.path, "cannot sync the log", error);
    }
    return loadLog(scanPages(sourceOf(fd)), dir.logId);
  } catch (error) {
    if (error instanceof Damage)
      throw damaged(dir.path, `the log is damaged: ${error.message}`, error);
    throw error;
  } finally {
    closeSync(fd);
  }
}

function openFile(dir: DataDir): number {
  try {
    return openSync(join(dir.path, LOG_FOLDER, DATA_FILE), "r+");
  } catch (error) {
    throw unwritable(dir.path, "cannot open the log", error);
  }
}

function sourceOf(fd: number): PageSource {
  return {
    size: fstatSync(fd).size,
    read: (offset, length) => {
      const bytes = Buffer.allocUnsafe(length);
      let at = 0;
      while (at < length) {
        const count = readBytes(fd, bytes, at, offset);
        if (count === 0) throw new Damage(`its file ends at byte ${offset + at}`);
        at += count;
      }
      return bytes;
    },
  };
}

function readBytes(fd: number, bytes: Buffer, at: number, offset: number): number {
  try {
    return readSync(fd, bytes, at, bytes.length - at, offset + at);
  } catch (error) {
    throw new Damage(`the disk cannot read byte ${offset + at}: ${String(error)}`, {
      cause: error,
    });
  }
}

/** LMDB's own view of the log must be the one that was checked. */
function openChecked(dir: DataDir, state: LogState): Store {
  let store: Store;
  try {
    store = openStore(join(dir.path, LOG_FOLDER));
  } catch (error) {
    throw unwritable(dir.path, "cannot open the log", error);
  }
  const { key, value } = encodeSeal(state.seal);
  const seen = store.get(key);
  if (seen === undefined || Buffer.compare(seen, value) !== 0) {
    throw damaged(dir.path, "the log is damaged: LMDB reads it differently");
  }
  return store;
}
