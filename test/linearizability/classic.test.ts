import { describe, expect, it } from "vitest";
import { linearizableByBruteForce } from "./brute-force.ts";
import { checkLinearizable } from "./checker.ts";
import type { Input, Operation, Output } from "./history.ts";

/** Small histories that everybody who writes a checker, or a database, should know the verdict of. */

const get: Input = { kind: "get" };
const remove: Input = { kind: "remove" };
const absent: Output = { kind: "absent" };
const removed: Output = { kind: "removed" };
const refused: Output = { kind: "refused" };
const ok: Output = { kind: "written", version: null };
const put = (value: string): Input => ({ kind: "put", value });
const putIf = (value: string, ifVersion: number): Input => ({ kind: "put-if", value, ifVersion });
const swap = (ifValue: string | null, value: string): Input => ({ kind: "swap", value, ifValue });
const v = (version: number): Output => ({ kind: "written", version });
const found = (value: string, version: number | null = null): Output => ({
  kind: "found",
  value,
  version,
});

/** Client, call, return (null: never), what was asked and, if it returned, the answer. */
type Line = readonly [string, number, number | null, Input, Output?];

function history(lines: readonly Line[], key = "k"): Operation[] {
  return lines.map(([client, calledAt, returnedAt, input, output]) => {
    return { client, key, calledAt, returnedAt, input, output: output ?? null };
  });
}

const GOOD: Readonly<Record<string, readonly Line[]>> = {
  "nothing happens": [],
  "a key that nobody wrote": [["a", 0, 1, get, absent]],
  "one client after another": [
    ["a", 0, 1, put("x"), v(1)],
    ["b", 2, 3, get, found("x", 1)],
    ["b", 4, 5, putIf("y", 1), v(2)],
    ["a", 6, 7, putIf("z", 1), refused],
    ["a", 8, 9, get, found("y", 2)],
  ],
  "two reads on both sides of a concurrent write": [
    ["a", 0, 100, put("x"), ok],
    ["b", 25, 75, get, found("x")],
    ["c", 30, 60, get, absent],
  ],
  "three concurrent writes, two orders are left by the reads": [
    ["a", 0, 10, put("x"), ok],
    ["b", 0, 10, put("y"), ok],
    ["c", 0, 10, put("z"), ok],
    ["d", 11, 12, get, found("y")],
    ["e", 13, 14, get, found("y")],
  ],
  "a read returns at the instant of a write's call": [
    ["a", 0, 5, get, found("x")],
    ["b", 5, 6, put("x"), ok],
  ],
  "an unknown write takes effect at once": [
    ["a", 0, null, put("x")],
    ["b", 1, 2, get, found("x", 1)],
    ["b", 3, 4, put("y"), v(2)],
  ],
  "an unknown write takes effect late": [
    ["a", 0, null, put("x")],
    ["b", 1, 2, get, absent],
    ["b", 3, 4, put("y"), v(1)],
    ["b", 5, 6, get, found("y", 1)],
    ["c", 7, 8, get, found("x", 2)],
  ],
  "an unknown write never takes effect": [
    ["a", 0, null, put("x")],
    ["b", 1, 2, put("y"), v(1)],
    ["b", 3, 4, put("z"), v(2)],
    ["b", 5, 6, get, found("z", 2)],
  ],
  "a write that nobody saw leaves its mark in the versions": [
    ["b", 0, 1, put("y"), v(1)],
    ["a", 2, null, put("x")],
    ["b", 3, 4, put("z"), v(3)],
  ],
  "of many unknown writes exactly three are made": [
    ["b", 0, 1, put("y"), v(1)],
    ["a", 2, null, putIf("p", 1)],
    ["a", 2, null, put("q")],
    ["a", 2, null, put("r")],
    ["a", 2, null, putIf("s", 1)],
    ["b", 3, 4, put("z"), v(5)],
  ],
  "an unknown swap explains a refusal": [
    ["a", 0, 1, put("1"), ok],
    ["b", 2, null, swap("1", "2")],
    ["c", 3, 4, swap("1", "3"), refused],
  ],
  "a chain of swaps, answered out of order": [
    ["a", 0, 10, swap(null, "1"), ok],
    ["b", 0, 10, swap("2", "3"), ok],
    ["c", 0, 10, swap("1", "2"), ok],
    ["d", 11, 12, get, found("3")],
  ],
  "a removed key starts again": [
    ["a", 0, 1, put("x"), v(1)],
    ["a", 2, 3, remove, removed],
    ["a", 4, 5, remove, absent],
    ["a", 6, 7, putIf("y", 0), v(1)],
  ],
  "an unknown conditional write is made after an unknown remove, not before": [
    ["a", 0, 1, put("x"), v(1)],
    ["b", 2, null, putIf("u", 1)],
    ["c", 2, null, remove],
    ["a", 3, 4, put("y"), v(1)],
    ["a", 5, 6, put("z"), v(3)],
  ],
  "a version comes again after an unknown remove": [
    ["a", 0, 1, put("x"), v(1)],
    ["b", 2, null, remove],
    ["c", 3, 4, put("y"), v(1)],
  ],
};

