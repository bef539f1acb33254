import type { Millis, NodeId } from "../../state/ids.ts";
import {
  ALERT_MAX_MS,
  ALERT_MS,
  HELP_MS,
  HELPERS,
  PROBE_MS,
  PROBE_SILENT_MS,
  STALL_MS,
  TICK_MS,
} from "./defaults.ts";
import type { Alert, NodeMessage } from "./message.ts";

export type ObserverMessage = Extract<
  NodeMessage,
  { kind: "probe" | "probe-reply" | "probe-for" | "probed-for" }
>;

/** What an observer knows of one that it watches. */
interface Subject {
  heardAtMs: Millis;
  /** The last probe, when it left, and whether it was answered. */
  probe: { readonly n: number; readonly atMs: Millis; answered: boolean } | null;
  /** Smoothed; null: no probe was answered yet. */
  rttMs: number | null;
  /** Others that were asked to look for it, because it is missed. */
  help: { readonly n: number; readonly atMs: Millis; open: number } | null;
  /** Somebody else heard it at this time, though this node does not. */
  vouchedAtMs: Millis | null;
  alert: { readonly how: Alert["how"]; readonly sinceMs: Millis } | null;
}

/** A probe that this node sends for another. */
interface Errand {
  readonly n: number;
  readonly asker: NodeId;
  readonly askersN: number;
  readonly subject: NodeId;
  readonly atMs: Millis;
}

export interface ObserverContext {
  readonly self: NodeId;
  readonly send: (to: NodeId, message: NodeMessage) => void;
  /** Everyone that holds the log, this node included if it does: they can reach all, and hear the alerts. */
  readonly holders: () => readonly NodeId[];
}

/** Of the weight of a new round trip beside the smoothed one: as TCP does. */
const SMOOTHING = 8;

/**
 * A node as an observer: asks its subjects whether they are there, has others look for those it misses, and tells the
 * holders of the log whom nobody finds. It doubts itself first: after a standstill of its own, and when it misses everyone.
 */
export class Observer {
  readonly #context: ObserverContext;
  readonly #subjects: Map<NodeId, Subject> = new Map();
  /** Peers whose stream is broken, and since when. */
  readonly #lost: Map<NodeId, Millis> = new Map();
  readonly #errands: Map<number, Errand> = new Map();
  #count = 0;
  #lastTickMs: Millis;
  /** Until then nothing is concluded from silence: this process stood still. */
  #doubtUntilMs: Millis = 0;
  #changedAtMs: Millis = 0;
  #toldAtMs: Millis = 0;
  #changed = false;

  constructor(context: ObserverContext, now: Millis) {
    this.#context = context;
    this.#lastTickMs = now;
    // Above all that an earlier process of this node asked: a late answer to that is none to this.
    this.#count = now;
  }

  /** Peers whose stream is broken now, and since when. */
  get lost(): ReadonlyMap<NodeId, Millis> {
    return this.#lost;
  }

  rttMs(node: NodeId): number | null {
    return this.#subjects.get(node)?.rttMs ?? null;
  }

  /** Watches these from now on, and nobody else. `members`: all that there are. */
  watch(subjects: readonly NodeId[], members: ReadonlySet<NodeId>, now: Millis): void {
    const wanted = new Set(subjects);
    for (const [id, { alert }] of this.#subjects) {
      if (wanted.has(id)) continue;
      this.#subjects.delete(id);
      if (alert !== null) this.#changed = true;
    }
    for (const id of wanted) if (!this.#subjects.has(id)) this.#subjects.set(id, newSubject(now));
    for (const id of this.#lost.keys()) if (!members.has(id)) this.#lost.delete(id);
  }

  peerUp(peer: NodeId, now: Millis): void {
    this.#lost.delete(peer);
    this.heard(peer, now);
  }

  peerLost(peer: NodeId, now: Millis): void {
    if (!this.#lost.has(peer)) this.#lost.set(peer, now);
  }

  /** Whatever a peer says is a sign of life. */
  heard(from: NodeId, now: Millis): void {
    const subject = this.#subjects.get(from);
    if (subject !== undefined) subject.heardAtMs = now;
  }

  message(from: NodeId, m: ObserverMessage, now: Millis): void {
    switch (m.kind) {
      case "probe":
        this.#context.send(from, { kind: "probe-reply", n: m.n });
        return;
      case "probe-reply":
        this.#answered(from, m.n, now);
        return;
      case "probe-for":
        this.#goFor(from, m.n, m.subject, now);
        return;
      case "probed-for":
        this.#helped(m.n, m.there, now);
        return;
    }
  }

  #answered(from: NodeId, n: number, now: Millis): void {
    const errand = this.#errands.get(n);
    if (errand?.subject === from) {
      this.#errands.delete(n);
      this.#context.send(errand.asker, { kind: "probed-for", n: errand.askersN, there: true });
      return;
    }
    const subject = this.#subjects.get(from);
    if (subject?.probe?.n !== n || subject.probe.answered) return;
    subject.probe.answered = true;
    const rttMs = now - subject.probe.atMs;
    subject.rttMs =
      subject.rttMs === null ? rttMs : subject.rttMs + (rttMs - subject.rttMs) / SMOOTHING;
  }

  #goFor(asker: NodeId, askersN: number, subject: NodeId, now: Millis): void {
    if (this.#lost.has(subject)) {
      this.#context.send(asker, { kind: "probed-for", n: askersN, there: false });
      return;
    }
    this.#count += 1;
    this.#errands.set(this.#count, { n: this.#count, asker, askersN, subject, atMs: now });
    this.#context.send(subject, { kind: "probe", n: this.#count });
  }

  #helped(n: number, there: boolean, now: Millis): void {
    for (const subject of this.#subjects.values()) {
      if (subject.help?.n !== n) continue;
      subject.help.open -= 1;
      if (there) subject.vouchedAtMs = now;
    }
  }

