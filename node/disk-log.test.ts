import { describe, expect, test } from "vitest";
import { AssertionError } from "../lib/assert.ts";
import type { Entry } from "../consensus/message.ts";
import type { LogCut, LogBase } from "../consensus/snapshot.ts";
import type { Scan } from "./disk-pages.ts";
import { emptyLog, loadLog, planWrite } from "./disk-log.ts";
import type { Batch } from "./disk-log.ts";
import {
  encodeEntry,
  encodeHardState,
  encodeMarker,
  entryKey,
  HARD_STATE_KEY,
  IDENTITY_KEY,
  MARKER_KEY,
  SEAL_KEY,
} from "./disk-records.ts";
import type { DiskRecord, Marker } from "./disk-records.ts";
import type { DiskWrite } from "./storage.ts";
import { afterWrite, EMPTY_DISK, NO_WRITE } from "./storage.ts";
import { nodeId } from "../state/ids.ts";

const LOG_ID = "00112233445566778899aabbccddeeff";

function entry(index: number, term: number, text = ""): Entry {
  return { index, term, kind: "normal", data: Uint8Array.from(Buffer.from(text)) };
}

/** A log in memory: what LMDB would hold. */
class Table {
  readonly records = new Map<string, DiskRecord>();
  transaction = 0;

  apply({ puts, removes }: Batch): void {
    this.transaction++;
    for (const key of removes) this.drop(key);
    for (const record of puts) this.put(record);
  }
  put(record: DiskRecord): void {
    this.records.set(hex(record.key), record);
  }
  drop(key: Uint8Array): void {
    this.records.delete(hex(key));
  }
  scan(): Scan {
    const records = [...this.records.values()].toSorted((a, b) => Buffer.compare(a.key, b.key));
    return { transaction: this.transaction, records };
  }
  load(): ReturnType<typeof loadLog> {
    return loadLog(this.scan(), LOG_ID);
  }
  write(write: Partial<DiskWrite>): void {
    const marker = write.cut === undefined || write.cut === null ? null : markerOf(write.cut);
    this.plan(write, marker);
  }
  plan(write: Partial<DiskWrite>, saved: Marker | null): void {
    this.apply(planWrite(this.load().state, { ...NO_WRITE, ...write }, saved).batch);
  }
}

const MEMBERSHIP = { voters: [1, 2, 3], outgoing: [], learners: [], learnersNext: [] };

/** A cut to the snapshot of that entry; the log then begins after `base`. */
function cutTo(index: number, term: number, base: LogBase, dropLog = false): LogCut {
  return { meta: { index, term, membership: MEMBERSHIP }, base, dropLog };
}

function markerOf({ meta }: LogCut): Marker {
  return { meta, sum: { chunks: 1, crc: meta.index } };
}

function hex(key: Uint8Array): string {
  return Buffer.from(key).toString("hex");
}

/** Entries 1-3 of term 1, 4 of term 2; committed up to 3. */
function table(): Table {
  const made = new Table();
  made.apply(emptyLog(LOG_ID));
  made.write({
    entries: [entry(1, 1), entry(2, 1), entry(3, 1)],
    hardState: { term: 1, vote: 1, commit: 0 },
  });
  made.write({ entries: [entry(4, 2)], hardState: { term: 2, vote: 2, commit: 3 } });
  return made;
}

describe("loadLog", () => {
  test("an empty log is an empty image", () => {
    const made = new Table();
    made.apply(emptyLog(LOG_ID));
    expect(made.load().image).toEqual(EMPTY_DISK);
  });

  test("names the entry that is missing, inside and at the end", () => {
    const inside = table();
    inside.drop(entryKey(2));
    expect(() => inside.load()).toThrow("entry 2 is missing");
    const first = table();
    first.drop(entryKey(1));
    expect(() => first.load()).toThrow("entry 1 is missing");
    const last = table();
    last.drop(entryKey(4));
    expect(() => last.load()).toThrow("it ends at entry 3, but entry 4 was written");
  });

  test("names the entry that fails its checksum or lowers the term", () => {
    const flipped = table();
    const { key, value } = encodeEntry(entry(2, 1, "x"));
    value[value.length - 1] = 0;
    flipped.put({ key, value });
    expect(() => flipped.load()).toThrow("entry 2 fails its checksum");
    const lowered = table();
    lowered.put(encodeEntry(entry(2, 9)));
    expect(() => lowered.load()).toThrow("entry 3 has term 1, lower");
  });

  test("an intact record that is not the last one written is damage", () => {
    const other = table();
    other.put(encodeEntry(entry(2, 1, "an older version")));
    expect(() => other.load()).toThrow("an entry up to 4 is an older version");
    const vote = table();
    vote.put(encodeHardState({ term: 2, vote: 3, commit: 3 }));
    expect(() => vote.load()).toThrow("the hard state is an older version");
    const none = table();
    none.drop(HARD_STATE_KEY);
    expect(() => none.load()).toThrow("the hard state is missing");
  });

  test("an older state of the whole log is damage", () => {
    const rolledBack = table();
    rolledBack.transaction++;
    expect(() => rolledBack.load()).toThrow(
      "it holds the state of transaction 3, but 4 is the last",
    );
  });

  test("a log without its seal, or with that of another folder, is damage", () => {
    const none = table();
    none.drop(SEAL_KEY);
    expect(() => none.load()).toThrow("its seal is missing");
    expect(() => loadLog(table().scan(), LOG_ID.replace("00", "ff"))).toThrow("log.id differs");
    expect(() => loadLog({ transaction: 0, records: [] }, LOG_ID)).toThrow("its seal is missing");
  });

  test("an unknown record is damage", () => {
    const made = table();
    made.put({ key: Uint8Array.of(1, 2, 3), value: Uint8Array.of(1) });
    expect(() => made.load()).toThrow("unknown kind");
  });
});

