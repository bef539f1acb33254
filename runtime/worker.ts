import { present } from "../lib/assert.ts";
import type { Millis, TaskId } from "../state/ids.ts";
import type { TaskReport } from "../state/task.ts";
import { isTerminal } from "../state/task.ts";
import type { ContainerStatus, EngineStep, StepOutcome } from "./engine.ts";
import { type LeaseGuard, WorkerLease } from "./worker-lease.ts";
import type { Assignment, WorkerMemory } from "./worker-memory.ts";
import type { StepKind, WorkerTask } from "./worker-task.ts";
import { listedAsCreated, notListed, saw } from "./worker-sight.ts";
import { assigned, condemn, settleStopped, stepBegins, stepEnds } from "./worker-steps.ts";
import { STEPS, endWait, goalOf, newTask } from "./worker-task.ts";

/** What came of one call, for the node to perform. */
export interface WorkerOutput {
  /** For the engine; each is answered by one `stepDone`. */
  readonly steps: readonly EngineStep[];
  /** Changed since the last call; the session sends them until acknowledged. */
  readonly reports: readonly TaskReport[];
  /** What has to end with the node's lease, also if this process does not run then; null: unchanged. */
  readonly lease: LeaseGuard | null;
  /** To be written to disk; null: unchanged. */
  readonly memory: WorkerMemory | null;
  /** When `tick` is needed at the latest; null: not needed. */
  readonly wakeAtMs: Millis | null;
}

/** Creates and starts in flight: so that hundreds of assignments at once do not stampede the engine. */
export const MAX_STARTING = 8;

/** Creates among them: a start, which takes no time, must not wait for images to be pulled. */
export const MAX_CREATING = 6;

/**
 * Runs a node's tasks on its engine: turns assignments and what the engine says into engine steps and
 * reports. Restarts tasks by itself, with or without a manager.
 *
 * What its reports say:
 * - `running` with `healthy: false` is a task between two attempts: its container does not run, the
 *   message says why and when it restarts. States only move forward and a restart keeps the task, so
 *   there is no other state for it.
 * - `attempts` counts starts, refused ones included; `startedAtMs` is that of the latest attempt;
 *   `exitCode` is the last exit's, null when it is not known; `finishedAtMs` is set when the task is over.
 * - A terminal state is final. One thing may still be added to a `stopped` report: the exit code, when
 *   the engine tells it after it has answered the stop.
 *
 * The count of consecutive restarts, and so the back-off, begins anew with the node's process.
 */
export class Worker {
  /** In the order of their assignment, which is the order in which they are started. */
  readonly #tasks = new Map<TaskId, WorkerTask>();
  #listed = false;
  /** A full set of assignments has come since this process began: what it does not name may go. */
  #informed = false;
  #creating = 0;
  #starting = 0;
  #memoryChanged = false;
  readonly #lease: WorkerLease;

  /** `memory`: what the node's disk held; null on a new node. `leaseUntilMs`: of an earlier process; 0: none. */
  constructor(options: { readonly memory: WorkerMemory | null; readonly leaseUntilMs: Millis }) {
    this.#lease = new WorkerLease(options.leaseUntilMs);
    const reports = new Map(options.memory?.reports.map((report) => [report.task, report]));
    for (const assignment of options.memory?.assignments ?? []) {
      const remembered = reports.get(assignment.task) ?? null;
      this.#tasks.set(assignment.task, newTask(assignment.task, assignment, remembered));
    }
    for (const { task: id, graceMs } of options.memory?.ending ?? []) {
      // Whoever was to kill it after its grace is gone: its keeper need not wait.
      const task = {
        ...newTask(id, null, null),
        leased: true,
        graceMs,
        condemned: true,
        lastLeaseMs: 0,
      };
      this.#tasks.set(id, task);
    }
  }

