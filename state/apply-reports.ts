import type { Command } from "./command.ts";
import type { Millis } from "./ids.ts";
import type { Change, Tables } from "./tables.ts";
import type { Task, TaskReport } from "./task.ts";
import { isTerminal, TRANSITIONS } from "./task.ts";

const MAX_MESSAGE = 1000;

/**
 * Takes over what a worker saw of its own tasks. What does not fit (another node's task, a step back, a
 * task that is over) is passed by: the worker may not have heard yet. Returns whether anything changed.
 */
export function applyReports(
  tables: Tables,
  command: Extract<Command, { kind: "task-reports" }>,
  change: Change,
): boolean {
  let changed = false;
  for (const report of command.reports) {
    const task = tables.tasks.all.get(report.task);
    if (task === undefined || task.node !== command.node || !fits(task, report)) continue;
    const next = merge(task, report, change);
    if (saysTheSame(task, next)) continue;
    tables.putTask(next, change, eventMessage(task, next));
    changed = true;
  }
  return changed;
}

function fits(task: Task, report: TaskReport): boolean {
  const integers = [report.attempts, report.exitCode, report.startedAtMs, report.finishedAtMs];
  if (!integers.every((value) => value === null || Number.isSafeInteger(value))) return false;
  if (report.state === task.state) return !isTerminal(task.state);
  return TRANSITIONS[task.state].includes(report.state);
}

function merge(task: Task, report: TaskReport, change: Change): Task {
  return {
    ...task,
    state: report.state,
    healthy: report.healthy,
    attempts: report.attempts,
    exitCode: report.exitCode,
    message: report.message.slice(0, MAX_MESSAGE),
    startedAtMs: report.startedAtMs ?? task.startedAtMs,
    finishedAtMs: isTerminal(report.state) ? endOf(report, change.timeMs) : null,
    modifiedIndex: change.index,
  };
}

/** The wait after a rejection is counted from here, by the manager's clock: a worker's may be wrong. */
function endOf(report: TaskReport, nowMs: Millis): Millis {
  return report.state === "rejected" ? nowMs : Math.min(report.finishedAtMs ?? nowMs, nowMs);
}

function saysTheSame(a: Task, b: Task): boolean {
  return (
    a.state === b.state &&
    a.healthy === b.healthy &&
    a.attempts === b.attempts &&
    a.exitCode === b.exitCode &&
    a.message === b.message &&
    a.startedAtMs === b.startedAtMs &&
    a.finishedAtMs === b.finishedAtMs
  );
}

/** Null: nothing that belongs into the history. */
function eventMessage(before: Task, after: Task): string | null {
  if (before.state !== after.state) return after.message;
  if (before.attempts === after.attempts && before.healthy === after.healthy) {
    return before.message === after.message ? null : after.message;
  }
  if (after.message !== "") return after.message;
  if (before.attempts !== after.attempts) return `attempt ${after.attempts}`;
  return after.healthy === false ? "unhealthy" : "healthy";
}
