import type { ClusterState } from "../state/cluster.ts";
import { type Millis, nodeId, type TaskId } from "../state/ids.ts";
import { fenceMs } from "../state/lease.ts";
import { clockTime } from "./held-back.ts";
import type { ServiceSpec } from "../state/spec.ts";
import type { Task } from "../state/task.ts";

/** A slot whose earlier task may still run where nobody sees it. */
export interface Fence {
  readonly message: string;
  /** On the clock of this manager; null: not before its node is back, or removed. */
  readonly untilMs: Millis | null;
}

/**
 * Since when, on the clock of this manager, it has been known that the task is not seen any more. Of a task that was lost
 * before this process knew of anything: since it knows.
 */
export type UnseenSince = (task: TaskId) => Millis;

/** What a slot of a service with `partition: at-most-one` waits for before it gets a place; null: for nothing. `tasks`: all of the slot. */
export function fenceOf(
  state: ClusterState,
  service: ServiceSpec,
  tasks: readonly Task[],
  unseenSince: UnseenSince,
  now: Millis,
): Fence | null {
  if (service.partition !== "at-most-one") return null;
  for (const task of tasks) {
    const untilMs = mayRunUntil(state, task, unseenSince);
    if (untilMs !== null && untilMs <= now) continue;
    const name = state.nodes.get(task.node ?? NOWHERE)?.name ?? "a node that was removed";
    if (untilMs === null) {
      const message = `held back: ${task.id} may still run on ${name}, which is down, and has no lease that would end it; bring the node back, or make sure that its machine is off and then \`orch node rm ${name}\``;
      return { message, untilMs };
    }
    const message = `held back until ${clockTime(untilMs)}: ${task.id} was on ${name} and has until then to end (partition: at-most-one)`;
    return { message, untilMs };
  }
  return null;
}

/** Whether a task that ended unseen may still be needed to hold its slot's next one back. */
export function isFenced(task: Task, unseenSince: UnseenSince, now: Millis): boolean {
  if (!isUnseen(task) || task.spec.partition !== "at-most-one") return false;
  return unseenSince(task.id) + fenceMs(task.spec.stopGraceMs) > now;
}

const NOWHERE = nodeId("");

/** 0: it does not run; null: nobody can say. */
function mayRunUntil(state: ClusterState, task: Task, unseenSince: UnseenSince): Millis | null {
  if (!isUnseen(task) || task.node === null) return 0;
  if (task.spec.partition === "at-most-one") {
    return unseenSince(task.id) + fenceMs(task.spec.stopGraceMs);
  }
  return state.nodes.get(task.node)?.liveness === "down" ? null : 0;
}

/**
 * Whether a task may run on where nobody sees it, until its node is back or somebody makes sure that it does not: lost since its node went down, and without
 * a lease, whatever its service asks for by now.
 */
export function runsUnseen(state: ClusterState, task: Task): boolean {
  if (task.state !== "lost" || task.node === null) return false;
  const node = state.nodes.get(task.node);
  const isSince = node?.liveness === "down" && task.modifiedIndex >= node.livenessIndex;
  return isSince && task.spec.partition === "at-least-one";
}

function isUnseen({ state }: Task): boolean {
  return state === "lost" || state === "orphaned";
}
