import type { Message } from "../../consensus/message.ts";
import type { Usage } from "../../runtime/engine.ts";
import type { Assignment } from "../../runtime/worker-memory.ts";
import type { NodeId, TaskId } from "../../state/ids.ts";
import type { NodeFacts } from "../../state/node-record.ts";
import type { TaskReport } from "../../state/task.ts";
import type { Request, Response } from "./request.ts";

/** A member as every node knows it: enough to reach it and to place it in Raft. */
export interface Member {
  readonly id: NodeId;
  readonly raftId: number;
  readonly name: string;
  readonly addresses: readonly string[];
  /** Whether it holds the log: a voter or a learner. */
  readonly holdsLog: boolean;
}

/** What a member that has proved the join secret says to one that has lost the cluster. */
export interface Vouch {
  /** The log's holders, the asker and the voucher: enough to find all others. */
  readonly members: readonly Member[];
  /** The log index as of which that is known. */
  readonly index: number;
}

/** What an observer misses: the stream to `subject` broke (`reset`), or nothing came for too long; others found it neither. */
export interface Alert {
  readonly subject: NodeId;
  readonly how: "reset" | "silent";
  /** Since when, before the message was sent. */
  readonly ageMs: number;
}

/** What nodes say to each other, besides the join. All of it may be lost, and none of it is trusted to be new. */
export type NodeMessage =
  | { readonly kind: "raft"; readonly clusterId: string; readonly message: Message }
  /** An answer to Raft under an id that its node has lost for ever: whoever still has it must stop. */
  | { readonly kind: "removed"; readonly raftId: number }
  /** What a holder of the log has made of it, for the manager to compare with its own. */
  | { readonly kind: "state-mark"; readonly index: number; readonly hash: string }
  /** It is not what the others have made of it: whoever hears this of the manager must stop. */
  | { readonly kind: "state-differs"; readonly index: number }
  /** An observer asks its subject, or one that another asked for, whether it is there. */
  | { readonly kind: "probe"; readonly n: number }
  | { readonly kind: "probe-reply"; readonly n: number }
  /** An observer cannot hear its subject: can the addressee? */
  | { readonly kind: "probe-for"; readonly n: number; readonly subject: NodeId }
  | { readonly kind: "probed-for"; readonly n: number; readonly there: boolean }
  /** The sender, which holds the log, cannot dial the addressee, or can again. */
  | { readonly kind: "hidden"; readonly hidden: boolean }
  /** All that its sender misses now; counts for so long. To every holder of the log. */
  | { readonly kind: "alerts"; readonly alerts: readonly Alert[]; readonly validMs: number }
  /** A worker asks the manager for its assignments. `session`: its own number, higher each time. */
  | {
      readonly kind: "session-open";
      readonly session: number;
      readonly raftId: number;
      readonly facts: NodeFacts;
      readonly reports: readonly TaskReport[];
      /** The hash of the members that earlier sets have told it of, by whichever manager. */
      readonly members: string;
    }
  /**
   * Not here: `manager` is who it believes to lead; null: nobody known. As a whole member, since the asker
   * may have been away for so long that it does not know of it, and would not let it in.
   */
  | { readonly kind: "session-refused"; readonly session: number; readonly manager: Member | null }
  /** The asker is no member any more: it must stop. `left`: as it was asked to. */
  | { readonly kind: "session-removed"; readonly session: number; readonly left: boolean }
  | SessionSet
  | {
      readonly kind: "session-beat";
      readonly session: number;
      readonly usage: Usage | null;
      /** The last set that it has taken over. */
      readonly seq: number;
      /** It runs what needs a lease: the number of this question for one. Null: it needs none. */
      readonly lease: number | null;
    }
  /** The lease that was asked for under that number, good for LEASE_MS from then on. */
  | { readonly kind: "session-lease"; readonly session: number; readonly lease: number }
  /** `index`: the log index that the manager has applied. */
  | { readonly kind: "session-beat-reply"; readonly session: number; readonly index: number }
  | {
      readonly kind: "session-reports";
      readonly session: number;
      readonly batch: number;
      readonly reports: readonly TaskReport[];
    }
  /** The batch is committed. */
  | { readonly kind: "session-reports-ack"; readonly session: number; readonly batch: number }
  /** `since`: the log index that the sender knew of when it took the request. */
  | {
      readonly kind: "forward";
      readonly id: number;
      readonly request: Request;
      readonly since: number;
    }
  | { readonly kind: "forwarded"; readonly id: number; readonly outcome: ForwardOutcome };

/**
 * All members (`whole`), or what changed: in a full set since the list that the opening named, in others since the last
 * set that had some.
 */
export interface MemberChange {
  readonly whole: boolean;
  readonly upsert: readonly Member[];
  readonly gone: readonly NodeId[];
}

/** Assignments and members: all of them (`full`), or what changed since set `seq - 1`. */
export interface SessionSet {
  readonly kind: "session-set";
  readonly session: number;
  readonly seq: number;
  readonly full: boolean;
  readonly upsert: readonly Assignment[];
  readonly remove: readonly TaskId[];
  /** The log index that the manager had applied. */
  readonly index: number;
  /** The cluster's: a node that holds no log hears it nowhere else. */
  readonly featureLevel: number;
  /** Null: unchanged. */
  readonly members: MemberChange | null;
  readonly joinSecret: string;
}

/** What a worker says to the manager, and what that says to it: their session. */
export type FromWorker = Extract<
  NodeMessage,
  { kind: "session-open" | "session-beat" | "session-reports" }
>;
export type FromManager = Exclude<Extract<NodeMessage, { session: number }>, FromWorker>;

export function isFromWorker(m: NodeMessage): m is FromWorker {
  return m.kind === "session-open" || m.kind === "session-beat" || m.kind === "session-reports";
}

export function isFromManager(m: NodeMessage): m is FromManager {
  return m.kind.startsWith("session-") && !isFromWorker(m);
}

/** The log index that an outcome speaks of; 0: of none. */
export function indexOf(outcome: ForwardOutcome): number {
  const isOk = outcome.kind === "answered" && outcome.response.kind === "ok";
  return isOk ? outcome.response.index : 0;
}

export type ForwardOutcome =
  | { readonly kind: "answered"; readonly response: Response }
  /** Not done by this node, or not known whether: ask again, whoever leads now. `tried`: it may have been done. */
  | { readonly kind: "try-again"; readonly manager: NodeId | null; readonly tried: boolean };
