import { assert, present } from "../lib/assert.ts";
import type { Entry } from "./message.ts";
import type { LogBase } from "./snapshot.ts";

/**
 * The log in memory and how far it has come: `base <= applied <= committed <= last`, `stable <= last`.
 * Entries are handed to the disk in order (`takeUnstable`) and become stable when it says so.
 */
export class RaftLog {
  #base: LogBase;
  /** entries[i] has index base.index + 1 + i. */
  #entries: Entry[] = [];
  #committed: number;
  #applied: number;
  /** Handed out by `committedEntries` and not reported applied yet. */
  #applying: number;
  #taken: number;
  #stable: number;
  /**
   * Counts truncations, so that the completion of a write that was overtaken by a truncation cannot
   * mark later entries of the same index and term as durable (etcd's append ABA race).
   */
  #generation = 0;

  /** `applied`: the snapshot's index from which the state begins, 0 for none. */
  constructor(base: LogBase, entries: readonly Entry[], committed: number, applied: number) {
    entries.forEach((entry, i) => assert(entry.index === base.index + i + 1, "a log has no gaps"));
    this.#base = base;
    this.#entries = [...entries];
    this.#taken = this.lastIndex;
    this.#stable = this.lastIndex;
    this.#committed = Math.max(committed, applied);
    this.#applied = applied;
    this.#applying = applied;
    assert(base.index <= applied, "the state begins where the log does, or later");
    assert(this.#committed <= this.lastIndex, "what is committed is in the log");
  }

  /** The entry before the first: all up to it are gone. */
  get base(): LogBase {
    return this.#base;
  }
  get lastIndex(): number {
    return this.#base.index + this.#entries.length;
  }
  get lastTerm(): number {
    return this.#entries.at(-1)?.term ?? this.#base.term;
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

  #at(index: number): Entry | undefined {
    return this.#entries[index - this.#base.index - 1];
  }

  /** The term of the entry at `index`, also of the base; undefined before it and beyond the end. */
  termAt(index: number): number | undefined {
    if (index === this.#base.index) return this.#base.term;
    return this.#at(index)?.term;
  }

  /** Whether a candidate with this last entry has at least our log (Raft §5.4.1: by term, then by index). */
  isUpToDate(lastIndex: number, lastTerm: number): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex);
  }

  /** Entries from `from` on, at least one if there is any, up to about `maxBytes`. */
  slice(from: number, maxBytes: number): Entry[] {
    assert(from > this.#base.index, "what is gone cannot be read");
    return this.#range(from, this.lastIndex, this.#entries.length, maxBytes);
  }

  #range(from: number, to: number, maxCount: number, maxBytes: number): Entry[] {
    const result: Entry[] = [];
    let bytes = 0;
    for (let index = from; index <= to && result.length < maxCount; index++) {
      const entry = present(this.#at(index), "the range is in the log");
      bytes += entrySize(entry);
      if (result.length > 0 && bytes > maxBytes) break;
      result.push(entry);
    }
    return result;
  }

  /** What the entries of `term` after `after` up to `to` count in a bound. */
  bytesBetween(after: number, to: number, term: number): number {
    let bytes = 0;
    for (let index = after + 1; index <= to; index++) {
      const entry = this.#at(index);
      if (entry?.term === term) bytes += entrySize(entry);
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
    this.#entries.length = index - this.#base.index - 1;
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
    const entries = this.#entries.slice(this.#taken - this.#base.index);
    this.#taken = this.lastIndex;
    return entries;
  }

  /** A write is durable. Ignored when a truncation came after it was taken: a later write covers it. */
  stableTo(index: number, generation: number): void {
    if (generation !== this.#generation) return;
    assert(index <= this.#taken, "only what was given to the disk becomes durable");
    this.#stable = Math.max(this.#stable, index);
  }

  /**
   * Committed entries not handed out yet, at most `maxCount` of about `maxBytes`; `appliedTo` must follow for
   * all of them before the next call.
   */
  committedEntries(maxCount: number, maxBytes: number): Entry[] {
    if (this.#applying > this.#applied) return [];
    const entries = this.#range(this.#applied + 1, this.#committed, maxCount, maxBytes);
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
      if (this.#at(index)?.kind === "conf") return true;
    }
    return false;
  }

  /**
   * The largest index at most `index` whose term is at most `term`: where logs may agree at the earliest,
   * found per term and not per entry. An index below the base, with term 0, when that lies in what is gone.
   */
  findConflict(index: number, term: number): { index: number; term: number } {
    for (let at = Math.min(index, this.lastIndex); at >= this.#base.index; at--) {
      const here = this.termAt(at) ?? 0;
      if (here <= term) return { index: at, term: here };
    }
    return { index: Math.max(0, Math.min(index, this.#base.index - 1)), term: 0 };
  }

  /** The index after which the log up to `last` has at most so many entries of at most so many bytes. */
  startOfLast(last: number, maxCount: number, maxBytes: number): number {
    let bytes = 0;
    let index = last;
    while (index > this.#base.index && last - index < maxCount) {
      bytes += entrySize(present(this.#at(index), "the range is in the log"));
      if (bytes > maxBytes) break;
      index -= 1;
    }
    return index;
  }

  /** Forgets the entries up to `index`, which a snapshot holds. Returns the new base. */
  compactTo(index: number): LogBase {
    if (index <= this.#base.index) return this.#base;
    assert(
      index <= this.#applied && index <= this.#stable,
      "only what is applied and durable goes",
    );
    const term = present(this.termAt(index), "the new base is in the log");
    this.#entries = this.#entries.slice(index - this.#base.index);
    this.#base = { index, term };
    return this.#base;
  }

  /** Begins anew after a snapshot that this log does not reach or contradicts. */
  restart(base: LogBase): void {
    assert(base.index > this.#committed, "a snapshot never takes back what is committed");
    assert(
      this.#applying === this.#applied,
      "a snapshot is not installed in the midst of applying",
    );
    this.#entries = [];
    this.#base = base;
    this.#committed = base.index;
    this.#applied = base.index;
    this.#applying = base.index;
    this.#taken = base.index;
    // Until the write that holds the new base is done, nothing of it counts.
    this.#stable = 0;
    this.#generation += 1;
  }
}

/** What an entry costs in a message or in a bound: its data and a fixed header. */
export function entrySize(entry: Entry): number {
  return entry.data.length + 24;
}
