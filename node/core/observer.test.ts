import { describe, expect, it } from "vitest";
import { idOf } from "../../test/fixtures/cluster.ts";
import type { NodeId } from "../../state/ids.ts";
import {
  ALERT_MAX_MS,
  ALERT_MS,
  ALERT_VALID,
  HELP_MS,
  HELPERS,
  PROBE_MS,
  PROBE_SILENT_MS,
  RINGS,
  STALL_MS,
  TICK_MS,
} from "./defaults.ts";
import type { NodeMessage } from "./message.ts";
import { Observer } from "./observer.ts";

const SELF = idOf("self");
const [A, B, C] = [idOf("a"), idOf("b"), idOf("c")];
const [D, E, F] = [idOf("d"), idOf("e"), idOf("f")];
const START = 1_000_000;

type Kind = NodeMessage["kind"];
type Of<K extends Kind> = Extract<NodeMessage, { kind: K }>;

interface Sent {
  readonly atMs: number;
  readonly to: NodeId;
  readonly message: NodeMessage;
}

/** One observer, and others that answer it as they are told, after `delayMs`. */
class Surroundings {
  readonly observer: Observer;
  now = START;
  readonly sent: Sent[] = [];
  holders: readonly NodeId[];
  hasManager = true;
  delayMs = 0;
  /** Who answers nothing. */
  readonly mute = new Set<NodeId>();
  /** What those that are asked for a subject say of it; nobody there: they say nothing. */
  readonly says = new Map<NodeId, boolean>();
  #late: { readonly atMs: number; readonly run: () => void }[] = [];

  constructor(subjects: readonly NodeId[], holders: readonly NodeId[]) {
    this.holders = holders;
    const send = (to: NodeId, message: NodeMessage): void => this.#sent(to, message);
    this.observer = new Observer({ self: SELF, send, holders: () => this.holders }, START);
    this.watch(subjects);
  }

  watch(subjects: readonly NodeId[]): void {
    this.observer.watch(subjects, new Set([SELF, ...subjects, ...this.holders]), this.now);
  }

  #sent(to: NodeId, message: NodeMessage): void {
    this.sent.push({ atMs: this.now, to, message });
    if (this.mute.has(to)) return;
    if (message.kind === "probe") this.#answer(to, { kind: "probe-reply", n: message.n });
    if (message.kind !== "probe-for") return;
    const there = this.says.get(to);
    if (there !== undefined) this.#answer(to, { kind: "probed-for", n: message.n, there });
  }

  #answer(from: NodeId, message: Of<"probe-reply" | "probed-for">): void {
    this.#late.push({ atMs: this.now + this.delayMs, run: () => this.hear(from, message) });
  }

  hear(
    from: NodeId,
    message: Of<"probe" | "probe-reply" | "probe-for" | "probed-for">,
    now = this.now,
  ): void {
    this.observer.heard(from, now);
    this.observer.message(from, message, now);
  }

  /** Until that much later, tick by tick. */
  pass(ms: number): void {
    for (const endMs = this.now + ms; this.now < endMs;) {
      this.now += TICK_MS;
      this.#arrive();
      this.observer.tick(this.hasManager, this.now);
      this.#arrive();
    }
  }

  /** The process stands still for so long; what came meanwhile is read before the clock counts. */
  stall(ms: number): void {
    this.now += ms;
    this.#arrive();
    this.observer.tick(this.hasManager, this.now);
    this.#arrive();
  }

  #arrive(): void {
    const due = this.#late.filter(({ atMs }) => atMs <= this.now);
    this.#late = this.#late.filter(({ atMs }) => atMs > this.now);
    for (const { run } of due) run();
  }

  /** What was sent of that kind since the last call of `clear`. */
  of<K extends Kind>(kind: K): { atMs: number; to: NodeId; message: Of<K> }[] {
    return this.sent.flatMap(({ atMs, to, message }) =>
      isOf(message, kind) ? [{ atMs, to, message }] : [],
    );
  }

  clear(): void {
    this.sent.length = 0;
  }

  /** Whom the last message of alerts to this holder names. */
  alerts(holder: NodeId): readonly NodeId[] {
    const last = this.of("alerts").findLast(({ to }) => to === holder);
    return last?.message.alerts.map(({ subject }) => subject) ?? [];
  }
}

function isOf<K extends Kind>(message: NodeMessage, kind: K): message is Of<K> {
  return message.kind === kind;
}

/** Until a silent subject is missed, and a tick. */
const MISSED_MS = PROBE_SILENT_MS + TICK_MS;
/** … and nobody has found it. */
const GIVEN_UP_MS = MISSED_MS + HELP_MS + TICK_MS;

