import type { Index, Millis, NodeId, TaskId } from "./ids.ts";
import type { ServiceSpec } from "./spec.ts";

/** Forward only; TRANSITIONS says which step may follow which. */
export type TaskState =
  | "pending"
  | "assigned"
  | "preparing"
  | "starting"
  | "running"
  | "stopping"
  | "complete"
  | "failed"
  | "stopped"
  | "lost"
  | "rejected"
  | "orphaned";

const ENDS = ["complete", "failed", "stopped", "lost", "rejected", "orphaned"] as const;

/**
 * Which state may follow which. A worker may report several steps at once, so every later step is
 * reachable directly; none is ever left for an earlier one (SwarmKit's task model). `running` may
 * follow itself: a restart in place keeps the task. One thing is not in this table: a task that was given up as `lost`
 * is taken back when its node returns and shows that it ran on (apply-return.ts).
 */
export const TRANSITIONS: Readonly<Record<TaskState, readonly TaskState[]>> = {
  pending: ["assigned", "stopped"],
  assigned: ["preparing", "starting", "running", "stopping", ...ENDS],
  preparing: ["starting", "running", "stopping", ...ENDS],
  starting: ["running", "stopping", ...ENDS],
  running: ["stopping", ...ENDS],
  stopping: [...ENDS],
  complete: [],
  failed: [],
  stopped: [],
  lost: [],
  rejected: [],
  orphaned: [],
};

/** Whether a task in this state is over for ever. */
export function isTerminal(state: TaskState): boolean {
  return TRANSITIONS[state].length === 0;
}

export interface TaskPort {
  readonly container: number;
  readonly host: number;
  readonly protocol: "tcp" | "udp";
}

/** One placement of one slot on one node, in the replicated state. Immutable: a change is a new object. */
export interface Task {
  readonly id: TaskId;
  readonly job: string;
  readonly service: string;
  readonly slot: number;
  /** The job's version that this task was made from. */
  readonly version: number;
  /** The service as it was in that version. */
  readonly spec: ServiceSpec;
  /** Null only while pending (or stopped before it was ever placed). */
  readonly node: NodeId | null;
  readonly ports: readonly TaskPort[];
  readonly state: TaskState;
  /** Written by the manager only. */
  readonly desired: "running" | "stopped";
  /** Null: no health check, or not known yet. */
  readonly healthy: boolean | null;
  /** Starts of its container so far, as its worker reported. */
  readonly attempts: number;
  readonly exitCode: number | null;
  /** Why it is pending, or how it ended: a sentence for people. */
  readonly message: string;
  /** The slot's task before this one. */
  readonly previous: TaskId | null;
  /** The log index at which it was taken back after it had been lost; null: it never was. */
  readonly returnedIndex: Index | null;
  /** How many tasks of this slot in a row were rejected before this one: the wait grows with it. */
  readonly rejections: number;
  readonly createdAtMs: Millis;
  readonly startedAtMs: Millis | null;
  readonly finishedAtMs: Millis | null;
  /** The log index of the last change. */
  readonly modifiedIndex: number;
}

/** What a worker reports of a task: the only way observed fields change. */
export interface TaskReport {
  readonly task: TaskId;
  readonly state: TaskState;
  readonly healthy: boolean | null;
  readonly attempts: number;
  readonly exitCode: number | null;
  readonly message: string;
  readonly startedAtMs: Millis | null;
  readonly finishedAtMs: Millis | null;
}
