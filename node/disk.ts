import { closeSync, existsSync, fstatSync, fsyncSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import type { DataDir } from "./data-dir.ts";
import { damaged, KEY_FILE, LOG_FOLDER, unwritable } from "./data-dir.ts";
import { loadLog, planWrite } from "./disk-log.ts";
import type { LogState } from "./disk-log.ts";
import { scanPages } from "./disk-pages.ts";
import type { PageSource } from "./disk-pages.ts";
import { Damage, encodeSeal } from "./disk-records.ts";
import { DATA_FILE, openStore } from "./disk-store.ts";
import type { Store } from "./disk-store.ts";
import type { Disk, DiskImage, DiskWrite } from "./storage.ts";

/**
 * The disk port over LMDB. Each write is one LMDB transaction, done off the main thread, so that the event
 * loop lives through a stalled disk. How a write is made durable: disk-store.ts; how damage is told from
 * a sound log: disk-pages.ts (the file), disk-log.ts (the records).
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
export function openDisk(dir: DataDir): Promise<OpenDisk> {
  return Promise.resolve().then(() => {
    const { image, state } = readLog(dir);
    if (image.identity !== null && !existsSync(join(dir.path, KEY_FILE))) {
      throw damaged(
        dir.path,
        `the node's key (${KEY_FILE}) is missing, but the log of node ${image.identity.node} is there`,
      );
    }
    const store = openChecked(dir, state);
    return { disk: new LmdbDisk(dir, store, state), image };
  });
}

class LmdbDisk implements Disk {
  readonly #dir: DataDir;
  readonly #store: Store;
  #state: LogState;
  #failure: unknown = null;
  /** The write in flight, or the last one: settles when it does, and never rejects. */
  #last: Promise<void> = Promise.resolve();
  #closing: Promise<void> | null = null;

  constructor(dir: DataDir, store: Store, state: LogState) {
    this.#dir = dir;
    this.#store = store;
    this.#state = state;
  }

  write(write: DiskWrite): Promise<void> {
    if (this.#closing !== null) return Promise.reject(new Error("a write to a closed disk"));
    const done = this.#last.then(() => this.#commit(write));
    this.#last = done.catch(() => {});
    return done;
  }

  close(): Promise<void> {
    this.#closing ??= this.#last.then(async () => {
      // After a failure the process is about to end, and LMDB's state is unknown: only the lock matters.
      if (this.#failure === null) await this.#store.close();
      this.#dir.release();
    });
    return this.#closing;
  }

  async #commit(write: DiskWrite): Promise<void> {
    if (this.#failure !== null) throw this.#failure;
    try {
      const { batch, next } = planWrite(this.#state, write);
      await this.#store.commit(batch).catch((error: unknown) => {
        throw unwritable(this.#dir.path, "cannot write to the log", error);
      });
      this.#state = next;
    } catch (error) {
      // Never retried: after a failed sync the kernel may call the same pages clean the next time.
      this.#failure = error;
      throw error;
    }
  }
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
