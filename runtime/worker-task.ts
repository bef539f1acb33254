import { assert } from "../lib/assert.ts";
import type { Millis, TaskId } from "../state/ids.ts";
import type { TaskReport, TaskState } from "../state/task.ts";
import { TRANSITIONS, isTerminal } from "../state/task.ts";
import type { ContainerStatus, EngineStep } from "./engine.ts";
import type { Assignment } from "./worker-memory.ts";

/**
 * One task on its worker: what is wanted of it, what is known of its container, and what was reported.
 * STEPS says what follows from the first two; nothing else starts a step.
 */

/**
 * What is wanted of a task's container. `leave`: nobody has claimed it yet, so it is not touched. `yield`: it may not run before
 * its node holds a lease again.
 */
export type Goal = "run" | "yield" | "stop" | "keep" | "remove" | "leave";

/** What is known of a task's container. */
export type Container =
  | "absent"
  /** It does not run; whether it exists is not known (an unanswered create, a refused start). */
  | "doubtful"
  /** Never started. */
  | "created"
  /** It exists; whether it runs is not known (an unanswered start). */
  | "unknown"
  | "running"
  | "exited";

export type StepKind = EngineStep["kind"];

/** The next step. Null: the goal is reached. Every step is idempotent, so doubt is resolved by doing it again. */
export const STEPS: Readonly<Record<Goal, Readonly<Record<Container, StepKind | null>>>> = {
  run: {
    absent: "create",
    doubtful: "create",
    created: "start",
    unknown: "start",
    running: null,
    exited: "start",
  },
  yield: {
    absent: null,
    doubtful: null,
    created: null,
    unknown: "stop",
    running: "stop",
    exited: null,
  },
  stop: {
    absent: null,
    doubtful: null,
    created: "remove",
    unknown: "stop",
    running: "stop",
    exited: null,
  },
  // Over: its container stays for its logs, but does not run again, whoever started it.
  keep: {
    absent: null,
    doubtful: null,
    created: null,
    unknown: "stop",
    running: "stop",
    exited: null,
  },
  remove: {
    absent: null,
    doubtful: "remove",
    created: "remove",
    unknown: "stop",
    running: "stop",
    exited: "remove",
  },
  leave: {
    absent: null,
    doubtful: null,
    created: null,
    unknown: null,
    running: null,
    exited: null,
  },
};

/** The grace of a container whose assignment nobody remembers. */
export const UNASSIGNED_GRACE_MS = 10_000;

/** The start and end of a run: two statuses that agree in it tell of the same run. */
export type Run = Pick<ContainerStatus, "startedAtMs" | "finishedAtMs">;

/** One task of the worker. Changed by worker-steps, worker-sight and worker-attempt only. */
export interface WorkerTask {
  readonly id: TaskId;
  /** Null: a container that no assignment names. */
  assignment: Assignment | null;
  report: TaskReport;
  /** The report has changed since it was last handed out. */
  changed: boolean;
  /** Its container is to go. */
  condemned: boolean;
  graceMs: number;
  /** It may run only under a lease. */
  leased: boolean;
  /** There is none. */
  isHalted: boolean;
  /** No assignment names it any more: when the lease is over under which it ran last. Null: it has one. */
  lastLeaseMs: Millis | null;
  /** Its container was stopped, or is being, for want of one: that is no end of an attempt. */
  hasYielded: boolean;
  container: Container;
  /** The step in flight. */
  step: StepKind | null;
  /** When the last start began; before the first: 0. */
  startBeganAtMs: Millis;
  /** The watch has told how the start in flight went, before its answer came. */
  startSeen: boolean;
  /** When its last step ended; null: none of this process has. */
  steppedAtMs: Millis | null;
  /** No step before this. */
  waitUntilMs: Millis | null;
  /** How long that wait is: a clock that is set back must not prolong it. */
  waitMs: number;
  /** Steps in a row that the engine did not answer. */
  retries: number;
  /** Consecutive restarts; begins anew with the process. */
  restarts: number;
  /** A run whose exit code is not known yet. */
  exitPending: boolean;
  exitCode: number | null;
  /** The last run whose end was seen. */
  lastRun: Run | null;
}

/** A task that nothing is known of but, perhaps, what an earlier process of this node remembered. */
export function newTask(
  id: TaskId,
  assignment: Assignment | null,
  remembered: TaskReport | null,
): WorkerTask {
  const report = remembered ?? {
    task: id,
    state: "assigned",
    healthy: null,
    attempts: 0,
    exitCode: null,
    message: "",
    startedAtMs: null,
    finishedAtMs: null,
  };
  const running =
    report.state === "stopping" || (report.state === "running" && report.healthy !== false);
  return {
    id,
    assignment,
    report,
    changed: false,
    condemned: false,
    graceMs: assignment?.stopGraceMs ?? UNASSIGNED_GRACE_MS,
    leased: assignment?.leased === true,
    isHalted: false,
    lastLeaseMs: null,
    hasYielded: false,
    container: running ? "running" : "absent",
    step: null,
    startBeganAtMs: 0,
    startSeen: false,
    steppedAtMs: null,
    waitUntilMs: null,
    waitMs: 0,
    retries: 0,
    restarts: 0,
    exitPending: running,
    exitCode: report.exitCode,
    lastRun: null,
  };
}

export function goalOf(task: WorkerTask): Goal {
  if (task.condemned) return "remove";
  if (task.assignment === null) return "leave";
  if (isTerminal(task.report.state)) return "keep";
  if (task.assignment.desired === "stopped") return "stop";
  return task.isHalted ? "yield" : "run";
}

export function wait(task: WorkerTask, delayMs: number, now: Millis): void {
  task.waitUntilMs = now + delayMs;
  task.waitMs = delayMs;
}

/** Whatever it waited for is no reason to wait any longer. */
export function endWait(task: WorkerTask): void {
  task.waitUntilMs = null;
  task.retries = 0;
}

/** Moves the report on to `state`, if that is forward from where it is. */
export function advance(task: WorkerTask, state: TaskState): void {
  if (TRANSITIONS[task.report.state].includes(state)) change(task, { state, message: "" });
}

export function change(task: WorkerTask, fields: Partial<TaskReport>): void {
  const next: TaskReport = { ...task.report, ...fields };
  const { state } = task.report;
  assert(
    next.state === state || TRANSITIONS[state].includes(next.state),
    `task ${task.id} cannot become ${next.state} from ${state}`,
  );
  assert(next.attempts >= task.report.attempts, `task ${task.id}: attempts only grow`);
  if (sameReport(next, task.report)) return;
  task.report = next;
  task.changed = true;
}

function sameReport(a: TaskReport, b: TaskReport): boolean {
  const other = new Map<string, unknown>(Object.entries(b));
  return Object.entries(a).every(([key, value]) => other.get(key) === value);
}
