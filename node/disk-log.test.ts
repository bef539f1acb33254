import { describe, expect, test } from "vitest";
import type { Entry } from "../consensus/message.ts";
import type { LogBase, LogCut } from "../consensus/snapshot.ts";
import {
  beginningOf,
  FIRST_RECORD,
  lastOf,
  oldestOf,
  placed,
  recordOf,
  Replay,
  stateAfter,
  wrongCut,
} from "./disk-log.ts";
import type { LogState } from "./disk-log.ts";
import type { DiskRecord, Marker } from "./disk-records.ts";
import { nodeId } from "../state/ids.ts";
import type { DiskImage, DiskWrite } from "./storage.ts";
import { afterWrite, EMPTY_DISK, NO_WRITE } from "./storage.ts";

function entry(index: number, term: number, text = ""): Entry {
  return { index, term, kind: "normal", data: Uint8Array.from(Buffer.from(text)) };
}

function entries(first: number, count: number, term: number): Entry[] {
  return Array.from({ length: count }, (_, at) => entry(first + at, term));
}

const MEMBERSHIP = { voters: [1, 2, 3], outgoing: [], learners: [], learnersNext: [] };

/** A cut to the snapshot of that entry; the log then begins after `base`. */
function cutTo(index: number, term: number, base: LogBase, dropLog = false): LogCut {
  return { meta: { index, term, membership: MEMBERSHIP }, base, dropLog };
}

function markerOf({ meta }: LogCut): Marker {
  return { meta, sum: { chunks: 1, crc: meta.index } };
}

/** A log in memory, a list of records a segment. */
class Table {
  readonly segments = new Map<number, DiskRecord[]>([[1, [FIRST_RECORD]]]);
  segment = 1;
  /** The state as the last write left it, which a replay must come to. */
  planned: LogState | null = null;

  load(): { image: DiskImage; state: LogState } {
    const replay = new Replay();
    for (const [segment, records] of this.segments)
      for (const record of records) replay.add(record, segment);
    return replay.end();
  }

  /** Throws what makes the write impossible. */
  write(write: Partial<DiskWrite>, saved?: Marker | null): void {
    const whole = { ...NO_WRITE, ...write };
    const marker =
      saved === undefined && whole.cut !== null ? markerOf(whole.cut) : (saved ?? null);
    const { state, image } = this.load();
    const begin = { base: state.base, last: lastOf(state) };
    const wrong = wrongCut(state, whole, marker);
    if (wrong !== null) throw new Error(wrong);
    const record = recordOf(whole, marker);
    const next = stateAfter(state, record);
    if (typeof next === "string") throw new Error(next);
    const records = this.segments.get(this.segment);
    if (records === undefined)
      this.segments.set(this.segment, [beginningOf(record, begin, next, afterWrite(image, whole))]);
    else records.push(record);
    this.planned = placed(next, record, this.segment);
  }

  /** The next write begins a segment. */
  turn(): void {
    this.segment++;
  }
}

/** Entries 1-3 of term 1, 4 of term 2; committed up to 3. */
function table(): Table {
  const made = new Table();
  made.write({ entries: entries(1, 3, 1), hardState: { term: 1, vote: 1, commit: 0 } });
  made.write({ entries: [entry(4, 2)], hardState: { term: 2, vote: 2, commit: 3 } });
  return made;
}

/** The table above after a cut to a snapshot of entry 3, whose log begins after entry 2. */
function cutTable(): Table {
  const made = table();
  made.write({ cut: cutTo(3, 1, { index: 2, term: 1 }) });
  return made;
}

