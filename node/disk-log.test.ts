import { describe, expect, test } from "vitest";
import { AssertionError } from "../lib/assert.ts";
import type { Entry } from "../consensus/message.ts";
import type { Scan } from "./disk-pages.ts";
import { emptyLog, loadLog, planWrite } from "./disk-log.ts";
import type { Batch } from "./disk-log.ts";
import {
  encodeEntry,
  encodeHardState,
  entryKey,
  HARD_STATE_KEY,
  IDENTITY_KEY,
  SEAL_KEY,
} from "./disk-records.ts";
import type { DiskRecord } from "./disk-records.ts";
import type { DiskWrite } from "./storage.ts";
import { EMPTY_DISK } from "./storage.ts";
import { nodeId } from "../state/ids.ts";

const LOG_ID = "00112233445566778899aabbccddeeff";
const NOTHING: DiskWrite = { identity: null, hardState: null, entries: [], worker: null };

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
    this.apply(planWrite(this.load().state, { ...NOTHING, ...write }).batch);
  }
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

describe("planWrite", () => {
  test("replaces from the first index on and keeps what it does not name", () => {
    const made = table();
    const identity = { clusterId: "c", node: nodeId("n"), raftId: 1, peers: [] };
    made.write({ identity });
    made.write({ entries: [entry(2, 3)], hardState: { term: 3, vote: 0, commit: 1 } });
    expect(made.load().image).toEqual({
      identity,
      hardState: { term: 3, vote: 0, commit: 1 },
      entries: [entry(1, 1), entry(2, 3)],
      worker: null,
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