const BAD: Readonly<Record<string, readonly Line[]>> = {
  "a value from nowhere": [["a", 0, 1, get, found("x")]],
  "a value before its write": [
    ["a", 0, 1, get, found("x")],
    ["b", 2, 3, put("x"), ok],
  ],
  "a stale read": [
    ["a", 0, 1, put("x"), v(1)],
    ["a", 2, 3, put("y"), v(2)],
    ["b", 4, 5, get, found("x", 1)],
  ],
  "a stale read of a register without versions": [
    ["a", 0, 1, put("x"), ok],
    ["a", 2, 3, put("y"), ok],
    ["b", 4, 5, get, found("x")],
  ],
  "a client does not see its own write": [
    ["a", 0, 1, put("x"), v(1)],
    ["a", 2, 3, get, absent],
  ],
  "new, then old, while the write is under way": [
    ["a", 0, 100, put("x"), ok],
    ["b", 10, 30, get, found("x")],
    ["c", 40, 90, get, absent],
  ],
  "new, then old, while the write is under way, by one client": [
    ["a", 0, 1, put("x"), v(1)],
    ["b", 2, 20, put("y"), v(2)],
    ["c", 3, 4, get, found("y", 2)],
    ["c", 5, 6, get, found("x", 1)],
  ],
  "two readers see two writes in opposite orders": [
    ["a", 0, 100, put("x"), ok],
    ["b", 0, 100, put("y"), ok],
    ["c", 10, 20, get, found("x")],
    ["c", 30, 40, get, found("y")],
    ["d", 50, 60, get, found("x")],
  ],
  "a lost update: both increments start from one version": [
    ["a", 0, 10, putIf("1", 0), v(1)],
    ["b", 0, 10, putIf("2", 0), v(1)],
  ],
  "a lost update without versions": [
    ["a", 0, 1, put("0"), ok],
    ["b", 2, 10, swap("0", "b"), ok],
    ["c", 2, 10, swap("0", "c"), ok],
  ],
  "an acknowledged write is lost": [
    ["a", 0, 1, put("x"), v(1)],
    ["b", 2, 3, put("y"), v(2)],
    ["c", 4, 5, put("z"), v(2)],
    ["c", 6, 7, get, found("z", 2)],
  ],
  "an acknowledged write is lost and nobody else writes": [
    ["a", 0, 1, put("x"), ok],
    ["b", 2, 3, get, absent],
  ],
  "a refusal without a reason": [
    ["a", 0, 1, put("x"), v(1)],
    ["b", 2, 3, putIf("y", 1), refused],
  ],
  "a refused write is made": [
    ["a", 0, 1, putIf("x", 7), refused],
    ["b", 2, 3, get, found("x", 1)],
  ],
  "an unknown write is made twice": [
    ["a", 0, null, put("x")],
    ["b", 1, 2, get, found("x", 1)],
    ["b", 3, 4, put("y"), v(2)],
    ["c", 5, 6, get, found("x", 3)],
  ],
  "an unknown write is made twice in a register without versions": [
    ["a", 0, null, put("x")],
    ["b", 1, 2, get, found("x")],
    ["b", 3, 4, put("y"), ok],
    ["c", 5, 6, get, found("x")],
  ],
  "an unknown write is made twice, and only the versions tell": [
    ["b", 0, 1, put("y"), v(1)],
    ["a", 2, null, put("x")],
    ["b", 3, 4, put("z"), v(4)],
  ],
  "an unknown write is made before it is asked for": [
    ["b", 0, 1, put("y"), v(1)],
    ["b", 2, 3, put("z"), v(3)],
    ["a", 4, null, put("x")],
  ],
  "an unknown conditional write is made where its condition fails": [
    ["b", 0, 1, put("y"), v(1)],
    ["a", 2, null, putIf("x", 2)],
    ["b", 3, 4, put("z"), v(3)],
  ],
  "a swap succeeds on a value that is long gone": [
    ["a", 0, 1, put("1"), ok],
    ["a", 2, 3, put("2"), ok],
    ["b", 4, 5, swap("1", "3"), ok],
  ],
  "a removed key is still read": [
    ["a", 0, 1, put("x"), v(1)],
    ["a", 2, 3, remove, removed],
    ["b", 4, 5, get, found("x", 1)],
  ],
  "a removed key is removed again": [
    ["a", 0, 1, put("x"), v(1)],
    ["a", 2, 9, remove, removed],
    ["b", 2, 9, remove, removed],
  ],
};

