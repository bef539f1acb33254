import type { Entry, HardState } from "../consensus/message.ts";
import { assert } from "../lib/assert.ts";
import {
  chainAfter,
  crcOf,
  Damage,
  decodeEntry,
  decodeHardState,
  decodeIdentity,
  decodeSeal,
  decodeWorker,
  encodeEntry,
  encodeHardState,
  encodeIdentity,
  encodeSeal,
  encodeWorker,
  entryKey,
  HARD_STATE_KEY,
  IDENTITY_KEY,
  indexOfKey,
  SEAL_KEY,
  WORKER_KEY,
} from "./disk-records.ts";
import type { DiskRecord, Seal } from "./disk-records.ts";
import type { Scan } from "./disk-pages.ts";
import { EMPTY_DISK } from "./storage.ts";
import type { DiskImage, DiskWrite } from "./storage.ts";

/** What a write must know of what is stored already. */
export interface LogState {
  readonly seal: Seal;
  readonly hardState: HardState;
  /** Of the entries 1..last, by index - 1: the term, and the chain up to and with the entry. */
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
}

/** A new log: one transaction, the first, that holds nothing but the seal. */
export function emptyLog(logId: string): Batch {
  const seal: Seal = {
    logId,
    transaction: 1,
    lastIndex: 0,
    chain: 0,
    identity: 0,
    hardState: 0,
    worker: 0,
  };
  return { puts: [encodeSeal(seal)], removes: [] };
}

/**
 * The image of what a scan found, if all of it is there and fits together: every record intact and the
 * one that was written last, entries without a gap, terms that never fall, and a hard state that covers
 * the log. Throws Damage that names the record.
 */
export function loadLog(scan: Scan, logId: string): LoadedLog {
  const singles = new Map<number, DiskRecord>();
  const entries: Entry[] = [];
  const state: { terms: number[]; chains: number[] } = { terms: [], chains: [] };
  for (const record of scan.records) {
    const index = indexOfKey(record.key);
    if (index !== null) appendEntry(entries, state, index, record);
    else if (record.key.length === 1 && record.key[0] !== undefined)
      singles.set(record.key[0], record);
    else throw new Damage("it holds a record of an unknown kind");
  }
  const found = (key: Uint8Array): DiskRecord | undefined => singles.get(key[0] ?? 0);
  const sealRecord = found(SEAL_KEY);
  if (sealRecord === undefined) throw new Damage("its seal is missing");
  const seal = decodeSeal(sealRecord);
  const identity = found(IDENTITY_KEY);
  const hard = found(HARD_STATE_KEY);
  const worker = found(WORKER_KEY);
  const image: DiskImage = {
    identity: identity === undefined ? null : decodeIdentity(identity),
    hardState: hard === undefined ? EMPTY_DISK.hardState : decodeHardState(hard),
    entries,
    worker: worker === undefined ? null : decodeWorker(worker),
  };
  checkSeal(seal, logId, scan.transaction, entries.length, state.chains.at(-1) ?? 0);
  checkSealed("the identity", seal.identity, identity);
  checkSealed("the hard state", seal.hardState, hard);
  checkSealed("the worker's memory", seal.worker, worker);
  const broken = brokenHardState(image.hardState, state.terms);
  if (broken !== null) throw new Damage(broken);
  return { image, state: { seal, hardState: image.hardState, ...state } };
}

/** The transaction that does a write, and the state after it. Asserts that the log stays one. */
export function planWrite(state: LogState, write: DiskWrite): { batch: Batch; next: LogState } {
  const puts: DiskRecord[] = [];
  const removes: Uint8Array[] = [];
  const before = state.seal.lastIndex;
  const first = write.entries[0]?.index ?? before + 1;
  assert(
    first >= 1 && first <= before + 1,
    `the write starts at entry ${first}, but the log ends at ${before}`,
  );
  const { terms, chains } = state;
  terms.length = first - 1;
  chains.length = first - 1;
  for (const entry of write.entries) {
    assert(entry.index === terms.length + 1, `entry ${entry.index} follows entry ${terms.length}`);
    assert(
      entry.term >= (terms.at(-1) ?? 0),
      `entry ${entry.index} has a lower term than the one before it`,
    );
    const record = encodeEntry(entry);
    puts.push(record);
    chains.push(chainAfter(chains.at(-1) ?? 0, crcOf(record)));
    terms.push(entry.term);
  }
  for (let index = terms.length + 1; index <= before; index++) removes.push(entryKey(index));
  const hardState = write.hardState ?? state.hardState;
  const broken = brokenHardState(hardState, terms);
  assert(broken === null, broken ?? "");
  const identity = write.identity === null ? null : encodeIdentity(write.identity);
  const hard = write.hardState === null ? null : encodeHardState(write.hardState);
  const worker = write.worker === null ? null : encodeWorker(write.worker);
  for (const record of [identity, hard, worker]) if (record !== null) puts.push(record);
  const seal: Seal = {
    logId: state.seal.logId,
    transaction: state.seal.transaction + 1,
    lastIndex: terms.length,
    chain: chains.at(-1) ?? 0,
    identity: identity === null ? state.seal.identity : crcOf(identity),
    hardState: hard === null ? state.seal.hardState : crcOf(hard),
    worker: worker === null ? state.seal.worker : crcOf(worker),
  };
  puts.push(encodeSeal(seal));
  return { batch: { puts, removes }, next: { seal, hardState, terms, chains } };
}

function appendEntry(
  entries: Entry[],
  state: { terms: number[]; chains: number[] },
  index: number,
  record: DiskRecord,
): void {
  const expected = entries.length + 1;
  if (index !== expected)
    throw new Damage(`entry ${expected} is missing: entry ${index} comes after ${expected - 1}`);
  const entry = decodeEntry(index, record);
  if (entry.term < (state.terms.at(-1) ?? 0)) {
    throw new Damage(
      `entry ${index} has term ${entry.term}, lower than that of the entry before it`,
    );
  }
  entries.push(entry);
  state.terms.push(entry.term);
  state.chains.push(chainAfter(state.chains.at(-1) ?? 0, crcOf(record)));
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

function brokenHardState(hardState: HardState, terms: readonly number[]): string | null {
  const last = terms.length;
  const lastTerm = terms.at(-1) ?? 0;
  if (hardState.commit > last)
    return `entry ${hardState.commit} was committed, but the log ends at entry ${last}`;
  if (hardState.term < lastTerm)
    return `the hard state's term ${hardState.term} is lower than that of entry ${last}, ${lastTerm}`;
  return null;
}
