import { describe, expect, it } from "vitest";
import type { NodeId } from "../../state/ids.ts";
import { idOf } from "../../test/fixtures/cluster.ts";
import { ObserverBench, SELF } from "../../test/fixtures/observer-bench.ts";
import {
  ALERT_MAX_MS,
  ALERT_MS,
  HELP_MS,
  HELPERS,
  PROBE_MS,
  PROBE_SILENT_MS,
  RINGS,
  TICK_MS,
} from "./defaults.ts";

const [A, B, C] = [idOf("a"), idOf("b"), idOf("c")];
const [D, E, F] = [idOf("d"), idOf("e"), idOf("f")];

describe("an observer", () => {
  it("asks each of its subjects once a second", () => {
    const s = new ObserverBench([A, B], []);
    s.pass(10 * PROBE_MS);
    for (const subject of [A, B]) {
      const times = s.of("probe").flatMap(({ to, atMs }) => (to === subject ? [atMs] : []));
      expect(times).toHaveLength(10);
      expect(times.every((atMs, i) => i === 0 || atMs - (times[i - 1] ?? 0) === PROBE_MS)).toBe(
        true,
      );
    }
  });

  it("answers whoever asks", () => {
    const s = new ObserverBench([], []);
    s.hear(D, { kind: "probe", n: 7 });
    expect(s.sent).toMatchObject([{ to: D, message: { kind: "probe-reply", n: 7 } }]);
  });

  it("smooths round trips: one that took long moves the figure by an eighth", () => {
    const s = new ObserverBench([A], []);
    expect(s.observer.rttMs(A)).toBeNull();
    expect(s.observer.rttMs(B)).toBeNull();
    s.delayMs = 2 * TICK_MS;
    s.pass(PROBE_MS);
    expect(s.observer.rttMs(A)).toBe(200);
    s.delayMs = 6 * TICK_MS;
    s.pass(PROBE_MS);
    expect(s.observer.rttMs(A)).toBe(250);
  });

  it("measures with the answer to its last probe, and with that once", () => {
    const s = new ObserverBench([A], []);
    s.mute.add(A);
    s.pass(TICK_MS);
    const [first] = s.of("probe");
    s.pass(PROBE_MS);
    const last = s.of("probe").at(-1);
    s.hear(A, { kind: "probe-reply", n: first?.message.n ?? 0 });
    expect(s.observer.rttMs(A)).toBeNull();
    s.hear(B, { kind: "probe-reply", n: last?.message.n ?? 0 });
    expect(s.observer.rttMs(A)).toBeNull();
    s.hear(A, { kind: "probe-reply", n: last?.message.n ?? 0 }, s.now + 40);
    s.hear(A, { kind: "probe-reply", n: last?.message.n ?? 0 }, s.now + 900);
    expect(s.observer.rttMs(A)).toBe(40);
  });

  it("says nothing while all are well, but to holders whose stream is new that it misses nobody", () => {
    const s = new ObserverBench([A, B], [C, D]);
    s.pass(20_000);
    expect(s.of("probe-for")).toEqual([]);
    expect(s.of("alerts").map(({ to }) => to)).toEqual([C, D]);
    s.clear();
    s.observer.peerLost(C, s.now);
    s.observer.peerUp(C, s.now);
    s.pass(1000);
    // It may have been told other things by an earlier process of this node.
    expect(s.of("alerts")).toMatchObject([{ to: C, message: { alerts: [] } }]);
  });
});

/** Who was asked for A, question by question. */
function asked(s: ObserverBench): NodeId[][] {
  const questions = s.of("probe-for").filter(({ message }) => message.subject === A);
  const numbers = new Set(questions.map(({ message }) => message.n));
  return [...numbers].map((n) =>
    questions.filter(({ message }) => message.n === n).map(({ to }) => to),
  );
}

