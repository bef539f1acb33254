import { isDeepStrictEqual } from "node:util";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Entry, Message } from "../consensus/message.ts";
import { nodeId } from "../state/ids.ts";
import { TRANSITIONS } from "../state/task.ts";
import { anyJson, anyMessage, anyRaft, JSON_KINDS, RAFT } from "../test/fixtures/messages.ts";
import type { NodeMessage } from "./core/message.ts";
import { decodeMessage, encodeMessage } from "./wire.ts";

function frameOf(value: unknown): Uint8Array {
  return new Uint8Array([2, ...new TextEncoder().encode(JSON.stringify(value))]);
}

describe("a message", () => {
  it.each(Object.keys(RAFT))("of Raft's kind %s comes back as it went out", (kind) => {
    fc.assert(
      fc.property(anyRaftOf(kind), (message) => {
        expect(decodeMessage(encodeMessage(message))).toEqual(message);
      }),
    );
  });

  it.each(Object.entries(JSON_KINDS))(
    "of kind %s comes back as it went out",
    (_kind, arbitrary) => {
      fc.assert(
        fc.property<[NodeMessage]>(arbitrary, (message) => {
          expect(decodeMessage(encodeMessage(message))).toEqual(message);
        }),
      );
    },
  );

  it.each(Object.keys(TRANSITIONS))("reports a task that is %s", (state) => {
    const report = { task: "1-0", state, healthy: null, attempts: 1, exitCode: null, message: "" };
    const message = {
      kind: "session-reports",
      session: 1,
      batch: 1,
      reports: [{ ...report, startedAtMs: null, finishedAtMs: null }],
    };
    expect(decodeMessage(frameOf(message))).toEqual(message);
  });

  it("tells each of those that hear the same of the members all the rest as it is for it", () => {
    const member = { id: nodeId("a"), raftId: 1, name: "ä", addresses: ["/sim/a"], holdsLog: true };
    const members = { whole: true, upsert: [member], gone: [nodeId("b")] };
    for (const session of [1, 2]) {
      const set: NodeMessage = {
        kind: "session-set",
        session,
        seq: session + 1,
        full: session === 1,
        upsert: [],
        remove: [],
        index: 7,
        featureLevel: 1,
        members,
        joinSecret: "secret",
      };
      expect(decodeMessage(encodeMessage(set))).toEqual(set);
    }
  });

  it("is read from within a larger buffer, and keeps nothing of it", () => {
    const entries = [{ term: 1, index: 1, kind: "normal", data: new Uint8Array([7, 8]) }] as const;
    const message: NodeMessage = {
      kind: "raft",
      clusterId: "c1",
      message: {
        kind: "append",
        from: 1,
        to: 2,
        term: 1,
        prevIndex: 0,
        prevTerm: 0,
        commit: 0,
        entries,
      },
    };
    const frame = encodeMessage(message);
    const buffer = new Uint8Array([1, 2, 3, ...frame, 4, 5]);
    const read = decodeMessage(buffer.subarray(3, 3 + frame.length));
    buffer.fill(0);
    expect(read).toEqual(message);
  });

  it("stays as it was sent: its fields in their order, and those that a later version may add", () => {
    fc.assert(
      fc.property(anyJson, (message) => {
        const turned = Object.fromEntries(Object.entries({ ...message, why: "new" }).toReversed());
        expect(JSON.stringify(decodeMessage(frameOf(turned)))).toBe(JSON.stringify(turned));
      }),
    );
  });
});

function anyRaftOf(kind: string): fc.Arbitrary<NodeMessage> {
  return anyRaft.filter((m) => m.kind === "raft" && m.message.kind === kind);
}

/** What is true of every message that the core may see. */
function isSound(message: NodeMessage): boolean {
  if (message.kind !== "raft") return true;
  const { message: m } = message;
  const numbers = Object.values(m).filter((value) => typeof value === "number");
  if (numbers.some((n) => !Number.isSafeInteger(n) || n < 0) || m.from < 1 || m.to < 1)
    return false;
  if (m.kind !== "append") return true;
  const terms = [m.prevTerm, ...m.entries.map(({ term }) => term), m.term];
  return (
    m.entries.every(
      ({ index }, i) => index === m.prevIndex + 1 + i && Number.isSafeInteger(index),
    ) && terms.every((term, i) => term >= (terms[i - 1] ?? 0))
  );
}

/** Whether a frame is refused, or read as something that is sound and can be sent on. */
function isHarmless(frame: Uint8Array): boolean {
  const read = decodeMessage(frame);
  if (read === null) return true;
  const again = decodeMessage(encodeMessage(read));
  return again !== null && isDeepStrictEqual(again, read) && isSound(read);
}

