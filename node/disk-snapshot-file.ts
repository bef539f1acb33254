import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";
import { crc32 } from "node:zlib";
import type { SnapshotId, SnapshotMeta } from "../consensus/snapshot.ts";
import { assert } from "../lib/assert.ts";
import { chainAfter, Damage, markerOfText, textOfMarker } from "./disk-records.ts";
import type { Marker } from "./disk-records.ts";
import type { SnapshotSum } from "./storage.ts";

/**
 * The file of one snapshot. Integers are big-endian:
 *
 *     header   "orchsnap", index (8 bytes), term (8 bytes), CRC-32 of these
 *     records  length (4 bytes), CRC-32 of the content, CRC-32 of these two; the content
 *
 * Each record is a chunk; the last one, which alone has the highest bit of its length set, is the marker:
 * the meta and the sum of all chunks. Only it says that the file is whole, so a file may grow chunk by
 * chunk, and be gone on with after a restart, without knowing what comes. The CRC of a record's head
 * begins with the record's number: a length is checked before it is used, no record is taken for another,
 * and a run of zeros is none.
 */
const MAGIC = Buffer.from("orchsnap");
const HEADER_BYTES = MAGIC.length + 20;
const HEAD_BYTES = 12;
const LAST = 0x80_00_00_00;
/** Synced along the way: one large sync at the end would hold up those of the log beside it. */
const SYNC_BYTES = 8 * 1024 * 1024;

/** The sum before the first chunk. */
const NO_CHUNKS: SnapshotSum = { chunks: 0, crc: 0 };

/** Writes the file of a snapshot. Throws the system's errors; then the file is of no more use. */
export class SnapshotWriter {
  readonly #file: FileHandle;
  readonly #id: SnapshotId;
  #at: number;
  #sum: SnapshotSum;
  #unsynced = 0;

  private constructor(file: FileHandle, id: SnapshotId, at: number, sum: SnapshotSum) {
    this.#file = file;
    this.#id = id;
    this.#at = at;
    this.#sum = sum;
  }

  /** Begins a file; what was there is gone. */
  static async create(path: string, id: SnapshotId): Promise<SnapshotWriter> {
    const file = await open(path, "w", 0o600);
    const writer = new SnapshotWriter(file, id, 0, NO_CHUNKS);
    await writer.#closingOnError(() => writer.#write([headerOf(id)]));
    return writer;
  }

  /**
   * Goes on with a file after its last intact chunk; null: there is none for this snapshot. What is read
   * here is synced first: a killed process may have left pages that never reached the disk.
   */
  static async resume(path: string, id: SnapshotId): Promise<SnapshotWriter | null> {
    const file = await openIfThere(path, "r+");
    if (file === null) return null;
    const writer = new SnapshotWriter(file, id, 0, NO_CHUNKS);
    const found = await writer.#closingOnError(async () => {
      await file.sync();
      const reader = new SnapshotReader(file);
      try {
        await reader.start(id);
        while ((await reader.next()) !== null);
      } catch (error) {
        if (!(error instanceof Damage)) throw error;
      }
      await file.truncate(reader.at);
      return reader;
    });
    if (found.at > 0) {
      writer.#at = found.at;
      writer.#sum = found.sum;
      return writer;
    }
    await file.close();
    return null;
  }

  /** Of the chunks in the file. */
  get sum(): SnapshotSum {
    return this.#sum;
  }

  async add(chunk: Uint8Array): Promise<void> {
    assert(chunk.length < LAST, `a chunk of ${chunk.length} bytes`);
    const { chunks, crc } = this.#sum;
    const of = crc32(chunk);
    await this.#write([headOf(chunks, chunk.length, of), chunk]);
    this.#sum = { chunks: chunks + 1, crc: chainAfter(crc, of) };
  }

  /** Adds the marker, makes the file durable and closes it. */
  async finish(membership: SnapshotMeta["membership"]): Promise<Marker> {
    const { index, term } = this.#id;
    const marker: Marker = { meta: { index, term, membership }, sum: this.#sum };
    const text = Buffer.from(textOfMarker(marker));
    await this.#write([headOf(this.#sum.chunks, (LAST | text.length) >>> 0, crc32(text)), text]);
    await this.#file.sync();
    await this.#file.close();
    return marker;
  }

  /** Ends the writing; the chunks stay. */
  async close(): Promise<void> {
    await this.#file.close();
  }

  async #write(parts: readonly Uint8Array[]): Promise<void> {
    let left = parts.filter((part) => part.length > 0);
    while (left.length > 0) {
      const { bytesWritten } = await this.#file.writev(left, this.#at);
      this.#at += bytesWritten;
      this.#unsynced += bytesWritten;
      left = withoutFirst(left, bytesWritten);
    }
    if (this.#unsynced < SYNC_BYTES) return;
    await this.#file.datasync();
    this.#unsynced = 0;
  }

  async #closingOnError<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      await this.#file.close();
      throw error;
    }
  }
}

