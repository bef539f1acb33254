import type { Millis } from "../state/ids.ts";
import { isTerminal } from "../state/task.ts";
import { verdict } from "./worker-restart.ts";
import type { WorkerTask } from "./worker-task.ts";
import { change, endWait, wait } from "./worker-task.ts";

/** The attempts of a task: what is reported when one begins and when it ends. */

/** The container runs. Counts an attempt unless the report shows this one already. */
export function ran(task: WorkerTask, startedAtMs: Millis, now: Millis): void {
  task.container = "running";
  endWait(task);
  const { report } = task;
  if (isTerminal(report.state)) return;
  task.exitPending = true;
  if (report.state === "stopping") return;
  if (report.state === "running" && report.healthy !== false) {
    change(task, { message: "" });
    return;
  }
  change(task, {
    state: "running",
    healthy: null,
    attempts: report.attempts + 1,
    message: "",
    startedAtMs: Math.min(startedAtMs, now),
  });
}

const YIELDED =
  "stopped: this node lost its lease, as it heard no manager that a quorum follows; it starts here again with the next one";

export interface Ended {
  readonly exitCode: number | null;
  readonly why: string;
  readonly ranMs: number;
  readonly missed: boolean;
  readonly finishedAtMs: Millis;
}

/** An attempt has ended: the restart policy decides, unless the task is being stopped or is over. */
export function attemptEnds(task: WorkerTask, end: Ended, now: Millis): void {
  if (isTerminal(task.report.state)) return lateExitCode(task, end.exitCode);
  task.exitPending = false;
  task.exitCode = end.exitCode;
  const { assignment, report } = task;
  if (assignment === null || report.state === "stopping") return;
  if (task.hasYielded && assignment.desired === "running") {
    change(task, { healthy: false, exitCode: end.exitCode, message: YIELDED });
    return;
  }
  const next = verdict(assignment.restart, { ...end, restarts: task.restarts });
  const { exitCode } = end;
  if (next.kind === "complete") {
    change(task, {
      state: "complete",
      healthy: null,
      exitCode,
      message: "",
      finishedAtMs: end.finishedAtMs,
    });
  } else if (next.kind === "failed") {
    const message =
      next.attempts === 1 ? end.why : `${end.why} after ${next.attempts} attempts in a row`;
    change(task, {
      state: "failed",
      healthy: null,
      exitCode,
      message,
      finishedAtMs: end.finishedAtMs,
    });
  } else if (assignment.desired === "running") {
    task.restarts = next.restarts;
    if (next.delayMs > 0) wait(task, next.delayMs, now);
    change(task, { healthy: false, exitCode, message: restartMessage(end, next.delayMs) });
  }
}

function restartMessage(end: Ended, delayMs: number): string {
  const when = delayMs === 0 ? "restarting" : `restarting in ${delayMs / 1_000} s`;
  return end.exitCode === null
    ? `${when}: ${end.why}`
    : `${when} after ${end.why.replace("exited with code", "exit code")}`;
}

/** A stop may be answered before its exit is seen: the code, and nothing else, is added to the report. */
export function lateExitCode(task: WorkerTask, exitCode: number | null): void {
  if (!task.exitPending) return;
  task.exitPending = false;
  task.exitCode = exitCode;
  if (task.assignment !== null && task.report.state === "stopped") change(task, { exitCode });
}

/**
 * A container that ended while no assignment named the task, which has been assigned (again) since:
 * the end is nobody's fault.
 */
export function endedUnclaimed(task: WorkerTask, now: Millis): void {
  const { report } = task;
  const down = task.container === "exited" || task.container === "absent";
  if (task.assignment === null || !down || report.state !== "running" || report.healthy === false)
    return;
  const exitCode = task.exitPending ? null : task.exitCode;
  const why = exitCode === null ? "its container had ended" : `exited with code ${exitCode}`;
  attemptEnds(task, { exitCode, why, ranMs: 0, missed: true, finishedAtMs: now }, now);
}

/** Whether the task's container has ever run, as far as is known. */
export function hasRun(task: WorkerTask): boolean {
  return task.report.state === "running" || task.report.state === "stopping";
}