describe("a frame", () => {
  it("of any bytes does no harm", () => {
    const junk = fc.tuple(fc.constantFrom(0, 1, 2, 3), fc.uint8Array({ maxLength: 200 }));
    fc.assert(
      fc.property(junk, ([kind, rest]) => {
        expect(isHarmless(new Uint8Array([kind, ...rest]))).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  it("that is cut short is refused", () => {
    fc.assert(
      fc.property(anyMessage, fc.nat(), (message, at) => {
        const frame = encodeMessage(message);
        expect(decodeMessage(frame.subarray(0, at % frame.length))).toBeNull();
      }),
      { numRuns: 500 },
    );
  });

  it("with bytes left over is refused", () => {
    fc.assert(
      fc.property(anyRaft, fc.nat(255), (message, byte) => {
        expect(decodeMessage(new Uint8Array([...encodeMessage(message), byte]))).toBeNull();
      }),
    );
  });

  it("with a flipped bit does no harm", () => {
    fc.assert(
      fc.property(anyMessage, fc.nat(), fc.nat(7), (message, at, bit) => {
        const frame = encodeMessage(message);
        const index = at % frame.length;
        frame[index] = (frame[index] ?? 0) ^ (1 << bit);
        expect(isHarmless(frame)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ["of no kind", new Uint8Array()],
    ["of an unknown kind", new Uint8Array([3, 123, 125])],
    ["that is not UTF-8", new Uint8Array([2, 0x22, 0xff, 0x22])],
    ["of Raft in JSON", frameOf({ kind: "raft", clusterId: "c1", message: { kind: "vote" } })],
    ["of a message that nobody knows", frameOf({ kind: "session-party", session: 1 })],
    ["of a name that every object has", frameOf({ kind: "constructor" })],
    ["of null", frameOf(null)],
    ["of a list", frameOf([])],
  ])("%s is refused", (_what, frame) => {
    expect(decodeMessage(frame)).toBeNull();
  });
});

function appended(changes: object, ...terms: readonly number[]): NodeMessage | null {
  const entries = terms.map((term, i): Entry => ({
    term,
    index: 8 + i,
    kind: "normal",
    data: new Uint8Array(),
  }));
  const message: Message = {
    kind: "append",
    from: 1,
    to: 2,
    term: 5,
    prevIndex: 7,
    prevTerm: 3,
    commit: 1,
    entries,
    ...changes,
  };
  return decodeMessage(encodeMessage({ kind: "raft", clusterId: "c1", message }));
}

describe("entries", () => {
  it("whose terms rise up to the leader's are read", () => {
    expect(appended({}, 3, 4, 4, 5)).not.toBeNull();
  });

  it.each<[string, object, number[]]>([
    ["fall", {}, [4, 3]],
    ["begin before the one they follow", {}, [2]],
    ["run ahead of their leader's", {}, [5, 6]],
    ["follow one that is ahead of their leader", { prevTerm: 6 }, []],
  ])("whose terms %s are refused", (_what, changes, terms) => {
    expect(appended(changes, ...terms)).toBeNull();
  });

  it("have no gaps: their places are counted from the one before", () => {
    const gap = { term: 5, index: 99, kind: "normal", data: new Uint8Array() };
    const read = appended({ entries: [gap] });
    expect(read).toMatchObject({ message: { entries: [{ index: 8 }] } });
    expect(appended({ prevIndex: Number.MAX_SAFE_INTEGER - 1 }, 5)).not.toBeNull();
    expect(appended({ prevIndex: Number.MAX_SAFE_INTEGER }, 5)).toBeNull();
  });

  it.each([
    ["from nobody", { from: 0 }],
    ["to nobody", { to: 0 }],
    ["with half a term", { term: 5.5 }],
    ["with a term below nought", { term: -1, prevTerm: -1 }],
    ["with a commit index that is no number", { commit: Number.NaN }],
    ["with an index beyond what is exact", { prevIndex: 2 ** 53 }],
  ])("%s are refused", (_what, changes) => {
    expect(appended(changes)).toBeNull();
  });
});

/** Maps whose keys anyone chooses, and values of any kind. */
const FREE = new Set(["environment", "labels", "details", "body"]);

type Path = readonly string[];

/** Every field of a value, but for those in free maps. */
function pathsOf(value: unknown, path: Path = []): Path[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]): Path[] => {
    if (key === "body") return [];
    const here = [...path, key];
    return FREE.has(key) ? [here] : [here, ...pathsOf(inner, here)];
  });
}

/** A copy in which the field at the path was changed; the value of `change` is undefined to leave it out. */
function changed(
  value: unknown,
  [key = "", ...rest]: Path,
  change: (old: unknown) => unknown,
): unknown {
  const inner: unknown = Reflect.get(Object(value), key);
  const next = rest.length === 0 ? change(inner) : changed(inner, rest, change);
  if (Array.isArray(value))
    return value.map((item: unknown, i) => (String(i) === key ? next : item));
  return { ...Object(value), [key]: next };
}

/** Something that is never right in its place. */
function wrong(value: unknown): unknown {
  return typeof value === "object" && value !== null ? 0.5 : { odd: true };
}

describe("a field", () => {
  const withPath = anyJson.chain((message) =>
    fc.tuple(fc.constant(message), fc.constantFrom(...pathsOf(message))),
  );

  it("of a wrong type, however deep, makes the whole message refused", () => {
    fc.assert(
      fc.property(withPath, ([message, path]) => {
        expect(decodeMessage(frameOf(changed(message, path, wrong)))).toBeNull();
      }),
      { numRuns: 3000 },
    );
  });

  it("that is missing, however deep, makes the whole message refused", () => {
    fc.assert(
      fc.property(withPath, ([message, path]) => {
        // In a list, JSON has null in the place of what is not there.
        expect(decodeMessage(frameOf(changed(message, path, () => undefined)))).toBeNull();
      }),
      { numRuns: 3000 },
    );
  });

  it("that counts is whole and exact", () => {
    for (const session of [1.5, -1, 2 ** 53, "1"]) {
      expect(decodeMessage(frameOf({ kind: "session-removed", session, left: true }))).toBeNull();
    }
    const infinite = new TextEncoder().encode('{"kind":"session-removed","session":1e999}');
    expect(decodeMessage(new Uint8Array([2, ...infinite]))).toBeNull();
  });
});
