import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { SnapshotId, SnapshotMeta } from "../consensus/snapshot.ts";
import { fault, OrchError } from "../lib/errors.ts";
import { damaged, SNAPSHOT_FOLDER, unwritable } from "./data-dir.ts";
import { Inbox } from "./disk-inbox.ts";
import { Damage, textOfMarker } from "./disk-records.ts";
import type { Marker } from "./disk-records.ts";
import { openIfThere, SnapshotReader, SnapshotWriter } from "./disk-snapshot-file.ts";
import type { FailStop } from "./fail-stop.ts";
import { syncFolder } from "./files.ts";
import type { SnapshotInbox, SnapshotSum } from "./storage.ts";

/**
 * The snapshots of a data folder, a file each:
 *
 *     <index>-<term>-<chunks>-<crc>.snapshot  whole and durable
 *     <index>-<term>-<chunks>-<crc>.part      comes from another node, and is gone on with; at most one
 *     <number>.new                            being saved
 *
 * A file gets its last name once it is synced, and the name holds the sum: saving a snapshot again can
 * never replace the one that the log's marker names by another content. A snapshot counts when a write
 * of the log names it in its marker; the files of older ones go after that write. So wherever a crash
 * strikes, the marker's file is there, and all others are removed at the next start. Seen with strace as
 * in disk-segments.ts, around saveSnapshot and a write with a cut:
 *
 *     pwrite64(26, header); pwritev(26, chunk) …; pwritev(26, marker)
 *     fsync(26); rename("1.new", "2-1-2-f3b8469f.snapshot"); openat("snapshots") = 26; fsync(26)
 *     write(1, "-- save resolved, cut called")
 *     pwrite64(22, the record, O_DSYNC)
 *     write(1, "-- cut resolved")
 *     unlink("1-1-2-f3b8469f.snapshot")
 */
export class SnapshotFolder {
  readonly #dataDir: string;
  readonly #path: string;
  readonly #failStop: FailStop;
  /** Whole and durable, by the names of their files; the last one saved is last. */
  readonly #saved = new Map<string, Marker>();
  #numbers = 0;
  #inbox: Inbox | null = null;
  /** The last `receive`: settles when it does, and never rejects. */
  #receiving: Promise<unknown> = Promise.resolve();

  private constructor(dataDir: string, marker: Marker | null, failStop: FailStop) {
    this.#dataDir = dataDir;
    this.#path = join(dataDir, SNAPSHOT_FOLDER);
    this.#failStop = failStop;
    if (marker !== null) this.#saved.set(fileOf(marker), marker);
  }

  /**
   * Opens the folder of a log with this marker (null: it has none), checks the whole file that the marker
   * names, and only then removes what is left over. Throws OrchError data-damaged or data-unwritable.
   */
  static async open(
    dataDir: string,
    marker: Marker | null,
    failStop: FailStop,
  ): Promise<SnapshotFolder> {
    const folder = new SnapshotFolder(dataDir, marker, failStop);
    if (marker !== null) await folder.#verify(marker);
    await folder.#writing(() => folder.#tidy(marker));
    return folder;
  }

