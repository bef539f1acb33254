import { assert, constantFrom, array, dictionary, property, string } from "fast-check";
import { expect, test } from "vitest";
import { interpolate } from "./interpolate.ts";

const ENVIRONMENT = { SET: "set", EMPTY: "" };

function textOf(text: string): string {
  const result = interpolate(text, ENVIRONMENT, 1000);
  return result.kind === "done" ? result.text : result.kind;
}

// As the Compose Specification has it: `:` counts an empty value as none.
test.each([
  ["plain", "plain"],
  ["$SET", "set"],
  ["a${SET}b", "asetb"],
  ["$SET-$SET.", "set-set."],
  ["$$SET $${SET} $$$SET", "$SET ${SET} $set"],
  ["${SET:-x}${SET-x}", "setset"],
  ["${EMPTY:-x}${EMPTY-y}", "x"],
  ["${NONE:-x}${NONE-y}", "xy"],
  ["${NONE:-}|${NONE}", "|"],
  ["${SET:+x}${SET+y}", "xy"],
  ["${EMPTY:+x}${EMPTY+y}", "y"],
  ["${NONE:+x}${NONE+y}", ""],
  ["${SET:?no}${EMPTY?no}", "set"],
  ["${NONE:-${EMPTY:-${SET}}}", "set"],
  ["${NONE:-a b:c-d}", "a b:c-d"],
  ["${SET:-${NONE:?never needed}}", "set"],
  ["${constructor}${__proto__:-own}", "own"],
])("%s is %s", (text, expected) => {
  expect(textOf(text)).toBe(expected);
});

test.each([
  ["${NONE:?set it to ${SET}}", "the variable NONE is required: set it to set"],
  ["${EMPTY:?}", "the variable EMPTY is required"],
  ["${NONE?}", "the variable NONE is required"],
  ["$", "a $ is followed by no variable name"],
  ["$1", "a $ is followed by no variable name"],
  ["${}", "a $ is followed by no variable name"],
  ["${A", "a ${ has no closing }"],
  ["${A:-x", "a ${ has no closing }"],
  ["${A!x}", 'after ${A comes "!x}", which is no operator'],
  ["${A:x}", 'after ${A comes ":x}", which is no operator'],
  [`${"${A:-".repeat(20)}x${"}".repeat(20)}`, "variables are nested more than 16 deep"],
])("%s is refused", (text, message) => {
  expect(interpolate(text, ENVIRONMENT, 1000)).toMatchObject({ kind: "bad", message });
});

test("says which variables had no value, and whether there was any", () => {
  expect(interpolate("$A ${B:-x} $C", {}, 9)).toMatchObject({
    unset: ["A", "C"],
    substituted: true,
  });
  expect(interpolate("$$A", {}, 9)).toMatchObject({ unset: [], substituted: false });
});

test("never grows past the bound", () => {
  expect(interpolate("$A".repeat(1000), { A: "x".repeat(10_000) }, 25_000)).toEqual({
    kind: "too-long",
  });
});

test("any text without a dollar sign is itself; any text at all gives an answer", () => {
  assert(
    property(string(), (text) => {
      expect(textOf(text.replaceAll("$", "$$$$")).startsWith(text.slice(0, 900))).toBe(true);
    }),
  );
  const pieces = array(constantFrom("$", "{", "}", ":", "-", "?", "+", "A", "$$", "${A:-"), {
    maxLength: 200,
  });
  assert(
    property(pieces, dictionary(string(), string()), (parts, environment) => {
      const result = interpolate(parts.join(""), environment, 1000);
      expect(["done", "bad", "too-long"]).toContain(result.kind);
    }),
  );
});
