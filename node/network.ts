import type { NodeId } from "../state/ids.ts";

/** The network port: what a node may ask of whatever carries its messages. */

export interface PeerAddress {
  readonly id: NodeId;
  readonly addresses: readonly string[];
}

export interface NetworkEvents {
  /** A frame from a member, whole and in order per peer. */
  readonly onFrame: (from: NodeId, frame: Uint8Array) => void;
  readonly onPeerUp: (peer: NodeId) => void;
  /** The stream to a peer is gone: a crash, a cut or a restart. Hint only. */
  readonly onPeerLost: (peer: NodeId) => void;
  /** A peer of `dialBack` cannot be dialled, or can again: until then it is taken for one that can. */
  readonly onDialable: (peer: NodeId, dialable: boolean) => void;
  /** A gossiped digest; `from` is proved by its signature. */
  readonly onGossip: (from: NodeId, payload: Uint8Array) => void;
  /** A bulk stream that a peer opens: the handler answers with chunks until it ends or `signal` aborts. */
  readonly onBulk: (
    from: NodeId,
    request: Uint8Array,
    signal: AbortSignal,
  ) => AsyncIterable<Uint8Array>;
  /** A stranger that has proved the join secret asks to be admitted with `hello`; the answer goes back as it is. */
  readonly onJoin: (joiner: NodeId, hello: Uint8Array) => Promise<Uint8Array>;
  /** A member that has lost the cluster asks who the members are; null: it is not told. Must not throw. */
  readonly onVouch: (asker: NodeId) => Uint8Array | null;
  /** What a stranger answered to that question, in proof of the join secret; only after `seek`. */
  readonly onVouched: (by: NodeId, list: Uint8Array) => void;
}

export interface Network {
  readonly self: NodeId;
  /** The multiaddrs that are really listened on, without /p2p. */
  addresses(): readonly string[];
  /** Best effort and in order: dropped when there is no stream or the peer's queue is over its bound. */
  send(to: NodeId, frame: Uint8Array): void;
  /** The peers to stay connected with, dialled for ever with jittered back-off; all others may go. */
  connect(peers: readonly PeerAddress[]): void;
  /** Of which peers it is to be known whether they can be dialled. */
  dialBack(peers: readonly NodeId[]): void;
  /** Who may speak to us at all, and the secret that a joiner must prove; null: nobody may join here. */
  admit(members: ReadonlySet<NodeId>, join: JoinSecret | null): void;
  /** Whether strangers that connect are asked to prove the join secret and to say who the members are. */
  seek(on: boolean): void;
  /** Whether a stream to that peer stands, whoever of the two opened it. */
  isConnected(peer: NodeId): boolean;
  /** Publishes on the metrics topic. */
  gossip(payload: Uint8Array): void;
  /** Opens a bulk stream to a connected member, or one whose address `connect` has named. */
  bulk(to: NodeId, request: Uint8Array, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** What strangers and broken frames did so far: counted, never acted upon. */
  counters(): NetworkCounters;
  close(): Promise<void>;
}

export interface JoinSecret {
  readonly clusterId: string;
  readonly secret: Uint8Array;
}

export interface NetworkCounters {
  readonly strangersRefused: number;
  readonly badFrames: number;
  readonly framesIn: number;
  readonly framesOut: number;
  readonly framesDropped: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}