  /** Makes a snapshot durable. Throws OrchError data-unwritable, and what `chunks` throws. */
  async save(
    { index, term, membership }: SnapshotMeta,
    chunks: Iterable<Uint8Array>,
  ): Promise<void> {
    const path = join(this.#path, `${++this.#numbers}${NEW}`);
    await this.#failStop.run(async () => {
      try {
        const writer = await this.#writing(() => SnapshotWriter.create(path, { index, term }));
        try {
          // Each write is done on another thread: the event loop turns once a chunk.
          for (const chunk of chunks) await this.#writing(() => writer.add(chunk));
          await this.#publish(path, await this.#writing(() => writer.finish(membership)));
        } finally {
          await writer.close();
        }
      } catch (error) {
        await removeIfPossible(path);
        throw error;
      }
    });
  }

  /** The last snapshot of that name that became durable; null: none, or it was removed. */
  find({ index, term }: SnapshotId): Marker | null {
    const of = [...this.#saved.values()].filter(
      ({ meta }) => meta.index === index && meta.term === term,
    );
    return of.at(-1) ?? null;
  }

  /** Its chunks from number `from` on, each checked. Throws OrchError not-found or data-damaged. */
  async *read(id: SnapshotId, from: number): AsyncGenerator<Uint8Array, void, undefined> {
    const marker = this.find(id);
    if (marker === null || from > marker.sum.chunks) throw this.#notFound(id, from);
    const file = await openIfThere(join(this.#path, fileOf(marker)), "r");
    if (file === null) throw this.#notFound(id, from);
    try {
      const reader = new SnapshotReader(file);
      await reader.start(id);
      for (let number = 0; number < from; number++) await reader.skip();
      for (;;) {
        const chunk = await reader.next();
        if (chunk === null) break;
        yield chunk;
      }
      checkSame(reader, marker);
    } catch (error) {
      throw error instanceof Damage ? this.#damaged(id, error) : error;
    } finally {
      await file.close();
    }
  }

  /** See Disk.receiveSnapshot. */
  receive(id: SnapshotId, sum: SnapshotSum): Promise<SnapshotInbox> {
    const inbox = this.#receiving.then(() => this.#failStop.run(() => this.#receive(id, sum)));
    this.#receiving = inbox.catch(() => {});
    return inbox;
  }

  /** Removes what is older than the marker that has become durable, as far as it can be. */
  async prune(marker: Marker): Promise<void> {
    const older = [...this.#saved].filter(([, { meta }]) => meta.index < marker.meta.index);
    for (const [name] of older) this.#saved.delete(name);
    for (const [name] of older) await removeIfPossible(join(this.#path, name));
  }

  /** Resolves when nothing is being received any more; what has come stays. */
  async close(): Promise<void> {
    await this.#receiving;
    await this.#inbox?.close();
  }

  async #receive(id: SnapshotId, sum: SnapshotSum): Promise<SnapshotInbox> {
    await this.#inbox?.close();
    const name = `${nameOf(id, sum)}${PART}`;
    const path = join(this.#path, name);
    const writer = await this.#writing(() => this.#part(name, id));
    this.#inbox = new Inbox({ path, id, sum }, writer, {
      durably: (work) => this.#failStop.run(() => this.#writing(work)),
      publish: (marker) => this.#publish(path, marker),
    });
    return this.#inbox;
  }

  /** The file to go on with, or a new one; all other parts go. */
  async #part(name: string, id: SnapshotId): Promise<SnapshotWriter> {
    const path = join(this.#path, name);
    const others = (await readdir(this.#path)).filter((file) => file !== name);
    for (const file of others) if (file.endsWith(PART)) await rm(join(this.#path, file));
    try {
      return (await SnapshotWriter.resume(path, id)) ?? (await SnapshotWriter.create(path, id));
    } catch (error) {
      // Pages of it may be called clean that never reached the disk: the next start must not go on with them.
      await removeIfPossible(path);
      throw error;
    }
  }

  /** Gives a synced file its last name. */
  async #publish(path: string, marker: Marker): Promise<void> {
    const name = fileOf(marker);
    await this.#writing(async () => {
      await rename(path, join(this.#path, name));
      await syncFolder(this.#path);
    });
    this.#saved.delete(name);
    this.#saved.set(name, marker);
  }

  async #verify(marker: Marker): Promise<void> {
    const name = fileOf(marker);
    const { meta } = marker;
    const file = await this.#writing(() => openIfThere(join(this.#path, name), "r"), "cannot open");
    if (file === null)
      throw damaged(
        this.#dataDir,
        `the snapshot of entry ${meta.index} is missing (${SNAPSHOT_FOLDER}/${name}), but the log begins from it`,
      );
    try {
      const reader = new SnapshotReader(file);
      await reader.start(meta);
      while ((await reader.next()) !== null);
      checkSame(reader, marker);
    } catch (error) {
      throw error instanceof Damage ? this.#damaged(meta, error) : error;
    } finally {
      await file.close();
    }
  }

  /** Makes the folder if it is not there, and removes all of orch's files in it that serve nothing. */
  async #tidy(marker: Marker | null): Promise<void> {
    await mkdir(this.#path, { recursive: true, mode: 0o700 });
    // Also when it is there: who made it may have been killed before this.
    await syncFolder(this.#dataDir);
    const names = await readdir(this.#path);
    const parts = names
      .filter((name) => name.endsWith(PART) && indexOfName(name) > (marker?.meta.index ?? 0))
      .toSorted((a, b) => indexOfName(b) - indexOfName(a));
    const wanted = new Set([...(marker === null ? [] : [fileOf(marker)]), ...parts.slice(0, 1)]);
    for (const name of names) {
      const ours = [WHOLE, PART, NEW].some((ending) => name.endsWith(ending));
      if (ours && !wanted.has(name)) await rm(join(this.#path, name));
    }
  }

  async #writing<T>(work: () => Promise<T>, what = "cannot write"): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw error instanceof OrchError
        ? error
        : unwritable(this.#dataDir, `${what} a snapshot`, error);
    }
  }

  #damaged(id: SnapshotId, damage: Damage): OrchError {
    const what = `the snapshot of entry ${id.index} is damaged: ${damage.message}`;
    return damaged(this.#dataDir, what, damage);
  }

  #notFound({ index, term }: SnapshotId, from: number): OrchError {
    return new OrchError(
      fault(
        "not-found",
        `The snapshot of entry ${index} and term ${term} is not here, or has no chunk ${from}.`,
        "It was replaced by a newer one: ask for that.",
        { index, term, from },
      ),
    );
  }
}

const WHOLE = ".snapshot";
const PART = ".part";
const NEW = ".new";

function nameOf({ index, term }: SnapshotId, { chunks, crc }: SnapshotSum): string {
  return `${index}-${term}-${chunks}-${crc.toString(16).padStart(8, "0")}`;
}

function fileOf({ meta, sum }: Marker): string {
  return `${nameOf(meta, sum)}${WHOLE}`;
}

/** The index in a file's name; 0: it has none. */
function indexOfName(name: string): number {
  return Number(/^(\d+)-/u.exec(name)?.[1] ?? 0);
}

/** A whole file is still the wrong one unless it says what the marker says. */
function checkSame(reader: SnapshotReader, marker: Marker): void {
  if (reader.marker === null || textOfMarker(reader.marker) !== textOfMarker(marker))
    throw new Damage("it is another one than the log names");
}

/** What stays is removed at the next start. */
async function removeIfPossible(path: string): Promise<void> {
  await rm(path, { force: true }).catch(() => {});
}
