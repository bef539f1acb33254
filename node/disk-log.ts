import type { Entry, HardState } from "../consensus/message.ts";
import { type LogBase, WHOLE_LOG } from "../consensus/snapshot.ts";
import { Damage, isSameMeta } from "./disk-records.ts";
import type { Begin, Cut, DiskRecord, Marker } from "./disk-records.ts";
import { EMPTY_DISK } from "./storage.ts";
import type { DiskImage, DiskWrite } from "./storage.ts";

/** What a write must know of what is stored already. */
export interface LogState {
  readonly base: LogBase;
  readonly hardState: HardState;
  readonly marker: Marker | null;
  /** Of the entries after the base, by index - base.index - 1. */
  readonly terms: number[];
  /** Where the entries are, in the order of both. */
  readonly runs: readonly Run[];
}

/** The entries from `first` to before the next run's are in this segment. */
interface Run {
  readonly segment: number;
  readonly first: number;
}

/** What of a record or a write changes the state. */
interface Change {
  readonly cut: Cut | null;
  readonly marker: Marker | null;
  readonly hardState: HardState | null;
  readonly entries: readonly Entry[];
}

/** Of an entry that was in a segment that is gone. */
const UNKNOWN = -1;

/** The record of a new log, its first. */
export const FIRST_RECORD: DiskRecord = {
  begin: { base: WHOLE_LOG, last: 0 },
  identity: null,
  hardState: EMPTY_DISK.hardState,
  cut: null,
  marker: null,
  worker: null,
  entries: [],
};

/** What of the image a segment's first record repeats; the rest of that is in the state. */
export type Kept = Pick<DiskImage, "identity" | "worker">;

/** The record of a write. `saved` is what was saved of the snapshot that the write's cut names. */
export function recordOf(write: DiskWrite, saved: Marker | null): DiskRecord {
  const { identity, hardState, cut, worker, entries } = write;
  return { begin: null, identity, hardState, cut, marker: saved, worker, entries };
}

/**
 * The same as the first record of a segment: with it, older segments without live entries can go. `begin`
 * is of the state before it, the rest of what was after it.
 */
export function beginningOf(
  record: DiskRecord,
  begin: Begin,
  { hardState, marker }: LogState,
  { identity, worker }: Kept,
): DiskRecord {
  return { ...record, begin, identity, hardState, marker, worker };
}

/**
 * The state after a change, which takes over the array `terms`; a string: why it would not be a log any
 * more. On disk that is damage, in a write a bug. The entries' segment is known later: see `placed`.
 * Costs O(entries of the change), with a cut O(entries kept).
 */
export function stateAfter(state: LogState, change: Change): LogState | string {
  const kept = afterCut(state, change);
  if (typeof kept === "string") return kept;
  const { base, terms } = kept;
  const wrong = append(base, terms, change.entries);
  if (wrong !== null) return wrong;
  const next: LogState = {
    base,
    hardState: change.hardState ?? state.hardState,
    marker: change.marker ?? state.marker,
    terms,
    runs: state.runs,
  };
  return brokenState(next) ?? next;
}

/** The state, once its last change is in that segment. */
export function placed(state: LogState, { cut, entries }: Change, segment: number): LogState {
  const first = entries[0]?.index;
  const runs = cut?.dropLog === true ? [] : [...state.runs];
  if (first !== undefined) {
    while ((runs.at(-1)?.first ?? 0) >= first) runs.pop();
    if (runs.at(-1)?.segment !== segment) runs.push({ segment, first });
  }
  while (runs.length > 0 && (runs[1]?.first ?? lastOf(state) + 1) <= state.base.index + 1)
    runs.shift();
  return { ...state, runs };
}

/** The oldest segment with a live entry; null: there is none. */
export function oldestOf(state: LogState): number | null {
  return state.runs[0]?.segment ?? null;
}

/** Makes an image of records, in their order, the first of them the first of its segment. */
export class Replay {
  #state: LogState | null = null;
  #entries: (Entry | null)[] = [];
  #kept: Kept = { identity: null, worker: null };

  /** Throws Damage. */
  add(record: DiskRecord, segment: number): void {
    const { begin, entries, cut, marker } = record;
    const state = this.#state ?? this.#started(record);
    if (begin !== null && (begin.base.index !== state.base.index || begin.last !== lastOf(state)))
      throw new Damage(`segment ${segment} does not go on from the one before it`);
    if (cut !== null && marker === null) throw new Damage("a cut names no snapshot");
    const base = state.base.index;
    const next = stateAfter(state, record);
    if (typeof next === "string") throw new Damage(next);
    this.#state = placed(next, record, segment);
    if (cut !== null)
      this.#entries = cut.dropLog ? [] : this.#entries.slice(next.base.index - base);
    const first = entries[0]?.index;
    if (first !== undefined) this.#entries.length = first - next.base.index - 1;
    for (const entry of entries) this.#entries.push(entry);
    const { identity, worker } = record;
    this.#kept = { identity: identity ?? this.#kept.identity, worker: worker ?? this.#kept.worker };
  }

