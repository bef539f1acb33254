import { describe, expect, it } from "vitest";
import { idOf } from "../../test/fixtures/cluster.ts";
import { ObserverBench, SELF, START_MS } from "../../test/fixtures/observer-bench.ts";
import {
  ALERT_MAX_MS,
  ALERT_MS,
  ALERT_VALID,
  HELP_MS,
  HELPERS,
  PROBE_MS,
  PROBE_SILENT_MS,
  SESSION_BROKEN_MS,
  STALL_MS,
  TICK_MS,
} from "./defaults.ts";

const [A, B, C] = [idOf("a"), idOf("b"), idOf("c")];
const [D, E, F] = [idOf("d"), idOf("e"), idOf("f")];

/** Until a silent subject is missed, and a tick. */
const MISSED_MS = PROBE_SILENT_MS + TICK_MS;
/** … and nobody has found it. */
const GIVEN_UP_MS = MISSED_MS + HELP_MS + TICK_MS;

describe("an alert", () => {
  it("comes at once where the stream broke and those that are asked deny: no waiting for silence", () => {
    const s = new ObserverBench([A, B], [C, D]);
    s.says.set(C, false).set(D, false);
    s.pass(5000);
    s.clear();
    const brokeAtMs = s.now;
    s.observer.peerLost(A, s.now);
    s.mute.add(A);
    s.pass(2 * TICK_MS);
    expect(s.of("alerts")).toHaveLength(2);
    for (const { message } of s.of("alerts")) {
      const ageMs = s.now - brokeAtMs;
      expect(message.alerts).toEqual([{ subject: A, how: "reset", ageMs }]);
    }
  });

  it("comes when those that are asked say nothing in time, no sooner", () => {
    const s = new ObserverBench([A, B], [C, D]);
    s.mute.add(A);
    s.pass(PROBE_SILENT_MS + HELP_MS - TICK_MS);
    expect(s.alerts(C)).toEqual([]);
    s.pass(TICK_MS);
    expect(s.alerts(C)).toEqual([A]);
    const last = s.of("alerts").at(-1);
    expect(last?.message.alerts).toMatchObject([{ how: "silent", ageMs: s.now - START_MS }]);
  });

  it("waits for the second of two: one that denies may not be able to hear it either", () => {
    const s = new ObserverBench([A, B], [C, D]);
    s.mute.add(A);
    s.says.set(C, false);
    s.pass(PROBE_SILENT_MS + HELP_MS - TICK_MS);
    expect(s.alerts(C)).toEqual([]);
  });

  it("does not come by an answer that came twice, or of one that was not asked", () => {
    const s = new ObserverBench([A, B], [C, D]);
    s.mute.add(A);
    s.pass(PROBE_SILENT_MS);
    const n = s.of("probe-for")[0]?.message.n ?? 0;
    for (const from of [C, C, B, E]) s.hear(from, { kind: "probed-for", n, there: false });
    s.pass(2 * TICK_MS);
    expect(s.alerts(C)).toEqual([]);
    s.hear(D, { kind: "probed-for", n, there: false });
    s.pass(TICK_MS);
    expect(s.alerts(C)).toEqual([A]);
  });

  it("comes at once where nobody can be asked", () => {
    const s = new ObserverBench([A], [SELF]);
    s.mute.add(A);
    s.pass(MISSED_MS);
    expect(s.alerts(SELF)).toEqual([A]);
  });

  it("does not come while one that was asked hears the subject, for however long", () => {
    const s = new ObserverBench([A, B], [C, D]);
    s.mute.add(A);
    s.says.set(C, true).set(D, false);
    s.observer.peerLost(A, s.now);
    s.pass(120_000);
    expect(s.of("alerts").flatMap(({ message }) => message.alerts)).toEqual([]);
  });

  it("is not delayed by a bad link that has been bad for long: whoever hears it is asked every second", () => {
    const s = new ObserverBench([A, B], [C, D]);
    s.mute.add(A);
    s.says.set(C, true).set(D, true);
    s.pass(600_000);
    s.says.set(C, false).set(D, false);
    s.pass(ALERT_MS + 2 * TICK_MS);
    expect(s.alerts(C)).toEqual([A]);
  });

  it("is taken back when one that is asked hears the subject", () => {
    const s = new ObserverBench([A, B], [C, D]);
    s.mute.add(A);
    s.pass(GIVEN_UP_MS);
    expect(s.alerts(C)).toEqual([A]);
    s.says.set(D, true);
    s.pass(2 * ALERT_MS);
    expect(s.alerts(C)).toEqual([]);
  });

  it("is not taken back by somebody who was not asked, or was asked before", () => {
    const s = new ObserverBench([A, B], [C, D]);
    s.mute.add(A);
    s.pass(GIVEN_UP_MS + 3 * ALERT_MS);
    const numbers = s.of("probe-for").map(({ message }) => message.n);
    s.hear(C, { kind: "probed-for", n: numbers[0] ?? 0, there: true });
    s.hear(E, { kind: "probed-for", n: numbers.at(-1) ?? 0, there: true });
    s.pass(TICK_MS);
    expect(s.alerts(C)).toEqual([A]);
  });

  it("is repeated every second at first, more seldom as it gets older, and counts beyond the next time", () => {
    const s = new ObserverBench([A, B], [C]);
    s.mute.add(A);
    s.pass(GIVEN_UP_MS);
    s.clear();
    s.pass(900_000);
    const told = s.of("alerts");
    const gaps = told.slice(1).map(({ atMs }, i) => atMs - (told[i]?.atMs ?? 0));
    expect(gaps[0]).toBe(ALERT_MS);
    expect(gaps.at(-1)).toBe(ALERT_MAX_MS);
    for (const [i, gapMs] of gaps.entries()) {
      const validMs = told[i]?.message.validMs ?? 0;
      // One of them may be lost.
      expect(validMs).toBeGreaterThan(gapMs + (gaps[i + 1] ?? 0));
      expect(validMs).toBeLessThanOrEqual(ALERT_VALID * ALERT_MAX_MS);
    }
  });

  it("is news again when another joins it, and names both", () => {
    const s = new ObserverBench([A, B, F], [C]);
    s.mute.add(A);
    s.pass(120_000);
    s.mute.add(B);
    s.pass(GIVEN_UP_MS);
    s.clear();
    s.pass(2 * ALERT_MS);
    expect(s.of("alerts")).toHaveLength(2);
    expect(s.alerts(C)).toEqual([A, B]);
  });

  it("is cleared once when the subject is well again", () => {
    const s = new ObserverBench([A, B], [C, D]);
    s.mute.add(A);
    s.pass(GIVEN_UP_MS);
    s.mute.delete(A);
    s.clear();
    s.pass(PROBE_MS);
    expect(s.of("alerts")).toHaveLength(2);
    for (const { message } of s.of("alerts")) expect(message.alerts).toEqual([]);
    s.clear();
    s.pass(20_000);
    expect(s.sent.every(({ message }) => message.kind === "probe")).toBe(true);
  });

  it("of a broken stream is cleared when it stands again", () => {
    const s = new ObserverBench([A, B], [C]);
    s.observer.peerLost(A, s.now);
    expect([...s.observer.lost.keys()]).toEqual([A]);
    s.pass(HELP_MS + 2 * TICK_MS);
    expect(s.alerts(C)).toEqual([A]);
    s.observer.peerUp(A, s.now);
    s.pass(TICK_MS);
    expect(s.alerts(C)).toEqual([]);
    expect(s.observer.lost.size).toBe(0);
  });

  it("is told at once to a holder that is new, or whose stream is", () => {
    const s = new ObserverBench([A, B], [C]);
    s.mute.add(A);
    s.pass(300_000);
    s.clear();
    s.observer.peerUp(C, s.now);
    s.holders = [C, D];
    s.pass(TICK_MS);
    expect(s.of("alerts").map(({ to, message }) => [to, message.alerts[0]?.subject])).toEqual([
      [C, A],
      [D, A],
    ]);
  });

  it("is dropped with a subject that is not watched any more", () => {
    const s = new ObserverBench([A, B], [C]);
    s.mute.add(A);
    s.observer.peerLost(A, s.now);
    s.pass(GIVEN_UP_MS);
    expect(s.alerts(C)).toEqual([A]);
    s.watch([B]);
    s.pass(TICK_MS);
    expect(s.alerts(C)).toEqual([]);
    expect(s.observer.lost.size).toBe(0);
    s.clear();
    s.pass(5000);
    expect(s.of("probe").every(({ to }) => to === B)).toBe(true);
  });

  it("does not follow from a stream that broke before the subject was watched: nobody wanted it then", () => {
    const s = new ObserverBench([B], [A, C]);
    s.observer.peerLost(A, s.now);
    s.pass(60_000);
    s.mute.add(A);
    s.watch([A, B]);
    s.clear();
    s.pass(PROBE_SILENT_MS - TICK_MS);
    expect(s.of("probe-for")).toEqual([]);
    s.pass(GIVEN_UP_MS);
    expect(s.of("alerts").at(-1)?.message.alerts).toMatchObject([{ subject: A, how: "silent" }]);
  });
});

