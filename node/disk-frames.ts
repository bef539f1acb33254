import { crc32 } from "node:zlib";
import { Damage } from "./disk-records.ts";

/**
 * The bytes of a segment: a sector that says which one it is, then records, then zeros.
 *
 *     segment   magic (8 bytes), format u32, chain u32, log id (16), number u64, bytes of the file u64, CRC u32
 *     record    magic u32, sector u32, length u32, zero sectors u32, chain u32, CRC of these u32, payload
 *
 * A record begins at a sector, so no sector holds what two writes wrote. Its chain is the CRC-32 of its
 * payload that goes on from the chain of the record before it, also over the border of two segments: a
 * record that is missing, repeated or an older version of itself breaks it. The CRC of its head goes on
 * from the log's id and the segment's number, so that a head is one in its own place only. An empty
 * record closes the segment: the next one is there, and durable.
 *
 * A torn write is one that a crash left unfinished. Of a disk it is believed that it writes a sector as a
 * whole or not at all, and of the file that it held zeros: so a torn record has sectors that are still
 * zero. Its head tells how many of its sectors are zero in truth; with more of them it is torn, with as
 * many or fewer it is damaged. Without its head, whatever is there is torn, unless a record's head
 * follows: after a torn write there is none.
 */
export interface SegmentHead {
  readonly logId: string;
  readonly number: number;
  /** Of the last record before this segment. */
  readonly chain: number;
  /** The length of the file. */
  readonly bytes: number;
}

export interface SegmentScan {
  /** Blank: no write to it was finished. Closed: the log goes on in the next segment. */
  readonly state: "blank" | "open" | "closed";
  /** Views into the bytes that were scanned. */
  readonly payloads: readonly Buffer[];
  readonly chain: number;
  /** Where the next record goes. */
  readonly end: number;
  /** From `end` on there is something of a write that was not finished. */
  readonly isTorn: boolean;
}

export const SECTOR_BYTES = 512;
/** Where a record's payload begins in its first sector. */
export const FRAME_HEAD_BYTES = 24;

const FORMAT = 1;
const SEGMENT_MAGIC = Buffer.from("orch-wal");
const SEGMENT_HEAD_BYTES = 52;
const RECORD_MAGIC = 0x6c_61_77_6f;
const LOG_ID_BYTES = 16;
const ZEROS = Buffer.alloc(64 * 1024);

/** The length in the file of a record whose payload is that long. */
export function frameBytes(payloadBytes: number): number {
  return Math.ceil((FRAME_HEAD_BYTES + payloadBytes) / SECTOR_BYTES) * SECTOR_BYTES;
}

/** What the CRCs of a segment's records' heads go on from. */
export function placeOf(logId: string, number: number): number {
  const bytes = Buffer.alloc(LOG_ID_BYTES + 8);
  bytes.write(logId, "hex");
  bytes.writeBigUInt64LE(BigInt(number), LOG_ID_BYTES);
  return crc32(bytes);
}

/** Makes a segment's first sector. */
export function putSegmentHead(into: Buffer, head: SegmentHead): void {
  into.fill(0, 0, SECTOR_BYTES);
  SEGMENT_MAGIC.copy(into);
  into.writeUInt32LE(FORMAT, 8);
  into.writeUInt32LE(head.chain, 12);
  into.write(head.logId, 16, LOG_ID_BYTES, "hex");
  into.writeBigUInt64LE(BigInt(head.number), 32);
  into.writeBigUInt64LE(BigInt(head.bytes), 40);
  into.writeUInt32LE(crc32(into.subarray(0, SEGMENT_HEAD_BYTES - 4)), SEGMENT_HEAD_BYTES - 4);
}

/**
 * Makes a record of a payload that is in its place already, in `frame`, which is as long as frameBytes
 * says and goes to `offset` of the segment. Returns its chain.
 */
export function sealFrame(
  frame: Buffer,
  payloadBytes: number,
  place: number,
  offset: number,
  chain: number,
): number {
  const end = FRAME_HEAD_BYTES + payloadBytes;
  frame.fill(0, end);
  const after = crc32(frame.subarray(FRAME_HEAD_BYTES, end), chain);
  frame.writeUInt32LE(RECORD_MAGIC, 0);
  frame.writeUInt32LE(offset / SECTOR_BYTES, 4);
  frame.writeUInt32LE(payloadBytes, 8);
  frame.writeUInt32LE(zeroSectors(frame), 12);
  frame.writeUInt32LE(after, 16);
  frame.writeUInt32LE(crc32(frame.subarray(0, 20), place), 20);
  return after;
}

/**
 * Reads a whole segment. `chain` is that of the record before it; null: this is the oldest there is.
 * Throws Damage for all that neither was written so nor is torn.
 */
export function scanSegment(
  bytes: Buffer,
  logId: string,
  number: number,
  chain: number | null,
): SegmentScan {
  try {
    return scan(bytes, logId, number, chain);
  } catch (error) {
    if (error instanceof Damage)
      throw new Damage(`segment ${number}: ${error.message}`, { cause: error });
    throw error;
  }
}