describe("classic histories", () => {
  it.each(Object.entries(GOOD))("good: %s", (_, lines) => {
    expect(checkLinearizable(history(lines)).kind).toBe("linearizable");
    expect(linearizableByBruteForce(history(lines))).toBe(true);
  });

  it.each(Object.entries(BAD))("bad: %s", (_, lines) => {
    expect(checkLinearizable(history(lines)).kind).toBe("violated");
    expect(linearizableByBruteForce(history(lines))).toBe(false);
  });
});

describe("what the checker says", () => {
  it("keys are judged apart and the guilty one is named", () => {
    const good = GOOD["one client after another"] ?? [];
    const bad = BAD["a stale read"] ?? [];
    const both = [...history(good, "innocent"), ...history(bad, "guilty")];
    expect(checkLinearizable(both)).toMatchObject({ kind: "violated", key: "guilty" });
  });

  it("the explanation is the contradiction alone, and one side of it", () => {
    const noise = Array.from({ length: 40 }, (_, i): Line[] => [
      ["n", 10 * i, 10 * i + 1, put(`n${i}`), v(i + 1)],
      ["m", 10 * i + 2, 10 * i + 3, get, found(`n${i}`, i + 1)],
    ]).flat();
    const lines: readonly Line[] = [
      ...noise,
      ["a", 400, 401, put("x"), v(41)],
      ["b", 402, 403, get, found("n39", 40)],
      ["a", 404, 405, put("y"), v(42)],
      ["a", 406, 407, get, found("y", 42)],
    ];
    expect(checkLinearizable(history(lines))).toMatchObject({
      explanation: [
        "key k: no order of its operations explains all of these answers:",
        '  n put "n39" → version 40   [390, 391]',
        '  a put "x" → version 41   [400, 401]',
        '  b get → "n39" at version 40   [402, 403]',
      ].join("\n"),
    });
  });

  it("a bound that is too low leaves it undecided, and a violation elsewhere counts for more", () => {
    const chain = history(GOOD["a chain of swaps, answered out of order"] ?? [], "chain");
    expect(checkLinearizable(chain, 2)).toEqual({ kind: "undecided", key: "chain", steps: 2 });
    const phantom = history(BAD["a value from nowhere"] ?? [], "phantom");
    expect(checkLinearizable([...chain, ...phantom], 2)).toMatchObject({ key: "phantom" });
  });

  it("a recorder that cannot have seen what it says is refused", () => {
    expect(() => checkLinearizable(history([["a", 0, 1, get, removed]]))).toThrow(
      "fits its question",
    );
    expect(() => checkLinearizable(history([["a", 0, null, get, absent]]))).toThrow("has a time");
    expect(() => checkLinearizable(history([["a", 2, 1, get, absent]]))).toThrow(
      "follows its call",
    );
  });
});
