import type { Millis } from "../state/ids.ts";
import type { ContainerStatus } from "./engine.ts";
import type { Ended } from "./worker-attempt.ts";
import { attemptEnds, lateExitCode, ran } from "./worker-attempt.ts";
import type { Run, WorkerTask } from "./worker-task.ts";

/** What a worker sees of a task's container, in the engine's lists and its watch; both may tell it late. */

/** A list may have been taken before a step that ended this recently: it proves nothing against that step. */
const LIST_AGE_MS = 10_000;

const REMOVED_REASON = "its container was removed by somebody else";

/**
 * What the engine says of the container. `missed`: the first look after the node's start, so what
 * ended meanwhile (a reboot ends everything) is not held against the task.
 */
export function saw(task: WorkerTask, status: ContainerStatus, missed: boolean, now: Millis): void {
  if (task.step === "remove") return;
  switch (status.state) {
    case "created":
      return;
    case "running":
      return sawRunning(task, status, now);
    case "exited":
      return sawExited(task, status, missed, now);
    case "gone":
      return sawGone(task, status, missed, now);
  }
}

/** A list has the container as created. Lists only: a watch that says so late would undo a start. */
export function listedAsCreated(task: WorkerTask, now: Millis): void {
  if (task.step !== null) return;
  if (!mayRun(task)) task.container = "created";
  else if (!steppedRecently(task, now)) task.container = "unknown";
}

/** A list does not have the container. */
export function notListed(task: WorkerTask, missed: boolean, now: Millis): void {
  if (task.step !== null || task.container === "absent") return;
  if (!steppedRecently(task, now)) sawGone(task, null, missed, now);
  // Making it again is harmless; starting it again is not, if it has done its work meanwhile.
  else if (!mayRun(task)) task.container = "doubtful";
}

function mayRun(task: WorkerTask): boolean {
  return task.container === "running" || task.container === "unknown";
}

function steppedRecently(task: WorkerTask, now: Millis): boolean {
  return task.steppedAtMs !== null && now - task.steppedAtMs < LIST_AGE_MS;
}

function sawRunning(task: WorkerTask, status: ContainerStatus, now: Millis): void {
  const { startedAtMs } = status;
  // Told late: that run, or one after it, has ended already.
  if (startedAtMs !== null && startedAtMs <= (task.lastRun?.startedAtMs ?? -1)) return;
  if (task.step === "stop") return;
  if (task.step === "start") task.startSeen = true;
  ran(task, startedAtMs ?? now, now);
}

function sawExited(task: WorkerTask, status: ContainerStatus, missed: boolean, now: Millis): void {
  if (sameRun(task.lastRun, status)) {
    if (task.step === null && !mayRun(task)) task.container = "exited";
    return;
  }
  const expected = task.step === "start" || mayRun(task);
  // What was waiting for its restart had ended before the node did.
  const found = missed && task.container !== "exited" && task.report.healthy !== false;
  // A list may tell of a run before the last one.
  if (expected || (task.lastRun?.startedAtMs ?? 0) <= (status.startedAtMs ?? 0)) {
    task.lastRun = { startedAtMs: status.startedAtMs, finishedAtMs: status.finishedAtMs };
  }
  if (!expected && !found) {
    task.container = "exited";
    lateExitCode(task, status.exitCode);
    return;
  }
  // Perhaps of a run before the start that is in flight, or was not answered: that one may run now.
  const startedAtMs = status.startedAtMs ?? Infinity;
  const earlier = startedAtMs <= task.startBeganAtMs;
  const stale = startedAtMs < task.startBeganAtMs && steppedRecently(task, now);
  const open = task.step === "start" || task.container === "unknown";
  const doubtful = open ? earlier : task.container === "running" && stale;
  if (task.step === "start") task.startSeen = true;
  ran(task, status.startedAtMs ?? now, now);
  task.container = doubtful ? "unknown" : "exited";
  attemptEnds(task, endOf(task, status, missed || task.step === "stop", now), now);
}

function endOf(task: WorkerTask, status: ContainerStatus, missed: boolean, now: Millis): Ended {
  const { exitCode, message } = status;
  const finishedAtMs = Math.min(status.finishedAtMs ?? now, now);
  const startedAtMs = status.startedAtMs ?? task.report.startedAtMs ?? finishedAtMs;
  const ranMs = Math.max(0, finishedAtMs - startedAtMs);
  const note = message === "" ? "" : ` (${message})`;
  const why = exitCode === null ? `exited${note}` : `exited with code ${exitCode}${note}`;
  return { exitCode, why, ranMs, missed, finishedAtMs };
}

/** `status`: null when a list is what says so. */
function sawGone(
  task: WorkerTask,
  status: ContainerStatus | null,
  missed: boolean,
  now: Millis,
): void {
  // A create answers for itself; a stop counts a container that is gone as a success.
  if (task.step === "create") return;
  if (status !== null && task.container === "running") {
    const { startedAtMs, finishedAtMs } = status;
    // Told late: of a container before this one, whose run has ended already
    if (startedAtMs !== null && task.lastRun?.startedAtMs === startedAtMs) return;
    // or which never ran. But it may be this one: starting it again tells.
    if (startedAtMs === null && task.step === null && steppedRecently(task, now)) {
      task.container = "unknown";
      return;
    }
    // A list that is older than this must not bring the run back.
    task.lastRun = { startedAtMs, finishedAtMs };
  }
  // Only a run that was seen has ended: a start that nobody saw work may never have.
  if (task.container !== "running" || task.step === "stop") {
    task.container = "absent";
    return;
  }
  ran(task, now, now);
  task.container = "absent";
  const ranMs = Math.max(0, now - (task.report.startedAtMs ?? now));
  attemptEnds(task, { exitCode: null, why: REMOVED_REASON, ranMs, missed, finishedAtMs: now }, now);
}

function sameRun(a: Run | null, b: Run): boolean {
  if (a === null || a.startedAtMs === null || a.finishedAtMs === null) return false;
  return a.startedAtMs === b.startedAtMs && a.finishedAtMs === b.finishedAtMs;
}
