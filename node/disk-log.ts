import type { LogCut } from "../consensus/snapshot.ts";
import type { Entry, HardState } from "../consensus/message.ts";
import { type LogBase, type SnapshotMeta, WHOLE_LOG } from "../consensus/snapshot.ts";
import { assert, present } from "../lib/assert.ts";
import {
  chainAfter,
  crcOf,
  Damage,
  decodeEntry,
  decodeHardState,
  decodeIdentity,
  decodeMarker,
  decodeSeal,
  decodeWorker,
  encodeEntry,
  encodeHardState,
  encodeIdentity,
  encodeMarker,
  encodeSeal,
  encodeWorker,
  entryKey,
  HARD_STATE_KEY,
  IDENTITY_KEY,
  indexOfKey,
  isSameMeta,
  MARKER_KEY,
  SEAL_KEY,
  WORKER_KEY,
} from "./disk-records.ts";
import type { DiskRecord, Marker, Seal } from "./disk-records.ts";
import type { Scan } from "./disk-pages.ts";
import { EMPTY_DISK } from "./storage.ts";
import type { DiskImage, DiskWrite } from "./storage.ts";

/** What a write must know of what is stored already. */
export interface LogState {
  readonly seal: Seal;
  readonly hardState: HardState;
  readonly snapshot: SnapshotMeta | null;
  /** Of the entries after the base, by index - base.index - 1: the term, and the chain up to and with the entry. */
  readonly terms: number[];
  readonly chains: number[];
}

/** One LMDB transaction. */
export interface Batch {
  readonly puts: readonly DiskRecord[];
  readonly removes: readonly Uint8Array[];
}

export interface LoadedLog {
  readonly image: DiskImage;
  readonly state: LogState;
  /** What the file of the image's snapshot must hold; null: there is no snapshot. */
  readonly marker: Marker | null;
}

/** A new log: one transaction, the first, that holds nothing but the seal. */
export function emptyLog(logId: string): Batch {
  const seal: Seal = {
    logId,
    transaction: 1,
    base: WHOLE_LOG,
    lastIndex: 0,
    baseChain: 0,
    chain: 0,
    identity: 0,
    hardState: 0,
    worker: 0,
    marker: 0,
  };
  return { puts: [encodeSeal(seal)], removes: [] };
}

/**
 * The image of what a scan found, if all of it is there and fits together: every record intact and the
 * one that was written last, entries from the base on without a gap, terms that never fall, and a hard
 * state and a snapshot that fit the log. Throws Damage that names the record.
 */
export function loadLog(scan: Scan, logId: string): LoadedLog {
  const singles = new Map<number, DiskRecord>();
  const ofEntries: (readonly [index: number, record: DiskRecord])[] = [];
  for (const record of scan.records) {
    const index = indexOfKey(record.key);
    if (index !== null) ofEntries.push([index, record]);
    else if (record.key.length === 1 && record.key[0] !== undefined)
      singles.set(record.key[0], record);
    else throw new Damage("it holds a record of an unknown kind");
  }
  const found = (key: Uint8Array): DiskRecord | undefined => singles.get(key[0] ?? 0);
  const sealRecord = found(SEAL_KEY);
  if (sealRecord === undefined) throw new Damage("its seal is missing");
  const seal = decodeSeal(sealRecord);
  const { entries, terms, chains } = loadEntries(seal, ofEntries);
  const identity = found(IDENTITY_KEY);
  const hard = found(HARD_STATE_KEY);
  const worker = found(WORKER_KEY);
  const marked = found(MARKER_KEY);
  const marker = marked === undefined ? null : decodeMarker(marked);
  const image: DiskImage = {
    identity: identity === undefined ? null : decodeIdentity(identity),
    hardState: hard === undefined ? EMPTY_DISK.hardState : decodeHardState(hard),
    snapshot: marker?.meta ?? null,
    base: seal.base,
    entries,
    worker: worker === undefined ? null : decodeWorker(worker),
  };
  const last = seal.base.index + entries.length;
  checkSeal(seal, logId, scan.transaction, last, chains.at(-1) ?? seal.baseChain);
  checkSealed("the identity", seal.identity, identity);
  checkSealed("the hard state", seal.hardState, hard);
  checkSealed("the worker's memory", seal.worker, worker);
  checkSealed("the snapshot's marker", seal.marker, marked);
  const { hardState, snapshot } = image;
  const state: LogState = { seal, hardState, snapshot, terms, chains };
  const broken = brokenState(state);
  if (broken !== null) throw new Damage(broken);
  return { image, state, marker };
}

