import type { Fault } from "../../lib/errors.ts";
import type { ContainerStatus, EngineStep, StepOutcome, Usage } from "../../runtime/engine.ts";
import type { SnapshotId, SnapshotMeta } from "../../consensus/snapshot.ts";
import type { ClusterState, StateEvent } from "../../state/cluster.ts";
import type { NodeId, TaskId } from "../../state/ids.ts";
import type { LeaseGuard } from "../../runtime/worker-lease.ts";
import type { DiskWrite } from "../storage.ts";
import type { Member, NodeMessage, Vouch } from "./message.ts";
import type { Request, Response } from "./request.ts";

/** All that can happen to a node. */
export type Event =
  /** TICK_MS have passed (or more: time is `now`, ticks are not counted twice). */
  | { readonly kind: "tick" }
  | { readonly kind: "message"; readonly from: NodeId; readonly message: NodeMessage }
  /** The write is durable; writes complete in order. */
  | { readonly kind: "persisted"; readonly write: number }
  | { readonly kind: "peer-up"; readonly peer: NodeId }
  /** The connection to a peer broke: a hint, never a proof. */
  | { readonly kind: "peer-lost"; readonly peer: NodeId }
  /** Whether other nodes can open a connection to a peer, which may be behind NAT; they can until this says otherwise. */
  | { readonly kind: "dialable"; readonly peer: NodeId; readonly dialable: boolean }
  | {
      readonly kind: "request";
      readonly id: number;
      readonly request: Request;
      readonly timeoutMs: number;
    }
  /** All containers there are: once at the start, and again whenever the engine was away. */
  | { readonly kind: "engine-listed"; readonly statuses: readonly ContainerStatus[] }
  | { readonly kind: "container"; readonly status: ContainerStatus }
  | {
      readonly kind: "step-done";
      readonly task: TaskId;
      readonly step: EngineStep["kind"];
      readonly outcome: StepOutcome;
    }
  /** The snapshot of a `save-snapshot` is durable. */
  | { readonly kind: "snapshot-saved"; readonly meta: SnapshotMeta }
  /** A snapshot of a `fetch-snapshot` is whole and durable here; `state` is what it holds, the node's from now on. */
  | {
      readonly kind: "snapshot-fetched";
      readonly meta: SnapshotMeta;
      readonly state: ClusterState;
    }
  /** The node is about to end, or its operator wishes it: another is to lead, if one can. */
  | { readonly kind: "hand-over" }
  | { readonly kind: "usage"; readonly usage: Usage }
  | { readonly kind: "gossip"; readonly from: NodeId; readonly digest: Digest }
  /** This node is reached at these addresses from now on. */
  | { readonly kind: "moved"; readonly addresses: readonly string[] }
  /** A stranger has proved the join secret and said who the members are, after a `seek`. */
  | { readonly kind: "vouched"; readonly by: NodeId; readonly vouch: Vouch }
  /** Go on with work that an `again` effect left. */
  | { readonly kind: "continue" };

/** All that a node can want done. Performed in order; a `persist` may complete after later effects. */
export type Effect =
  | { readonly kind: "persist"; readonly write: number; readonly data: DiskWrite }
  | { readonly kind: "send"; readonly to: NodeId; readonly message: NodeMessage }
  | { readonly kind: "reply"; readonly id: number; readonly response: Response }
  | { readonly kind: "engine"; readonly step: EngineStep }
  /**
   * What runs under this node's lease, and until when that is good. Whoever performs effects sees to it that these tasks end then even if
   * this process does not run any more, and starts none of them before that is seen to.
   */
  | ({ readonly kind: "lease" } & LeaseGuard)
  /** Who belongs to the cluster, whom to stay connected with, and the secret that a joiner must prove. */
  | {
      readonly kind: "members";
      readonly members: readonly Member[];
      readonly connect: readonly Member[];
      readonly joinSecret: string;
    }
  /**
   * Whether strangers that connect are to be asked to vouch for themselves. Said beforehand: a stranger is sent
   * away as soon as it speaks, and would be gone before the core could answer.
   */
  | { readonly kind: "seek"; readonly on: boolean }
  /** For those who watch the task log. */
  | { readonly kind: "events"; readonly events: readonly StateEvent[] }
  | { readonly kind: "gossip"; readonly digest: Digest }
  /** The chunks are made as they are taken; nothing else may happen to the node in the midst of one. */
  | {
      readonly kind: "save-snapshot";
      readonly meta: SnapshotMeta;
      readonly chunks: Iterable<Uint8Array>;
    }
  /** Said again until it is there: passed over while a fetch is under way. */
  | { readonly kind: "fetch-snapshot"; readonly from: NodeId; readonly id: SnapshotId }
  /** For the operator's log: what the manager decided about the cluster itself, and why. */
  | { readonly kind: "note"; readonly text: string }
  /** Call `continue` soon: there is more to do than one call should take. */
  | { readonly kind: "again" }
  /** This node has left the cluster as it was asked to: end the process in order. */
  | { readonly kind: "left" }
  /** This node cannot go on: end the process with the fault. */
  | { readonly kind: "stop"; readonly fault: Fault };

/** What a node gossips of itself. */
export interface Digest {
  readonly usage: Usage;
  /** That its worker has, and that are not over. */
  readonly tasks: number;
  readonly orchVersion: string;
  /** Its own count, so that an older digest that arrives late is dropped. */
  readonly count: number;
}
