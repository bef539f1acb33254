import { assert } from "../lib/assert.ts";
import type { Fault } from "../lib/errors.ts";
import type { Millis } from "../state/ids.ts";
import type { StepOutcome } from "./engine.ts";
import { attemptEnds, endedUnclaimed, hasRun, ran } from "./worker-attempt.ts";
import type { Assignment } from "./worker-memory.ts";
import { doubled } from "./worker-restart.ts";
import type { StepKind, WorkerTask } from "./worker-task.ts";
import { advance, change, endWait, goalOf, wait } from "./worker-task.ts";

/** What a worker does to a task: its assignment comes and goes, its steps begin and end. */

/** An engine that does not answer is asked again after 1 s, then after twice as long each time, up to 30 s. */
const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 30_000;

/** A stop that must be done before the fence is over is tried again this soon. */
const LEASED_RETRY_MS = 250;

/** Hands the task a new or changed assignment. */
export function assigned(task: WorkerTask, assignment: Assignment, now: Millis): void {
  const before = goalOf(task);
  const claimed = task.assignment === null;
  task.assignment = assignment;
  task.condemned = false;
  task.graceMs = assignment.stopGraceMs;
  task.leased = assignment.leased;
  if (before !== goalOf(task)) endWait(task);
  if (claimed && task.report.state !== "assigned") task.changed = true;
  if (claimed && task.step === null) endedUnclaimed(task, now);
}

/** The assignment is gone: so must be its container. */
export function condemn(task: WorkerTask): void {
  if (task.condemned) return;
  task.condemned = true;
  task.assignment = null;
  endWait(task);
}

/** The goal of stopping is reached: the task is over. */
export function settleStopped(task: WorkerTask, now: Millis): void {
  assert(
    goalOf(task) === "stop" && task.step === null,
    "a task is stopped when nothing of it is under way",
  );
  const started = task.report.attempts > 0;
  change(task, {
    state: "stopped",
    healthy: null,
    exitCode: task.exitPending ? null : task.exitCode,
    message: started ? "" : "stopped before it was started",
    finishedAtMs: now,
  });
  endWait(task);
}

/** A step is handed to the engine. */
export function stepBegins(task: WorkerTask, kind: StepKind, now: Millis): void {
  assert(task.step === null, `task ${task.id} has a step in flight`);
  const goal = goalOf(task);
  task.step = kind;
  task.waitUntilMs = null;
  task.startSeen = false;
  if (kind === "start") task.hasYielded = false;
  if (kind === "start") task.startBeganAtMs = now;
  if (goal === "run" && kind === "create") advance(task, "preparing");
  if (goal === "run" && kind === "start") advance(task, "starting");
  if (goal === "stop") advance(task, "stopping");
}

/** The engine has answered the step in flight. */
export function stepEnds(
  task: WorkerTask,
  kind: StepKind,
  outcome: StepOutcome,
  now: Millis,
): void {
  assert(
    task.step === kind,
    `task ${task.id}: a ${kind} ended, but ${task.step ?? "nothing"} was in flight`,
  );
  task.step = null;
  task.steppedAtMs = now;
  if (outcome.kind === "failed") return stepFails(task, kind, outcome.fault, now);
  task.retries = 0;
  switch (kind) {
    case "create":
      // The watch may have told more already, when the container was there before.
      if (task.container === "absent" || task.container === "doubtful") task.container = "created";
      return;
    case "start":
      return startDone(task, now);
    case "stop":
      if (task.container !== "absent") task.container = "exited";
      return endedUnclaimed(task, now);
    case "remove":
      task.container = "absent";
      return endedUnclaimed(task, now);
  }
}

function startDone(task: WorkerTask, now: Millis): void {
  if (task.startSeen) return;
  // Perhaps an earlier container of the task: it is told late that it has gone.
  const gone = task.container === "absent";
  ran(task, now, now);
  if (gone) task.container = "unknown";
}

function stepFails(task: WorkerTask, kind: StepKind, reason: Fault, now: Millis): void {
  const refused = reason.code === "image-missing" || reason.code === "engine-refused";
  if (kind === "create") {
    // The watch has seen the container run: the answer is wrong or late.
    if (task.container === "running" || task.container === "exited") return;
    task.container = "doubtful";
    if (refused) return attemptRefused(task, reason, now);
  }
  if (kind === "start") {
    // What the watch has told already is no refusal: it ran, or somebody removed it before it could.
    if (task.startSeen || task.container === "absent") return;
    if (!refused) task.container = "unknown";
    else task.container = hasRun(task) ? "doubtful" : "created";
    if (refused) return attemptRefused(task, reason, now);
  }
  const isUrgent = task.leased && kind === "stop";
  const retryMs = doubled(FIRST_RETRY_MS, task.retries, MAX_RETRY_MS);
  wait(task, isUrgent ? LEASED_RETRY_MS : retryMs, now);
  task.retries += 1;
  const goal = goalOf(task);
  // Without the seconds: one report says it, however often it is tried.
  if (goal === "stop" || (goal === "run" && (kind === "create" || kind === "start"))) {
    change(task, { message: `${sentence(reason)}; trying again` });
  }
}

/** The engine will not create or start it: final if it never ran, else an attempt that failed. */
function attemptRefused(task: WorkerTask, reason: Fault, now: Millis): void {
  task.retries = 0;
  if (goalOf(task) !== "run") return;
  const attempts = task.report.attempts + 1;
  if (!hasRun(task)) {
    change(task, { state: "rejected", attempts, message: reason.message, finishedAtMs: now });
    return;
  }
  change(task, { attempts });
  attemptEnds(
    task,
    { exitCode: null, why: sentence(reason), ranMs: 0, missed: false, finishedAtMs: now },
    now,
  );
}

/** A fault's message without its full stop, to be gone on with. */
function sentence(reason: Fault): string {
  return reason.message.endsWith(".") ? reason.message.slice(0, -1) : reason.message;
}