describe("whom an observer asks for a subject that it misses", () => {
  it("is nobody before three seconds of silence", () => {
    const s = new ObserverBench([A, B], [C, D, E]);
    s.mute.add(A);
    s.pass(PROBE_SILENT_MS - TICK_MS);
    expect(asked(s)).toEqual([]);
    s.pass(TICK_MS);
    expect(asked(s)).toHaveLength(1);
    expect(asked(s)[0]).toHaveLength(HELPERS);
  });

  it("is holders of the log first, never itself and never the subject, and others each time", () => {
    const s = new ObserverBench([A, B], [SELF, A, C, D, E]);
    s.mute.add(A);
    s.pass(60_000);
    const questions = asked(s);
    expect(new Set(questions.flat())).toEqual(new Set([C, D, E]));
    expect(questions.every((helpers) => new Set(helpers).size === HELPERS)).toBe(true);
  });

  it("is others each time, however many subjects are probed in between", () => {
    for (let count = 1; count <= RINGS; count++) {
      const others = Array.from({ length: count - 1 }, (_, i) => idOf(`other-${i}`));
      const s = new ObserverBench([A, ...others], [C, D, E]);
      s.mute.add(A);
      s.pass(PROBE_SILENT_MS + 3 * ALERT_MS);
      const [first, second, third] = asked(s).map((helpers) => helpers.toSorted().join());
      expect(new Set([first, second, third]).size).toBe(3);
    }
  });

  it("is the other subjects where too few hold the log", () => {
    const s = new ObserverBench([A, B, C], [D]);
    s.mute.add(A);
    s.pass(60_000);
    const questions = asked(s);
    expect(questions.every(([first]) => first === D)).toBe(true);
    expect(new Set(questions.flat())).toEqual(new Set([B, C, D]));
  });

  it("is none whose stream is broken, nor one that it misses too", () => {
    const s = new ObserverBench([A, B, C, F], [B, C, D, E]);
    s.mute.add(A);
    s.mute.add(B);
    s.observer.peerLost(D, s.now);
    s.pass(60_000);
    expect(new Set(asked(s).flat())).toEqual(new Set([C, E]));
  });

  it("is asked again every second at first, and seldom once that is old", () => {
    const s = new ObserverBench([A, B], [C, D]);
    s.mute.add(A);
    s.pass(600_000);
    const times = s.of("probe-for").flatMap(({ to, atMs }) => (to === C ? [atMs] : []));
    const gaps = times.slice(1).map((atMs, i) => atMs - (times[i] ?? 0));
    expect(gaps[0]).toBe(ALERT_MS);
    expect(gaps.at(-1)).toBe(ALERT_MAX_MS);
    expect(gaps).toEqual(gaps.toSorted((a, b) => a - b));
  });
});

/** Asked by C to look for A, which is silent; with the number of the probe. */
function errand(): { s: ObserverBench; n: number } {
  const s = new ObserverBench([], [C]);
  s.mute.add(A);
  s.hear(C, { kind: "probe-for", n: 44, subject: A });
  return { s, n: s.of("probe").at(-1)?.message.n ?? 0 };
}

describe("an errand for another observer", () => {
  it("is a probe to the subject, and its answer is passed on", () => {
    const { s, n } = errand();
    expect(s.of("probe")).toMatchObject([{ to: A }]);
    s.hear(A, { kind: "probe-reply", n });
    expect(s.of("probed-for")).toMatchObject([{ to: C, message: { n: 44, there: true } }]);
    s.hear(A, { kind: "probe-reply", n });
    s.pass(HELP_MS);
    expect(s.of("probed-for")).toHaveLength(1);
  });

  it("is denied at once where the stream to the subject is broken", () => {
    const s = new ObserverBench([], [C]);
    s.observer.peerLost(A, s.now);
    s.hear(C, { kind: "probe-for", n: 44, subject: A });
    expect(s.sent).toMatchObject([{ to: C, message: { kind: "probed-for", n: 44, there: false } }]);
  });

  it("is denied while the asker still waits when no answer comes", () => {
    const { s } = errand();
    s.pass(HELP_MS - TICK_MS);
    expect(s.of("probed-for")).toMatchObject([{ to: C, message: { n: 44, there: false } }]);
  });

  it("is not done by an answer of another, to another question, or too late", () => {
    const { s, n } = errand();
    s.hear(B, { kind: "probe-reply", n });
    s.hear(A, { kind: "probe-reply", n: n + 1 });
    expect(s.of("probed-for")).toEqual([]);
    s.pass(HELP_MS);
    s.hear(A, { kind: "probe-reply", n });
    expect(s.of("probed-for").map(({ message }) => message.there)).toEqual([false]);
  });

  it("says nothing of this node's own round trip, nor do its own probes answer it", () => {
    const s = new ObserverBench([A], [C]);
    s.mute.add(A);
    s.pass(TICK_MS);
    const own = s.of("probe")[0]?.message.n ?? 0;
    s.hear(C, { kind: "probe-for", n: 44, subject: A });
    s.hear(A, { kind: "probe-reply", n: own }, s.now + 30);
    expect(s.of("probed-for")).toEqual([]);
    expect(s.observer.rttMs(A)).toBe(30);
  });

  it("is done for all that ask, each by its own number, and for none more often than an observer asks", () => {
    const s = new ObserverBench([], [C]);
    s.mute.add(A);
    for (let n = 0; n < 1000; n++) s.hear(C, { kind: "probe-for", n, subject: A });
    s.hear(D, { kind: "probe-for", n: 5, subject: A });
    expect(s.of("probe")).toHaveLength(RINGS + 1);
    s.pass(HELP_MS);
    expect(s.of("probed-for")).toHaveLength(RINGS + 1);
    expect(s.of("probed-for").filter(({ to }) => to === D)).toHaveLength(1);
    s.clear();
    // Those are done: it may ask again.
    s.hear(C, { kind: "probe-for", n: 2000, subject: A });
    expect(s.of("probe")).toHaveLength(1);
  });
});