  /**
   * Takes in all the containers there are: at the start, and after every reconnect of the engine. No
   * step is taken before the first list: containers that run already are adopted, those that ended
   * while the node was down are started again without being held against their task.
   *
   * A list may be older than a step that ended within the last 10 s, and then proves nothing against
   * it; so what a watch has missed in that time shows only in the next list.
   */
  listed(statuses: readonly ContainerStatus[], now: Millis): WorkerOutput {
    this.#lease.apply(this.#tasks.values(), now);
    const first = !this.#listed;
    this.#listed = true;
    const there = new Set<TaskId>();
    for (const status of statuses) {
      if (status.state === "gone") continue;
      there.add(status.task);
      const known = this.#tasks.get(status.task);
      const task = known ?? this.#unassigned(status.task);
      if (status.state === "created") listedAsCreated(task, now);
      else saw(task, status, first || known === undefined, now);
    }
    for (const task of this.#tasks.values()) {
      if (!there.has(task.id)) notListed(task, first, now);
      // The engine answers again: what waited only for that need not.
      if (task.retries > 0) endWait(task);
    }
    return this.#settle(now);
  }

  /**
   * Takes in assignments: `full` means the whole set, so that all others are removed. The same one
   * twice changes nothing; a stop, once wanted, is not taken back. The first full set is also what
   * lets containers without an assignment be stopped and removed.
   */
  assign(
    change: {
      readonly full: boolean;
      readonly upsert: readonly Assignment[];
      readonly remove: readonly TaskId[];
    },
    now: Millis,
  ): WorkerOutput {
    this.#lease.apply(this.#tasks.values(), now);
    for (const assignment of change.upsert) this.#upsert(assignment, now);
    const named = change.full ? new Set(change.upsert.map((assignment) => assignment.task)) : null;
    if (change.full) this.#informed = true;
    const remove =
      named === null ? change.remove : [...this.#tasks.keys()].filter((task) => !named.has(task));
    for (const id of remove) {
      const task = this.#tasks.get(id);
      if (task === undefined || task.condemned) continue;
      if (task.assignment !== null) this.#memoryChanged = true;
      condemn(task);
    }
    return this.#settle(now);
  }

  /** Takes in what the engine's watch says of one container. */
  observed(status: ContainerStatus, now: Millis): WorkerOutput {
    this.#lease.apply(this.#tasks.values(), now);
    let task = this.#tasks.get(status.task);
    if (task === undefined && (status.state === "running" || status.state === "exited")) {
      task = this.#unassigned(status.task);
    }
    if (task !== undefined) saw(task, status, false, now);
    return this.#settle(now);
  }

  /** Takes in the engine's answer to a step. */
  stepDone(id: TaskId, step: StepKind, outcome: StepOutcome, now: Millis): WorkerOutput {
    this.#lease.apply(this.#tasks.values(), now);
    const task = present(
      this.#tasks.get(id),
      `a step of task ${id} ended, which this worker does not have`,
    );
    stepEnds(task, step, outcome, now);
    if (step === "create") this.#creating -= 1;
    if (step === "start") this.#starting -= 1;
    return this.#settle(now);
  }

  /** Does what has become due. */
  tick(now: Millis): WorkerOutput {
    return this.#settle(now);
  }

  /** The node holds a lease until then. */
  lease(untilMs: Millis, now: Millis): WorkerOutput {
    this.#lease.granted(untilMs);
    return this.#settle(now);
  }

  /** Whether anything here may run only under a lease. */
  get needsLease(): boolean {
    return [...this.#tasks.values()].some(
      ({ leased, assignment }) => leased && assignment !== null,
    );
  }

  /** Whether something here was stopped for want of a lease. */
  get lacksLease(): boolean {
    const all = [...this.#tasks.values()];
    return all.some((task) => task.isHalted && task.hasYielded && task.report.attempts > 0);
  }

  /** The newest report of every assigned task: what a new session starts with. */
  reports(): readonly TaskReport[] {
    return this.#assigned().map((task) => task.report);
  }

  get assignments(): readonly Assignment[] {
    return this.#assigned().flatMap((task) => task.assignment ?? []);
  }

  /** How many assigned tasks are not over. */
  live(): number {
    return this.#assigned().filter((task) => !isTerminal(task.report.state)).length;
  }

  /** Whether it has nothing to do with any container any more. */
  get isIdle(): boolean {
    return this.#tasks.size === 0;
  }

  #assigned(): WorkerTask[] {
    return [...this.#tasks.values()].filter((task) => task.assignment !== null);
  }

  #unassigned(id: TaskId): WorkerTask {
    const task = newTask(id, null, null);
    if (this.#informed) condemn(task);
    this.#tasks.set(id, task);
    return task;
  }

  #upsert(assignment: Assignment, now: Millis): void {
    const task = this.#tasks.get(assignment.task);
    const current = task?.assignment ?? null;
    if (current !== null) {
      if (current.desired === assignment.desired || current.desired === "stopped") return;
    }
    this.#memoryChanged = true;
    // A task keeps what it was first told: its node's name or address, or the orch that wrote the
    // assignment, may be another by now, and its container was made from the first.
    const kept = current === null ? assignment : { ...current, desired: assignment.desired };
    if (task === undefined) this.#tasks.set(kept.task, newTask(kept.task, kept, null));
    else assigned(task, kept, now);
  }

  /** Takes the steps that are due and hands out what has changed. */
  #settle(now: Millis): WorkerOutput {
    const steps: EngineStep[] = [];
    const starts: WorkerTask[] = [];
    const creates: WorkerTask[] = [];
    this.#lease.apply(this.#tasks.values(), now);
    let wakeAtMs = this.#lease.endsAtMs(this.#tasks.values());
    for (const task of this.#listed ? this.#tasks.values() : []) {
      if (task.step !== null) continue;
      const kind = STEPS[goalOf(task)][task.container];
      if (kind === null) {
        this.#reached(task, now);
      } else if (isWaiting(task, now)) {
        const due = task.waitUntilMs ?? now;
        wakeAtMs = wakeAtMs === null ? due : Math.min(wakeAtMs, due);
      } else if (kind === "start") {
        // Another lease comes, and is looked at then.
        if (this.#lease.mayStart(task, now)) starts.push(task);
      } else if (kind === "create") {
        creates.push(task);
      } else {
        steps.push(this.#begin(task, kind, now));
      }
    }
    for (const task of starts) {
      if (this.#starting + this.#creating >= MAX_STARTING) break;
      steps.push(this.#begin(task, "start", now));
    }
    for (const task of this.#isClearing() ? [] : creates) {
      if (this.#creating >= MAX_CREATING || this.#starting + this.#creating >= MAX_STARTING) break;
      steps.push(this.#begin(task, "create", now));
    }
    const lease = this.#lease.changed(this.#tasks.values());
    const reports = this.#changedReports();
    return { steps, lease, reports, memory: this.#changedMemory(), wakeAtMs };
  }

  /**
   * Whether a container that is no longer wanted still runs. Nothing new is made before it has ended: the
   * manager counts its port and its memory as free already.
   */
  #isClearing(): boolean {
    if (!this.#informed) return false;
    return [...this.#tasks.values()].some(
      ({ assignment, container }) => assignment === null && container === "running",
    );
  }

  /** No step leads on from here: the task may be over, or forgotten. */
  #reached(task: WorkerTask, now: Millis): void {
    const goal = goalOf(task);
    if (goal === "stop") settleStopped(task, now);
    const forgotten = task.assignment === null && task.container === "absent";
    if (!forgotten) return;
    this.#tasks.delete(task.id);
    if (task.leased) this.#memoryChanged = true;
  }

  #begin(task: WorkerTask, kind: StepKind, now: Millis): EngineStep {
    stepBegins(task, kind, now);
    if (kind === "create") {
      this.#creating += 1;
      const assignment = present(task.assignment, "only an assigned task is created");
      return { kind, spec: assignment.container };
    }
    if (kind === "stop") return { kind, task: task.id, graceMs: task.graceMs };
    if (kind === "start") this.#starting += 1;
    return { kind, task: task.id };
  }

  #changedReports(): TaskReport[] {
    const reports: TaskReport[] = [];
    for (const task of this.#tasks.values()) {
      if (!task.changed) continue;
      task.changed = false;
      if (task.assignment === null) continue;
      reports.push(task.report);
      this.#memoryChanged = true;
    }
    return reports;
  }

  #changedMemory(): WorkerMemory | null {
    if (!this.#memoryChanged) return null;
    this.#memoryChanged = false;
    const ending = [...this.#tasks.values()]
      .filter(({ leased, assignment }) => leased && assignment === null)
      .map(({ id, graceMs }) => ({ task: id, graceMs }));
    return { assignments: this.assignments, reports: this.reports(), ending };
  }
}

function isWaiting(task: WorkerTask, now: Millis): boolean {
  if (task.waitUntilMs === null || task.waitUntilMs <= now) return false;
  task.waitUntilMs = Math.min(task.waitUntilMs, now + task.waitMs);
  return true;
}