/**
 * The transaction that does a write, and the state after it. `saved` is what was saved of the snapshot
 * that the write's cut names; null: nothing. Asserts that the log stays one.
 * Costs O(entries written), with a cut O(entries removed and kept).
 */
export function planWrite(
  state: LogState,
  write: DiskWrite,
  saved: Marker | null,
): { batch: Batch; next: LogState } {
  const { cut, entries } = write;
  const { base, baseChain, terms, chains } = afterCut(state, cut, saved);
  const puts = appendTo(base, baseChain, terms, chains, entries);
  const lastIndex = base.index + terms.length;
  const hardState = write.hardState ?? state.hardState;
  const identity = write.identity === null ? null : encodeIdentity(write.identity);
  const hard = write.hardState === null ? null : encodeHardState(write.hardState);
  const worker = write.worker === null ? null : encodeWorker(write.worker);
  const marker = cut === null || saved === null ? null : encodeMarker(saved);
  for (const record of [identity, hard, worker, marker]) if (record !== null) puts.push(record);
  const seal: Seal = {
    logId: state.seal.logId,
    transaction: state.seal.transaction + 1,
    base,
    lastIndex,
    baseChain,
    chain: chains.at(-1) ?? baseChain,
    identity: identity === null ? state.seal.identity : crcOf(identity),
    hardState: hard === null ? state.seal.hardState : crcOf(hard),
    worker: worker === null ? state.seal.worker : crcOf(worker),
    marker: marker === null ? state.seal.marker : crcOf(marker),
  };
  puts.push(encodeSeal(seal));
  const next: LogState = { seal, hardState, snapshot: cut?.meta ?? state.snapshot, terms, chains };
  const broken = brokenState(next);
  assert(broken === null, broken ?? "");
  const removes = removedKeys(state.seal, base.index, lastIndex);
  return { batch: { puts, removes }, next };
}

interface Kept {
  readonly base: LogBase;
  readonly baseChain: number;
  readonly terms: number[];
  readonly chains: number[];
}

/** What a cut leaves of the log. */
function afterCut(state: LogState, cut: LogCut | null, saved: Marker | null): Kept {
  const { seal, terms, chains } = state;
  if (cut === null) return { base: seal.base, baseChain: seal.baseChain, terms, chains };
  const { meta, base, dropLog } = cut;
  const name = `the snapshot of entry ${meta.index}`;
  assert(saved !== null && isSameMeta(saved.meta, meta), `${name} was not saved`);
  assert(meta.index >= (state.snapshot?.index ?? 0), `${name} is older than the one before it`);
  assert(base.index >= seal.base.index, `the log begins after ${seal.base.index} already`);
  if (dropLog) {
    assert(
      base.index === meta.index && base.term === meta.term,
      "a dropped log goes on after its snapshot",
    );
    assert(meta.index >= state.hardState.commit, `${name} would drop committed entries`);
    return { base, baseChain: 0, terms: [], chains: [] };
  }
  const gone = base.index - seal.base.index;
  assert(gone <= terms.length, `the log ends before its new base ${base.index}`);
  assert(base.term === termOf(state, base.index), `entry ${base.index} has another term`);
  const baseChain = gone === 0 ? seal.baseChain : present(chains[gone - 1], "one a term");
  return { base, baseChain, terms: terms.slice(gone), chains: chains.slice(gone) };
}

/** Lets the entries replace everything from their first index on, and gives their records. */
function appendTo(
  base: LogBase,
  baseChain: number,
  terms: number[],
  chains: number[],
  entries: readonly Entry[],
): DiskRecord[] {
  const last = base.index + terms.length;
  const first = entries[0]?.index ?? last + 1;
  assert(
    first > base.index && first <= last + 1,
    `the write starts at entry ${first}, but the log goes from ${base.index + 1} to ${last}`,
  );
  terms.length = first - base.index - 1;
  chains.length = terms.length;
  return entries.map((entry) => {
    const before = base.index + terms.length;
    assert(entry.index === before + 1, `entry ${entry.index} follows entry ${before}`);
    assert(
      entry.term >= (terms.at(-1) ?? base.term),
      `entry ${entry.index} has a lower term than the one before it`,
    );
    const record = encodeEntry(entry);
    chains.push(chainAfter(chains.at(-1) ?? baseChain, crcOf(record)));
    terms.push(entry.term);
    return record;
  });
}

