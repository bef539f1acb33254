import { crc32 } from "node:zlib";
import type { Entry, EntryKind, HardState } from "../consensus/message.ts";
import type { LogBase, SnapshotMeta } from "../consensus/snapshot.ts";
import type { WorkerMemory } from "../runtime/worker-memory.ts";
import type { Identity, SnapshotSum } from "./storage.ts";

/**
 * What a record of the log says, as bytes. A record is what one write changes: parts of a kind and a
 * length, each kind at most once. Integers are little-endian. Checksums are the frame's: disk-frames.ts.
 *
 *     kind u32, length u32, body
 *
 *     1 begin        base index u64, base term u64, last index u64
 *     2 identity     JSON
 *     3 hard state   term u64, vote u64, commit u64
 *     4 worker       JSON
 *     5 marker       JSON
 *     6 cut          base index u64, base term u64, dropped u64 (1: nothing of the log stays)
 *     7 entries      first index u64, then of each: length of its data u32, kind u32, term u64, data
 */
export interface DiskRecord {
  /** In the first record of a segment; it then holds all other parts that there are, changed or not. */
  readonly begin: Begin | null;
  readonly identity: Identity | null;
  readonly hardState: HardState | null;
  readonly cut: Cut | null;
  /** Of the snapshot that the cut names. */
  readonly marker: Marker | null;
  readonly worker: WorkerMemory | null;
  readonly entries: readonly Entry[];
}

/** The log before the first record of a segment: what older segments hold, if they are still there. */
export interface Begin {
  readonly base: LogBase;
  readonly last: number;
}

/** See LogCut, whose snapshot is in the marker. */
export interface Cut {
  readonly base: LogBase;
  readonly dropLog: boolean;
}

/** What makes a snapshot count: the node begins from the file with just that content. */
export interface Marker {
  readonly meta: SnapshotMeta;
  readonly sum: SnapshotSum;
}

/** What is wrong with the bytes of the disk, in words that follow "the log is damaged: " (or "the snapshot"). */
export class Damage extends Error {
  override name = "Damage";
}

/** A record on its way into the log. */
export interface EncodedRecord {
  readonly bytes: number;
  /** Writes that many bytes. Each entry's data is copied here, once. */
  put(into: Buffer, at: number): void;
}

const BEGIN = 1;
const IDENTITY = 2;
const HARD_STATE = 3;
const WORKER = 4;
const MARKER = 5;
const CUT = 6;
const ENTRIES = 7;

const PART_BYTES = 8;
const INTEGER_BYTES = 8;
const THREE_INTEGERS = 3 * INTEGER_BYTES;
const ENTRY_BYTES = 16;
const KINDS: readonly EntryKind[] = ["normal", "conf"];
const TWO_32 = 2 ** 32;

/** A record as bytes, in two steps: how many, and then into their place. */
export function encodeRecord(record: DiskRecord): EncodedRecord {
  const { begin, identity, hardState, cut, marker, worker, entries } = record;
  const numbers: (readonly [kind: number, values: readonly number[]])[] = [];
  if (begin !== null) numbers.push([BEGIN, [begin.base.index, begin.base.term, begin.last]]);
  if (hardState !== null)
    numbers.push([HARD_STATE, [hardState.term, hardState.vote, hardState.commit]]);
  if (cut !== null) numbers.push([CUT, [cut.base.index, cut.base.term, cut.dropLog ? 1 : 0]]);
  const texts: (readonly [kind: number, text: Buffer])[] = [];
  if (identity !== null) texts.push([IDENTITY, Buffer.from(JSON.stringify(identity))]);
  if (worker !== null) texts.push([WORKER, Buffer.from(JSON.stringify(worker))]);
  if (marker !== null) texts.push([MARKER, Buffer.from(textOfMarker(marker))]);
  let bytes = numbers.length * (PART_BYTES + THREE_INTEGERS);
  for (const [, text] of texts) bytes += PART_BYTES + text.length;
  const entriesBytes = bytesOf(entries);
  if (entries.length > 0) bytes += PART_BYTES + entriesBytes;
  return {
    bytes,
    put: (into, from) => {
      let at = from;
      for (const [kind, values] of numbers) {
        at = putPart(into, at, kind, THREE_INTEGERS);
        for (const value of values) at = putInteger(into, at, value);
      }
      for (const [kind, text] of texts) {
        at = putPart(into, at, kind, text.length);
        at += text.copy(into, at);
      }
      if (entries.length > 0) putEntries(into, putPart(into, at, ENTRIES, entriesBytes), entries);
    },
  };
}

/** The inverse of encodeRecord. The entries' data are copies. Throws Damage. */
export function decodeRecord(bytes: Buffer): DiskRecord {
  const parts = new Map<number, Buffer>();
  for (let at = 0; at < bytes.length;) {
    if (at + PART_BYTES > bytes.length) throw new Damage("a record is cut off");
    const kind = bytes.readUInt32LE(at);
    const end = at + PART_BYTES + bytes.readUInt32LE(at + 4);
    if (end > bytes.length) throw new Damage("a record is cut off");
    if (kind < BEGIN || kind > ENTRIES || parts.has(kind))
      throw new Damage("a record holds a part of an unknown kind");
    parts.set(kind, bytes.subarray(at + PART_BYTES, end));
    at = end;
  }
  const begin = numbersOf(parts.get(BEGIN));
  const hard = numbersOf(parts.get(HARD_STATE));
  const cut = numbersOf(parts.get(CUT));
  return {
    begin: begin && { base: { index: begin[0], term: begin[1] }, last: begin[2] },
    identity: jsonOf("the identity", parts.get(IDENTITY), isIdentity),
    hardState: hard && { term: hard[0], vote: hard[1], commit: hard[2] },
    cut: cut && { base: { index: cut[0], term: cut[1] }, dropLog: cut[2] === 1 },
    marker: jsonOf("the snapshot's marker", parts.get(MARKER), isMarker),
    worker: jsonOf("the worker's memory", parts.get(WORKER), isWorkerMemory),
    entries: entriesOf(parts.get(ENTRIES)),
  };
}

