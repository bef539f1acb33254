import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RaftLog, entrySize } from "./log.ts";
import type { Entry } from "./message.ts";
import { WHOLE_LOG } from "./snapshot.ts";
import { conf, normal } from "./testing.ts";

const MANY_BYTES = 1 << 20;

function logOf(terms: readonly number[], committed = 0): RaftLog {
  return new RaftLog(WHOLE_LOG, entriesOf(1, terms), committed, 0);
}

function entriesOf(first: number, terms: readonly number[]): Entry[] {
  return terms.map((term, i) => normal(term, first + i));
}

function termsOf(log: RaftLog): number[] {
  return Array.from({ length: log.lastIndex }, (_, i) => log.termAt(i + 1) ?? -1);
}

describe("item 2: whose log is up to date", () => {
  it.each([
    { index: 4, term: 3, upToDate: true },
    { index: 3, term: 3, upToDate: true },
    { index: 2, term: 3, upToDate: false },
    { index: 1, term: 4, upToDate: true },
    { index: 9, term: 2, upToDate: false },
    { index: 0, term: 0, upToDate: false },
  ])("a last entry $index of term $term beside 3 of term 3: $upToDate", (row) => {
    expect(logOf([1, 2, 3]).isUpToDate(row.index, row.term)).toBe(row.upToDate);
  });

  it("anyone is up to date beside an empty log", () => {
    expect(logOf([]).isUpToDate(0, 0)).toBe(true);
  });
});

describe("item 12: a follower cuts its log only at a true conflict", () => {
  it.each([
    {
      name: "the entry before is missing",
      prev: [4, 3],
      terms: [4],
      match: undefined,
      log: [1, 2, 3],
    },
    {
      name: "the entry before is another",
      prev: [3, 2],
      terms: [4],
      match: undefined,
      log: [1, 2, 3],
    },
    { name: "empty, at the end", prev: [3, 3], terms: [], match: 3, log: [1, 2, 3] },
    { name: "empty, before the end", prev: [2, 2], terms: [], match: 2, log: [1, 2, 3] },
    { name: "new ones", prev: [3, 3], terms: [4, 4], match: 5, log: [1, 2, 3, 4, 4] },
    { name: "known ones do not shorten it", prev: [1, 1], terms: [2], match: 2, log: [1, 2, 3] },
    { name: "known from the start", prev: [0, 0], terms: [1, 2, 3], match: 3, log: [1, 2, 3] },
    { name: "known and new", prev: [1, 1], terms: [2, 3, 4], match: 4, log: [1, 2, 3, 4] },
    { name: "a conflict at the first", prev: [1, 1], terms: [4, 4], match: 3, log: [1, 4, 4] },
    { name: "a conflict later", prev: [1, 1], terms: [2, 4], match: 3, log: [1, 2, 4] },
    { name: "a shorter log of a later term", prev: [1, 1], terms: [4], match: 2, log: [1, 4] },
  ])("$name", ({ prev: [index, term], terms, match, log }) => {
    const mine = logOf([1, 2, 3], 1);
    expect(mine.maybeAppend(index ?? 0, term ?? 0, entriesOf((index ?? 0) + 1, terms))).toBe(match);
    expect(termsOf(mine)).toEqual(log);
  });

  it("stops rather than cut what is committed", () => {
    const log = logOf([1, 2, 3], 2);
    expect(() => log.maybeAppend(1, 1, entriesOf(2, [4]))).toThrow("never cut");
    expect(termsOf(log)).toEqual([1, 2, 3]);
  });

  it("refuses gaps, falling terms and a commit beyond its end", () => {
    const log = logOf([1, 2]);
    expect(() => log.append(entriesOf(4, [2]))).toThrow("only appends");
    expect(() => log.append(entriesOf(3, [1]))).toThrow("never fall");
    expect(() => log.commitTo(3)).toThrow("only what is in the log");
    expect(() => new RaftLog(WHOLE_LOG, entriesOf(2, [1]), 0, 0)).toThrow("no gaps");
    expect(() => logOf([1], 2)).toThrow("what is committed is in the log");
  });

  it("a commit index never falls", () => {
    const log = logOf([1, 2, 3], 2);
    log.commitTo(1);
    expect(log.committed).toBe(2);
  });
});

describe("item 15: where logs may meet, per term and not per entry", () => {
  it.each([
    { index: 5, term: 3, hint: { index: 3, term: 1 } },
    { index: 5, term: 4, hint: { index: 5, term: 4 } },
    { index: 9, term: 9, hint: { index: 6, term: 5 } },
    { index: 6, term: 4, hint: { index: 5, term: 4 } },
    { index: 2, term: 1, hint: { index: 2, term: 1 } },
    { index: 5, term: 0, hint: { index: 0, term: 0 } },
  ])("at most index $index, at most term $term", ({ index, term, hint }) => {
    expect(logOf([1, 1, 1, 4, 4, 5]).findConflict(index, term)).toEqual(hint);
  });
});

