import { expect, it } from "vitest";
import { describeDown } from "./down-reason.ts";
import type { Evidence } from "./verdict.ts";

const NOW = 100_000;
const NOTHING: Evidence = {
  managesSinceMs: NOW - 750,
  session: null,
  expectedAtMs: null,
  lostAtMs: null,
  sureSinceMs: null,
  observers: 8,
  alerts: [],
};

it.each<[string, Partial<Evidence>, string[], string]>([
  [
    "a broken connection",
    { session: { lastHeardMs: NOW - 2_000, brokenAtMs: NOW - 1_540 }, observers: 3 },
    ["n3", "n1", "n4"],
    "its connection to the manager broke 1.5 s ago; missed by n1, n3 and n4 (3 of 3 that watch it)",
  ],
  [
    "silence that many notice",
    { session: { lastHeardMs: NOW - 3_700, brokenAtMs: null } },
    ["n5", "n4", "n3", "n2", "n1"],
    "the manager has heard nothing of it for 3.7 s; missed by n1, n2, n3 and 2 more (5 of 8 that watch it)",
  ],
  [
    "silence that nobody else notices",
    { session: { lastHeardMs: NOW - 8_000, brokenAtMs: null } },
    [],
    "the manager has heard nothing of it for 8.0 s; missed by no other (0 of 8 that watch it)",
  ],
  [
    "one that nobody can watch",
    { session: { lastHeardMs: NOW - 4_000, brokenAtMs: null }, observers: 0 },
    [],
    "the manager has heard nothing of it for 4.0 s; no node that is up watches it",
  ],
  [
    "one that a new manager never met",
    { observers: 2, alerts: [{ sinceMs: NOW - 4_200 }, { sinceMs: NOW - 4_400 }] },
    ["n2", "n1"],
    "it has not come to this manager, who has been one for 0.8 s, and has been missed for 4.4 s; missed by n1 and n2 (2 of 2 that watch it)",
  ],
  [
    "one that a new manager never met, and nobody misses",
    { managesSinceMs: NOW - 8_000 },
    [],
    "it has not come to this manager, who has been one for 8.0 s; missed by no other (0 of 8 that watch it)",
  ],
  [
    "one that a new manager lost before it was one",
    { lostAtMs: NOW - 2_000, observers: 0 },
    [],
    "it has not come to this manager, who has been one for 0.8 s, and its connection here broke 2.0 s ago; no node that is up watches it",
  ],
  [
    "a newcomer that did not start",
    { expectedAtMs: NOW - 4_000, observers: 0 },
    [],
    "it was let in 4.0 s ago and has not started; no node that is up watches it",
  ],
])("says what a verdict rests on: %s", (_, evidence, missing, text) => {
  expect(describeDown({ ...NOTHING, ...evidence }, missing, NOW)).toBe(text);
});