/** The sum of a snapshot's chunks up to one, from that of those before it (0 before the first) and its CRC. */
export function chainAfter(previous: number, chunkCrc: number): number {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(chunkCrc);
  return crc32(bytes, previous);
}

/** A marker as it stands in its record and at the end of a snapshot's file; equal markers have equal texts. */
export function textOfMarker({ meta, sum }: Marker): string {
  return JSON.stringify({ meta: plainMeta(meta), sum: { chunks: sum.chunks, crc: sum.crc } });
}

/** The inverse of textOfMarker. Throws Damage that says which marker it was. */
export function markerOfText(what: string, text: string): Marker {
  const value = parse(what, text);
  if (!isMarker(value)) throw new Damage(`${what} is not one`);
  return value;
}

/** Whether two metas say the same. */
export function isSameMeta(one: SnapshotMeta, other: SnapshotMeta): boolean {
  return JSON.stringify(plainMeta(one)) === JSON.stringify(plainMeta(other));
}

function parse(what: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Damage(`${what} is not JSON: ${String(error)}`, { cause: error });
  }
}

// The CRC vouches for what is inside, and format.json for its shape: these only tell the two from other JSON.
function isIdentity(value: unknown): value is Identity {
  return (
    typeof value === "object" &&
    value !== null &&
    "clusterId" in value &&
    "node" in value &&
    "peers" in value &&
    "joinSecret" in value
  );
}

function isWorkerMemory(value: unknown): value is WorkerMemory {
  return (
    typeof value === "object" &&
    value !== null &&
    "assignments" in value &&
    "reports" in value &&
    "ending" in value
  );
}

function isMarker(value: unknown): value is Marker {
  if (typeof value !== "object" || value === null || !("meta" in value) || !("sum" in value))
    return false;
  const { meta, sum } = value;
  return isMeta(meta) && typeof sum === "object" && sum !== null && "chunks" in sum && "crc" in sum;
}

function isMeta(value: unknown): value is SnapshotMeta {
  return (
    typeof value === "object" &&
    value !== null &&
    "index" in value &&
    "term" in value &&
    "membership" in value
  );
}

// Field by field: in this order, whatever the caller's objects look like, and nothing else of them.
function plainMeta({ index, term, membership }: SnapshotMeta): SnapshotMeta {
  const { voters, outgoing, learners, learnersNext } = membership;
  return { index, term, membership: { voters, outgoing, learners, learnersNext } };
}

function bytesOf(entries: readonly Entry[]): number {
  let bytes = INTEGER_BYTES;
  for (const { data } of entries) bytes += ENTRY_BYTES + data.length;
  return bytes;
}

/** Entries are stored as they are: their indices follow from the first. */
function putEntries(into: Buffer, from: number, entries: readonly Entry[]): void {
  let at = putInteger(into, from, entries[0]?.index ?? 0);
  for (const { term, kind, data } of entries) {
    at = into.writeUInt32LE(data.length, at);
    at = into.writeUInt32LE(KINDS.indexOf(kind), at);
    at = putInteger(into, at, term);
    into.set(data, at);
    at += data.length;
  }
}

function entriesOf(body: Buffer | undefined): Entry[] {
  if (body === undefined) return [];
  const entries: Entry[] = [];
  const first = takeInteger(body, 0);
  for (let at = INTEGER_BYTES; at < body.length;) {
    const index = first + entries.length;
    if (at + ENTRY_BYTES > body.length) throw new Damage(`entry ${index} is cut off`);
    const kind = KINDS[body.readUInt32LE(at + 4)];
    const end = at + ENTRY_BYTES + body.readUInt32LE(at);
    if (kind === undefined) throw new Damage(`entry ${index} is of an unknown kind`);
    if (end > body.length) throw new Damage(`entry ${index} is cut off`);
    const data = new Uint8Array(body.subarray(at + ENTRY_BYTES, end));
    entries.push({ term: takeInteger(body, at + 8), index, kind, data });
    at = end;
  }
  return entries;
}

function putPart(into: Buffer, at: number, kind: number, length: number): number {
  return into.writeUInt32LE(length, into.writeUInt32LE(kind, at));
}

function numbersOf(body: Buffer | undefined): readonly [number, number, number] | null {
  if (body === undefined) return null;
  if (body.length !== THREE_INTEGERS) throw new Damage("a record's part has a wrong length");
  return [
    takeInteger(body, 0),
    takeInteger(body, INTEGER_BYTES),
    takeInteger(body, 2 * INTEGER_BYTES),
  ];
}

function jsonOf<T>(
  what: string,
  body: Buffer | undefined,
  is: (value: unknown) => value is T,
): T | null {
  if (body === undefined) return null;
  const value = parse(what, body.toString());
  if (!is(value)) throw new Damage(`${what} is not one`);
  return value;
}

/** Non-negative safe integers only; two words, as BigInt costs more than the rest of a record. */
function putInteger(into: Buffer, at: number, value: number): number {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new RangeError(`not an index or a term: ${String(value)}`);
  return into.writeUInt32LE(Math.floor(value / TWO_32), into.writeUInt32LE(value % TWO_32, at));
}

function takeInteger(bytes: Buffer, at: number): number {
  if (at + INTEGER_BYTES > bytes.length) throw new Damage("a record is cut off");
  const value = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * TWO_32;
  if (!Number.isSafeInteger(value)) throw new Damage("a record holds a number out of range");
  return value;
}
