import type { Millis, NodeId } from "../../state/ids.ts";
import { Alerts, type Sighting } from "./alerts.ts";
import type { NodeMessage } from "./message.ts";
import { Observer, type ObserverMessage } from "./observer.ts";
import { neighboursOf } from "./rings.ts";
import type { Roster } from "./roster.ts";

export type WatchMessage = ObserverMessage | Extract<NodeMessage, { kind: "alerts" }>;

export function isWatchMessage(m: NodeMessage): m is WatchMessage {
  return m.kind === "alerts" || m.kind.startsWith("probe");
}

/** What is known of a node by those who watch it. */
export interface Watched {
  /** Observers that are there themselves. */
  readonly observers: number;
  /** Those of them that miss it. */
  readonly alerts: readonly Sighting[];
}

/** How nodes feel each other: this one as an observer, and what all observers say if it holds the log. */
export class Watch {
  readonly #self: NodeId;
  readonly #roster: Roster;
  readonly #observer: Observer;
  readonly #alerts: Alerts = new Alerts();
  #stamp = -1;
  #members: ReadonlySet<NodeId> = new Set();

  constructor(
    self: NodeId,
    roster: Roster,
    send: (to: NodeId, message: NodeMessage) => void,
    now: Millis,
  ) {
    this.#self = self;
    this.#roster = roster;
    const holders = (): NodeId[] =>
      roster.members.filter(({ holdsLog }) => holdsLog).map(({ id }) => id);
    this.#observer = new Observer({ self, send, holders }, now);
  }

  /** Peers whose stream is broken now, and since when. */
  get lost(): ReadonlyMap<NodeId, Millis> {
    return this.#observer.lost;
  }

  peerUp(peer: NodeId, now: Millis): void {
    this.#observer.peerUp(peer, now);
  }

  peerLost(peer: NodeId, now: Millis): void {
    this.#observer.peerLost(peer, now);
  }

  heard(from: NodeId, now: Millis): void {
    this.#observer.heard(from, now);
  }

  message(from: NodeId, m: WatchMessage, now: Millis): void {
    if (m.kind !== "alerts") this.#observer.message(from, m, now);
    else if (this.#members.has(from)) this.#alerts.heard(from, m, now);
  }

  /** `hasManager`: this node is in touch with the manager, or is it. */
  tick(hasManager: boolean, now: Millis): void {
    if (this.#stamp !== this.#roster.stamp) {
      this.#stamp = this.#roster.stamp;
      const ids = this.#roster.members.map(({ id }) => id);
      this.#members = new Set(ids);
      this.#observer.watch(neighboursOf(this.#self, ids).subjects, this.#members, now);
    }
    this.#observer.tick(hasManager, now);
    this.#alerts.tick(this.#members, now);
  }

  /** Who misses that node, also of those that are missed themselves. */
  missing(node: NodeId, now: Millis): readonly Sighting[] {
    return this.#alerts.of(node, now);
  }

  /** `isThere`: whether a node counts as an observer. One that others miss does not: whom it misses says more about itself. */
  of(node: NodeId, isThere: (observer: NodeId) => boolean, now: Millis): Watched {
    const observers = neighboursOf(node, [...this.#members]).observers.filter(
      (observer) =>
        isThere(observer) &&
        this.#alerts.of(observer, now).every((sighting) => sighting.observer === node),
    );
    const alerts = this.#alerts
      .of(node, now)
      .filter(({ observer }) => observers.includes(observer));
    return { observers: observers.length, alerts };
  }
}
