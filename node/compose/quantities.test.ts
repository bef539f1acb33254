import { array, assert, integer, property, string } from "fast-check";
import { describe, expect, test } from "vitest";
import { parseCpuMilli, parseDurationMs, parseSizeMib, splitCommandLine } from "./quantities.ts";

const PARSERS = { duration: parseDurationMs, size: parseSizeMib, cpus: parseCpuMilli };

test.each([
  ["duration", "0", 0],
  ["duration", "5s", 5000],
  ["duration", "500ms", 500],
  ["duration", "1m30s", 90_000],
  ["duration", "1h5m30s20ms", 3_930_020],
  ["duration", "1.5s", 1500],
  ["duration", "0.25h", 900_000],
  ["duration", "1us", 1],
  ["duration", "1500us", 2],
  ["duration", "24h", 86_400_000],
  ["size", "64m", 64],
  ["size", "64MB", 64],
  ["size", "1g", 1024],
  ["size", "1.5gb", 1536],
  ["size", "1", 1],
  ["size", "1048577b", 2],
  ["size", "2048k", 2],
  ["size", "1kb", 1],
  ["size", "1048576g", 1_073_741_824],
  ["cpus", "1", 1000],
  ["cpus", "0.5", 500],
  ["cpus", ".25", 250],
  ["cpus", "0.001", 1],
  ["cpus", "1.50000", 1500],
  ["cpus", "10000", 10_000_000],
] as const)("the %s %s is %d", (kind, text, value) => {
  expect(PARSERS[kind](text)).toEqual({ kind: "ok", value });
});

test.each([
  ["duration", ["", "5", "s", "-1s", "1 s", "1d", "1s1", "1e3s", "25h", "9999999999999s", "٣s"]],
  [
    "size",
    ["", "0", "0m", "-1m", "1t", "1.m", "m", "1mib", "1 000m", "0x10", "1e3", "1048577g", "∞"],
  ],
  ["cpus", ["", ".", "0", "0.0001", "-1", "1e3", "10001", "1,5", "all", "NaN", "0.000"]],
] as const)("the %s is refused for each of %j", (kind, texts) => {
  for (const text of texts) {
    const result = PARSERS[kind](text);
    const something: unknown = expect.stringMatching(/./);
    expect({ text, ...result }).toEqual({ text, kind: "bad", message: something, hint: something });
  }
});

test("whatever the text, a quantity is a whole number or refused", () => {
  assert(
    property(string(), integer({ min: 0 }), (text, number) => {
      for (const parse of Object.values(PARSERS)) {
        for (const attempt of [text, `${String(number)}${text}`]) {
          const result = parse(attempt);
          expect(result.kind === "bad" || Number.isSafeInteger(result.value)).toBe(true);
        }
      }
    }),
  );
});

describe("command lines", () => {
  test.each([
    ["", []],
    ["  a\t b\n", ["a", "b"]],
    [`sh -c "echo 'x y'"`, ["sh", "-c", "echo 'x y'"]],
    [`a'b'"c"d`, ["abcd"]],
    [`'' ""`, ["", ""]],
    [String.raw`a\ b \" \\`, ["a b", '"', "\\"]],
    [String.raw`"a\"b\\c\d"`, [String.raw`a"b\c\d`]],
    [String.raw`'a\'`, ["a\\"]],
    ["a;b c", ["a;b", "c"]],
  ])("%j is %j", (text, words) => {
    expect(splitCommandLine(text)).toMatchObject({ kind: "ok", value: { words } });
  });

  test.each(["'a", '"a', "a\\", `"a\\`])("%j is refused", (text) => {
    expect(splitCommandLine(text)).toMatchObject({ kind: "bad" });
  });

  test("the shell's operators are told, unless quoted", () => {
    expect(splitCommandLine("a && b | c '&&' 2> d > e")).toMatchObject({
      value: { operators: ["&&", "|", "2>", ">"] },
    });
  });

  test("words that are quoted come back as they were", () => {
    assert(
      property(array(string()), (words) => {
        const line = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
        expect(splitCommandLine(line)).toMatchObject({ value: { words } });
      }),
    );
  });
});
