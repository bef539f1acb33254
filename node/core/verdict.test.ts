import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  OBSERVERS_ENOUGH,
  SESSION_ALONE_MS,
  SESSION_BROKEN_MS,
  SESSION_GRACE_MS,
  SESSION_MISSED_MS,
  SESSION_SILENT_MS,
} from "./defaults.ts";
import { downAtMs, type Evidence, soonestDownAtMs } from "./verdict.ts";

const NOTHING: Evidence = {
  managesSinceMs: 100_000,
  session: null,
  expectedAtMs: null,
  lostAtMs: null,
  sureSinceMs: null,
  observers: 8,
  alerts: [],
};

function alerts(count: number, sinceMs = 90_000): Evidence["alerts"] {
  return Array.from({ length: count }, (_, i) => ({ sinceMs: sinceMs + i }));
}

describe("a node whose session is silent", () => {
  const silent = { ...NOTHING, session: { lastHeardMs: 200_000, brokenAtMs: null } };

  it.each([
    { observers: 8, missing: 0, waits: SESSION_ALONE_MS },
    { observers: 8, missing: 1, waits: SESSION_SILENT_MS },
    { observers: 8, missing: OBSERVERS_ENOUGH - 1, waits: SESSION_SILENT_MS },
    { observers: 8, missing: OBSERVERS_ENOUGH, waits: SESSION_MISSED_MS },
    { observers: 4, missing: 2, waits: SESSION_SILENT_MS },
    { observers: 4, missing: 3, waits: SESSION_MISSED_MS },
    { observers: 3, missing: 2, waits: SESSION_MISSED_MS },
    { observers: 2, missing: 1, waits: SESSION_SILENT_MS },
    { observers: 2, missing: 2, waits: SESSION_MISSED_MS },
    { observers: 1, missing: 1, waits: SESSION_MISSED_MS },
    { observers: 0, missing: 0, waits: SESSION_SILENT_MS },
  ])(
    "is down $waits ms after its last sign, when $missing of $observers observers miss it",
    ({ observers, missing, waits }) => {
      const at = downAtMs({ ...silent, observers, alerts: alerts(missing) });
      expect(at).toBe(200_000 + waits);
    },
  );
});

describe("a node whose stream broke", () => {
  const broken = { ...NOTHING, session: { lastHeardMs: 200_000, brokenAtMs: 200_300 } };

  it("has the time of a restart, when one observer misses it too", () => {
    expect(downAtMs({ ...broken, alerts: alerts(1) })).toBe(200_300 + SESSION_BROKEN_MS);
  });

  it("has more when others hear it: only the link to the manager is broken", () => {
    expect(downAtMs(broken)).toBe(200_300 + SESSION_ALONE_MS);
  });
});

describe("a node that a new manager has no session of", () => {
  it("is down as soon as it had the chance to open one, when enough have missed it for long", () => {
    const at = downAtMs({ ...NOTHING, alerts: alerts(3) });
    expect(at).toBe(100_000 + SESSION_BROKEN_MS / 2);
  });

  it.each([
    { sureSinceMs: 90_000, waits: 0 },
    { sureSinceMs: 99_900, waits: SESSION_BROKEN_MS / 2 - 100 },
    { sureSinceMs: 100_100, waits: SESSION_BROKEN_MS / 2 },
  ])(
    "is down $waits ms after its election when it has been sure itself since $sureSinceMs",
    ({ sureSinceMs, waits }) => {
      const missed = { ...NOTHING, sureSinceMs };
      expect(downAtMs({ ...missed, alerts: alerts(3) })).toBe(100_000 + waits);
      expect(downAtMs({ ...missed, lostAtMs: 90_000, alerts: alerts(3) })).toBe(100_000 + waits);
    },
  );

  it("is not down at once by the manager's word alone", () => {
    const missed = { ...NOTHING, sureSinceMs: 90_000 };
    expect(downAtMs({ ...missed, alerts: alerts(1) })).toBe(100_000 + SESSION_GRACE_MS);
    const few = { ...missed, observers: 1, alerts: alerts(1) };
    expect(downAtMs(few)).toBe(100_000 + SESSION_BROKEN_MS / 2);
    expect(downAtMs({ ...few, lostAtMs: 90_000 })).toBe(100_000 + SESSION_BROKEN_MS / 2);
  });

  it("no sooner than a restart takes after it was missed first", () => {
    expect(downAtMs({ ...NOTHING, alerts: alerts(3, 99_800) })).toBe(99_800 + SESSION_BROKEN_MS);
    expect(downAtMs({ ...NOTHING, lostAtMs: 99_900, alerts: alerts(1) })).toBe(
      99_900 + SESSION_BROKEN_MS,
    );
  });

  it("has the grace time when some miss it, and more when nobody does", () => {
    expect(downAtMs({ ...NOTHING, alerts: alerts(1) })).toBe(100_000 + SESSION_GRACE_MS);
    expect(downAtMs(NOTHING)).toBe(100_000 + SESSION_ALONE_MS);
    expect(downAtMs({ ...NOTHING, lostAtMs: 60_000 })).toBe(100_000 + SESSION_ALONE_MS);
  });

  it("that was just admitted has its grace, whatever others say", () => {
    const newcomer = { ...NOTHING, expectedAtMs: 150_000, alerts: alerts(8) };
    expect(downAtMs(newcomer)).toBe(150_000 + SESSION_GRACE_MS);
  });
});

describe("the soonest that a node may be down", () => {
  const atMs = fc.integer({ min: 0, max: 20_000 });
  const evidence = fc.record({
    managesSinceMs: atMs,
    session: fc.option(fc.record({ lastHeardMs: atMs, brokenAtMs: fc.option(atMs) })),
    expectedAtMs: fc.option(atMs),
    lostAtMs: fc.option(atMs),
    sureSinceMs: fc.option(atMs),
    observers: fc.integer({ min: 0, max: 8 }),
    alerts: fc.array(fc.record({ sinceMs: atMs }), { maxLength: 8 }),
  });

  it("is never later than the verdict, whatever observers say", () => {
    fc.assert(
      fc.property(evidence, (any) => {
        expect(soonestDownAtMs(any)).toBeLessThanOrEqual(downAtMs(any));
      }),
    );
  });

  it("is the verdict where all agree and have for long", () => {
    fc.assert(
      fc.property(evidence, (any) => {
        const agreed = { ...any, lostAtMs: null, observers: 8, alerts: alerts(8, -10_000) };
        expect(soonestDownAtMs(agreed)).toBe(downAtMs(agreed));
      }),
    );
  });
});
