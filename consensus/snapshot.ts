import type { Membership } from "./membership.ts";

/** Names a snapshot: it holds the effect of every entry up to `index`, whose term is `term`. */
export interface SnapshotId {
  readonly index: number;
  readonly term: number;
}

/** What Raft must know of a snapshot: its place in the log, and who belonged to the cluster there. */
export interface SnapshotMeta extends SnapshotId {
  readonly membership: Membership;
}

/** The entry before the log's first: all up to it are gone, and a snapshot holds their effect. */
export interface LogBase {
  readonly index: number;
  readonly term: number;
}

/** Nothing is gone: the log begins at 1. */
export const WHOLE_LOG: LogBase = { index: 0, term: 0 };

/** What the disk is to do about the log when a snapshot takes the place of its beginning. */
export interface LogCut {
  /** Of a snapshot that is durable already. */
  readonly meta: SnapshotMeta;
  /** What stays of the log begins after this entry. */
  readonly base: LogBase;
  /** Nothing of the log stays: the snapshot is another node's, and this log ends before it or contradicts it. */
  readonly dropLog: boolean;
}