describe("an observer that doubts itself", () => {
  it("concludes nothing from the silence during its own standstill", () => {
    const s = new ObserverBench([A, B], [C, D]);
    s.says.set(C, false).set(D, false);
    s.pass(5000);
    s.mute.add(A);
    s.clear();
    s.stall(60_000);
    s.pass(PROBE_SILENT_MS - TICK_MS);
    expect(s.of("alerts")).toEqual([]);
    s.pass(MISSED_MS);
    expect(s.alerts(C)).toEqual([A]);
  });

  it("takes a tick that is only a little late for no standstill", () => {
    const s = new ObserverBench([A, B], [C, D]);
    s.says.set(C, false).set(D, false);
    s.pass(2000);
    s.mute.add(A);
    for (let i = 0; i < 10; i++) s.stall(TICK_MS + STALL_MS);
    expect(s.alerts(C)).toEqual([A]);
  });

  it("credits nobody beyond now: one that falls after the standstill is missed as soon as any", () => {
    const s = new ObserverBench([A, B], [C, D]);
    s.delayMs = TICK_MS;
    s.pass(5 * PROBE_MS + TICK_MS);
    // Its last answer is read before the tick that finds that the process stood still.
    s.mute.add(A);
    s.stall(60_000);
    s.pass(GIVEN_UP_MS + PROBE_SILENT_MS);
    expect(s.alerts(C)).toEqual([A]);
  });

  it("takes for no denial what was not answered while it stood still", () => {
    const s = new ObserverBench([A, B], [C, D]);
    s.mute.add(A);
    s.pass(PROBE_SILENT_MS);
    expect(s.of("probe-for")).toHaveLength(HELPERS);
    s.stall(5000);
    s.says.set(C, true).set(D, true);
    s.pass(20_000);
    expect(s.of("alerts").flatMap(({ message }) => message.alerts)).toEqual([]);
  });

  it("says nothing when it misses everybody and has no manager", () => {
    const s = new ObserverBench([A, B, C], [A, B, C]);
    for (const id of [A, B, C]) s.mute.add(id);
    s.hasManager = false;
    s.pass(60_000);
    expect(s.of("alerts").flatMap(({ message }) => message.alerts)).toEqual([]);
  });

  it("says nothing when it hears nobody at all, though it still believes that it has a manager", () => {
    const s = new ObserverBench([A, B, C], [A, D]);
    s.neighbour = D;
    s.pass(10_000);
    s.neighbour = null;
    for (const id of [A, B, C]) s.mute.add(id);
    s.pass(60_000);
    expect(s.of("alerts").flatMap(({ message }) => message.alerts)).toEqual([]);
  });

  it("speaks when all streams broke at once: it may be alone because the others fell", () => {
    const s = new ObserverBench([A, B], [SELF]);
    s.pass(10_000);
    for (const id of [A, B]) {
      s.mute.add(id);
      s.observer.peerLost(id, s.now);
    }
    s.pass(SESSION_BROKEN_MS);
    expect(s.alerts(SELF)).toEqual([A, B]);
  });

  it("speaks when it misses everybody and hears its manager, or misses the only one that there is", () => {
    const many = new ObserverBench([A, B], [SELF]);
    many.neighbour = C;
    many.mute.add(A).add(B);
    many.pass(GIVEN_UP_MS);
    expect(many.alerts(SELF)).toEqual([A, B]);
    const one = new ObserverBench([A], [SELF]);
    one.mute.add(A);
    one.hasManager = false;
    one.pass(GIVEN_UP_MS);
    expect(one.alerts(SELF)).toEqual([A]);
  });

  it("takes back what it said just before it knew that it was cut off", () => {
    const s = new ObserverBench([A, B], [D]);
    s.neighbour = C;
    s.mute.add(A).add(B);
    s.pass(GIVEN_UP_MS);
    expect(s.alerts(D)).toEqual([A, B]);
    s.hasManager = false;
    s.pass(TICK_MS);
    expect(s.alerts(D)).toEqual([]);
  });

  it("asks anew once it is not cut off any more: nobody could answer before", () => {
    const s = new ObserverBench([A, B, C], [A, B, C, D]);
    for (const id of [A, B, C, D]) s.mute.add(id);
    s.hasManager = false;
    s.pass(60_000);
    // The manager is heard first; the other streams are not open yet, and it hears those.
    s.hasManager = true;
    s.mute.delete(C);
    s.mute.delete(D);
    s.hear(C, { kind: "probe", n: 1 });
    s.says.set(C, true).set(D, true);
    s.pass(1000);
    expect(s.of("alerts").flatMap(({ message }) => message.alerts)).toEqual([]);
  });
});