/** Entries 3 of term 2, 4 of term 4 and 5 of term 5; 1 and 2, of term 2, are gone. */
function compacted(): RaftLog {
  const log = logOf([2, 2, 2, 4, 5], 2);
  log.appliedTo(2);
  log.compactTo(2);
  return log;
}

describe("item 15: where logs may meet when the beginning of one is gone", () => {
  it.each([
    { index: 5, term: 4, hint: { index: 4, term: 4 } },
    { index: 5, term: 3, hint: { index: 3, term: 2 } },
    { index: 2, term: 2, hint: { index: 2, term: 2 } },
    { index: 5, term: 1, hint: { index: 1, term: 0 } },
    { index: 1, term: 9, hint: { index: 1, term: 0 } },
    { index: 0, term: 0, hint: { index: 0, term: 0 } },
  ])("at most index $index, at most term $term: $hint", ({ index, term, hint }) => {
    expect(compacted().findConflict(index, term)).toEqual(hint);
  });

  it("the base has a term, and what is before it has none", () => {
    expect([1, 2, 3, 6].map((index) => compacted().termAt(index))).toEqual([
      undefined,
      2,
      2,
      undefined,
    ]);
    expect(() => compacted().slice(2, 100)).toThrow("what is gone cannot be read");
    expect(
      compacted()
        .slice(3, 100)
        .map(({ index }) => index),
    ).toEqual([3, 4, 5]);
  });

  it("an append that begins at the base matches, one before it does not", () => {
    expect(compacted().maybeAppend(2, 2, [normal(2, 3)])).toBe(3);
    expect(compacted().maybeAppend(1, 2, [normal(2, 2)])).toBe(undefined);
  });

  it("stops rather than forget what is not applied, or not durable", () => {
    const log = logOf([1, 1, 1], 3);
    expect(() => log.compactTo(2)).toThrow("only what is applied and durable goes");
    log.appliedTo(3);
    log.append([normal(1, 4)]);
    log.commitTo(4);
    log.appliedTo(4);
    expect(() => log.compactTo(4)).toThrow("only what is applied and durable goes");
    expect(log.compactTo(3)).toEqual({ index: 3, term: 1 });
    expect(log.compactTo(1), "never back").toEqual({ index: 3, term: 1 });
  });
});

describe("what the disk has", () => {
  it("entries are handed out once, and again from where they were replaced", () => {
    const log = logOf([1]);
    log.append(entriesOf(2, [1, 1]));
    expect(log.takeUnstable().map(({ index }) => index)).toEqual([2, 3]);
    expect(log.takeUnstable()).toEqual([]);
    log.maybeAppend(2, 1, entriesOf(3, [2, 2]));
    expect(log.takeUnstable().map(({ index }) => index)).toEqual([3, 4]);
  });

  it("item 14: a write that a truncation overtook makes nothing stable", () => {
    const log = logOf([1]);
    log.maybeAppend(1, 1, entriesOf(2, [1, 1]));
    log.takeUnstable();
    const { generation } = log;
    log.maybeAppend(1, 1, entriesOf(2, [2]));
    log.stableTo(3, generation);
    expect(log.stable).toBe(1);
    log.takeUnstable();
    log.stableTo(2, log.generation);
    expect(log.stable).toBe(2);
  });

  it("a truncation takes back what was stable", () => {
    const log = logOf([1, 1, 1]);
    log.maybeAppend(1, 1, entriesOf(2, [2]));
    expect(log.stable).toBe(1);
  });

  it("stops when more is called durable than the disk was given", () => {
    const log = logOf([1]);
    log.append(entriesOf(2, [1]));
    expect(() => log.stableTo(2, 0)).toThrow("given to the disk");
  });
});

describe("what is applied", () => {
  it("is handed out once, in order, at most so many, and only when the last was applied", () => {
    const log = logOf([1, 1, 1, 1], 3);
    expect(log.committedEntries(2, MANY_BYTES).map(({ index }) => index)).toEqual([1, 2]);
    expect(log.committedEntries(2, MANY_BYTES)).toEqual([]);
    log.appliedTo(1);
    expect(log.committedEntries(2, MANY_BYTES)).toEqual([]);
    log.appliedTo(2);
    expect(log.committedEntries(2, MANY_BYTES).map(({ index }) => index)).toEqual([3]);
    log.appliedTo(3);
    expect(() => log.appliedTo(4)).toThrow("only what is committed is applied");
  });

  it("item 10: knows a committed change of the membership that is not applied", () => {
    const change = conf(1, 2, { changes: [] });
    const log = new RaftLog(WHOLE_LOG, [normal(1, 1), change, normal(1, 3)], 1, 0);
    expect(log.hasUnappliedChange()).toBe(false);
    log.commitTo(3);
    expect(log.hasUnappliedChange()).toBe(true);
    log.committedEntries(10, MANY_BYTES);
    log.appliedTo(2);
    expect(log.hasUnappliedChange()).toBe(false);
  });
});

