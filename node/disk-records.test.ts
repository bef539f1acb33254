import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Entry } from "../consensus/message.ts";
import { nodeId } from "../state/ids.ts";
import {
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
  indexOfKey,
  isSameMeta,
  textOfMarker,
} from "./disk-records.ts";
import type { DiskRecord, Marker, Seal } from "./disk-records.ts";

const safe = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const seal: Seal = {
  logId: "00112233445566778899aabbccddeeff",
  transaction: 2 ** 40 + 3,
  base: { index: 5, term: 2 },
  lastIndex: 17,
  baseChain: 2,
  chain: 0xff_ff_ff_ff,
  identity: 1,
  hardState: 0,
  worker: 0x80_00_00_00,
  marker: 3,
};
const marker: Marker = {
  meta: {
    index: 9,
    term: 4,
    membership: { voters: [1, 2], outgoing: [3], learners: [4], learnersNext: [3] },
  },
  sum: { chunks: 2, crc: 0xff_ff_ff_ff },
};
const identity = { clusterId: "c", node: nodeId("n"), raftId: 3, peers: [] };

describe("records", () => {
  test("entries come back as they were", () => {
    const entries = fc.record({
      term: safe,
      index: safe,
      kind: fc.constantFrom("normal" as const, "conf" as const),
      data: fc.uint8Array({ maxLength: 300 }),
    });
    fc.assert(
      fc.property(entries, (entry: Entry) => {
        const record = encodeEntry(entry);
        expect(indexOfKey(record.key)).toBe(entry.index);
        expect(decodeEntry(entry.index, record)).toEqual(entry);
      }),
    );
  });

  test("hard state, identity, worker, marker and seal come back as they were", () => {
    fc.assert(
      fc.property(safe, safe, safe, (term, vote, commit) => {
        expect(decodeHardState(encodeHardState({ term, vote, commit }))).toEqual({
          term,
          vote,
          commit,
        });
      }),
    );
    expect(decodeIdentity(encodeIdentity(identity))).toEqual(identity);
    expect(decodeWorker(encodeWorker({ assignments: [], reports: [] }))).toEqual({
      assignments: [],
      reports: [],
    });
    expect(decodeMarker(encodeMarker(marker))).toEqual(marker);
    expect(decodeSeal(encodeSeal(seal))).toEqual(seal);
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

  test("the order of the keys is the order of the log", () => {
    fc.assert(
      fc.property(safe, safe, (a, b) => {
        expect(Math.sign(Buffer.compare(entryKey(a), entryKey(b)))).toBe(Math.sign(a - b));
      }),
    );
  });

  test("no flipped bit and no cut goes unseen", () => {
    const cases: [DiskRecord, (record: DiskRecord) => unknown][] = [
      [
        encodeEntry({ term: 5, index: 9, kind: "conf", data: Buffer.from("data") }),
        (r) => decodeEntry(9, r),
      ],
      [encodeHardState({ term: 5, vote: 1, commit: 3 }), decodeHardState],
      [encodeIdentity(identity), decodeIdentity],
      [encodeWorker({ assignments: [], reports: [] }), decodeWorker],
      [encodeMarker(marker), decodeMarker],
      [encodeSeal(seal), decodeSeal],
    ];
    for (const [record, decode] of cases) {
      for (let bit = 0; bit < record.value.length * 8; bit++) {
        const value = Uint8Array.from(record.value);
        value[bit >> 3] = (value[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(() => decode({ ...record, value })).toThrow(Damage);
      }
      for (let length = 0; length < record.value.length; length++) {
        expect(() => decode({ ...record, value: record.value.subarray(0, length) })).toThrow(
          Damage,
        );
      }
    }
  });

  test("a record under another key is damaged, and says at which index", () => {
    const { value } = encodeEntry({ term: 1, index: 9, kind: "normal", data: Buffer.from("x") });
    expect(() => decodeEntry(10, { key: entryKey(10), value })).toThrow(
      "entry 10 fails its checksum",
    );
  });

  test("what is no index or term is refused before it is stored", () => {
    for (const term of [-1, 1.5, Number.NaN, 2 ** 53]) {
      expect(() => encodeHardState({ term, vote: 0, commit: 0 })).toThrow(RangeError);
    }
  });
});