function scan(bytes: Buffer, logId: string, number: number, chain: number | null): SegmentScan {
  if (bytes.length === 0 || bytes.length % SECTOR_BYTES !== 0)
    throw new Damage(`its file is cut off at byte ${bytes.length}`);
  const place = placeOf(logId, number);
  const blank = (isTorn: boolean): SegmentScan => ({
    state: "blank",
    payloads: [],
    chain: chain ?? 0,
    end: 0,
    isTorn,
  });
  if (isZero(bytes, 0, bytes.length)) return blank(false);
  if (isZero(bytes, 0, SECTOR_BYTES)) {
    // The first record may be whole, and yet its write is not.
    refuseHeads(bytes, place, 2 * SECTOR_BYTES, 0);
    return blank(true);
  }
  const head = checkHead(bytes, logId, number, chain);
  const payloads: Buffer[] = [];
  let isClosed = false;
  let last = head.chain;
  let end = SECTOR_BYTES;
  for (;;) {
    const frame = readFrame(bytes, place, end, last);
    if (frame === null || frame === "torn") {
      if (isClosed && frame === "torn")
        throw new Damage(`something follows its end at byte ${end}`);
      if (payloads.length === 0) return blank(true);
      const isTorn = frame === "torn";
      return { state: isClosed ? "closed" : "open", payloads, chain: last, end, isTorn };
    }
    if (isClosed) throw new Damage(`a record follows its end at byte ${end}`);
    if (frame.payload.length > 0) payloads.push(frame.payload);
    else if (payloads.length === 0) throw new Damage("it was closed before it began");
    else isClosed = true;
    last = frame.chain;
    end += frameBytes(frame.payload.length);
  }
}

function checkHead(
  bytes: Buffer,
  logId: string,
  number: number,
  chain: number | null,
): SegmentHead {
  if (bytes.length < SECTOR_BYTES || bytes.compare(SEGMENT_MAGIC, 0, 8, 0, 8) !== 0)
    throw new Damage("its file does not begin as a segment does");
  const crc = crc32(bytes.subarray(0, SEGMENT_HEAD_BYTES - 4));
  const isIntact = bytes.readUInt32LE(SEGMENT_HEAD_BYTES - 4) === crc;
  if (!isIntact || !isZero(bytes, SEGMENT_HEAD_BYTES, SECTOR_BYTES))
    throw new Damage("its head fails its checksum");
  if (bytes.readUInt32LE(8) !== FORMAT) throw new Damage("its format is unknown");
  const head: SegmentHead = {
    logId: bytes.toString("hex", 16, 16 + LOG_ID_BYTES),
    number: Number(bytes.readBigUInt64LE(32)),
    chain: bytes.readUInt32LE(12),
    bytes: Number(bytes.readBigUInt64LE(40)),
  };
  if (head.logId !== logId)
    throw new Damage("it is not of the log that belongs to this data folder (log.id differs)");
  if (head.number !== number) throw new Damage(`its file holds segment ${head.number}`);
  if (head.bytes !== bytes.length)
    throw new Damage(`its file has ${bytes.length} bytes, but was made with ${head.bytes}`);
  if (chain !== null && head.chain !== chain)
    throw new Damage("it does not go on from the one before it");
  return head;
}

interface Frame {
  readonly payload: Buffer;
  readonly chain: number;
}

/** The record at `at`; null: nothing but zeros from here on. */
function readFrame(bytes: Buffer, place: number, at: number, chain: number): Frame | "torn" | null {
  if (isZero(bytes, at, at + SECTOR_BYTES)) {
    if (isZero(bytes, at, bytes.length)) return null;
    refuseHeads(bytes, place, at + SECTOR_BYTES, at);
    return "torn";
  }
  if (!isFrameHead(bytes, place, at))
    throw new Damage(`the head of a record at byte ${at} is damaged`);
  const length = bytes.readUInt32LE(at + 8);
  const end = at + frameBytes(length);
  if (end > bytes.length) throw new Damage(`the record at byte ${at} goes beyond the file`);
  const payload = bytes.subarray(at + FRAME_HEAD_BYTES, at + FRAME_HEAD_BYTES + length);
  const padding = at + FRAME_HEAD_BYTES + length;
  const written = bytes.readUInt32LE(at + 16);
  if (crc32(payload, chain) === written && isZero(bytes, padding, end))
    return { payload, chain: written };
  const zeros = zeroSectors(bytes.subarray(at, end));
  if (zeros > bytes.readUInt32LE(at + 12) && isZero(bytes, end, bytes.length)) return "torn";
  throw new Damage(`the record at byte ${at} fails its checksum`);
}

function isFrameHead(bytes: Buffer, place: number, at: number): boolean {
  return (
    bytes.readUInt32LE(at) === RECORD_MAGIC &&
    bytes.readUInt32LE(at + 4) === at / SECTOR_BYTES &&
    bytes.readUInt32LE(at + 20) === crc32(bytes.subarray(at, at + 20), place)
  );
}

/** Throws Damage if a record begins at `from` or later: then what lacks its head at `lost` was not the last. */
function refuseHeads(bytes: Buffer, place: number, from: number, lost: number): void {
  for (let at = from; at + SECTOR_BYTES <= bytes.length; at += SECTOR_BYTES) {
    if (isFrameHead(bytes, place, at))
      throw new Damage(`byte ${lost} is zero, but a record follows at byte ${at}`);
  }
}

/** Of a frame's sectors; the first, with its head, is never zero. */
function zeroSectors(frame: Buffer): number {
  let zeros = 0;
  for (let at = SECTOR_BYTES; at < frame.length; at += SECTOR_BYTES)
    if (frame[at] === 0 && isZero(frame, at, at + SECTOR_BYTES)) zeros++;
  return zeros;
}

/** Whether the bytes of a range, as far as there are any, are all zero. */
function isZero(bytes: Buffer, from: number, to: number): boolean {
  const end = Math.min(to, bytes.length);
  for (let at = from; at < end; at += ZEROS.length) {
    const length = Math.min(ZEROS.length, end - at);
    if (bytes.compare(ZEROS, 0, length, at, at + length) !== 0) return false;
  }
  return true;
}
