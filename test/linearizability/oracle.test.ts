import { describe, expect, it } from "vitest";
import { Prng } from "../../lib/prng.ts";
import type { Operation } from "./history.ts";
import { Recorder } from "./history.ts";
import { cheapViolation, lossViolation } from "./oracle.ts";
import { randomHistory } from "./simulated-register.ts";

const WORKLOAD = {
  operations: 300,
  clients: 8,
  unknownPerMille: 100,
  values: null,
  versions: true,
  removePerMille: 0,
  fault: null,
  faultPerMille: 10,
} as const;

/** One client that writes these values, acknowledged at versions 1, 2, …; "?" before one: unknown. */
function writes(...values: string[]): readonly Operation[] {
  const recorder = new Recorder();
  let version = 0;
  for (const value of values) {
    const isUnknown = value.startsWith("?");
    const handle = recorder.called("a", "k", { kind: "put", value: value.replace("?", "") });
    if (isUnknown) continue;
    version += 1;
    recorder.returned(handle, { kind: "written", version });
  }
  return recorder.history;
}

/** The same and then a read. */
function read(history: readonly Operation[], value: string, version: number): readonly Operation[] {
  const output = { kind: "found", value, version } as const;
  const input = { kind: "get" } as const;
  return [...history, { client: "b", key: "k", calledAt: 100, returnedAt: 101, input, output }];
}

describe("cheap checks", () => {
  it.each([
    ["a value that nobody wrote", read(writes("x"), "y", 2), "a value that nobody wrote was read"],
    ["a stale read", read(writes("x", "y"), "x", 1), "a version went back"],
    ["two values", read(writes("x", "y"), "x", 2), "version 2 has two values"],
    [
      "a version that was read before it was made",
      [
        ...read(writes("?x"), "x", 1),
        ...writes("x").map((each) => ({ ...each, calledAt: 200, returnedAt: 201 })),
      ],
      "a version went back",
    ],
    [
      "one version for two writes",
      [...writes("x"), ...writes("y")],
      "version 1 was acknowledged twice",
    ],
    [
      "a value before its write",
      [
        ...read([], "x", 1),
        ...writes("x").map((each) => ({ ...each, calledAt: 200, returnedAt: 201 })),
      ],
      "a value was read before it was written",
    ],
  ])("%s is found", (_, history, problem) => {
    expect(cheapViolation(history)).toContain(`key k: ${problem}`);
  });

  it("says which operations contradict each other", () => {
    expect(cheapViolation(read(writes("x", "y"), "x", 1))).toBe(
      'key k: a version went back\n  a put "y" → version 2   [3, 4]\n  b get → "x" at version 1   [100, 101]',
    );
  });

  it("a removed key may start again", () => {
    const remove = { kind: "remove" } as const;
    const output = { kind: "removed" } as const;
    const gone = { client: "b", key: "k", calledAt: 50, returnedAt: 51, input: remove, output };
    expect(cheapViolation([...read(writes("x", "y"), "x", 1), gone])).toBeNull();
  });

  it("good registers are never accused, broken ones nearly always are", () => {
    const accused = { null: 0, "stale read": 0, "lost write": 0 };
    for (let seed = 0; seed < 100; seed += 1) {
      for (const fault of [null, "stale read", "lost write"] as const) {
        const history = randomHistory(new Prng(seed), { ...WORKLOAD, fault });
        if (cheapViolation(history) !== null) accused[fault ?? "null"] += 1;
      }
    }
    expect(accused.null).toBe(0);
    expect(accused["stale read"]).toBeGreaterThan(25);
    expect(accused["lost write"]).toBeGreaterThan(50);
  });
});

describe("what is left at the end", () => {
  it.each([
    [["x", "y"], { version: 2, values: null }],
    [["x", "y"], { version: 2, values: ["x", "y"] }],
    // An unknown write was made, late; or never.
    [["x", "?z", "y"], { version: 3, values: ["x", "y", "z"] }],
    [["x", "?z", "y"], { version: 2, values: ["x", "y"] }],
  ])("%j may leave %j", (values, final) => {
    expect(lossViolation(writes(...values), () => final)).toBeNull();
  });

  it.each([
    [["x", "y"], { version: 1, values: null }, "the last version is 1"],
    [["x", "y"], { version: 0, values: null }, "the last version is 0"],
    [["x", "y"], { version: 2, values: ["x", "x"] }, 'version 2 is now "x"'],
    [["x", "y"], { version: 2, values: ["x"] }, 'version 2 is now "nothing"'],
    [["x", "?z", "y"], { version: 4, values: ["x", "y", "z", "z"] }, '"z" was made more often'],
    [["x"], { version: 2, values: ["x", "w"] }, '"w" was made more often'],
  ])("%j may not leave %j", (values, final, problem) => {
    expect(lossViolation(writes(...values), () => final)).toContain(`key k: ${problem}`);
  });

  it("a write that was acknowledged without a version is missed too", () => {
    const untold = writes("x", "y").map((each) => ({
      ...each,
      output: { kind: "written", version: null } as const,
    }));
    const final = { version: 1, values: ["x"] };
    expect(lossViolation(untold, () => final)).toContain("not among the versions");
  });
});