describe("item 17: slices are bounded in bytes", () => {
  it("has one entry at least, and ends before the bound is passed", () => {
    const log = logOf([1, 1, 1, 1]);
    const size = entrySize(normal(1, 1));
    expect(log.slice(2, 0).map(({ index }) => index)).toEqual([2]);
    expect(log.slice(2, 2 * size).map(({ index }) => index)).toEqual([2, 3]);
    expect(log.slice(5, size)).toEqual([]);
    expect(log.bytesBetween(1, 3, 1)).toBe(2 * size);
  });
});

/** The same as RaftLog, as simply as can be: an array, and for each entry whether the disk has it. */
interface Model {
  entries: { entry: Entry; durable: boolean; given: boolean }[];
  committed: number;
  writes: { entries: Entry[]; mark: { lastIndex: number; generation: number } }[];
}

/** A leader of `term` sends entries after `prev`; its log agrees with ours up to a point that nobody committed. */
function append(log: RaftLog, model: Model, prev: number, entries: Entry[]): void {
  const before = model.entries[prev - 1]?.entry.term ?? 0;
  const matched = log.maybeAppend(prev, before, entries);
  expect(matched).toBe(prev + entries.length);
  for (const entry of entries) {
    const here = model.entries[entry.index - 1];
    if (here?.entry.term === entry.term) continue;
    model.entries = model.entries.slice(0, entry.index - 1);
    model.entries.push({ entry, durable: false, given: false });
  }
}

function persist(log: RaftLog, model: Model): void {
  const write = model.writes.shift();
  if (write === undefined) return;
  log.stableTo(write.mark.lastIndex, write.mark.generation);
  for (const entry of write.entries) {
    const here = model.entries[entry.index - 1];
    if (here?.entry === entry) here.durable = true;
  }
}

describe("against a naive model", () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant("append" as const),
      back: fc.nat(6),
      terms: fc.array(fc.nat(1), { maxLength: 5 }),
      newer: fc.nat(1),
    }),
    fc.record({ kind: fc.constant("commit" as const), by: fc.nat(3) }),
    fc.record({ kind: fc.constant("take" as const) }),
    fc.record({ kind: fc.constant("persist" as const) }),
  );

  it("has the same terms, hands the same entries to the disk, and never believes more durable than is", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const log = logOf([]);
        const model: Model = { entries: [], committed: 0, writes: [] };
        const given: Entry[][] = [];
        const expected: Entry[][] = [];
        let term = 1;
        for (const s of steps) {
          if (s.kind === "append") {
            term += s.newer;
            const prev = Math.max(model.committed, model.entries.length - s.back);
            const terms: number[] = [];
            let last = model.entries[prev - 1]?.entry.term ?? 1;
            // Each entry is either the one we have or one of the newest term.
            for (const bit of s.terms) {
              const mine = model.entries[prev + terms.length]?.entry.term;
              last = bit === 0 && mine !== undefined && last <= mine ? mine : term;
              terms.push(last);
            }
            append(log, model, prev, entriesOf(prev + 1, terms));
          } else if (s.kind === "commit") {
            model.committed = Math.min(model.committed + s.by, model.entries.length);
            log.commitTo(model.committed);
          } else if (s.kind === "take") {
            const entries = log.takeUnstable();
            given.push(entries);
            const due = model.entries.filter((one) => !one.given);
            expected.push(due.map(({ entry }) => entry));
            for (const one of due) one.given = true;
            const mark = { lastIndex: log.lastIndex, generation: log.generation };
            model.writes.push({ entries, mark });
          } else persist(log, model);
          expect(termsOf(log)).toEqual(model.entries.map(({ entry }) => entry.term));
          expect(log.committed).toBe(model.committed);
          const durable = model.entries.findIndex((one) => !one.durable);
          expect(log.stable).toBeLessThanOrEqual(durable === -1 ? model.entries.length : durable);
        }
        expect(given).toEqual(expected);
        // With everything written, everything is known to be durable.
        const entries = log.takeUnstable();
        const mark = { lastIndex: log.lastIndex, generation: log.generation };
        model.writes.push({ entries, mark });
        while (model.writes.length > 0) persist(log, model);
        expect(log.stable).toBe(log.lastIndex);
      }),
      { numRuns: 500 },
    );
  });
});
