import { expect, test } from "vitest";
import { formatAge, parseDurationMs, parseSinceMs } from "./duration.ts";

test.each([
  ["30s", 30_000],
  ["1h30m", 5_400_000],
  ["500ms", 500],
  ["1.5s", 1_500],
  ["2d", 172_800_000],
  ["15", 15_000],
  ["", null],
  ["10 m", null],
  ["m10", null],
  ["-5s", null],
  ["5s!", null],
])("%j is %j ms", (text, expected) => {
  expect(parseDurationMs(text)).toBe(expected);
});

test("since is a duration ago or a time", () => {
  expect(parseSinceMs("10m", 1_000_000)).toBe(400_000);
  expect(parseSinceMs("2026-01-31T12:00:00Z", 0)).toBe(Date.UTC(2026, 0, 31, 12));
  expect(parseSinceMs("yesterday", 0)).toBeNull();
  expect(parseSinceMs("2026-13-99", 0)).toBeNull();
});

test.each([
  [-5, "0s"],
  [59_999, "59s"],
  [60_000, "1m"],
  [3_600_000, "1h"],
  [47 * 3_600_000, "47h"],
  [48 * 3_600_000, "2d"],
])("%d ms is %s ago", (ageMs, expected) => {
  expect(formatAge(ageMs)).toBe(expected);
});
