import { rm } from "node:fs/promises";
import type { SnapshotId, SnapshotMeta } from "../consensus/snapshot.ts";
import { fault, OrchError } from "../lib/errors.ts";
import type { Marker } from "./disk-records.ts";
import type { SnapshotWriter } from "./disk-snapshot-file.ts";
import type { SnapshotInbox, SnapshotSum } from "./storage.ts";

/** What an inbox needs of the folder it is in. */
export interface InboxFolder {
  /** Does what must become durable; its failure ends the disk. */
  durably<T>(work: () => Promise<T>): Promise<T>;
  /** Lets a synced file count as a snapshot. */
  publish(marker: Marker): Promise<void>;
}

/** The snapshot that an inbox waits for, and the file that it grows in. */
export interface InboxFile {
  readonly path: string;
  readonly id: SnapshotId;
  readonly sum: SnapshotSum;
}

/** The port's inbox over a file of the snapshots' folder. Its calls are done one after the other. */
export class Inbox implements SnapshotInbox {
  readonly #file: InboxFile;
  readonly #writer: SnapshotWriter;
  readonly #folder: InboxFolder;
  #ended = false;
  /** The last call: settles when it does, and never rejects. */
  #last: Promise<void> = Promise.resolve();

  constructor(file: InboxFile, writer: SnapshotWriter, folder: InboxFolder) {
    this.#file = file;
    this.#writer = writer;
    this.#folder = folder;
  }

  get held(): number {
    return this.#writer.sum.chunks;
  }

  add(chunk: Uint8Array): Promise<void> {
    return this.#next(async () => {
      // Else a node that sends without end would fill the disk.
      if (this.held >= this.#file.sum.chunks) await this.#refuse();
      await this.#durably(() => this.#writer.add(chunk));
    });
  }

  finish(meta: SnapshotMeta, sum: SnapshotSum): Promise<void> {
    return this.#next(async () => {
      const { id, sum: wanted } = this.#file;
      const isThat = meta.index === id.index && meta.term === id.term;
      if (!isThat || !isSame(sum, wanted) || !isSame(sum, this.#writer.sum)) await this.#refuse();
      this.#ended = true;
      await this.#durably(async () => {
        await this.#folder.publish(await this.#writer.finish(meta.membership));
      });
    });
  }

  async close(): Promise<void> {
    await this.#next(() => this.#end()).catch(() => {});
  }

  #next(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(() => {
      if (this.#ended) throw this.#over();
      return work();
    });
    this.#last = done.catch(() => {});
    return done;
  }

  async #durably(work: () => Promise<void>): Promise<void> {
    try {
      await this.#folder.durably(work);
    } catch (error) {
      // As in SnapshotFolder: the next start must not go on with what may never have reached the disk.
      await this.#end();
      await rm(this.#file.path, { force: true }).catch(() => {});
      throw error;
    }
  }

  async #refuse(): Promise<never> {
    await this.#end();
    await this.#folder.durably(() => rm(this.#file.path));
    const { index, term } = this.#file.id;
    throw new OrchError(
      fault(
        "data-damaged",
        `The snapshot of entry ${index} that came from another node is not the one it announced.`,
        "What has come was dropped; the node receives it again from the start.",
        { index, term },
      ),
    );
  }

  async #end(): Promise<void> {
    this.#ended = true;
    await this.#writer.close();
  }

  #over(): OrchError {
    const { index, term } = this.#file.id;
    return new OrchError(
      fault(
        "conflict",
        `The snapshot of entry ${index} is not received on this stream any more.`,
        "End the stream: it was closed, or another one took its place.",
        { index, term },
      ),
    );
  }
}

function isSame(one: SnapshotSum, other: SnapshotSum): boolean {
  return one.chunks === other.chunks && one.crc === other.crc;
}
