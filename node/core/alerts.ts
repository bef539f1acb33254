import type { Millis, NodeId } from "../../state/ids.ts";
import { ALERT_MAX_MS, ALERT_VALID } from "./defaults.ts";
import type { Alert, NodeMessage } from "./message.ts";

/** What one observer says of a node. */
export interface Sighting {
  readonly observer: NodeId;
  readonly how: Alert["how"];
  /** On this node's clock. */
  readonly sinceMs: Millis;
}

interface Kept extends Sighting {
  readonly untilMs: Millis;
}

/** The alerts that still count, by whom they are about. Each holder of the log has them, so that a new manager knows what the old one knew. */
export class Alerts {
  readonly #bySubject: Map<NodeId, Map<NodeId, Kept>> = new Map();
  readonly #byObserver: Map<NodeId, readonly NodeId[]> = new Map();

  /** An observer says all that it misses: what it said before is void. */
  heard(observer: NodeId, m: Extract<NodeMessage, { kind: "alerts" }>, now: Millis): void {
    this.forget(observer);
    if (m.alerts.length === 0) return;
    // Whatever it says of that: nobody repeats its alerts more seldom.
    const untilMs = now + Math.min(m.validMs, ALERT_VALID * ALERT_MAX_MS);
    for (const { subject, how, ageMs } of m.alerts) {
      const kept = { observer, how, sinceMs: now - ageMs, untilMs };
      const known = this.#bySubject.get(subject);
      if (known === undefined) this.#bySubject.set(subject, new Map([[observer, kept]]));
      else known.set(observer, kept);
    }
    this.#byObserver.set(
      observer,
      m.alerts.map(({ subject }) => subject),
    );
  }

  /** Nothing that this node said counts any more. */
  forget(observer: NodeId): void {
    for (const subject of this.#byObserver.get(observer) ?? []) {
      const known = this.#bySubject.get(subject);
      known?.delete(observer);
      if (known?.size === 0) this.#bySubject.delete(subject);
    }
    this.#byObserver.delete(observer);
  }

  of(subject: NodeId, now: Millis): Sighting[] {
    const known = this.#bySubject.get(subject);
    if (known === undefined) return [];
    return [...known.values()].filter(({ untilMs }) => now <= untilMs);
  }

  /** Drops what counts no more. `members`: whoever is none is forgotten. */
  tick(members: ReadonlySet<NodeId>, now: Millis): void {
    for (const [observer, subjects] of this.#byObserver) {
      const [first] = subjects;
      const kept = first === undefined ? undefined : this.#bySubject.get(first)?.get(observer);
      if (kept === undefined || now > kept.untilMs || !members.has(observer)) this.forget(observer);
    }
  }
}
