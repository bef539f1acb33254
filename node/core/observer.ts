import type { Millis, NodeId } from "../../state/ids.ts";
import type { Sighting } from "./alerts.ts";
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
import type { Alert, NodeMessage } from "./message.ts";

export type ObserverMessage = Extract<
  NodeMessage,
  { kind: "probe" | "probe-reply" | "probe-for" | "probed-for" }
>;

/** What an observer knows of one that it watches. */
interface Subject {
  readonly watchedAtMs: Millis;
  heardAtMs: Millis;
  /** The last probe, when it left, and whether it was answered. */
  probe: { readonly n: number; readonly atMs: Millis; answered: boolean } | null;
  /** Smoothed; null: no probe was answered yet. */
  rttMs: number | null;
  /** Others that were asked to look for it, because it is missed. `open`: who has not answered. */
  help: Help | null;
  /** Somebody else heard it at this time, though this node does not. */
  vouchedAtMs: Millis | null;
  alert: {
    readonly how: Alert["how"];
    readonly sinceMs: Millis;
    readonly raisedAtMs: Millis;
  } | null;
}

interface Help {
  readonly n: number;
  readonly atMs: Millis;
  /** Where in the lists of those that can be asked it began. */
  readonly turn: number;
  readonly open: Set<NodeId>;
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
 * holders of the log whom nobody finds. It doubts itself first: after a standstill of its own, and while it hears no manager and misses most of
 * its subjects, and for as long after that as links may take to come back one by one.
 */
export class Observer {
  readonly #context: ObserverContext;
  readonly #subjects: Map<NodeId, Subject> = new Map();
  /** Peers whose stream is broken, and since when. */
  readonly #lost: Map<NodeId, Millis> = new Map();
  readonly #errands: Map<number, Errand> = new Map();
  /** Errands under way, by who asked for them. */
  readonly #asked: Map<NodeId, number> = new Map();
  #count = 0;
  #lastTickMs: Millis;
  /** When anybody was heard last. */
  #heardAtMs: Millis;
  /** Until then nothing is concluded from silence: this process stood still, or it was cut off from most. */
  #doubtUntilMs: Millis = 0;
  #changedAtMs: Millis = 0;
  #toldAtMs: Millis = 0;
  /** From then until it is said again. */
  #everyMs = ALERT_MS;
  /** Holders of the log that have been told what is missed now, since their stream stands. */
  readonly #told: Set<NodeId> = new Set();
  #changed = false;

  constructor(context: ObserverContext, now: Millis) {
    this.#context = context;
    this.#lastTickMs = now;
    this.#heardAtMs = now;
    // Above all that an earlier process of this node asked: a late answer to that is none to this.
    this.#count = now;
  }

  /** Peers whose stream is broken now, and since when. */
  get lost(): ReadonlyMap<NodeId, Millis> {
    return this.#lost;
  }

  /** Of its probes to that node, smoothed; null: it does not watch it, or has had no answer yet. */
  rttMs(node: NodeId): number | null {
    return this.#subjects.get(node)?.rttMs ?? null;
  }

  /** That it misses that node, and so do those that it asked; null: it does not, or does not watch it. */
  alertOf(node: NodeId): Sighting | null {
    const alert = this.#subjects.get(node)?.alert ?? null;
    return alert === null
      ? null
      : { observer: this.#context.self, how: alert.how, sinceMs: alert.sinceMs };
  }

  /** Since when it has been sure that it and those that it asked miss that node; null: it is not, or has reason to doubt itself. */
  sureSinceMs(node: NodeId, now: Millis): Millis | null {
    return now < this.#doubtUntilMs ? null : (this.#subjects.get(node)?.alert?.raisedAtMs ?? null);
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
    this.#told.delete(peer);
    this.heard(peer, now);
  }

  peerLost(peer: NodeId, now: Millis): void {
    if (!this.#lost.has(peer)) this.#lost.set(peer, now);
  }

  /** Whatever a peer says is a sign of life. */
  heard(from: NodeId, now: Millis): void {
    this.#heardAtMs = now;
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
        this.#helped(from, m.n, m.there, now);
        return;
    }
  }

  #answered(from: NodeId, n: number, now: Millis): void {
    const errand = this.#errands.get(n);
    if (errand?.subject === from) {
      this.#endErrand(errand, true);
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
    const asked = this.#asked.get(asker) ?? 0;
    // An observer asks once a second for each of its subjects: whoever asks more has lost its mind.
    if (asked >= RINGS) return;
    this.#asked.set(asker, asked + 1);
    this.#count += 1;
    this.#errands.set(this.#count, { n: this.#count, asker, askersN, subject, atMs: now });
    this.#context.send(subject, { kind: "probe", n: this.#count });
  }

  #helped(from: NodeId, n: number, there: boolean, now: Millis): void {
    for (const subject of this.#subjects.values()) {
      // Once each, and only who was asked: an answer may come twice.
      if (subject.help?.n !== n || !subject.help.open.delete(from)) continue;
      if (there) subject.vouchedAtMs = now;
    }
  }

