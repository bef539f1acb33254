import {
  close as closeFile,
  constants,
  fsyncSync,
  openSync,
  closeSync,
  readdirSync,
  write,
} from "node:fs";
import { fstatSync, readSync, rmSync, writeSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import {
  FRAME_HEAD_BYTES,
  frameBytes,
  placeOf,
  putSegmentHead,
  scanSegment,
  sealFrame,
  SECTOR_BYTES,
} from "./disk-frames.ts";
import { Damage, decodeRecord, encodeRecord } from "./disk-records.ts";
import type { DiskRecord, EncodedRecord } from "./disk-records.ts";
import { syncFolder } from "./files.ts";

/**
 * The files of the log: `<number>.wal`, one after the other. One of them is written to; after it there
 * may be one that is blank, made beforehand: filled with zeros and synced, so that a write changes bytes
 * that the file has already, and never its length or its place on the disk. Each is twice as long as the one
 * before it, up to a bound, or as long as its first record needs.
 *
 * The order at the end of a segment: the next file is there and durable, then an empty record closes this
 * one, then the first record goes to the next together with its head. So wherever a crash strikes, a
 * segment that is closed has a successor, one that is not has none but a blank one, and any file that is
 * missing is missed. A segment goes when none of its entries is in the log any more; the oldest first, each
 * removal durable before the next.
 *
 * Each write is one pwrite to a descriptor opened O_DSYNC, done on a thread of libuv's pool. Seen with
 * `strace -f -e trace=openat,pwrite64,fsync,fdatasync,write` around a call of Disk.write:
 *
 *     8171  openat("0000000000000001.wal", O_WRONLY|O_DSYNC|O_CLOEXEC) = 22
 *     8171  write(1, "-- write 1 called")
 *     8175  pwrite64(22, "owal\2…", 512, 1024) = 512            on another thread
 *     8171  write(1, "-- write 1 resolved")
 *     8171  write(1, "-- write 2 called")                        it does not fit
 *     8174  pwrite64(22, "owal\3…", 512, 1536) = 512            closes the segment
 *     8171  openat("0000000000000002.wal", O_WRONLY|O_DSYNC|O_CLOEXEC) = 23
 *     8175  pwrite64(23, "orch-wal\1…", 70656, 0) = 70656       the head of the next, and the record
 *     8171  write(1, "-- write 2 resolved")
 */
export interface Tail {
  /** The numbers of the files, ascending. */
  readonly numbers: readonly number[];
  /** The last segment with records, where the next one goes, and its file's length. */
  readonly number: number;
  readonly at: number;
  readonly bytes: number;
  readonly chain: number;
  readonly isClosed: boolean;
  /** The length of the blank one after it; null: there is none. */
  readonly blankBytes: number | null;
  /** What an unfinished write left: from this byte of this segment on there must be zeros again. */
  readonly torn: { readonly number: number; readonly from: number } | null;
}

const ENDING = ".wal";
const NAME = /^(\d{16})\.wal$/u;
const TEMPORARY = ".tmp";
const FIRST_BYTES = 64 * 1024;
const MAX_BYTES = 8 * 1024 * 1024;
const CHUNK = Buffer.alloc(256 * 1024);
/** Records up to this size are made in a buffer that is used again and again. */
const SCRATCH_BYTES = 1024 * 1024;

/** The numbers of the segments in a folder, ascending. Throws the system's error. */
export function segmentNumbers(folder: string): number[] {
  return readdirSync(folder)
    .flatMap((name) => NAME.exec(name)?.[1] ?? [])
    .map(Number)
    .toSorted((a, b) => a - b);
}

/** Makes the first segment of a log, with its first record, and syncs it. The caller syncs the folder. */
export function createSegments(folder: string, logId: string, record: DiskRecord): void {
  const bytes = Buffer.alloc(FIRST_BYTES);
  const encoded = encodeRecord(record);
  putSegmentHead(bytes, { logId, number: 1, chain: 0, bytes: bytes.length });
  const frame = bytes.subarray(SECTOR_BYTES, SECTOR_BYTES + frameBytes(encoded.bytes));
  encoded.put(frame, FRAME_HEAD_BYTES);
  sealFrame(frame, encoded.bytes, placeOf(logId, 1), SECTOR_BYTES, 0);
  const fd = openSync(join(folder, nameOf(1)), "wx", 0o600);
  try {
    writeFully(fd, bytes, 0);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Reads all segments, the oldest first, and gives each record to `visit`. Changes nothing. Throws Damage,
 * and the system's error when a file cannot be opened or synced.
 */
export function readSegments(
  folder: string,
  logId: string,
  visit: (record: DiskRecord, segment: number) => void,
): Tail {
  const numbers = segmentNumbers(folder);
  let tail: Tail | null = null;
  for (const [at, number] of numbers.entries()) {
    const expected = (numbers[0] ?? 0) + at;
    if (number !== expected) throw new Damage(`segment ${expected} is missing`);
    const bytes = readFile(join(folder, nameOf(number)));
    const scan = scanSegment(bytes, logId, number, tail?.chain ?? null);
    if (scan.state === "blank") {
      tail = withBlank(tail, number, bytes.length, scan.isTorn);
      continue;
    }
    if (tail !== null && !tail.isClosed)
      throw new Damage(`segment ${tail.number} ends before segment ${number} begins`);
    if (tail?.blankBytes !== undefined && tail.blankBytes !== null)
      throw new Damage(`segment ${tail.number + 1} is blank, but segment ${number} is not`);
    for (const payload of scan.payloads) visit(decodeRecord(payload), number);
    tail = {
      numbers,
      number,
      at: scan.end,
      bytes: bytes.length,
      chain: scan.chain,
      isClosed: scan.state === "closed",
      blankBytes: null,
      torn: scan.isTorn ? { number, from: scan.end } : null,
    };
  }
  if (tail === null) throw new Damage("it has no segment");
  if (tail.isClosed && tail.blankBytes === null)
    throw new Damage(`segment ${tail.number + 1} is missing`);
  return tail;
}

function withBlank(tail: Tail | null, number: number, bytes: number, isTorn: boolean): Tail {
  if (tail === null) throw new Damage(`segment ${number}, the oldest, is blank`);
  if (tail.blankBytes !== null)
    throw new Damage(`segments ${tail.number + 1} and ${number} are both blank`);
  if (!isTorn) return { ...tail, blankBytes: bytes };
  if (!tail.isClosed)
    throw new Damage(`segment ${number} was begun before segment ${tail.number} was closed`);
  return { ...tail, blankBytes: bytes, torn: { number, from: 0 } };
}

/** The segments of a log that was read, to be written to. One append at a time. */
export class Segments {
  readonly #folder: string;
  readonly #logId: string;
  #fd: number;
  #number: number;
  #at: number;
  #bytes: number;
  #chain: number;
  #isClosed: boolean;
  #place: number;
  #scratch: Buffer = Buffer.alloc(0);
  /** The length of the blank segment that comes next, once it is there; null: it could not be made. */
  #blank: Promise<number | null>;
  /** Segments that are there, up to the current one. */
  readonly #numbers: number[];
  #removing: Promise<void> = Promise.resolve();
  #keepsAll = false;
  #isEnding = false;

  /**
   * Takes over the log that was read: clears what an unfinished write left, and makes the names of the
   * files durable. Throws the system's error.
   */
  constructor(folder: string, logId: string, tail: Tail) {
    this.#folder = folder;
    this.#logId = logId;
    if (tail.torn !== null) clear(join(folder, nameOf(tail.torn.number)), tail.torn.from);
    for (const name of readdirSync(folder))
      if (name.endsWith(TEMPORARY)) rmSync(join(folder, name));
    // A killed process may have left a name that never reached the disk.
    syncNow(folder);
    this.#number = tail.number;
    this.#at = tail.at;
    this.#bytes = tail.bytes;
    this.#chain = tail.chain;
    this.#isClosed = tail.isClosed;
    this.#place = placeOf(logId, tail.number);
    this.#numbers = tail.numbers.filter((number) => number <= tail.number);
    this.#fd = this.#open(tail.number);
    this.#blank = tail.blankBytes === null ? this.#prepare() : Promise.resolve(tail.blankBytes);
  }

  /**
   * Resolves to the record's segment when it is durable. `beginning` gives what is written instead when it
   * is the first of a segment. Rejects with the system's error; then nothing may be appended any more.
   */
  async append(record: EncodedRecord, beginning: () => EncodedRecord): Promise<number> {
    const room = this.#bytes - this.#at - SECTOR_BYTES;
    if (this.#isClosed || frameBytes(record.bytes) > room) await this.#turn(beginning());
    else await this.#write(this.#at, record);
    return this.#number;
  }

  /** Removes the segments before that number, in the background and as far as it can be. The rest goes later. */
  removeBefore(number: number): void {
    const [oldest] = this.#numbers;
    if (this.#keepsAll || oldest === undefined || oldest >= Math.min(number, this.#number)) return;
    this.#numbers.shift();
    this.#removing = this.#removing
      .then(async () => {
        if (this.#keepsAll) return;
        await rm(join(this.#folder, nameOf(oldest)));
        await syncFolder(this.#folder);
      })
      .then(
        () => this.removeBefore(number),
        () => {
          // A gap would be damage: as long as this one may be there, none after it may go.
          this.#keepsAll = true;
        },
      );
  }

  /** Resolves when nothing is done any more. The appends must have ended. */
  async close(): Promise<void> {
    this.#isEnding = true;
    await this.#blank;
    let last: Promise<void> | null = null;
    while (last !== this.#removing) {
      last = this.#removing;
      await last;
    }
    await closing(this.#fd);
  }

  /** Closes this segment and begins the next with a record. */
  async #turn(record: EncodedRecord): Promise<void> {
    const number = this.#number + 1;
    const needed = 2 * SECTOR_BYTES + frameBytes(record.bytes);
    let bytes = await this.#blank;
    if (bytes === null || bytes < needed) {
      bytes = Math.max(needed, doubled(this.#bytes));
      await this.#makeBlank(number, bytes);
    }
    if (!this.#isClosed) await this.#write(this.#at, EMPTY_RECORD);
    const old = this.#fd;
    this.#fd = this.#open(number);
    await closing(old);
    this.#number = number;
    this.#numbers.push(number);
    this.#place = placeOf(this.#logId, number);
    this.#bytes = bytes;
    this.#isClosed = false;
    this.#at = SECTOR_BYTES;
    await this.#write(0, record);
    this.#blank = this.#prepare();
  }

  /** Writes a record at `#at`, and what is before it from `from` on: the segment's head or nothing. */
  async #write(from: number, record: EncodedRecord): Promise<void> {
    const headBytes = this.#at - from;
    const end = headBytes + frameBytes(record.bytes);
    const bytes = this.#room(end);
    if (headBytes > 0) {
      const head = { number: this.#number, chain: this.#chain, bytes: this.#bytes };
      putSegmentHead(bytes, { logId: this.#logId, ...head });
    }
    const frame = bytes.subarray(headBytes);
    record.put(frame, FRAME_HEAD_BYTES);
    this.#chain = sealFrame(frame, record.bytes, this.#place, this.#at, this.#chain);
    await writing(this.#fd, bytes, from);
    this.#at = from + end;
  }

  #room(bytes: number): Buffer {
    if (bytes > SCRATCH_BYTES) return Buffer.allocUnsafe(bytes);
    if (this.#scratch.length < bytes) this.#scratch = Buffer.allocUnsafeSlow(doubled(bytes));
    return this.#scratch.subarray(0, bytes);
  }

  #open(number: number): number {
    return openSync(join(this.#folder, nameOf(number)), constants.O_WRONLY | constants.O_DSYNC);
  }

  /** Makes the next segment while this one is written to. A failure is for the write that needs it to tell. */
  async #prepare(): Promise<number | null> {
    try {
      const bytes = doubled(this.#bytes);
      await this.#makeBlank(this.#number + 1, bytes);
      return bytes;
    } catch {
      return null;
    }
  }

  /** A durable segment of zeros under that number, in the place of a shorter one if there is one. */
  async #makeBlank(number: number, bytes: number): Promise<void> {
    const path = join(this.#folder, nameOf(number));
    const temporary = `${path}${TEMPORARY}`;
    try {
      const file = await open(temporary, "w", 0o600);
      try {
        for (let at = 0; at < bytes;) {
          if (this.#isEnding) throw new Error("the log is being closed");
          const length = Math.min(CHUNK.length, bytes - at);
          const { bytesWritten } = await file.write(CHUNK, 0, length, at);
          at += bytesWritten;
        }
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
      await syncFolder(this.#folder);
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {});
      throw error;
    }
  }
}

/** It closes a segment. */
const EMPTY_RECORD: EncodedRecord = { bytes: 0, put: () => {} };

function doubled(bytes: number): number {
  return Math.min(MAX_BYTES, 2 * bytes);
}

function nameOf(number: number): string {
  return `${String(number).padStart(16, "0")}${ENDING}`;
}

function writing(fd: number, bytes: Buffer, at: number): Promise<void> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, 0, bytes.length, at, (error, written) => {
      if (error !== null) reject(error);
      else if (written === bytes.length) resolve();
      // What is missing is not written after it: why it is missing is not known.
      else reject(new Error(`only ${written} of ${bytes.length} bytes were written`));
    });
  });
}

function closing(fd: number): Promise<void> {
  return new Promise((resolve) => {
    closeFile(fd, () => resolve());
  });
}

/** The whole file, synced: a killed process may have left in the cache what never reached the disk. */
function readFile(path: string): Buffer {
  const fd = openSync(path, "r+");
  try {
    fsyncSync(fd);
    const bytes = Buffer.allocUnsafeSlow(fstatSync(fd).size);
    for (let at = 0; at < bytes.length;) {
      const count = readBytes(fd, bytes, at, path);
      if (count === 0) throw new Damage(`${path} ends at byte ${at}`);
      at += count;
    }
    return bytes;
  } finally {
    closeSync(fd);
  }
}

function readBytes(fd: number, bytes: Buffer, at: number, path: string): number {
  try {
    return readSync(fd, bytes, at, bytes.length - at, at);
  } catch (error) {
    throw new Damage(`the disk cannot read ${path} at byte ${at}: ${String(error)}`, {
      cause: error,
    });
  }
}

/** Fills a file with zeros from a byte on, durably. */
function clear(path: string, from: number): void {
  const fd = openSync(path, "r+");
  try {
    const { size } = fstatSync(fd);
    for (let at = from; at < size; at += CHUNK.length)
      writeFully(fd, CHUNK.subarray(0, Math.min(CHUNK.length, size - at)), at);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function writeFully(fd: number, bytes: Uint8Array, from: number): void {
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, from + at);
}

function syncNow(folder: string): void {
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
