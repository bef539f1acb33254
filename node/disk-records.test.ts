import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Entry } from "../consensus/message.ts";
import { nodeId } from "../state/ids.ts";
import { Damage, decodeRecord, encodeRecord, isSameMeta, textOfMarker } from "./disk-records.ts";
import type { DiskRecord, Marker } from "./disk-records.ts";

const safe = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const marker: Marker = {
  meta: {
    index: 9,
    term: 4,
    membership: { voters: [1, 2], outgoing: [3], learners: [4], learnersNext: [3] },
  },
  sum: { chunks: 2, crc: 0xff_ff_ff_ff },
};
const NOTHING: DiskRecord = {
  begin: null,
  identity: null,
  hardState: null,
  cut: null,
  marker: null,
  worker: null,
  entries: [],
};
const EVERYTHING: DiskRecord = {
  begin: { base: { index: 2 ** 40 + 3, term: 7 }, last: 2 ** 41 },
  identity: { clusterId: "c", node: nodeId("grüß"), raftId: 3, peers: [], joinSecret: "c2VjcmV0" },
  hardState: { term: 9, vote: 2, commit: 2 ** 52 },
  cut: { base: { index: 5, term: 2 }, dropLog: true },
  marker,
  worker: { assignments: [], reports: [], ending: [] },
  entries: [
    { term: 3, index: 6, kind: "conf", data: Uint8Array.of(1, 2, 3) },
    { term: 4, index: 7, kind: "normal", data: new Uint8Array(0) },
  ],
};

function bytesOf(record: DiskRecord): Buffer {
  const encoded = encodeRecord(record);
  // More on both sides, which must stay as it is.
  const bytes = Buffer.alloc(encoded.bytes + 20, 0xaa);
  encoded.put(bytes, 10);
  for (const at of [0, 9, bytes.length - 10, bytes.length - 1]) expect(bytes[at]).toBe(0xaa);
  return bytes.subarray(10, -10);
}

describe("records", () => {
  test("come back as they were, with everything, with nothing, and with each part alone", () => {
    expect(decodeRecord(bytesOf(EVERYTHING))).toEqual(EVERYTHING);
    expect(bytesOf(NOTHING)).toHaveLength(0);
    expect(decodeRecord(bytesOf(NOTHING))).toEqual(NOTHING);
    const parts: Partial<DiskRecord>[] = [
      { begin: EVERYTHING.begin },
      { identity: EVERYTHING.identity },
      { hardState: EVERYTHING.hardState },
      { cut: EVERYTHING.cut },
      { marker },
      { worker: EVERYTHING.worker },
      { entries: EVERYTHING.entries },
    ];
    for (const part of parts)
      expect(decodeRecord(bytesOf({ ...NOTHING, ...part }))).toEqual({ ...NOTHING, ...part });
  });

  test("any entries come back as they were, as copies", () => {
    const some = fc.array(
      fc.record({
        term: safe,
        kind: fc.constantFrom("normal" as const, "conf" as const),
        data: fc.uint8Array({ maxLength: 300 }),
      }),
    );
    fc.assert(
      fc.property(some, fc.integer({ min: 1, max: 2 ** 50 }), (made, first) => {
        const entries: Entry[] = made.map((entry, at) => ({ ...entry, index: first + at }));
        const bytes = bytesOf({ ...NOTHING, entries });
        const found = decodeRecord(bytes).entries;
        bytes.fill(0);
        expect(found).toEqual(entries);
      }),
    );
  });

  test("a cut or a changed byte is damage or another record, never another error", () => {
    const bytes = bytesOf(EVERYTHING);
    const read = (changed: Buffer): void => {
      try {
        expect(decodeRecord(changed)).not.toEqual(EVERYTHING);
      } catch (error) {
        if (!(error instanceof Damage)) throw error;
      }
    };
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      read(changed);
    }
    for (let length = 0; length < bytes.length; length++) read(bytes.subarray(0, length));
  });

  test("a marker's text depends on its content only, not on the objects it is made of", () => {
    const { meta, sum } = marker;
    const { voters, outgoing, learners, learnersNext } = meta.membership;
    const other = {
      sum: { crc: sum.crc, chunks: sum.chunks },
      meta: {
        from: "elsewhere",
        membership: { learnersNext, learners, outgoing, voters },
        term: meta.term,
        index: meta.index,
      },
    };
    expect(textOfMarker(other)).toBe(textOfMarker(marker));
    expect(isSameMeta(other.meta, meta)).toBe(true);
    expect(isSameMeta({ ...meta, term: 5 }, meta)).toBe(false);
  });

  test("what is no index or term is refused before it is stored", () => {
    for (const term of [-1, 1.5, Number.NaN, 2 ** 53]) {
      const hardState = { term, vote: 0, commit: 0 };
      expect(() => bytesOf({ ...NOTHING, hardState })).toThrow(RangeError);
    }
  });
});
