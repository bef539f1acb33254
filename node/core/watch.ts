import type { Millis, NodeId } from "../../state/ids.ts";
import { Alerts, type Sighting } from "./alerts.ts";
import type { NodeMessage } from "./message.ts";
import { Observer, type ObserverMessage } from "./observer.ts";
import { type Neighbours, neighboursOf, Rings } from "./rings.ts";
import type { Roster } from "./roster.ts";

export type WatchMessage = ObserverMessage | Extract<NodeMessage, { kind: "alerts" | "hidden" }>;

export function isWatchMessage(m: NodeMessage): m is WatchMessage {
  return m.kind === "alerts" || m.kind === "hidden" || m.kind.startsWith("probe");
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
  readonly #send: (to: NodeId, message: NodeMessage) => void;
  readonly #observer: Observer;
  readonly #alerts: Alerts = new Alerts();
  /** To whom a stream stands. */
  readonly #connected: Set<NodeId> = new Set();
  /** Members that this node cannot dial, and those that cannot dial this node. */
  readonly #hidden: Set<NodeId> = new Set();
  readonly #hiddenFrom: Set<NodeId> = new Set();
  #stamp = -1;
  #members: ReadonlySet<NodeId> = new Set();
  #holders: readonly NodeId[] = [];
  /** Of the members; null: not asked for since their list changed. */
  #rings: Rings | null = null;

  constructor(
    self: NodeId,
    roster: Roster,
    send: (to: NodeId, message: NodeMessage) => void,
    now: Millis,
  ) {
    this.#self = self;
    this.#roster = roster;
    this.#send = send;
    this.#observer = new Observer({ self, send, holders: () => this.#holders }, now);
    this.#refresh(now);
  }

  /** Peers whose stream is broken now, and since when. */
  get lost(): ReadonlyMap<NodeId, Millis> {
    return this.#observer.lost;
  }

  /** Whether nobody can dial that member, as far as this node can tell; of itself, whether half of the other holders say so. */
  isHidden(node: NodeId): boolean {
    if (node !== this.#self) return this.#hidden.has(node);
    const others = this.#holders.filter((id) => id !== node);
    const saying = others.filter((id) => this.#hiddenFrom.has(id));
    return saying.length > 0 && 2 * saying.length >= others.length;
  }

  dialable(peer: NodeId, dialable: boolean): void {
    if (dialable) this.#hidden.delete(peer);
    else this.#hidden.add(peer);
    this.#send(peer, { kind: "hidden", hidden: !dialable });
  }

  isConnected(node: NodeId): boolean {
    return this.#connected.has(node);
  }

  /** See `Observer`: what this node itself, and nobody else, sees of another. */
  rttMs(node: NodeId): number | null {
    return this.#observer.rttMs(node);
  }

  alertOf(node: NodeId): Sighting | null {
    return this.#observer.alertOf(node);
  }

  sureSinceMs(node: NodeId, now: Millis): Millis | null {
    return this.#observer.sureSinceMs(node, now);
  }

  peerUp(peer: NodeId, now: Millis): void {
    this.#connected.add(peer);
    // It may be another process, which has yet to hear of it.
    if (this.#hidden.has(peer)) this.#send(peer, { kind: "hidden", hidden: true });
    this.#observer.peerUp(peer, now);
  }

  peerLost(peer: NodeId, now: Millis): void {
    this.#connected.delete(peer);
    this.#observer.peerLost(peer, now);
  }

  heard(from: NodeId, now: Millis): void {
    this.#observer.heard(from, now);
  }

  message(from: NodeId, m: WatchMessage, now: Millis): void {
    this.#refresh(now);
    if (!this.#members.has(from)) return;
    if (m.kind === "hidden") {
      if (m.hidden) this.#hiddenFrom.add(from);
      else this.#hiddenFrom.delete(from);
      return;
    }
    if (m.kind !== "alerts") {
      this.#observer.message(from, m, now);
      return;
    }
    // Only of those that it watches: one that has lost its mind may accuse everybody.
    // Most say that they miss nobody, when they begin: thousands that join at once must not cost as many looks at the rings.
    const subjects = m.alerts.length === 0 ? [] : this.#neighbours(from).subjects;
    const alerts = m.alerts.filter(({ subject }) => subjects.includes(subject));
    this.#alerts.heard(from, { ...m, alerts }, now);
  }

  /** `hasManager`: this node is in touch with the manager, or is it. */
  tick(hasManager: boolean, now: Millis): void {
    this.#refresh(now);
    this.#observer.tick(hasManager, now);
    this.#alerts.tick(this.#members, now);
  }

  #refresh(now: Millis): void {
    if (this.#stamp === this.#roster.stamp) return;
    this.#stamp = this.#roster.stamp;
    const { members } = this.#roster;
    const ids = members.map(({ id }) => id);
    this.#members = new Set(ids);
    this.#holders = members.filter(({ holdsLog }) => holdsLog).map(({ id }) => id);
    this.#rings = null;
    for (const known of [this.#hidden, this.#hiddenFrom]) {
      for (const id of known) if (!this.#members.has(id)) known.delete(id);
    }
    this.#observer.watch(neighboursOf(this.#self, ids).subjects, this.#members, now);
  }

  #neighbours(node: NodeId): Neighbours {
    this.#rings ??= new Rings([...this.#members]);
    return this.#rings.of(node);
  }

  /** Who misses that node, also of those that are missed themselves. */
  missing(node: NodeId, now: Millis): readonly Sighting[] {
    return this.#alerts.of(node, now);
  }

  /** `isThere`: whether a node counts as an observer. One that others miss does not: whom it misses says more about itself. */
  of(node: NodeId, isThere: (observer: NodeId) => boolean, now: Millis): Watched {
    const observers = this.#neighbours(node).observers.filter(
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