  /** Throws Damage when an entry is not there. */
  end(): { image: DiskImage; state: LogState } {
    const state = this.#state;
    if (state === null) throw new Damage("it is empty");
    const { base, hardState, marker } = state;
    const entries = this.#entries.map((entry, at) => {
      if (entry === null) throw new Damage(`entry ${base.index + 1 + at} is missing`);
      return entry;
    });
    const snapshot = marker?.meta ?? null;
    return { image: { ...this.#kept, hardState, snapshot, base, entries }, state };
  }

  /** The state before the oldest record that there is. Its entries may all be dead by now. */
  #started({ begin, hardState, marker }: DiskRecord): LogState {
    if (begin === null || hardState === null)
      throw new Damage("its oldest segment does not say what was before it");
    const { base, last } = begin;
    const count = last - base.index;
    if (count < 0) throw new Damage("its oldest segment says what cannot be");
    this.#entries = Array.from({ length: count }, () => null);
    return {
      base,
      hardState,
      marker,
      terms: Array.from({ length: count }, () => UNKNOWN),
      runs: [],
    };
  }
}

interface Rest {
  readonly base: LogBase;
  readonly terms: number[];
}

/** What a cut leaves of the log. */
function afterCut(state: LogState, { cut, marker }: Change): Rest | string {
  const { base, terms } = state;
  if (cut === null) return { base, terms };
  if (marker === null) return "a cut needs a snapshot that was saved";
  const { meta } = marker;
  const name = `the snapshot of entry ${meta.index}`;
  if (meta.index < (state.marker?.meta.index ?? 0))
    return `${name} is older than the one before it`;
  if (cut.base.index < base.index) return `the log begins after ${base.index} already`;
  if (cut.dropLog) {
    if (cut.base.index !== meta.index || cut.base.term !== meta.term)
      return "a dropped log goes on after its snapshot";
    return { base: cut.base, terms: [] };
  }
  const gone = cut.base.index - base.index;
  if (gone > terms.length) return `the log ends before its new base ${cut.base.index}`;
  if (!hasTerm(state, cut.base.index, cut.base.term))
    return `entry ${cut.base.index} has another term`;
  return { base: cut.base, terms: terms.slice(gone) };
}

/** Lets the entries replace everything from their first index on; says why they cannot. */
function append(base: LogBase, terms: number[], entries: readonly Entry[]): string | null {
  const [head] = entries;
  if (head === undefined) return null;
  const last = base.index + terms.length;
  if (head.index <= base.index || head.index > last + 1)
    return `the write starts at entry ${head.index}, but the log goes from ${base.index + 1} to ${last}`;
  terms.length = head.index - base.index - 1;
  let term = terms.at(-1) ?? base.term;
  for (const entry of entries) {
    const before = base.index + terms.length;
    if (entry.index !== before + 1) return `entry ${entry.index} follows entry ${before}`;
    if (entry.term < term) return `entry ${entry.index} has a lower term than the one before it`;
    ({ term } = entry);
    terms.push(term);
  }
  return null;
}

/** What is wrong with a log that must never be. */
function brokenState(state: LogState): string | null {
  const { base, hardState, marker, terms } = state;
  const last = lastOf(state);
  const lastTerm = terms.at(-1) ?? base.term;
  if (hardState.commit > last)
    return `entry ${hardState.commit} was committed, but the log ends at entry ${last}`;
  if (hardState.term < lastTerm)
    return `the hard state's term ${hardState.term} is lower than that of entry ${last}, ${lastTerm}`;
  if (marker === null) {
    if (base.index === 0 && base.term === 0) return null;
    return `the log begins after entry ${base.index}, but there is no snapshot`;
  }
  const { index, term } = marker.meta;
  const name = `the snapshot of entry ${index}`;
  if (base.index > index) return `${name} ends before the log begins, after entry ${base.index}`;
  if (hardState.commit < index)
    return `${name} holds more than was committed, entry ${hardState.commit}`;
  if (!hasTerm(state, index, term)) return `${name} has another term than that entry`;
  return null;
}

/** Whether the entry at an index, or the base, has that term; said also of one whose term is not known. */
function hasTerm({ base, terms }: LogState, index: number, term: number): boolean {
  const found = index === base.index ? base.term : terms[index - base.index - 1];
  return found === term || found === UNKNOWN;
}

/** The index of the last entry. */
export function lastOf({ base, terms }: LogState): number {
  return base.index + terms.length;
}

/** Why a write cannot cut to its snapshot as it was saved; null: it can, or cuts nothing. */
export function wrongCut(state: LogState, write: DiskWrite, saved: Marker | null): string | null {
  if (write.cut === null) return null;
  const { meta, dropLog } = write.cut;
  if (saved === null || !isSameMeta(saved.meta, meta))
    return `the snapshot of entry ${meta.index} was not saved`;
  if (dropLog && meta.index < state.hardState.commit)
    return `the snapshot of entry ${meta.index} would drop committed entries`;
  return null;
}