/** The table above after a cut to a snapshot of entry 3, whose log begins after entry 2. */
function cutTable(): Table {
  const made = table();
  made.write({ cut: cutTo(3, 1, { index: 2, term: 1 }) });
  return made;
}

describe("loadLog after a cut", () => {
  test("gives the snapshot's meta and sum, and the entries after the base", () => {
    const { image, marker } = cutTable().load();
    expect(image.snapshot).toEqual(cutTo(3, 1, { index: 2, term: 1 }).meta);
    expect(image.base).toEqual({ index: 2, term: 1 });
    expect(image.entries).toEqual([entry(3, 1), entry(4, 2)]);
    expect(marker).toEqual(markerOf(cutTo(3, 1, { index: 2, term: 1 })));
  });

  test("names what is missing, left over, or an older version of itself", () => {
    const first = cutTable();
    first.drop(entryKey(3));
    expect(() => first.load()).toThrow("entry 3 is missing: entry 4 comes after 2");
    const left = cutTable();
    left.put(encodeEntry(entry(2, 1)));
    expect(() => left.load()).toThrow("entry 2 is there, but the log begins after entry 2");
    const other = cutTable();
    other.put(encodeEntry(entry(3, 1, "an older version")));
    expect(() => other.load()).toThrow("an entry up to 4 is an older version");
    const all = cutTable();
    all.drop(entryKey(3));
    all.drop(entryKey(4));
    expect(() => all.load()).toThrow("it ends at entry 2, but entry 4 was written");
    const none = cutTable();
    none.drop(MARKER_KEY);
    expect(() => none.load()).toThrow("the snapshot's marker is missing");
    const older = cutTable();
    older.write({
      cut: cutTo(4, 2, { index: 3, term: 1 }),
      hardState: { term: 2, vote: 2, commit: 4 },
    });
    older.put(encodeMarker(markerOf(cutTo(3, 1, { index: 2, term: 1 }))));
    expect(() => older.load()).toThrow("the snapshot's marker is an older version of itself");
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
    // And the chain goes on from there.
    const last = expected.base.index + expected.entries.length;
    const more = { ...NO_WRITE, entries: [entry(last + 1, 9)] };
    made.write({ ...more, hardState: { term: 9, vote: 0, commit: last } });
    expect(made.load().image.entries).toEqual([...expected.entries, entry(last + 1, 9)]);
    expect(made.records.has(hex(entryKey(expected.base.index)))).toBe(false);
  });

  test("costs a plan nothing for what was cut before", () => {
    const { state } = cutTable().load();
    const { batch } = planWrite(state, { ...NO_WRITE, entries: [entry(5, 2)] }, null);
    expect(batch.removes).toEqual([]);
    expect(batch.puts).toHaveLength(2);
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
    expect(() => table().write(write)).toThrow(AssertionError);
  });

  test("refuses a snapshot that was not saved, or was saved as another", () => {
    const cut = cutTo(3, 1, { index: 2, term: 1 });
    expect(() => table().plan({ cut }, null)).toThrow("was not saved");
    const learners = { ...cut.meta.membership, learners: [9] };
    const saved = { ...markerOf(cut), meta: { ...cut.meta, membership: learners } };
    expect(() => table().plan({ cut }, saved)).toThrow("was not saved");
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

describe("planWrite", () => {
  test("replaces from the first index on and keeps what it does not name", () => {
    const made = table();
    const identity = { clusterId: "c", node: nodeId("n"), raftId: 1, peers: [] };
    made.write({ identity });
    made.write({ entries: [entry(2, 3)], hardState: { term: 3, vote: 0, commit: 1 } });
    expect(made.load().image).toEqual({
      ...EMPTY_DISK,
      identity,
      hardState: { term: 3, vote: 0, commit: 1 },
      entries: [entry(1, 1), entry(2, 3)],
    });
    expect(made.records.has(hex(IDENTITY_KEY))).toBe(true);
    expect(made.records.has(hex(entryKey(3)))).toBe(false);
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
    expect(() => table().write(write)).toThrow(AssertionError);
  });
});
