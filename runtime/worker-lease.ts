import type { Millis, TaskId } from "../state/ids.ts";
import { LEASE_START_MS } from "../state/lease.ts";
import { isTerminal } from "../state/task.ts";
import { endWait, goalOf, type WorkerTask } from "./worker-task.ts";

/** A task that has to end when the lease does. */
export interface LeasedTask {
  readonly task: TaskId;
  readonly graceMs: number;
  /** That lease: later ones are not for a task that no assignment names any more. 0: it has none. */
  readonly untilMs: Millis;
}

/** What runs under a node's lease, and until when the newest is good. */
export interface LeaseGuard {
  readonly untilMs: Millis;
  readonly tasks: readonly LeasedTask[];
}

/** The lease of a worker's node: what may run under it, and what has to end without. */
export class WorkerLease {
  #untilMs: Millis;
  /** What was handed out last. */
  #told = "";

  /** `untilMs`: of an earlier process of this node; 0: none. */
  constructor(untilMs: Millis) {
    this.#untilMs = untilMs;
  }

  granted(untilMs: Millis): void {
    this.#untilMs = Math.max(this.#untilMs, untilMs);
  }

  /** Brings the tasks up to date with the time: before anything else is concluded of them. */
  apply(tasks: Iterable<WorkerTask>, now: Millis): void {
    for (const task of tasks) {
      if (!task.leased) continue;
      if (task.assignment !== null) task.lastLeaseMs = null;
      else task.lastLeaseMs ??= this.#untilMs;
      const isHalted = now >= this.#untilMs;
      if (isHalted === task.isHalted) continue;
      task.isHalted = isHalted;
      endWait(task);
      const stands = task.step !== "stop" && mayRun(task);
      if (isHalted) task.hasYielded = true;
      else if (stands) task.hasYielded = false;
    }
  }

  /** Whether there is enough of it left to start a task. */
  mayStart(task: WorkerTask, now: Millis): boolean {
    return !task.leased || now + LEASE_START_MS <= this.#untilMs;
  }

  /** When a task that runs under it has to be stopped; null: none does. */
  endsAtMs(tasks: Iterable<WorkerTask>): Millis | null {
    for (const task of tasks)
      if (task.leased && !task.isHalted && mayRun(task)) return this.#untilMs;
    return null;
  }

  /** What is to be seen to if this process cannot; null: the same as before. */
  changed(tasks: Iterable<WorkerTask>): LeaseGuard | null {
    const guarded: LeasedTask[] = [];
    for (const task of tasks) {
      if (!task.leased || !isGuarded(task)) continue;
      const untilMs = task.lastLeaseMs ?? this.#untilMs;
      guarded.push({ task: task.id, graceMs: task.graceMs, untilMs });
    }
    const guard = { untilMs: this.#untilMs, tasks: guarded };
    const told = guarded.length === 0 ? "" : JSON.stringify(guard);
    if (told === this.#told) return null;
    this.#told = told;
    return guard;
  }
}

function mayRun({ container, step }: WorkerTask): boolean {
  return container === "running" || container === "unknown" || step === "start";
}

/** Also before it runs: what is started is seen to before. */
function isGuarded(task: WorkerTask): boolean {
  const goal = goalOf(task);
  return goal === "run" || goal === "yield" || mayRun(task) || !isTerminal(task.report.state);
}
