import { assert } from "../lib/assert.ts";
import type { Entry } from "./message.ts";

/**
 * The log in memory and how far it has come: `applied <= committed <= last`, `stable <= last`.
 * Entries are handed to the disk in order (`takeUnstable`) and become stable when it says so.
 */
export class RaftLog {
  /** entries[i] has index i + 1. */
  #entries: Entry[] = [];
  #committed = 0;
  #applied = 0;
  /** Handed out by `committedEntries` and not reported applied yet. */
  #applying = 0;
  #taken = 0;
  #stable = 0;
  /**
   * Counts truncations, so that the completion of a write that was overtaken by a truncation cannot
   * mark later entries of the same index and term as durable (etcd's append ABA race).
   */
  #generation = 0;

  constructor(entries: readonly Entry[], committed: number) {
    entries.forEach((entry, i) => assert(entry.index === i + 1, "a log has no gaps"));
    assert(committed <= entries.length, "what is committed is in the log");
    this.#entries = [...entries];
    this.#taken = entries.length;
    this.#stable = entries.length;
    this.#committed = committed;
  }

  get lastIndex(): number {
    return this.#entries.length;
  }
  get lastTerm(): number {
    return this.termAt(this.lastIndex) ?? 0;
  }
  get committed(): number {
    return this.#committed;
  }
  get applied(): number {
    return this.#applied;
  }
  get stable(): number {
    return this.#stable;
  }
  get generation(): number {
    return this.#generation;
  }

  /** The term of the entry at `index`; 0 for index 0; undefined beyond the end. */
  termAt(index: number): number | undefined {
    if (index === 0) return 0;
    return this.#entries[index - 1]?.term;
  }

  /** Whether a candidate with this last entry has at least our log (Raft §5.4.1: by term, then by index). */
  isUpToDate(lastIndex: number, lastTerm: number): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex);
  }

  /** Entries from `from` on, at least one if there is any, up to about `maxBytes`. */
  slice(from: number, maxBytes: number): Entry[] {
    const result: Entry[] = [];
    let bytes = 0;
    for (let at = from - 1; at < this.#entries.length; at++) {
      const entry = this.#entries[at];
      if (entry === undefined) break;
      bytes += entrySize(entry);
      if (result.length > 0 && bytes > maxBytes) break;
      result.push(entry);
    }
    return result;
  }

  /** What the entries after `after` up to `to` count in a bound. */
  bytesBetween(after: number, to: number): number {
    let bytes = 0;
    for (let at = after; at < to; at++) {
      const entry = this.#entries[at];
      if (entry !== undefined) bytes += entrySize(entry);
    }
    return bytes;
  }

  /** The leader's append: never replaces anything. */
  append(entries: readonly Entry[]): void {
    for (const entry of entries) {
      assert(entry.index === this.lastIndex + 1, "a leader only appends");
      assert(entry.term >= this.lastTerm, "terms in a log never fall");
      this.#entries.push(entry);
    }
  }

  /**
   * The follower's append. Returns the last index known to match the leader's log, or undefined when the
   * entry before does not match. Cuts only at a true conflict, never at or below what is committed: a late
   * or repeated message must not shorten the log.
   */
  maybeAppend(prevIndex: number, prevTerm: number, entries: readonly Entry[]): number | undefined {
    if (this.termAt(prevIndex) !== prevTerm) return undefined;
    const conflict = entries.findIndex((entry) => this.termAt(entry.index) !== entry.term);
    const fresh = conflict === -1 ? [] : entries.slice(conflict);
    const [first] = fresh;
    if (first !== undefined) {
      this.#truncateFrom(first.index);
      this.append(fresh);
    }
    return prevIndex + entries.length;
  }

  #truncateFrom(index: number): void {
    assert(index > this.#committed, "a committed entry is never cut");
    if (index > this.lastIndex) return;
    this.#entries.length = index - 1;
    this.#taken = Math.min(this.#taken, index - 1);
    this.#stable = Math.min(this.#stable, index - 1);
    this.#generation += 1;
  }

  commitTo(index: number): void {
    if (index <= this.#committed) return;
    assert(index <= this.lastIndex, "only what is in the log can be committed");
    this.#committed = index;
  }

  /** The entries that the disk has not been given yet; they count as given from now on. */
  takeUnstable(): Entry[] {
    const entries = this.#entries.slice(this.#taken);
    this.#taken = this.lastIndex;
    return entries;
  }

  /** A write is durable. Ignored when a truncation came after it was taken: a later write covers it. */
  stableTo(index: number, generation: number): void {
    if (generation !== this.#generation) return;
    assert(index <= this.#taken, "only what was given to the disk becomes durable");
    this.#stable = Math.max(this.#stable, index);
  }

  /** Committed entries not handed out yet, at most `max`; `appliedTo` must follow before the next call. */
  committedEntries(max: number): Entry[] {
    if (this.#applying > this.#applied) return [];
    const entries = this.#entries.slice(
      this.#applied,
      Math.min(this.#committed, this.#applied + max),
    );
    this.#applying = this.#applied + entries.length;
    return entries;
  }

  appliedTo(index: number): void {
    assert(index >= this.#applied && index <= this.#committed, "only what is committed is applied");
    this.#applied = index;
    this.#applying = Math.max(this.#applying, index);
  }

  /** Whether a committed entry that has not been applied yet changes the membership. */
  hasUnappliedChange(): boolean {
    for (let index = this.#applied + 1; index <= this.#committed; index++) {
      if (this.#entries[index - 1]?.kind === "conf") return true;
    }
    return false;
  }

  /**
   * The largest index at most `index` whose term is at most `term`: where logs may agree at the earliest,
   * found per term and not per entry.
   */
  findConflict(index: number, term: number): { index: number; term: number } {
    for (let at = Math.min(index, this.lastIndex); at > 0; at--) {
      const here = this.termAt(at) ?? 0;
      if (here <= term) return { index: at, term: here };
    }
    return { index: 0, term: 0 };
  }
}

/** What an entry costs in a message or in a bound: its data and a fixed header. */
export function entrySize(entry: Entry): number {
  return entry.data.length + 24;
}
