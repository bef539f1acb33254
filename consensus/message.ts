/** The vocabulary of Raft: what it stores and what it sends. Plain frozen-by-convention data. */

/** A node's number in Raft: from 1, given once. */
export type RaftId = number;

/** No node: no vote given, no leader known. */
export const NONE: RaftId = 0;

/** One entry of the log. `data` is opaque to Raft for `normal`, an encoded ConfChange for `conf`. */
export interface Entry {
  readonly term: number;
  readonly index: number;
  readonly kind: EntryKind;
  readonly data: Uint8Array;
}

export type EntryKind = "normal" | "conf";

/** What must be durable before anything that depends on it leaves the node. */
export interface HardState {
  readonly term: number;
  readonly vote: RaftId;
  /** A hint: may lag behind what is committed, never run ahead of it. */
  readonly commit: number;
}

export type Message =
  | (Header & {
      readonly kind: "append";
      readonly prevIndex: number;
      readonly prevTerm: number;
      readonly entries: readonly Entry[];
      readonly commit: number;
    })
  /** `index`: on success the last index that is durable here, else the rejected prevIndex with a hint where to go on. */
  | (Header & { readonly kind: "append-reply"; readonly index: number; readonly rejected: false })
  | (Header & {
      readonly kind: "append-reply";
      readonly index: number;
      readonly rejected: true;
      readonly hintIndex: number;
      readonly hintTerm: number;
    })
  /** `context`: a number made by the leader that a quorum echoes to confirm a ReadIndex; 0: none. */
  | (Header & { readonly kind: "heartbeat"; readonly commit: number; readonly context: number })
  | (Header & { readonly kind: "heartbeat-reply"; readonly context: number })
  /**
   * The follower lacks entries that are gone: it is to fetch the snapshot with this name, by another way than
   * messages. Repeated until its answer, an append-reply, says that it can go on from the log.
   */
  | (Header & {
      readonly kind: "snapshot";
      readonly snapshotIndex: number;
      readonly snapshotTerm: number;
    })
  /** The leader wants the addressee, which holds all of its log, to take over: it is to campaign at once. */
  | (Header & { readonly kind: "timeout-now" })
  | (Header & {
      readonly kind: "pre-vote";
      readonly lastIndex: number;
      readonly lastTerm: number;
    })
  /** `transfer`: at the leader's own wish, so that having heard the leader just now is no reason to refuse. */
  | (Header & {
      readonly kind: "vote";
      readonly lastIndex: number;
      readonly lastTerm: number;
      readonly transfer: boolean;
    })
  /** `commit`: what the voter knows to be committed, and that entry's term: the candidate may not know of it. */
  | (Header & {
      readonly kind: "pre-vote-reply" | "vote-reply";
      readonly rejected: boolean;
      readonly commit: number;
      readonly commitTerm: number;
    });

interface Header {
  readonly from: RaftId;
  readonly to: RaftId;
  readonly term: number;
}

/** Messages that only the leader of their term sends. */
export function isFromLeader(m: Message): boolean {
  return m.kind === "append" || m.kind === "heartbeat" || m.kind === "snapshot";
}
