import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  momentMs,
  parseDurationMs,
  parseEventId,
  parseEventsFrom,
  parseMoment,
  parseTimeoutMs,
  parseVersion,
} from "./input.ts";

test.each([
  ["10m", 600_000],
  ["1h30m", 5_400_000],
  ["1.5s", 1_500],
  ["250ms", 250],
  ["0s", 0],
  ["1d", 86_400_000],
  ["", null],
  ["10", null],
  ["10 m", null],
  ["-1m", null],
  ["1m-", null],
  ["1e9s", null],
  ["9999999999s", null],
])("duration %j", (text, expected) => {
  expect(parseDurationMs(text)).toBe(expected);
});

test.each([
  ["10m", { kind: "ago", ms: 600_000 }],
  ["1760000000000", { kind: "at", ms: 1_760_000_000_000 }],
  ["2026-02-03T04:05:06Z", { kind: "at", ms: Date.UTC(2026, 1, 3, 4, 5, 6) }],
  ["2026-02-03T04:05:06.5+02:00", { kind: "at", ms: Date.UTC(2026, 1, 3, 2, 5, 6, 500) }],
  ["2026-02-30T00:00:00Z", null],
  ["2026-02-03", null],
  ["yesterday", null],
  ["", null],
])("moment %j", (text, expected) => {
  expect(parseMoment(text)).toEqual(expected);
});

test("a moment is never before 0", () => {
  expect(momentMs({ kind: "ago", ms: 600_000 }, 1_000_000)).toBe(400_000);
  expect(momentMs({ kind: "ago", ms: 600_000 }, 1)).toBe(0);
});

test.each([
  ["57", { index: 57, seen: 1 }],
  ["57.3", { index: 57, seen: 3 }],
  ["0", { index: 0, seen: 1 }],
  ["57.0", null],
  ["57.", null],
  ["-1", null],
  ["x", null],
])("event id %j", (text, expected) => {
  expect(parseEventId(text)).toEqual(expected);
});

test("events begin after an index or at a moment", () => {
  expect(parseEventsFrom("12")).toEqual({ kind: "after", index: 12 });
  expect(parseEventsFrom("10m")).toEqual({ kind: "since", moment: { kind: "ago", ms: 600_000 } });
  expect(parseEventsFrom("soon")).toBeNull();
});

test.each([
  ["1", 1],
  ["15000", 15_000],
  ["30s", 30_000],
  ["10m", 600_000],
  ["600001", null],
  ["11m", null],
  ["0", null],
  ["0s", null],
  ["-5", null],
])("timeout %j", (text, expected) => {
  expect(parseTimeoutMs(text)).toBe(expected);
});

test.each([
  ["7", 7],
  ['"7"', 7],
  ["0", 0],
  ['"7', null],
  ['W/"7"', null],
  ["*", null],
  ["1e3", null],
])("version %j", (text, expected) => {
  expect(parseVersion(text)).toBe(expected);
});

test("no text makes a parser throw, hang or give what is not a safe number", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.stringMatching(/^[0-9.dhms":TZ+-]{0,40}$/),
        fc.string({ minLength: 10_000, maxLength: 20_000 }),
      ),
      (text) => {
        const numbers = [
          parseDurationMs(text),
          parseTimeoutMs(text),
          parseVersion(text),
          parseEventId(text)?.index ?? null,
          parseMoment(text)?.ms ?? null,
        ];
        const wrong = numbers.filter((number) => number !== null && !isCount(number));
        expect(wrong).toEqual([]);
      },
    ),
  );
});

function isCount(number: number): boolean {
  return Number.isSafeInteger(number) && number >= 0;
}
