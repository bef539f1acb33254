import { randomBytes } from "node:crypto";
import { performance } from "node:perf_hooks";
import type { Connection, Stream } from "@libp2p/interface";
import type { NodeId } from "../../state/ids.ts";
import type { PeerAddress } from "../network.ts";
import type { Counters } from "./counters.ts";
import { StreamLostError } from "./frame-stream.ts";
import type { Limits } from "./limits.ts";
import { RPC_PROTOCOL } from "./protocols.ts";
import { Session, type SessionHandlers } from "./session.ts";

export interface ConnectionsInit {
  readonly self: NodeId;
  readonly limits: Limits;
  readonly counters: Counters;
  readonly isMember: (peer: NodeId) => boolean;
  /** Opens a new connection, never one that is open already: that one may be half dead. */
  readonly dial: (
    peer: NodeId,
    addresses: readonly string[],
    signal: AbortSignal,
  ) => Promise<Connection>;
  /** Whether a bulk stream still uses this connection. */
  readonly hasBulk: (connection: Connection) => boolean;
  readonly onFrame: (from: NodeId, frame: Uint8Array) => void;
  readonly onPeerUp: (peer: NodeId) => void;
  readonly onPeerLost: (peer: NodeId) => void;
}

interface Peer {
  readonly id: NodeId;
  addresses: readonly string[];
  desired: boolean;
  /** The stream in use. */
  session: Session | null;
  failures: number;
  /** Up before at the addresses that are known now. */
  everUp: boolean;
  /** The next attempt goes where the peer is said to be, not where it is known to be. */
  byHint: boolean;
  timer: NodeJS.Timeout | null;
  dialling: AbortController | null;
  unwantedSinceMs: number;
}

/** Where a member says that it is now, and how many more attempts that is worth. */
interface Hint {
  readonly addresses: readonly string[];
  triesLeft: number;
}

/** So many have their whole time in one dial, see host.ts. */
const ADDRESSES_IN_A_DIAL = 3;

/**
 * One stream to each peer. Both ends may open one; the node with the smaller id decides which is used and tells
 * the other, so that the two never disagree.
 */
export class Connections {
  readonly #init: ConnectionsInit;
  readonly #peers = new Map<NodeId, Peer>();
  readonly #sessions = new Set<Session>();
  /** Of members only. */
  readonly #hints = new Map<NodeId, Hint>();
  readonly #incarnation = randomBytes(12).toString("hex");
  readonly #ticker: NodeJS.Timeout;
  readonly #handlers: SessionHandlers;
  #tickedAtMs = performance.now();
  #closed = false;

