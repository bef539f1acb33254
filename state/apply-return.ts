import { stopTask } from "./apply-jobs.ts";
import { hasRoom, isCurrent } from "./apply-plan.ts";
import type { TaskId } from "./ids.ts";
import type { NodeRecord } from "./node-record.ts";
import type { Change, Tables } from "./tables.ts";
import { isTerminal, type Task } from "./task.ts";
import { compareCreation } from "./task-table.ts";

/**
 * A node is back that was taken for down, and its worker says that these tasks, which were given up then, run there still. Decides once for each
 * whether it goes on, and says why. At least one: the slot's older task stays, and what took its place is stopped. At most one: only if nothing
 * was placed in its stead.
 */
export function takeBack(
  tables: Tables,
  node: NodeRecord,
  claims: readonly TaskId[],
  change: Change,
): void {
  for (const id of claims) {
    const task = tables.tasks.all.get(id);
    if (task?.state !== "lost" || task.node !== node.id) continue;
    const refusal = whyNot(tables, task);
    if (refusal === null) take(tables, node, task, change);
    else if (isToBeSeenEnding(tables, task)) takeToEnd(tables, node, task, change);
    else {
      const message = `its node ${node.name} is back, but ${refusal}`;
      tables.putTask({ ...task, message, modifiedIndex: change.index }, change, message);
    }
  }
}

function take(tables: Tables, node: NodeRecord, task: Task, change: Change): void {
  const rival = rivalOf(tables, task);
  const taken: Task = {
    ...task,
    state: "running",
    healthy: null,
    message: "",
    returnedIndex: change.index,
    finishedAtMs: null,
    modifiedIndex: change.index,
  };
  const instead = rival === undefined ? "" : `; ${rival.id}, which took its place, is stopped`;
  tables.putTask(
    taken,
    change,
    `taken back: it ran on while its node ${node.name} was away${instead}`,
  );
  if (rival === undefined) return;
  stopTask(
    tables,
    rival,
    `the slot's older task ${task.id} is back with its node ${node.name}`,
    change,
  );
}

/**
 * Its service may not run twice by now, and the task runs without a lease: that nothing is placed beside it, it is taken back to be stopped, and its slot waits
 * for its end as it does for any other's.
 */
function isToBeSeenEnding(tables: Tables, task: Task): boolean {
  const service = tables.jobs
    .get(task.job)
    ?.spec.services.find((candidate) => candidate.name === task.service);
  return task.spec.partition === "at-least-one" && service?.partition === "at-most-one";
}

function takeToEnd(tables: Tables, node: NodeRecord, task: Task, change: Change): void {
  const why = "its service must not run twice by now, and it has no lease";
  const rival = rivalOf(tables, task);
  // One that is placed already would wait for nothing any more.
  if (rival !== undefined && rival.node === null) stopTask(tables, rival, why, change);
  const ending: Task = {
    ...task,
    state: "running",
    desired: "stopped",
    healthy: null,
    message: "",
    returnedIndex: change.index,
    finishedAtMs: null,
    modifiedIndex: change.index,
  };
  const message = `its node ${node.name} is back, where it ran on; told to stop: ${why}`;
  tables.putTask(ending, change, message);
}

/** Null: it goes on. */
function whyNot(tables: Tables, task: Task): string | null {
  const job = tables.jobs.get(task.job);
  if (task.desired === "stopped") return "it was told to stop";
  if (job === undefined || !isCurrent(job, task)) return "its job has no place for it any more";
  const slot = tables.tasks.ofSlot(task.job, task.service, task.slot);
  const rival = rivalOf(tables, task);
  const last = slot.at(-1);
  if (task.spec.partition === "at-most-one") {
    const placed = slot.findLast((other) => isLater(other, task) && other.node !== null) ?? rival;
    if (placed !== undefined && placed.node !== null) return `${placed.id} has taken its place`;
  } else if (rival !== undefined) {
    if (!isLater(rival, task)) return `the slot's older task ${rival.id} runs`;
  } else if (last !== undefined && last !== task && !isUnseen(last)) {
    return `${last.id}, which took its place, is ${last.state}`;
  }
  return task.node !== null && hasRoom(tables, task.node, task.spec, task.ports)
    ? null
    : "the node has no room for it any more";
}

/** The slot's task that is to run now. */
function rivalOf(tables: Tables, { job, service, slot }: Task): Task | undefined {
  return tables.tasks
    .ofSlot(job, service, slot)
    .find(({ state, desired }) => !isTerminal(state) && desired === "running");
}

function isLater(other: Task, task: Task): boolean {
  return compareCreation(other.id, task.id) > 0;
}

/** It came to nothing, and its slot would get another task. */
function isUnseen({ state }: Task): boolean {
  return state === "lost" || state === "orphaned" || state === "rejected";
}
