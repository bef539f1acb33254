import type { Index, Millis, NodeId, TaskId } from "./ids.ts";
import type { NodeFacts } from "./node-record.ts";
import type { JobSpec } from "./spec.ts";
import type { TaskPort, TaskReport } from "./task.ts";

/** What the log orders. Each is checked again when it is applied: the state may have moved on meanwhile. */
export type Command =
  /** The first command of a cluster. `joinSecret` is base64url of 32 random bytes. */
  | {
      readonly kind: "cluster-init";
      readonly clusterId: string;
      readonly joinSecret: string;
      readonly featureLevel: number;
    }
  /**
   * Disaster recovery: what `node` has of the state goes on as another cluster, so that nodes of the lost one cannot
   * mix with it. Every other node is removed.
   */
  | {
      readonly kind: "cluster-recover";
      readonly clusterId: string;
      readonly joinSecret: string;
      readonly node: NodeId;
    }
  /** Another join secret: a token with the old one lets nobody in any more. Base64url of its 32 bytes. */
  | { readonly kind: "join-secret-put"; readonly joinSecret: string }
  /** Every member understands this level: see feature-level.ts. */
  | { readonly kind: "feature-level"; readonly level: number }
  /** A node joins, or joins again after it lost its log: it gets a new raft id either way. */
  | { readonly kind: "node-admit"; readonly node: NodeId; readonly facts: NodeFacts }
  | { readonly kind: "node-facts"; readonly node: NodeId; readonly facts: NodeFacts }
  /**
   * `claims`: with `ready`, tasks that were given up with the node and run there still, as its worker says. `reason`: with `down`, what
   * was seen, in words.
   */
  | {
      readonly kind: "node-liveness";
      readonly node: NodeId;
      readonly liveness: "ready" | "down";
      readonly claims: readonly TaskId[];
      readonly reason: string;
    }
  /** A node is to leave: its tasks are told to stop and run elsewhere. It is a member until it is removed. */
  | { readonly kind: "node-leave"; readonly node: NodeId }
  /** A node is gone for good, whether it left or was lost. `force`: also one that is up and was not told to leave. */
  | { readonly kind: "node-remove"; readonly node: NodeId; readonly force: boolean }
  /** `ifVersion`: null, or the version that the job must have now (0: must not exist). */
  | { readonly kind: "job-put"; readonly spec: JobSpec; readonly ifVersion: number | null }
  /** Stops a job, one service of it, or starts nothing if it is stopped already. */
  | { readonly kind: "job-stop"; readonly job: string; readonly service: string | null }
  /** Whatever the brake holds back is placed: of the nodes that are down by now, none counts for it any more. */
  | { readonly kind: "brake-release" }
  /** A job from a backup: made with the version and the stopped services that it had, if there is none of its name. */
  | {
      readonly kind: "job-restore";
      readonly spec: JobSpec;
      readonly stopped: readonly string[];
      readonly version: number;
    }
  /** Stops one task for good; its slot gets a new one if its service still wants it. */
  | { readonly kind: "task-stop"; readonly task: TaskId }
  /** `data`: base64url without padding. `ifVersion`: null, or the version that it must have now (0: must not exist). */
  | {
      readonly kind: "config-put";
      readonly name: string;
      readonly data: string;
      readonly ifVersion: number | null;
    }
  | { readonly kind: "config-remove"; readonly name: string; readonly ifVersion: number | null }
  /** A config from a backup: made with the version that it had, if there is none of its name. */
  | {
      readonly kind: "config-restore";
      readonly name: string;
      readonly data: string;
      readonly version: number;
    }
  /** The scheduler's decisions of one pass. */
  | { readonly kind: "plan"; readonly steps: readonly PlanStep[] }
  /** A worker's batch. */
  | {
      readonly kind: "task-reports";
      readonly node: NodeId;
      readonly reports: readonly TaskReport[];
    };

export type PlanStep =
  /** A new task for a slot; placed at once when `node` is given, else pending with the reason in `message`. */
  | {
      readonly kind: "create";
      readonly job: string;
      readonly service: string;
      readonly slot: number;
      readonly version: number;
      readonly previous: TaskId | null;
      readonly rejections: number;
      readonly node: NodeId | null;
      readonly ports: readonly TaskPort[];
      readonly message: string;
    }
  | {
      readonly kind: "assign";
      readonly task: TaskId;
      readonly node: NodeId;
      readonly ports: readonly TaskPort[];
      readonly message: string;
    }
  /** A pending task's reason has changed. */
  | { readonly kind: "explain"; readonly task: TaskId; readonly message: string }
  | { readonly kind: "stop"; readonly task: TaskId; readonly message: string }
  /** A finished task that history no longer needs. */
  | { readonly kind: "forget"; readonly task: TaskId };

/** What stands in a log entry. The manager puts the time in, so every node applies the same. */
export interface Envelope {
  readonly command: Command;
  readonly timeMs: Millis;
  /** The idempotency key of the request that caused it; null for the manager's own. */
  readonly key: string | null;
  /**
   * The log index that the node which took the request knew of then: the command was not applied before. Null where
   * there is no key.
   */
  readonly since: Index | null;
}
