import { crc32 } from "node:zlib";
import type { Entry, EntryKind, HardState } from "../consensus/message.ts";
import type { LogBase, SnapshotMeta } from "../consensus/snapshot.ts";
import type { WorkerMemory } from "../runtime/worker-memory.ts";
import type { Identity, SnapshotSum } from "./storage.ts";

/**
 * The records of the disk, as bytes. A record is a key and a value; the value is a CRC-32 over key and
 * body, then the body, so that a record that is moved to another key is as damaged as one with a flipped
 * bit. Integers are big-endian: the order of the keys is the order of the log.
 */
export interface DiskRecord {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/**
 * The record that every write renews: it binds all others together, since a CRC alone cannot tell an
 * intact record from an intact older version of it.
 */
export interface Seal {
  /** Random, given once; the file `log.id` beside the log holds it too. */
  readonly logId: string;
  /** The number of the LMDB transaction that wrote it. */
  readonly transaction: number;
  readonly base: LogBase;
  readonly lastIndex: number;
  /**
   * A CRC over the CRCs of the entries in order, up to the base and up to lastIndex. The first lets the
   * second live through a cut; it begins again with 0 after a cut that drops the log.
   */
  readonly baseChain: number;
  readonly chain: number;
  /** The CRCs of these records; 0: there is none. */
  readonly identity: number;
  readonly hardState: number;
  readonly worker: number;
  readonly marker: number;
}

/** The record that makes a snapshot count: the node begins from the file with just that content. */
export interface Marker {
  readonly meta: SnapshotMeta;
  readonly sum: SnapshotSum;
}

/** What is wrong with the bytes of the disk, in words that follow "the log is damaged: " (or "the snapshot"). */
export class Damage extends Error {
  override name = "Damage";
}

// The entries come last, so that a growing log appends to the last page only.
export const SEAL_KEY: Uint8Array = Uint8Array.of(1);
export const HARD_STATE_KEY: Uint8Array = Uint8Array.of(2);
export const IDENTITY_KEY: Uint8Array = Uint8Array.of(3);
export const WORKER_KEY: Uint8Array = Uint8Array.of(4);
export const MARKER_KEY: Uint8Array = Uint8Array.of(5);
const ENTRY_PREFIX = 6;
const ENTRY_KEY_BYTES = 9;

const CRC_BYTES = 4;
const INTEGER_BYTES = 8;
const LOG_ID_BYTES = 16;
const KINDS: readonly EntryKind[] = ["normal", "conf"];
const TWO_32 = 2 ** 32;

/** The key of the entry at `index` (from 1). */
export function entryKey(index: number): Uint8Array {
  const key = Buffer.allocUnsafe(ENTRY_KEY_BYTES);
  key[0] = ENTRY_PREFIX;
  putInteger(key, 1, index);
  return key;
}

/** The index in an entry's key; null: not the key of an entry. */
export function indexOfKey(key: Uint8Array): number | null {
  if (key.length !== ENTRY_KEY_BYTES || key[0] !== ENTRY_PREFIX) return null;
  return takeInteger(key, 1);
}

/** The CRC that a record's value begins with. */
export function crcOf(record: DiskRecord): number {
  return view(record.value).getUint32(0);
}

/** The chain up to an entry, from the chain up to its predecessor (0 before the first) and its CRC. */
export function chainAfter(previous: number, entryCrc: number): number {
  const bytes = Buffer.allocUnsafe(CRC_BYTES);
  bytes.writeUInt32BE(entryCrc);
  return crc32(bytes, previous);
}

/** Entries are stored as they are: term, kind, data. */
export function encodeEntry(entry: Entry): DiskRecord {
  const body = room(INTEGER_BYTES + 1 + entry.data.length);
  putInteger(body, CRC_BYTES, entry.term);
  body[CRC_BYTES + INTEGER_BYTES] = KINDS.indexOf(entry.kind);
  body.set(entry.data, CRC_BYTES + INTEGER_BYTES + 1);
  return sealed(entryKey(entry.index), body);
}

/** Throws Damage that names the index. The data is a copy: the record's bytes may be reused. */
export function decodeEntry(index: number, record: DiskRecord): Entry {
  const body = bodyOf(`entry ${String(index)}`, record);
  const kind = KINDS[body[INTEGER_BYTES] ?? KINDS.length];
  if (kind === undefined) throw new Damage(`entry ${String(index)} is of an unknown kind`);
  return {
    term: takeInteger(body, 0),
    index,
    kind,
    data: new Uint8Array(body.subarray(INTEGER_BYTES + 1)),
  };
}

export function encodeHardState(state: HardState): DiskRecord {
  const body = room(3 * INTEGER_BYTES);
  putInteger(body, CRC_BYTES, state.term);
  putInteger(body, CRC_BYTES + INTEGER_BYTES, state.vote);
  putInteger(body, CRC_BYTES + 2 * INTEGER_BYTES, state.commit);
  return sealed(HARD_STATE_KEY, body);
}

/** Throws Damage. */
export function decodeHardState(record: DiskRecord): HardState {
  const body = bodyOf("the hard state", record);
  if (body.length !== 3 * INTEGER_BYTES) throw new Damage("the hard state has a wrong length");
  return {
    term: takeInteger(body, 0),
    vote: takeInteger(body, INTEGER_BYTES),
    commit: takeInteger(body, 2 * INTEGER_BYTES),
  };
}

export function encodeIdentity(identity: Identity): DiskRecord {
  return encodeText(IDENTITY_KEY, JSON.stringify(identity));
}

/** Throws Damage. */
export function decodeIdentity(record: DiskRecord): Identity {
  const value = parse("the identity", textOf("the identity", record));
  if (!isIdentity(value)) throw new Damage("the identity is not one");
  return value;
}

export function encodeWorker(worker: WorkerMemory): DiskRecord {
  return encodeText(WORKER_KEY, JSON.stringify(worker));
}

/** Throws Damage. */
export function decodeWorker(record: DiskRecord): WorkerMemory {
  const what = "the worker's memory";
  const value = parse(what, textOf(what, record));
  if (!isWorkerMemory(value)) throw new Damage(`${what} is not one`);
  return value;
}

export function encodeMarker(marker: Marker): DiskRecord {
  return encodeText(MARKER_KEY, textOfMarker(marker));
}

/** Throws Damage. */
export function decodeMarker(record: DiskRecord): Marker {
  const what = "the snapshot's marker";
  return markerOfText(what, textOf(what, record));
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

const SEAL_INTEGERS = 4;
const SEAL_CRCS = 6;
const SEAL_BYTES = LOG_ID_BYTES + SEAL_INTEGERS * INTEGER_BYTES + SEAL_CRCS * CRC_BYTES;

export function encodeSeal(seal: Seal): DiskRecord {
  const body = room(SEAL_BYTES);
  let at = CRC_BYTES;
  at += body.write(seal.logId, at, LOG_ID_BYTES, "hex");
  for (const value of [seal.transaction, seal.base.index, seal.base.term, seal.lastIndex]) {
    putInteger(body, at, value);
    at += INTEGER_BYTES;
  }
  const { baseChain, chain, identity, hardState, worker, marker } = seal;
  for (const crc of [baseChain, chain, identity, hardState, worker, marker])
    at = body.writeUInt32BE(crc, at);
  return sealed(SEAL_KEY, body);
}

/** Throws Damage. */
export function decodeSeal(record: DiskRecord): Seal {
  const body = bodyOf("the seal", record);
  if (body.length !== SEAL_BYTES) throw new Damage("the seal has a wrong length");
  const integer = (number: number): number =>
    takeInteger(body, LOG_ID_BYTES + number * INTEGER_BYTES);
  const bytes = view(body);
  const crc = (number: number): number =>
    bytes.getUint32(LOG_ID_BYTES + SEAL_INTEGERS * INTEGER_BYTES + number * CRC_BYTES);
  return {
    logId: Buffer.from(body.subarray(0, LOG_ID_BYTES)).toString("hex"),
    transaction: integer(0),
    base: { index: integer(1), term: integer(2) },
    lastIndex: integer(3),
    baseChain: crc(0),
    chain: crc(1),
    identity: crc(2),
    hardState: crc(3),
    worker: crc(4),
    marker: crc(5),
  };
}

function encodeText(key: Uint8Array, text: string): DiskRecord {
  const bytes = Buffer.from(text);
  const body = room(bytes.length);
  body.set(bytes, CRC_BYTES);
  return sealed(key, body);
}

/** The text in a record. Throws Damage. */
function textOf(what: string, record: DiskRecord): string {
  return Buffer.from(bodyOf(what, record)).toString();
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
    "peers" in value
  );
}

function isWorkerMemory(value: unknown): value is WorkerMemory {
  return (
    typeof value === "object" && value !== null && "assignments" in value && "reports" in value
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

/** Bytes for a CRC and a body of that length. */
function room(bodyBytes: number): Buffer {
  return Buffer.allocUnsafe(CRC_BYTES + bodyBytes);
}

function sealed(key: Uint8Array, value: Buffer): DiskRecord {
  value.writeUInt32BE(crc32(value.subarray(CRC_BYTES), crc32(key)));
  return { key, value };
}

/** What follows the CRC; throws Damage when it does not match. */
function bodyOf(what: string, record: DiskRecord): Uint8Array {
  if (record.value.length < CRC_BYTES) throw new Damage(`${what} is cut off`);
  const body = record.value.subarray(CRC_BYTES);
  if (crcOf(record) !== crc32(body, crc32(record.key)))
    throw new Damage(`${what} fails its checksum`);
  return body;
}

/** Non-negative safe integers only; two words, as BigInt costs more than the rest of a record. */
function putInteger(bytes: Uint8Array, at: number, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new RangeError(`not an index or a term: ${String(value)}`);
  const words = view(bytes);
  words.setUint32(at, Math.floor(value / TWO_32));
  words.setUint32(at + 4, value % TWO_32);
}

function takeInteger(bytes: Uint8Array, at: number): number {
  if (bytes.length < at + INTEGER_BYTES) throw new Damage("a record is cut off");
  const words = view(bytes);
  const value = words.getUint32(at) * TWO_32 + words.getUint32(at + 4);
  if (!Number.isSafeInteger(value)) throw new Damage("a record holds a number out of range");
  return value;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