  constructor(init: ConnectionsInit) {
    this.#init = init;
    this.#handlers = {
      onHello: (session) => this.#onHello(session),
      onAccept: (session) => this.#onAccept(session),
      onData: (session, payload) => this.#onData(session, payload),
      onClosed: (session, reason) => this.#onClosed(session, reason),
    };
    this.#ticker = setInterval(() => this.#tick(), init.limits.tickMs);
  }

  /** The peers to stay connected with; a peer whose addresses are new is dialled at once. */
  connect(wanted: readonly PeerAddress[]): void {
    const before = new Map([...this.#peers].filter(([, peer]) => peer.desired));
    for (const { id, addresses } of wanted) {
      if (id === this.#init.self) continue;
      before.delete(id);
      const peer = this.#peer(id);
      const changed = addresses.join() !== peer.addresses.join();
      peer.addresses = [...addresses];
      if (peer.desired && !changed) continue;
      if (!peer.desired) peer.session?.tellWanted(true);
      peer.desired = true;
      peer.failures = 0;
      // It has moved: it may not know us yet, so there is no use in waiting for it to dial.
      if (changed) peer.everUp = false;
      this.#schedule(peer, this.#delayMs(peer));
    }
    for (const peer of before.values()) {
      peer.desired = false;
      peer.unwantedSinceMs = performance.now();
      peer.session?.tellWanted(false);
      this.#forgetIfUnused(peer);
    }
  }

  /**
   * A member is said to be at these addresses. They are tried in turn with those that are known, neither in the
   * way of the other, and forgotten when they lead nowhere. Whoever answers there must prove to be it.
   */
  hint(id: NodeId, addresses: readonly string[]): void {
    const { isMember, limits } = this.#init;
    if (!isMember(id)) return;
    const before = this.#hints.get(id);
    this.#hints.set(id, { addresses, triesLeft: limits.hintTries });
    // However often it is said again, the known addresses have their turn.
    if (before?.addresses.join() === addresses.join()) return;
    const peer = this.#peers.get(id);
    if (peer === undefined || !peer.desired || peer.session !== null) return;
    peer.failures = 0;
    peer.everUp = false;
    peer.byHint = true;
    this.#schedule(peer, this.#delayMs(peer));
  }

  /** The peers with which to be connected, and no stream of whom is in use. */
  missing(): NodeId[] {
    const { isMember } = this.#init;
    return [...this.#peers.values()]
      .filter(({ id, desired, session }) => desired && session === null && isMember(id))
      .map(({ id }) => id);
  }

  /** The member list has changed: newcomers may be dialled, others are cut off. */
  membersChanged(): void {
    for (const id of this.#hints.keys()) if (!this.#init.isMember(id)) this.#hints.delete(id);
    for (const peer of this.#peers.values()) {
      if (!this.#init.isMember(peer.id)) {
        peer.dialling?.abort();
        peer.session?.abort(new StreamLostError("not a member any more"));
      } else if (peer.desired && peer.timer === null) this.#schedule(peer, this.#delayMs(peer));
    }
  }

  /** False: dropped. */
  send(to: NodeId, frame: Uint8Array): boolean {
    return this.#peers.get(to)?.session?.send(frame) ?? false;
  }

  addressesOf(peer: NodeId): readonly string[] {
    return this.#peers.get(peer)?.addresses ?? [];
  }

  sessionWith(peer: NodeId): Session | null {
    return this.#peers.get(peer)?.session ?? null;
  }

  connectionTo(peer: NodeId): Connection | null {
    return this.sessionWith(peer)?.connection ?? null;
  }

  /** The peers whose streams are in use, with the age of each stream. */
  *inUse(): Generator<{
    readonly peer: NodeId;
    readonly connection: Connection;
    readonly ageMs: number;
  }> {
    const nowMs = performance.now();
    for (const { session } of this.#peers.values()) {
      if (session === null) continue;
      yield {
        peer: session.peer,
        connection: session.connection,
        ageMs: nowMs - session.openedAtMs,
      };
    }
  }

  /** Whether a stream to a peer is on that connection, or may be put on it: one to that peer is being dialled. */
  mayUse(id: NodeId, connection: Connection): boolean {
    const isDialling = (this.#peers.get(id)?.dialling ?? null) !== null;
    return isDialling || [...this.#sessions].some((session) => session.connection === connection);
  }

  /** A peer has connected by itself: it will open a stream, and if not we need not wait long. */
  onInboundConnection(id: NodeId): void {
    const peer = this.#peers.get(id);
    if (peer === undefined || peer.session !== null || peer.dialling !== null) return;
    peer.failures = 0;
    this.#schedule(peer, this.#init.limits.patienceMs);
  }

  onInboundStream(id: NodeId, stream: Stream, connection: Connection): void {
    if (this.#closed) stream.abort(new StreamLostError("closing"));
    else this.#begin(this.#peer(id), stream, connection, false);
  }

  /** Lets what is queued leave for at most `ms`, tells nobody anything from now on, and stops all timers. */
  async close(ms: number): Promise<void> {
    this.#closed = true;
    clearInterval(this.#ticker);
    for (const peer of this.#peers.values()) {
      if (peer.timer !== null) clearTimeout(peer.timer);
      peer.timer = null;
      peer.dialling?.abort();
    }
    const deadlineMs = performance.now() + ms;
    const busy = (): boolean => [...this.#sessions].some((session) => !session.idle);
    while (busy() && performance.now() < deadlineMs)
      await new Promise((resolve) => setTimeout(resolve, 5));
  }

  #peer(id: NodeId): Peer {
    let peer = this.#peers.get(id);
    if (peer === undefined) {
      peer = {
        id,
        addresses: [],
        desired: false,
        session: null,
        failures: 0,
        everUp: false,
        byHint: false,
        timer: null,
        dialling: null,
        unwantedSinceMs: performance.now(),
      };
      this.#peers.set(id, peer);
    }
    return peer;
  }

  #forgetIfUnused(peer: Peer): void {
    if (peer.desired) return;
    if (peer.timer !== null) clearTimeout(peer.timer);
    peer.timer = null;
    peer.dialling?.abort();
    const begun = [...this.#sessions].some((session) => session.peer === peer.id);
    if (peer.session === null && peer.dialling === null && !begun) this.#peers.delete(peer.id);
  }

  #schedule(peer: Peer, delayMs: number): void {
    if (peer.timer !== null) clearTimeout(peer.timer);
    peer.timer = null;
    if (this.#closed || !peer.desired || peer.session !== null || peer.dialling !== null) return;
    if (!this.#init.isMember(peer.id)) return;
    peer.timer = setTimeout(() => {
      peer.timer = null;
      void this.#attempt(peer);
    }, delayMs);
  }

  #delayMs(peer: Peer): number {
    const { backoffFirstMs, backoffLastMs, patienceMs } = this.#init.limits;
    const jitter = 0.5 + Math.random() / 2;
    // The other one dials first; but a node that has just started may be known to nobody under its address.
    if (peer.failures === 0 && this.#init.self > peer.id)
      return patienceMs * jitter * (peer.everUp ? 2 : 0.3);
    return Math.min(backoffLastMs, backoffFirstMs * 2 ** Math.min(peer.failures, 16)) * jitter;
  }

  async #attempt(peer: Peer): Promise<void> {
    const { limits, isMember, dial } = this.#init;
    const cancel = new AbortController();
    peer.dialling = cancel;
    let connection: Connection | undefined;
    try {
      const signal = AbortSignal.any([cancel.signal, AbortSignal.timeout(limits.dialMs)]);
      connection = await dial(peer.id, this.#addressesToTry(peer), signal);
      signal.throwIfAborted();
      if (peer.session !== null || !isMember(peer.id))
        throw new StreamLostError("no longer needed");
      const stream = await connection.newStream(RPC_PROTOCOL, { signal, maxOutboundStreams: 4 });
      await this.#begin(peer, stream, connection, true).settled;
    } catch {
      // Unreachable, refused or not needed any more: the next attempt will tell.
    }
    peer.dialling = null;
    if (connection !== undefined && peer.session?.connection !== connection) {
      connection.abort(new StreamLostError("not used"));
    }
    if (peer.session !== null) return;
    peer.failures++;
    this.#schedule(peer, this.#delayMs(peer));
    this.#forgetIfUnused(peer);
  }

  /**
   * The time of one attempt is over after a few addresses that do not answer. So each begins with others, and those
   * of a hint have attempts of their own.
   */
  #addressesToTry(peer: Peer): readonly string[] {
    const hint = this.#hints.get(peer.id);
    const byHint = hint !== undefined && (peer.byHint || peer.addresses.length === 0);
    peer.byHint = !byHint;
    if (!byHint) return rotated(peer.addresses, peer.failures);
    hint.triesLeft -= 1;
    if (hint.triesLeft <= 0) this.#hints.delete(peer.id);
    const triesBefore = this.#init.limits.hintTries - 1 - hint.triesLeft;
    return rotated(hint.addresses, triesBefore * ADDRESSES_IN_A_DIAL);
  }

  #begin(peer: Peer, stream: Stream, connection: Connection, dialledByUs: boolean): Session {
    const { limits, counters } = this.#init;
    const session = new Session(
      {
        peer: peer.id,
        stream,
        connection,
        dialledByUs,
        incarnation: this.#incarnation,
        desired: peer.desired,
        nowMs: performance.now(),
        clock: () => performance.now(),
      },
      limits,
      counters,
      this.#handlers,
    );
    this.#sessions.add(session);
    return session;
  }

  #onHello(session: Session): void {
    if (this.#init.self > session.peer) return;
    const current = this.#peer(session.peer).session;
    const second = current !== null && current.incarnation === session.incarnation;
    const keepCurrent =
      second &&
      (session.dialledByUs || performance.now() - current.openedAtMs < this.#init.limits.youngMs);
    if (keepCurrent) this.#discard(session, current);
    else this.#use(session, true);
  }

  #onAccept(session: Session): void {
    if (this.#init.self > session.peer) this.#use(session, false);
    else session.abort(new StreamLostError("the peer decided what is ours to decide"));
  }

  #use(session: Session, tellPeer: boolean): void {
    const peer = this.#peer(session.peer);
    const previous = peer.session;
    if (previous !== null) {
      // Unset first: the end of the previous stream must not be taken for the loss of the new one.
      peer.session = null;
      this.#discard(previous, session);
      if (!this.#closed) this.#init.onPeerLost(peer.id);
    }
    peer.session = session;
    peer.everUp = true;
    const hint = this.#hints.get(peer.id);
    if (hint !== undefined) hint.triesLeft = this.#init.limits.hintTries;
    if (peer.timer !== null) clearTimeout(peer.timer);
    peer.timer = null;
    session.take(tellPeer);
    if (!this.#closed) this.#init.onPeerUp(peer.id);
  }

  #discard(session: Session, kept: Session): void {
    const reason = new StreamLostError("another stream is used");
    if (session.connection === kept.connection) session.abortStream(reason);
    else session.abort(reason);
  }

  #onData(session: Session, payload: Uint8Array): void {
    if (this.#closed || this.#peers.get(session.peer)?.session !== session) return;
    this.#init.counters.framesIn++;
    this.#init.onFrame(session.peer, payload);
  }

  #onClosed(session: Session, reason: Error): void {
    this.#sessions.delete(session);
    const peer = this.#peers.get(session.peer);
    if (peer === undefined) return;
    if (peer.session === session) {
      peer.session = null;
      // A peer is replaced whole: a new connection also renews gossip, which opens its stream once per connection.
      session.connection.abort(reason);
      const short = performance.now() - session.openedAtMs < this.#init.limits.youngMs;
      peer.failures = short ? peer.failures + 1 : 0;
      this.#schedule(peer, this.#delayMs(peer));
      if (!this.#closed) this.#init.onPeerLost(peer.id);
    }
    this.#forgetIfUnused(peer);
  }

  #tick(): void {
    const { limits } = this.#init;
    const nowMs = performance.now();
    // Our own stall is not the peers' silence: what they sent meanwhile is still unread in the sockets.
    const stallMs = nowMs - this.#tickedAtMs - limits.tickMs;
    this.#tickedAtMs = nowMs;
    for (const session of this.#sessions) {
      if (stallMs > limits.tickMs) session.heardAtMs = Math.min(nowMs, session.heardAtMs + stallMs);
      if (!session.accepted && nowMs - session.openedAtMs - Math.max(0, stallMs) > limits.helloMs) {
        session.abort(new StreamLostError("no hello in time"));
      } else if (nowMs - session.heardAtMs > limits.silenceMs) {
        session.abort(new StreamLostError("silent for too long"));
      } else if (session.accepted && this.#unwanted(session, nowMs)) {
        session.abort(new StreamLostError("no end wants this connection"));
      } else session.keepAlive(nowMs);
    }
  }

  #unwanted(session: Session, nowMs: number): boolean {
    const peer = this.#peer(session.peer);
    const { lingerMs } = this.#init.limits;
    if (peer.desired || session.wanted) return false;
    if (nowMs - peer.unwantedSinceMs < lingerMs || nowMs - session.openedAtMs < lingerMs)
      return false;
    return !this.#init.hasBulk(session.connection);
  }
}

function rotated(addresses: readonly string[], by: number): readonly string[] {
  const first = addresses.length === 0 ? 0 : by % addresses.length;
  return [...addresses.slice(first), ...addresses.slice(0, first)];
}