/** Reads the file of a snapshot from front to back, believing nothing. Throws Damage that says where. */
export class SnapshotReader {
  readonly #file: FileHandle;
  #at = 0;
  #sum: SnapshotSum = NO_CHUNKS;
  #marker: Marker | null = null;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** How many bytes from the file's begin on are the header and whole chunks. */
  get at(): number {
    return this.#at;
  }

  /** Of the chunks up to `at`. */
  get sum(): SnapshotSum {
    return this.#sum;
  }

  /** What the file says of itself; null: its end was not reached. */
  get marker(): Marker | null {
    return this.#marker;
  }

  /** The header; it must be the one of this snapshot. */
  async start(id: SnapshotId): Promise<void> {
    const header = await this.#read(0, HEADER_BYTES, "its header");
    if (!header.equals(headerOf(id))) throw new Damage("its header is not the one it must have");
    this.#at = HEADER_BYTES;
  }

  /** The next chunk; null: there are no more, and the file is whole. */
  async next(): Promise<Uint8Array | null> {
    const head = await this.#head();
    if (head === null) return null;
    const bytes = await this.#content(head, this.#name());
    this.#pass(head);
    return bytes;
  }

  /** Leaves the next chunk out. False: there are no more, and the file is whole. */
  async skip(): Promise<boolean> {
    const head = await this.#head();
    if (head === null) return false;
    this.#pass(head);
    return true;
  }

  #name(): string {
    return `its chunk ${this.#sum.chunks}`;
  }

  #pass({ length, crc }: Head): void {
    this.#at += HEAD_BYTES + length;
    this.#sum = { chunks: this.#sum.chunks + 1, crc: chainAfter(this.#sum.crc, crc) };
  }

  async #head(): Promise<Head | null> {
    const name = this.#name();
    const bytes = await this.#read(this.#at, HEAD_BYTES, name);
    const [length, crc] = [bytes.readUInt32BE(0), bytes.readUInt32BE(4)];
    if (!bytes.equals(headOf(this.#sum.chunks, length, crc)))
      throw new Damage(`${name} begins with a wrong checksum`);
    if (length < LAST) return { length, crc };
    await this.#end({ length: length - LAST, crc });
    return null;
  }

  async #end(head: Head): Promise<void> {
    const text = (await this.#content(head, "its marker")).toString();
    const marker = markerOfText("its marker", text);
    const { chunks, crc } = marker.sum;
    if (chunks !== this.#sum.chunks || crc !== this.#sum.crc)
      throw new Damage("its chunks are not those that were written");
    const end = this.#at + HEAD_BYTES + head.length;
    if ((await this.#file.stat()).size !== end) throw new Damage("it goes on after its end");
    this.#marker = marker;
  }

  async #content({ length, crc }: Head, name: string): Promise<Buffer> {
    const bytes = await this.#read(this.#at + HEAD_BYTES, length, name);
    if (crc32(bytes) !== crc) throw new Damage(`${name} fails its checksum`);
    return bytes;
  }

  async #read(from: number, length: number, name: string): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    for (let done = 0; done < length;) {
      const count = await this.#file.read(bytes, done, length - done, from + done).then(
        ({ bytesRead }) => bytesRead,
        (error: unknown) => {
          throw new Damage(`the disk cannot read ${name}: ${String(error)}`, { cause: error });
        },
      );
      if (count === 0) throw new Damage(`it is cut off in ${name}`);
      done += count;
    }
    return bytes;
  }
}

/** Opens a file; null: it is not there. */
export async function openIfThere(path: string, flags: "r" | "r+"): Promise<FileHandle | null> {
  try {
    return await open(path, flags);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
}

/** What is left of the parts after so many bytes of them. */
function withoutFirst(parts: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const left: Uint8Array[] = [];
  let gone = bytes;
  for (const part of parts) {
    if (gone < part.length) left.push(part.subarray(gone));
    gone = Math.max(0, gone - part.length);
  }
  return left;
}

interface Head {
  readonly length: number;
  readonly crc: number;
}

function headerOf({ index, term }: SnapshotId): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  let at = MAGIC.copy(bytes);
  at = bytes.writeBigUInt64BE(BigInt(index), at);
  at = bytes.writeBigUInt64BE(BigInt(term), at);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, at)), at);
  return bytes;
}

function headOf(number: number, length: number, crc: number): Buffer {
  const bytes = Buffer.alloc(HEAD_BYTES);
  bytes.writeUInt32BE(length, 0);
  bytes.writeUInt32BE(crc, 4);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, 8), number), 8);
  return bytes;
}