  /** Time has passed. `hasManager`: this node is in touch with the manager, or is it. */
  tick(hasManager: boolean, now: Millis): void {
    const gapMs = now - this.#lastTickMs - TICK_MS;
    this.#lastTickMs = now;
    if (gapMs > STALL_MS) this.#forgive(gapMs, now);
    for (const [id, subject] of this.#subjects) this.#probe(id, subject, now);
    const missed = [...this.#subjects].filter(([id, subject]) => this.#misses(id, subject, now));
    const isAlone = missed.length > 1 && missed.length === this.#subjects.size && !hasManager;
    const mayConclude = !isAlone && now >= this.#doubtUntilMs;
    for (const [id, subject] of this.#subjects) this.#judge(id, subject, mayConclude, now);
    this.#endErrands(now);
    this.#tell(now);
  }

  /** This process stood still: what it did not hear meanwhile says nothing against others. */
  #forgive(gapMs: number, now: Millis): void {
    this.#doubtUntilMs = now + PROBE_SILENT_MS;
    for (const subject of this.#subjects.values()) subject.heardAtMs += gapMs;
  }

  #probe(id: NodeId, subject: Subject, now: Millis): void {
    if (subject.probe !== null && now - subject.probe.atMs < PROBE_MS) return;
    this.#count += 1;
    subject.probe = { n: this.#count, atMs: now, answered: false };
    this.#context.send(id, { kind: "probe", n: this.#count });
  }

  #misses(id: NodeId, subject: Subject, now: Millis): boolean {
    return this.#lost.has(id) || now - subject.heardAtMs >= PROBE_SILENT_MS;
  }

  #judge(id: NodeId, subject: Subject, mayConclude: boolean, now: Millis): void {
    if (!this.#misses(id, subject, now)) {
      if (subject.alert !== null) this.#changed = true;
      subject.alert = null;
      subject.help = null;
      subject.vouchedAtMs = null;
      return;
    }
    if (subject.vouchedAtMs !== null && now - subject.vouchedAtMs < PROBE_SILENT_MS) {
      // The fault lies between the two; whoever else watches it hears it.
      if (subject.alert !== null) this.#changed = true;
      subject.alert = null;
    }
    const { help } = subject;
    if (help === null || now - help.atMs >= paceMs(now - subject.heardAtMs)) {
      this.#askFor(id, subject, now);
    }
    const isVouched = subject.vouchedAtMs !== null && subject.vouchedAtMs >= (help?.atMs ?? 0);
    const isOver = help !== null && (help.open <= 0 || now - help.atMs >= HELP_MS);
    if (subject.alert !== null || isVouched || !isOver || !mayConclude) return;
    const lostAtMs = this.#lost.get(id);
    subject.alert =
      lostAtMs === undefined
        ? { how: "silent", sinceMs: subject.heardAtMs }
        : { how: "reset", sinceMs: lostAtMs };
    this.#changed = true;
  }

  /** Asks those that hold the log, since they reach everyone; else others that this node watches. */
  #askFor(id: NodeId, subject: Subject, now: Millis): void {
    this.#count += 1;
    const n = this.#count;
    const can = (other: NodeId): boolean =>
      other !== id &&
      other !== this.#context.self &&
      !this.#lost.has(other) &&
      this.#isWell(other, now);
    const holders = this.#context.holders().filter(can);
    const others = [...this.#subjects.keys()].filter(
      (other) => !holders.includes(other) && can(other),
    );
    // Others each time, so that one that does not answer is not asked for ever.
    const asked = [...turned(holders, n), ...turned(others, n)].slice(0, HELPERS);
    subject.help = { n, atMs: now, open: asked.length };
    for (const other of asked) this.#context.send(other, { kind: "probe-for", n, subject: id });
  }

  #isWell(other: NodeId, now: Millis): boolean {
    const subject = this.#subjects.get(other);
    return subject === undefined || now - subject.heardAtMs < PROBE_SILENT_MS;
  }

  #endErrands(now: Millis): void {
    for (const { n, asker, askersN, atMs } of this.#errands.values()) {
      if (now - atMs < HELP_MS - 2 * TICK_MS) continue;
      this.#errands.delete(n);
      this.#context.send(asker, { kind: "probed-for", n: askersN, there: false });
    }
  }

  /** At once what is new; again as long as it holds, more and more seldom. */
  #tell(now: Millis): void {
    if (this.#changed) this.#changedAtMs = now;
    const missing = [...this.#subjects].filter(([, { alert }]) => alert !== null);
    const everyMs = paceMs(now - this.#changedAtMs);
    const isDue = missing.length > 0 && now - this.#toldAtMs >= everyMs;
    if (!this.#changed && !isDue) return;
    this.#changed = false;
    this.#toldAtMs = now;
    const alerts = missing.flatMap(([subject, { alert }]) =>
      alert === null ? [] : [{ subject, how: alert.how, ageMs: now - alert.sinceMs }],
    );
    const message: NodeMessage = { kind: "alerts", alerts, validMs: 3 * everyMs };
    for (const holder of this.#context.holders()) this.#context.send(holder, message);
  }
}

function newSubject(now: Millis): Subject {
  return { heardAtMs: now, probe: null, rttMs: null, help: null, vouchedAtMs: null, alert: null };
}

/** How often to repeat what is that old: news every second, old news seldom. */
function paceMs(ageMs: number): number {
  return Math.min(Math.max(ALERT_MS, Math.floor(ageMs / 4)), ALERT_MAX_MS);
}

/** The list from another place on, around its end. */
function turned<T>(list: readonly T[], by: number): T[] {
  const at = list.length === 0 ? 0 : by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}
