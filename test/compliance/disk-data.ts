import type { LogCut } from "../../consensus/snapshot.ts";
import { crc32 } from "node:zlib";
import type { Entry } from "../../consensus/message.ts";
import {
  type LogBase,
  type SnapshotId,
  type SnapshotMeta,
  WHOLE_LOG,
} from "../../consensus/snapshot.ts";
import { Prng } from "../../lib/prng.ts";
import { faultOf } from "../../lib/errors.ts";
import { NO_WRITE } from "../../node/storage.ts";
import type { Disk, DiskImage, DiskWrite, SnapshotSum } from "../../node/storage.ts";

/** What the tests of a disk are made of. */

export interface OpenedDisk {
  readonly disk: Disk;
  readonly image: DiskImage;
}

/** What any implementation of the Disk port must be able to do for these tests. */
export interface DiskHarness {
  /** Opens the disk: a new one at first, later what the last one left. */
  readonly open: () => Promise<OpenedDisk>;
  /** Ends the disk as a killed process would, writes in flight included. Nobody has closed it. */
  readonly crash: (disk: Disk) => Promise<void>;
  /** Removes every trace. */
  readonly end: () => Promise<void>;
}

/** An entry whose data follows from its index and term, so that a mix-up shows. */
export function entryAt(index: number, term: number, bytes: number): Entry {
  const prng = new Prng(index * 1000 + term);
  const data = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at++) data[at] = at < 64 ? prng.below(256) : (at * term) & 0xff;
  return { term, index, kind: index % 5 === 0 ? "conf" : "normal", data };
}

export function entriesFrom(first: number, count: number, term: number): Entry[] {
  return Array.from({ length: count }, (_, at) => entryAt(first + at, term, 40));
}

/** The meta of a snapshot that is told from others by its index and term. */
export function metaAt(index: number, term: number): SnapshotMeta {
  const membership = {
    voters: [1, index + 1],
    outgoing: [],
    learners: [term + 2],
    learnersNext: [],
  };
  return { index, term, membership };
}

/** The chunks of that snapshot: from empty to many KiB, each telling its place. */
export function chunksOf({ index, term }: SnapshotId, count = 5, bytes = 3000): Uint8Array[] {
  const prng = new Prng(index * 1000 + term);
  return Array.from({ length: count }, (_, at) => {
    const chunk = new Uint8Array(at === 2 ? 0 : prng.below(bytes) + 1);
    for (let byte = 0; byte < chunk.length; byte++) chunk[byte] = (byte * (at + 7) + index) & 0xff;
    return chunk;
  });
}

/** The sum as the port defines it, reckoned apart from the product. */
export function sumOf(chunks: readonly Uint8Array[]): SnapshotSum {
  const crcs = Buffer.alloc(chunks.length * 4);
  for (const [at, chunk] of chunks.entries()) crcs.writeUInt32BE(crc32(chunk), at * 4);
  return { chunks: chunks.length, crc: crc32(crcs) };
}

export function cutTo(meta: SnapshotMeta, base: LogBase, dropLog = false): LogCut {
  return { meta, base, dropLog };
}

/** What readSnapshot gives, from chunk number `from` on. */
export async function chunksFrom(disk: Disk, id: SnapshotId, from = 0): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of disk.readSnapshot(id, from)) chunks.push(Uint8Array.from(chunk));
  return chunks;
}

/** The chunks of the snapshot that an image begins from; null: there is none. */
export async function snapshotOf({ disk, image }: OpenedDisk): Promise<Uint8Array[] | null> {
  return image.snapshot === null ? null : chunksFrom(disk, image.snapshot);
}

/** Gives a disk that is ended after the test. */
export type Start = () => Promise<DiskHarness>;

/** Entries 1-20 of term 1, all committed. */
export const TWENTY: DiskWrite = {
  ...NO_WRITE,
  entries: entriesFrom(1, 20, 1),
  hardState: { term: 1, vote: 1, commit: 20 },
};

/** Saves the snapshot, and makes the disk begin from it with its log after `base`. */
export async function saveAndCut(disk: Disk, meta: SnapshotMeta, base: number): Promise<DiskWrite> {
  await disk.saveSnapshot(meta, chunksOf(meta));
  const write = {
    ...NO_WRITE,
    cut: cutTo(meta, base === 0 ? WHOLE_LOG : { index: base, term: 1 }),
  };
  await disk.write(write);
  return write;
}

/** The code of the fault that it rejects with; "none": it does not. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return faultOf(error).code;
  }
  return "none";
}