  /** Time has passed. `hasManager`: this node is in touch with the manager, or is it. */
  tick(hasManager: boolean, now: Millis): void {
    const gapMs = now - this.#lastTickMs - TICK_MS;
    this.#lastTickMs = now;
    if (gapMs > STALL_MS) this.#forgive(gapMs, now);
    for (const [id, subject] of this.#subjects) this.#probe(id, subject, now);
    const isAlone = this.#isAlone(hasManager, now);
    if (isAlone) this.#doubtUntilMs = now + PROBE_SILENT_MS;
    for (const [id, subject] of this.#subjects) {
      if (isAlone) this.#takeBack(subject);
      else this.#judge(id, subject, now);
    }
    this.#endErrands(now);
    this.#tell(now);
  }

  /**
   * Whether its own link, or that of all, is what failed: it hears no manager and misses most of its subjects, more than one, or it
   * misses everybody, and nothing speaks against its own being cut off.
   */
  #isAlone(hasManager: boolean, now: Millis): boolean {
    const subjects = [...this.#subjects];
    if (subjects.length < 2) return false;
    if (!hasManager) {
      const missed = subjects.filter(([id, subject]) => this.#misses(id, subject, now));
      return 2 * missed.length > subjects.length;
    }
    // Its session still stands for a while when it hears nobody. Whom it hears it heard within the same second last.
    if (now - this.#heardAtMs < PROBE_SILENT_MS - PROBE_MS) return false;
    return subjects.every(([, subject]) => isSilent(subject, now));
  }

  /** This process stood still: what it did not hear meanwhile says nothing against others. */
  #forgive(gapMs: number, now: Millis): void {
    this.#doubtUntilMs = now + PROBE_SILENT_MS;
    this.#heardAtMs = Math.min(this.#heardAtMs + gapMs, now);
    for (const subject of this.#subjects.values()) {
      // Not beyond now: what had waited in the sockets may have been read already.
      subject.heardAtMs = Math.min(subject.heardAtMs + gapMs, now);
    }
  }

  /** Nothing is said of it any more, and what was asked before counts for nothing: who is cut off gets no answers. */
  #takeBack(subject: Subject): void {
    if (subject.alert !== null) this.#changed = true;
    subject.alert = null;
    subject.help = null;
    subject.vouchedAtMs = null;
  }

  #probe(id: NodeId, subject: Subject, now: Millis): void {
    if (subject.probe !== null && now - subject.probe.atMs < PROBE_MS) return;
    this.#count += 1;
    subject.probe = { n: this.#count, atMs: now, answered: false };
    this.#context.send(id, { kind: "probe", n: this.#count });
  }

  #misses(id: NodeId, subject: Subject, now: Millis): boolean {
    return isSilent(subject, now) || this.#brokeAtMs(id, subject) !== null;
  }

  /** Null: its stream stands. One that broke before it was watched was of no use then, and may be under way again. */
  #brokeAtMs(id: NodeId, { watchedAtMs }: Subject): Millis | null {
    const lostAtMs = this.#lost.get(id);
    return lostAtMs === undefined || lostAtMs < watchedAtMs ? null : lostAtMs;
  }