describe("a replay", () => {
  test("of the first record is an empty image; of nothing, damage", () => {
    expect(new Table().load().image).toEqual(EMPTY_DISK);
    expect(() => new Replay().end()).toThrow("it is empty");
  });

  test("begins at any segment, if what was before it is not in the log any more", () => {
    const identity = {
      clusterId: "c",
      node: nodeId("n"),
      raftId: 1,
      peers: [],
      joinSecret: "c2VjcmV0",
    };
    const made = table();
    made.write({ identity, worker: { assignments: [], reports: [], ending: [] } });
    made.turn();
    made.write({ entries: [entry(5, 2)], hardState: { term: 2, vote: 2, commit: 5 } });
    const whole = made.load();
    expect(oldestOf(whole.state)).toBe(1);
    made.segments.delete(1);
    expect(() => made.load()).toThrow("entry 1 is missing");
    const second = table();
    second.write({ identity });
    second.turn();
    second.write({ entries: [entry(5, 2)], hardState: { term: 2, vote: 2, commit: 5 } });
    second.write({ cut: cutTo(5, 2, { index: 3, term: 1 }) });
    expect(oldestOf(second.load().state)).toBe(1);
    second.turn();
    second.write({ cut: cutTo(5, 2, { index: 4, term: 2 }) });
    const { image, state } = second.load();
    expect(oldestOf(state)).toBe(2);
    second.segments.delete(1);
    expect(second.load().image).toEqual(image);
    expect(image.identity).toEqual(identity);
  });

  test("knows where the entries are when they were replaced or dropped", () => {
    const made = table();
    made.turn();
    made.write({ entries: entries(4, 4, 3), hardState: { term: 3, vote: 0, commit: 3 } });
    made.turn();
    made.write({ entries: entries(6, 1, 4), hardState: { term: 4, vote: 0, commit: 3 } });
    expect(made.load().state.runs).toEqual([
      { segment: 1, first: 1 },
      { segment: 2, first: 4 },
      { segment: 3, first: 6 },
    ]);
    made.write({ entries: entries(4, 1, 5), hardState: { term: 5, vote: 0, commit: 4 } });
    expect(made.load().state.runs).toEqual([
      { segment: 1, first: 1 },
      { segment: 3, first: 4 },
    ]);
    made.write({ cut: cutTo(4, 5, { index: 4, term: 5 }) });
    expect(made.load().state.runs).toEqual([]);
    expect(oldestOf(made.load().state)).toBeNull();
  });

  test("a segment that does not go on from the one before it is damage", () => {
    const made = table();
    made.turn();
    made.write({ entries: [entry(5, 2)] });
    const [first] = made.segments.get(2) ?? [];
    const begin = { base: { index: 0, term: 0 }, last: 3 };
    made.segments.set(2, [{ ...(first ?? FIRST_RECORD), begin }]);
    expect(() => made.load()).toThrow("segment 2 does not go on");
  });

  test("a record that cannot follow those before it is damage", () => {
    const made = table();
    made.segments.get(1)?.push(recordOf({ ...NO_WRITE, entries: [entry(6, 2)] }, null));
    expect(() => made.load()).toThrow("the write starts at entry 6");
    const cut = table();
    const record = recordOf({ ...NO_WRITE, cut: cutTo(3, 1, { index: 2, term: 1 }) }, null);
    cut.segments.get(1)?.push(record);
    expect(() => cut.load()).toThrow("a cut names no snapshot");
    const unbegun = new Table();
    unbegun.segments.set(1, [recordOf({ ...NO_WRITE, entries: [entry(1, 0)] }, null)]);
    expect(() => unbegun.load()).toThrow("does not say what was before it");
  });
});