describe("an observer", () => {
  it("asks each of its subjects once a second", () => {
    const s = new Surroundings([A, B], []);
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
    const s = new Surroundings([], []);
    s.hear(D, { kind: "probe", n: 7 });
    expect(s.sent).toMatchObject([{ to: D, message: { kind: "probe-reply", n: 7 } }]);
  });

  it("smooths round trips: one that took long moves the figure by an eighth", () => {
    const s = new Surroundings([A], []);
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
    const s = new Surroundings([A], []);
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
    const s = new Surroundings([A, B], [C, D]);
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
function asked(s: Surroundings): NodeId[][] {
  const questions = s.of("probe-for").filter(({ message }) => message.subject === A);
  const numbers = new Set(questions.map(({ message }) => message.n));
  return [...numbers].map((n) =>
    questions.filter(({ message }) => message.n === n).map(({ to }) => to),
  );
}

describe("whom an observer asks for a subject that it misses", () => {
  it("is nobody before three seconds of silence", () => {
    const s = new Surroundings([A, B], [C, D, E]);
    s.mute.add(A);
    s.pass(PROBE_SILENT_MS - TICK_MS);
    expect(asked(s)).toEqual([]);
    s.pass(TICK_MS);
    expect(asked(s)).toHaveLength(1);
    expect(asked(s)[0]).toHaveLength(HELPERS);
  });

  it("is holders of the log first, never itself and never the subject, and others each time", () => {
    const s = new Surroundings([A, B], [SELF, A, C, D, E]);
    s.mute.add(A);
    s.pass(60_000);
    const questions = asked(s);
    expect(new Set(questions.flat())).toEqual(new Set([C, D, E]));
    expect(questions.every((helpers) => new Set(helpers).size === HELPERS)).toBe(true);
  });

  it("is others each time, however many subjects are probed in between", () => {
    for (let count = 1; count <= RINGS; count++) {
      const others = Array.from({ length: count - 1 }, (_, i) => idOf(`other-${i}`));
      const s = new Surroundings([A, ...others], [C, D, E]);
      s.mute.add(A);
      s.pass(PROBE_SILENT_MS + 3 * ALERT_MS);
      const [first, second, third] = asked(s).map((helpers) => helpers.toSorted().join());
      expect(new Set([first, second, third]).size).toBe(3);
    }
  });

  it("is the other subjects where too few hold the log", () => {
    const s = new Surroundings([A, B, C], [D]);
    s.mute.add(A);
    s.pass(60_000);
    const questions = asked(s);
    expect(questions.every(([first]) => first === D)).toBe(true);
    expect(new Set(questions.flat())).toEqual(new Set([B, C, D]));
  });

  it("is none whose stream is broken, nor one that it misses too", () => {
    const s = new Surroundings([A, B, C, F], [B, C, D, E]);
    s.mute.add(A);
    s.mute.add(B);
    s.observer.peerLost(D, s.now);
    s.pass(60_000);
    expect(new Set(asked(s).flat())).toEqual(new Set([C, E]));
  });

  it("is asked again every second at first, and seldom once that is old", () => {
    const s = new Surroundings([A, B], [C, D]);
    s.mute.add(A);
    s.pass(600_000);
    const times = s.of("probe-for").flatMap(({ to, atMs }) => (to === C ? [atMs] : []));
    const gaps = times.slice(1).map((atMs, i) => atMs - (times[i] ?? 0));
    expect(gaps[0]).toBe(ALERT_MS);
    expect(gaps.at(-1)).toBe(ALERT_MAX_MS);
    expect(gaps).toEqual(gaps.toSorted((a, b) => a - b));
  });
});

describe("an alert", () => {
  it("comes at once where the stream broke and those that are asked deny: no waiting for silence", () => {
    const s = new Surroundings([A, B], [C, D]);
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
    const s = new Surroundings([A, B], [C, D]);
    s.mute.add(A);
    s.pass(PROBE_SILENT_MS + HELP_MS - TICK_MS);
    expect(s.alerts(C)).toEqual([]);
    s.pass(TICK_MS);
    expect(s.alerts(C)).toEqual([A]);
    const last = s.of("alerts").at(-1);
    expect(last?.message.alerts).toMatchObject([{ how: "silent", ageMs: s.now - START }]);
  });

  it("waits for the second of two: one that denies may not be able to hear it either", () => {
    const s = new Surroundings([A, B], [C, D]);
    s.mute.add(A);
    s.says.set(C, false);
    s.pass(PROBE_SILENT_MS + HELP_MS - TICK_MS);
    expect(s.alerts(C)).toEqual([]);
  });

  it("does not come by an answer that came twice, or of one that was not asked", () => {
    const s = new Surroundings([A, B], [C, D]);
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
    const s = new Surroundings([A], [SELF]);
    s.mute.add(A);
    s.pass(MISSED_MS);
    expect(s.alerts(SELF)).toEqual([A]);
  });

  it("does not come while one that was asked hears the subject, for however long", () => {
    const s = new Surroundings([A, B], [C, D]);
    s.mute.add(A);
    s.says.set(C, true).set(D, false);
    s.observer.peerLost(A, s.now);
    s.pass(120_000);
    expect(s.of("alerts").flatMap(({ message }) => message.alerts)).toEqual([]);
  });

  it("is not delayed by a bad link that has been bad for long: whoever hears it is asked every second", () => {
    const s = new Surroundings([A, B], [C, D]);
    s.mute.add(A);
    s.says.set(C, true).set(D, true);
    s.pass(600_000);
    s.says.set(C, false).set(D, false);
    s.pass(ALERT_MS + 2 * TICK_MS);
    expect(s.alerts(C)).toEqual([A]);
  });

  it("is taken back when one that is asked hears the subject", () => {
    const s = new Surroundings([A, B], [C, D]);
    s.mute.add(A);
    s.pass(GIVEN_UP_MS);
    expect(s.alerts(C)).toEqual([A]);
    s.says.set(D, true);
    s.pass(2 * ALERT_MS);
    expect(s.alerts(C)).toEqual([]);
  });

  it("is not taken back by somebody who was not asked, or was asked before", () => {
    const s = new Surroundings([A, B], [C, D]);
    s.mute.add(A);
    s.pass(GIVEN_UP_MS + 3 * ALERT_MS);
    const numbers = s.of("probe-for").map(({ message }) => message.n);
    s.hear(C, { kind: "probed-for", n: numbers[0] ?? 0, there: true });
    s.hear(E, { kind: "probed-for", n: numbers.at(-1) ?? 0, there: true });
    s.pass(TICK_MS);
    expect(s.alerts(C)).toEqual([A]);
  });

  it("is repeated every second at first, more seldom as it gets older, and counts beyond the next time", () => {
    const s = new Surroundings([A, B], [C]);
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
    const s = new Surroundings([A, B, F], [C]);
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
    const s = new Surroundings([A, B], [C, D]);
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
    const s = new Surroundings([A, B], [C]);
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
    const s = new Surroundings([A, B], [C]);
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
    const s = new Surroundings([A, B], [C]);
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
    const s = new Surroundings([B], [A, C]);
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
    const s = new Surroundings([A, B], [C, D]);
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
    const s = new Surroundings([A, B], [C, D]);
    s.says.set(C, false).set(D, false);
    s.pass(2000);
    s.mute.add(A);
    for (let i = 0; i < 10; i++) s.stall(TICK_MS + STALL_MS);
    expect(s.alerts(C)).toEqual([A]);
  });

  it("credits nobody beyond now: one that falls after the standstill is missed as soon as any", () => {
    const s = new Surroundings([A, B], [C, D]);
    s.delayMs = TICK_MS;
    s.pass(5 * PROBE_MS + TICK_MS);
    // Its last answer is read before the tick that finds that the process stood still.
    s.mute.add(A);
    s.stall(60_000);
    s.pass(GIVEN_UP_MS + PROBE_SILENT_MS);
    expect(s.alerts(C)).toEqual([A]);
  });

  it("takes for no denial what was not answered while it stood still", () => {
    const s = new Surroundings([A, B], [C, D]);
    s.mute.add(A);
    s.pass(PROBE_SILENT_MS);
    expect(s.of("probe-for")).toHaveLength(HELPERS);
    s.stall(5000);
    s.says.set(C, true).set(D, true);
    s.pass(20_000);
    expect(s.of("alerts").flatMap(({ message }) => message.alerts)).toEqual([]);
  });

  it("says nothing when it misses everybody and has no manager", () => {
    const s = new Surroundings([A, B, C], [A, B, C]);
    for (const id of [A, B, C]) s.mute.add(id);
    s.hasManager = false;
    s.pass(60_000);
    expect(s.of("alerts").flatMap(({ message }) => message.alerts)).toEqual([]);
  });

  it("speaks when it misses everybody and has a manager, or misses the only one that there is", () => {
    const many = new Surroundings([A, B], [SELF]);
    many.mute.add(A).add(B);
    many.pass(GIVEN_UP_MS);
    expect(many.alerts(SELF)).toEqual([A, B]);
    const one = new Surroundings([A], [SELF]);
    one.mute.add(A);
    one.hasManager = false;
    one.pass(GIVEN_UP_MS);
    expect(one.alerts(SELF)).toEqual([A]);
  });

  it("takes back what it said just before it knew that it was cut off", () => {
    const s = new Surroundings([A, B], [D]);
    s.mute.add(A).add(B);
    s.pass(GIVEN_UP_MS);
    expect(s.alerts(D)).toEqual([A, B]);
    s.hasManager = false;
    s.pass(TICK_MS);
    expect(s.alerts(D)).toEqual([]);
  });

  it("asks anew once it is not cut off any more: nobody could answer before", () => {
    const s = new Surroundings([A, B, C], [A, B, C, D]);
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

/** Asked by C to look for A, which is silent; with the number of the probe. */
function errand(): { s: Surroundings; n: number } {
  const s = new Surroundings([], [C]);
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
    const s = new Surroundings([], [C]);
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
    const s = new Surroundings([A], [C]);
    s.mute.add(A);
    s.pass(TICK_MS);
    const own = s.of("probe")[0]?.message.n ?? 0;
    s.hear(C, { kind: "probe-for", n: 44, subject: A });
    s.hear(A, { kind: "probe-reply", n: own }, s.now + 30);
    expect(s.of("probed-for")).toEqual([]);
    expect(s.observer.rttMs(A)).toBe(30);
  });

  it("is done for all that ask, each by its own number, and for none more often than an observer asks", () => {
    const s = new Surroundings([], [C]);
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
