import { rmSync } from "node:fs";
import { join } from "node:path";
import { open } from "lmdb";
import type { Batch } from "./disk-log.ts";

/** The file of an LMDB folder that holds the data. */
export const DATA_FILE = "data.mdb";
const LOCK_FILE = "lock.mdb";
/** Address space, not disk: far above any log, so that the map is never moved; LMDB grows it beyond. */
const MAP_BYTES = 16 * 1024 ** 3;

/** LMDB, as far as the disk needs it. */
export interface Store {
  /** Resolves when the whole batch is on the disk. Rejects with the system's error when it is not. */
  commit(batch: Batch): Promise<void>;
  /** What is stored under a key; undefined: nothing. */
  get(key: Uint8Array): Uint8Array | undefined;
  close(): Promise<void>;
}

/**
 * Opens the LMDB folder at `path`. The caller holds the lock of the data folder. Throws the error of
 * LMDB.
 *
 * Durability rests on `overlappingSync: false` (lmdb's default on Linux is true, where a commit becomes
 * visible before it is synced). A commit then runs on a thread of libuv's pool: it writes the new pages,
 * syncs them, and writes the meta page that makes them count through a descriptor opened O_DSYNC; only
 * then does the main thread hear of it. Seen with
 * `strace -f -e trace=openat,pwrite64,writev,fdatasync,write` around two calls of Disk.write:
 *
 *     8171  openat("data.mdb", O_WRONLY|O_DSYNC|O_CLOEXEC) = 24
 *     8171  write(1, "-- write 1 called")
 *     8180  writev(23, [page, page])            the new pages, on another thread
 *     8180  fdatasync(23) = 0
 *     8180  pwrite64(24, …, 128, 40) = 128      the meta page: 128 bytes inside one sector, synced
 *     8171  write(1, "-- write 1 resolved")
 */
export function openStore(path: string): Store {
  // Left behind by a killed process. It holds nothing durable, and LMDB would trust its content.
  rmSync(join(path, LOCK_FILE), { force: true });
  const db = open<Uint8Array, Uint8Array>({
    path,
    // lmdb takes a path with a dot in it for a file.
    noSubdir: false,
    encoding: "binary",
    keyEncoding: "binary",
    overlappingSync: false,
    eventTurnBatching: false,
    mapSize: MAP_BYTES,
    maxDbs: 1,
  });
  return {
    commit: async ({ puts, removes }) => {
      try {
        // The inner promises settle with the batch's own, which rejects for all of them.
        await db.batch(() => {
          for (const { key, value } of puts) void db.put(key, value);
          for (const key of removes) void db.remove(key);
        });
      } catch (error) {
        throw await causeOf(error);
      }
    },
    get: (key) => db.get(key),
    close: () => db.close(),
  };
}

/** lmdb rejects with a general error; what the system said is in a promise of its own, which rejects. */
async function causeOf(error: unknown): Promise<unknown> {
  if (!(error instanceof Error) || !("commitError" in error)) return error;
  try {
    await error.commitError;
    return error;
  } catch (cause) {
    return cause;
  }
}