describe("a cut", () => {
  test.each<[string, Partial<DiskWrite>]>([
    ["keeps what trails", { cut: cutTo(3, 1, { index: 1, term: 1 }) }],
    ["keeps the whole log", { cut: cutTo(2, 1, { index: 0, term: 0 }) }],
    ["keeps only what comes after the snapshot", { cut: cutTo(3, 1, { index: 3, term: 1 }) }],
    [
      "to the log's end keeps nothing",
      {
        cut: cutTo(4, 2, { index: 4, term: 2 }),
        hardState: { term: 2, vote: 2, commit: 4 },
      },
    ],
    [
      "of the whole log goes on after another node's snapshot",
      {
        cut: cutTo(9, 4, { index: 9, term: 4 }, true),
        hardState: { term: 4, vote: 0, commit: 9 },
      },
    ],
    [
      "of a log that contradicts the snapshot drops what is beyond it too",
      {
        cut: cutTo(3, 2, { index: 3, term: 2 }, true),
        hardState: { term: 2, vote: 0, commit: 3 },
      },
    ],
    [
      "and entries after it",
      {
        cut: cutTo(3, 1, { index: 2, term: 1 }),
        entries: [entry(4, 3, "replaced"), entry(5, 3)],
        hardState: { term: 3, vote: 0, commit: 5 },
      },
    ],
    [
      "of the whole log and entries after it, some where others were",
      {
        cut: cutTo(3, 2, { index: 3, term: 2 }, true),
        entries: [entry(4, 3, "other"), entry(5, 3)],
        hardState: { term: 3, vote: 0, commit: 3 },
      },
    ],
  ])("%s", (_, part) => {
    const made = table();
    const write = { ...NO_WRITE, ...part };
    const expected = afterWrite(made.load().image, write);
    made.write(write);
    expect(made.load().image).toEqual(expected);
    expect(made.load().state).toEqual(made.planned);
    // And the log goes on from there.
    const last = expected.base.index + expected.entries.length;
    const more = { ...NO_WRITE, entries: [entry(last + 1, 9)] };
    made.write({ ...more, hardState: { term: 9, vote: 0, commit: last } });
    expect(made.load().image.entries).toEqual([...expected.entries, entry(last + 1, 9)]);
  });

  test.each<[string, Partial<DiskWrite>]>([
    ["a snapshot beyond the commit", { cut: cutTo(4, 2, { index: 1, term: 1 }) }],
    ["a snapshot of another term", { cut: cutTo(3, 2, { index: 1, term: 1 }) }],
    ["a base beyond the snapshot", { cut: cutTo(2, 1, { index: 3, term: 1 }) }],
    ["a base of another term", { cut: cutTo(3, 1, { index: 2, term: 2 }) }],
    [
      "a base beyond the log",
      { cut: cutTo(9, 2, { index: 9, term: 2 }), hardState: { term: 2, vote: 2, commit: 9 } },
    ],
    [
      "committed entries that would be dropped",
      {
        cut: cutTo(2, 1, { index: 2, term: 1 }, true),
        hardState: { term: 2, vote: 2, commit: 2 },
      },
    ],
    [
      "a dropped log that leaves a gap to its snapshot",
      {
        cut: cutTo(9, 4, { index: 8, term: 4 }, true),
        hardState: { term: 4, vote: 0, commit: 9 },
      },
    ],
    [
      "an entry of the snapshot that would be replaced by another term's",
      {
        cut: cutTo(3, 1, { index: 2, term: 1 }),
        entries: [entry(3, 2)],
        hardState: { term: 2, vote: 2, commit: 3 },
      },
    ],
    [
      "an entry before the base",
      { cut: cutTo(3, 1, { index: 2, term: 1 }), entries: [entry(2, 1)] },
    ],
  ])("refuses %s", (_, write) => {
    expect(() => table().write(write)).toThrow(/entry|log|term/u);
  });

  test("refuses a snapshot that was not saved, or was saved as another", () => {
    const cut = cutTo(3, 1, { index: 2, term: 1 });
    expect(() => table().write({ cut }, null)).toThrow("was not saved");
    const learners = { ...cut.meta.membership, learners: [9] };
    const saved = { ...markerOf(cut), meta: { ...cut.meta, membership: learners } };
    expect(() => table().write({ cut }, saved)).toThrow("was not saved");
  });

  test("refuses to go back", () => {
    expect(() => cutTable().write({ cut: cutTo(2, 1, { index: 2, term: 1 }) })).toThrow("is older");
    expect(() => cutTable().write({ cut: cutTo(3, 1, { index: 1, term: 1 }) })).toThrow(
      "the log begins after 2 already",
    );
    expect(() => cutTable().write({ hardState: { term: 2, vote: 2, commit: 2 } })).toThrow(
      "holds more than was committed",
    );
  });
});

describe("a write", () => {
  test("replaces from the first index on and keeps what it does not name", () => {
    const made = table();
    const identity = {
      clusterId: "c",
      node: nodeId("n"),
      raftId: 1,
      peers: [],
      joinSecret: "c2VjcmV0",
    };
    made.write({ identity });
    made.write({ entries: [entry(2, 3)], hardState: { term: 3, vote: 0, commit: 1 } });
    expect(made.load().image).toEqual({
      ...EMPTY_DISK,
      identity,
      hardState: { term: 3, vote: 0, commit: 1 },
      entries: [entry(1, 1), entry(2, 3)],
    });
  });

  test.each<[string, Partial<DiskWrite>]>([
    ["a gap after the end", { entries: [entry(6, 2)] }],
    ["a gap inside", { entries: [entry(5, 2), entry(7, 2)] }],
    ["a term that falls", { entries: [entry(5, 1)] }],
    ["index 0", { entries: [entry(0, 2)] }],
    ["a commit beyond the log", { hardState: { term: 2, vote: 2, commit: 5 } }],
    ["a hard state behind the log", { hardState: { term: 1, vote: 2, commit: 3 } }],
    ["an entry of a term that the hard state does not know", { entries: [entry(5, 3)] }],
    ["a cut below the commit", { entries: [entry(1, 2)] }],
  ])("refuses %s: it would make a log that is refused at the next start", (_, write) => {
    expect(() => table().write(write)).toThrow(/entry|log|term/u);
  });
});