  #judge(id: NodeId, subject: Subject, now: Millis): void {
    if (!this.#misses(id, subject, now)) {
      this.#takeBack(subject);
      return;
    }
    if (subject.vouchedAtMs !== null && now - subject.vouchedAtMs < PROBE_SILENT_MS) {
      // The fault lies between the two; whoever else watches it hears it.
      if (subject.alert !== null) this.#changed = true;
      subject.alert = null;
    }
    const { help } = subject;
    // One that others hear may fall any time: it is looked for as often as one that is missed anew.
    const signAtMs = Math.max(subject.heardAtMs, subject.vouchedAtMs ?? 0);
    if (help === null || now - help.atMs >= paceMs(now - signAtMs)) {
      this.#askFor(id, subject, now);
    }
    const isVouched = subject.vouchedAtMs !== null && subject.vouchedAtMs >= (help?.atMs ?? 0);
    const isOver = help !== null && (help.open.size === 0 || now - help.atMs >= HELP_MS);
    if (subject.alert !== null || isVouched || !isOver) return;
    if (now < this.#doubtUntilMs) return;
    const brokeAtMs = this.#brokeAtMs(id, subject);
    subject.alert =
      brokeAtMs === null
        ? { how: "silent", sinceMs: subject.heardAtMs, raisedAtMs: now }
        : { how: "reset", sinceMs: brokeAtMs, raisedAtMs: now };
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
    const turn = subject.help === null ? n : subject.help.turn + 1;
    const asked = [...turned(holders, turn), ...turned(others, turn)].slice(0, HELPERS);
    subject.help = { n, atMs: now, turn, open: new Set(asked) };
    for (const other of asked) this.#context.send(other, { kind: "probe-for", n, subject: id });
  }

  #isWell(other: NodeId, now: Millis): boolean {
    const subject = this.#subjects.get(other);
    return subject === undefined || !isSilent(subject, now);
  }

  #endErrands(now: Millis): void {
    for (const errand of this.#errands.values()) {
      if (now - errand.atMs >= HELP_MS - 2 * TICK_MS) this.#endErrand(errand, false);
    }
  }

  #endErrand({ n, asker, askersN }: Errand, there: boolean): void {
    this.#errands.delete(n);
    const left = (this.#asked.get(asker) ?? 0) - 1;
    if (left > 0) this.#asked.set(asker, left);
    else this.#asked.delete(asker);
    this.#context.send(asker, { kind: "probed-for", n: askersN, there });
  }

  /** At once what is new, and to whom it is new; again as long as it holds, more and more seldom. */
  #tell(now: Millis): void {
    if (this.#changed) this.#changedAtMs = now;
    const missing = [...this.#subjects].filter(([, { alert }]) => alert !== null);
    const isDue = missing.length > 0 && now - this.#toldAtMs >= this.#everyMs;
    if (this.#changed || isDue) {
      this.#told.clear();
      this.#toldAtMs = now;
      this.#everyMs = paceMs(now - this.#changedAtMs);
    }
    this.#changed = false;
    const holders = this.#context.holders();
    for (const id of this.#told) if (!holders.includes(id)) this.#told.delete(id);
    const untold = holders.filter((id) => !this.#told.has(id));
    if (untold.length === 0) return;
    const alerts = missing.flatMap(([subject, { alert }]) =>
      alert === null ? [] : [{ subject, how: alert.how, ageMs: now - alert.sinceMs }],
    );
    const message: NodeMessage = { kind: "alerts", alerts, validMs: ALERT_VALID * this.#everyMs };
    for (const holder of untold) {
      this.#told.add(holder);
      this.#context.send(holder, message);
    }
  }
}

function newSubject(now: Millis): Subject {
  return {
    watchedAtMs: now,
    heardAtMs: now,
    probe: null,
    rttMs: null,
    help: null,
    vouchedAtMs: null,
    alert: null,
  };
}

function isSilent({ heardAtMs }: Subject, now: Millis): boolean {
  return now - heardAtMs >= PROBE_SILENT_MS;
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