/** The entries of the old log that are not in the new one, which goes from `base` + 1 to `last`. */
function removedKeys(old: Seal, base: number, last: number): Uint8Array[] {
  const keys: Uint8Array[] = [];
  const before = Math.min(base, old.lastIndex);
  for (let index = old.base.index + 1; index <= before; index++) keys.push(entryKey(index));
  for (let index = Math.max(last, base) + 1; index <= old.lastIndex; index++)
    keys.push(entryKey(index));
  return keys;
}

function loadEntries(
  seal: Seal,
  records: readonly (readonly [index: number, record: DiskRecord])[],
): { entries: Entry[]; terms: number[]; chains: number[] } {
  const { base, baseChain } = seal;
  const entries: Entry[] = [];
  const terms: number[] = [];
  const chains: number[] = [];
  for (const [index, record] of records) {
    if (index <= base.index)
      throw new Damage(`entry ${index} is there, but the log begins after entry ${base.index}`);
    const expected = base.index + entries.length + 1;
    if (index !== expected)
      throw new Damage(`entry ${expected} is missing: entry ${index} comes after ${expected - 1}`);
    const entry = decodeEntry(index, record);
    if (entry.term < (terms.at(-1) ?? base.term)) {
      throw new Damage(
        `entry ${index} has term ${entry.term}, lower than that of the entry before it`,
      );
    }
    entries.push(entry);
    terms.push(entry.term);
    chains.push(chainAfter(chains.at(-1) ?? baseChain, crcOf(record)));
  }
  return { entries, terms, chains };
}

function checkSeal(
  seal: Seal,
  logId: string,
  transaction: number,
  lastIndex: number,
  chain: number,
): void {
  if (seal.logId !== logId)
    throw new Damage("it is not the log that belongs to this data folder (log.id differs)");
  if (seal.transaction !== transaction) {
    throw new Damage(
      `it holds the state of transaction ${seal.transaction}, but ${transaction} is the last`,
    );
  }
  if (seal.lastIndex !== lastIndex)
    throw new Damage(`it ends at entry ${lastIndex}, but entry ${seal.lastIndex} was written`);
  if (seal.chain !== chain)
    throw new Damage(`an entry up to ${lastIndex} is an older version of itself`);
}

function checkSealed(what: string, crc: number, record: DiskRecord | undefined): void {
  if (record === undefined && crc !== 0) throw new Damage(`${what} is missing`);
  if (record !== undefined && crcOf(record) !== crc)
    throw new Damage(`${what} is an older version of itself`);
}

/** What is wrong with a log that must never be: on disk it is damage, in a write a bug. */
function brokenState(state: LogState): string | null {
  const { seal, hardState, snapshot, terms } = state;
  const { base } = seal;
  const last = base.index + terms.length;
  const lastTerm = terms.at(-1) ?? base.term;
  if (hardState.commit > last)
    return `entry ${hardState.commit} was committed, but the log ends at entry ${last}`;
  if (hardState.term < lastTerm)
    return `the hard state's term ${hardState.term} is lower than that of entry ${last}, ${lastTerm}`;
  if (snapshot === null) {
    if (base.index === 0 && base.term === 0) return null;
    return `the log begins after entry ${base.index}, but there is no snapshot`;
  }
  const { index, term } = snapshot;
  const name = `the snapshot of entry ${index}`;
  if (base.index > index) return `${name} ends before the log begins, after entry ${base.index}`;
  if (hardState.commit < index)
    return `${name} holds more than was committed, entry ${hardState.commit}`;
  if (termOf(state, index) !== term) return `${name} has another term than that entry`;
  return null;
}

/** The term of an entry, or of the base; null: the log does not have it. */
function termOf({ seal, terms }: LogState, index: number): number | null {
  const { base } = seal;
  return index === base.index ? base.term : (terms[index - base.index - 1] ?? null);
}
