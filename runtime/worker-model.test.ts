import { array, constant, assert as holds, nat, oneof, property, record } from "fast-check";
import type { Arbitrary } from "fast-check";
import { expect, test } from "vitest";
import { assert } from "../lib/assert.ts";
import { fault } from "../lib/errors.ts";
import { taskId } from "../state/ids.ts";
import type { Millis, TaskId } from "../state/ids.ts";
import type { TaskReport } from "../state/task.ts";
import { TRANSITIONS, isTerminal } from "../state/task.ts";
import type { ContainerStatus, EngineStep, StepOutcome } from "./engine.ts";
import { MAX_CREATING, MAX_STARTING, Worker } from "./worker.ts";
import type { WorkerOutput } from "./worker.ts";
import type { Assignment, WorkerMemory } from "./worker-memory.ts";

// A node's life in miniature: a manager that assigns, an engine that answers late, fails and loses
// its connection, containers that end, people who remove them, and a process that dies and returns.

const TASKS = 4;
const CONDITIONS = ["any", "on-failure", "none"] as const;

function assignmentOf(n: number, desired: Assignment["desired"]): Assignment {
  const task = taskId(`${n}-0`);
  return {
    task,
    desired,
    container: {
      task,
      slot: `job.web.${n}`,
      job: "job",
      service: "web",
      image: "web",
      entrypoint: null,
      command: null,
      environment: {},
      workingDir: null,
      ports: [],
      publishAddress: "127.0.0.1",
      volumes: [],
      limits: { cpuMilli: null, memoryMib: null },
    },
    restart: {
      condition: CONDITIONS[Math.floor(n / TASKS) % 3] ?? "any",
      delayMs: n % 2 === 0 ? 0 : 2_000,
      maxAttempts: Math.floor(n / TASKS) % 3 === 1 ? 2 : null,
      windowMs: 5_000,
    },
    leased: false,
    stopGraceMs: 1_000,
  };
}

interface Op {
  readonly op:
    | "assign"
    | "stop"
    | "remove"
    | "full"
    | "answer"
    | "event"
    | "exit"
    | "snatch"
    | "reconnect"
    | "list"
    | "time"
    | "restart";
  readonly a: number;
  readonly b: number;
}

class World {
  now: Millis = 1_000_000;
  readonly wanted = new Map<TaskId, Assignment>();
  readonly containers = new Map<TaskId, ContainerStatus>();
  events: ContainerStatus[] = [];
  list: ContainerStatus[] | null = null;
  flying: EngineStep[] = [];
  memory: WorkerMemory | null = null;
  worker = new Worker({ memory: null, leaseUntilMs: 0 });
  wakeAtMs: Millis | null = null;
  readonly reported = new Map<TaskId, TaskReport>();
  /** Starts that the engine made or refused. */
  readonly tries = new Map<TaskId, number>();
  next = 0;
  informed = false;

  constructor() {
    this.reconnect();
  }

  take(output: WorkerOutput): void {
    if (output.memory !== null) this.memory = output.memory;
    this.wakeAtMs = output.wakeAtMs;
    for (const report of output.reports) {
      const before = this.reported.get(report.task);
      const { state } = report;
      assert(
        before === undefined || before.state === state || TRANSITIONS[before.state].includes(state),
        `${report.task} went from ${before?.state} to ${state}`,
      );
      assert(report.attempts >= (before?.attempts ?? 0), `${report.task} has fewer attempts`);
      assert(
        report.attempts <= (this.tries.get(report.task) ?? 0),
        `${report.task} never ran so often`,
      );
      assert((report.startedAtMs ?? 0) <= this.now, `${report.task} starts in the future`);
      assert(
        (report.finishedAtMs !== null) === isTerminal(state),
        `${report.task} is ${state} with a wrong end`,
      );
      this.reported.set(report.task, report);
    }
    for (const step of output.steps) {
      const task = taskOf(step);
      assert(!this.flying.some((other) => taskOf(other) === task), `two steps of ${task} at once`);
      assert(this.#allowed(step, task), `${step.kind} of ${task} is not called for`);
      this.flying.push(step);
    }
    const creates = this.flying.filter((step) => step.kind === "create").length;
    const starts = this.flying.filter((step) => step.kind === "start").length;
    assert(creates <= MAX_CREATING && creates + starts <= MAX_STARTING, "a stampede");
  }

  /** A running container is stopped, and any removed, only when its task is not to run any more. */
  #allowed(step: EngineStep, task: TaskId): boolean {
    const wanted = this.wanted.get(task);
    const report = this.reported.get(task);
    const over = report !== undefined && isTerminal(report.state);
    if (step.kind === "create" || step.kind === "start")
      return wanted?.desired === "running" && !over;
    // Without its grace.
    const kills = step.kind === "remove" && this.containers.get(task)?.state === "running";
    if (kills) return false;
    if (wanted === undefined) return this.informed;
    return wanted.desired === "stopped" || (over && step.kind === "stop");
  }

  reconnect(): void {
    this.events = [];
    this.list = [...this.containers.values()];
  }

  deliverList(): void {
    const { list } = this;
    this.list = null;
    if (list !== null) this.take(this.worker.listed(list, this.now));
  }

  full(): void {
    this.informed = true;
    this.take(
      this.worker.assign({ full: true, upsert: [...this.wanted.values()], remove: [] }, this.now),
    );
  }

  /** Nothing takes no time. */
  set(status: ContainerStatus): void {
    this.now += 1;
    if (status.state === "gone") this.containers.delete(status.task);
    else this.containers.set(status.task, status);
    if (status.state !== "created") this.events.push(status);
  }

  #tried(task: TaskId): void {
    this.tries.set(task, (this.tries.get(task) ?? 0) + 1);
  }

  exit(task: TaskId, exitCode: number): void {
    const status = this.containers.get(task);
    if (status?.state !== "running") return;
    this.set({ ...status, state: "exited", exitCode, finishedAtMs: this.now });
  }

  effect(step: EngineStep): StepOutcome {
    const task = taskOf(step);
    const status = this.containers.get(task);
    const never = { task, exitCode: null, message: "", startedAtMs: null, finishedAtMs: null };
    if (step.kind === "create" && status === undefined) this.set({ ...never, state: "created" });
    if (step.kind === "start") {
      if (status === undefined || status.state !== "running") this.#tried(task);
      if (status === undefined) return refused;
      if (status.state !== "running") {
        this.set({ ...never, state: "running", startedAtMs: this.now + 1 });
      }
    }
    if (step.kind === "stop") this.exit(task, 143);
    if (step.kind === "remove" && status !== undefined) {
      this.exit(task, 137);
      this.set({ ...status, state: "gone", exitCode: null });
    }
    return { kind: "done" };
  }

  #tell(): void {
    const status = this.events.shift();
    if (status !== undefined) this.take(this.worker.observed(status, this.now));
  }

  answer(which: number, fate: number): void {
    const step = this.flying[which % Math.max(1, this.flying.length)];
    if (step === undefined) return;
    let outcome: StepOutcome = unanswered;
    // 0-6: done; 7: done, but the answer is lost; 8: lost on the way; 9: refused, if it can be.
    // The watch lags, but not behind a refusal.
    const missing = step.kind === "start" && !this.containers.has(taskOf(step));
    if (fate === 9 || missing) while (this.events.length > 0) this.#tell();
    if (fate <= 7) outcome = this.effect(step);
    if (fate === 7) outcome = unanswered;
    if (fate === 9 && (step.kind === "create" || step.kind === "start")) {
      const runs = this.containers.get(taskOf(step))?.state === "running";
      outcome = runs ? { kind: "done" } : refused;
      if (!runs) this.#tried(taskOf(step));
    }
    this.flying = this.flying.filter((other) => other !== step);
    this.now += 1;
    this.take(this.worker.stepDone(taskOf(step), step.kind, outcome, this.now));
  }

  time(ms: number): void {
    // Neither a list nor the watch lags by more than a few seconds.
    this.deliverList();
    if (ms > 1_000) while (this.events.length > 0) this.#tell();
    this.now += ms;
    this.take(this.worker.tick(this.now));
  }

  /** The process dies; what was under way lands or not. */
  restart(landed: number): void {
    for (const [i, step] of this.flying.entries()) {
      if (((landed >> i) & 1) === 1) this.effect(step);
    }
    this.flying = [];
    this.informed = false;
    this.now += 50;
    this.worker = new Worker({ memory: this.memory, leaseUntilMs: 0 });
    this.reconnect();
  }

  #pick(a: number): Assignment | undefined {
    return [...this.wanted.values()][a % Math.max(1, this.wanted.size)];
  }

  do({ op, a, b }: Op): void {
    const some = this.#pick(a);
    switch (op) {
      case "assign": {
        if (this.wanted.size >= 12) return;
        const made = assignmentOf(this.next, "running");
        this.next += 1 + (b % TASKS);
        this.wanted.set(made.task, made);
        return this.take(this.worker.assign({ full: false, upsert: [made], remove: [] }, this.now));
      }
      case "stop": {
        if (some === undefined) return;
        const stopped: Assignment = { ...some, desired: "stopped" };
        this.wanted.set(some.task, stopped);
        return this.take(
          this.worker.assign({ full: false, upsert: [stopped], remove: [] }, this.now),
        );
      }
      case "remove":
        if (some === undefined) return;
        this.wanted.delete(some.task);
        this.informed = true;
        return this.take(
          this.worker.assign({ full: false, upsert: [], remove: [some.task] }, this.now),
        );
      case "full":
        return this.full();
      case "answer":
        return this.answer(a, b % 10);
      case "event":
        return this.#tell();
      case "exit":
        return some && this.exit(some.task, b % 3);
      case "snatch": {
        const status = some && this.containers.get(some.task);
        if (status !== undefined) this.set({ ...status, state: "gone", exitCode: null });
        return;
      }
      case "reconnect":
        return this.reconnect();
      case "list":
        return this.deliverList();
      case "time":
        return this.time([1, 100, 1_000, 4_000, 60_000][b % 5] ?? 1);
      case "restart":
        return this.restart(b);
    }
  }

  /** No more faults: all that is under way arrives, and time passes. */
  settle(): void {
    this.full();
    this.#drain();
    // Later than any list that is older than a step.
    this.time(11_000);
    this.#drain();
    this.reconnect();
    this.deliverList();
    this.#drain();
  }

  #drain(): void {
    this.deliverList();
    for (let rounds = 0; ; rounds++) {
      assert(rounds < 2_000, "it never comes to rest");
      if (this.flying.length > 0) this.answer(0, 0);
      else if (this.events.length > 0) this.#tell();
      else if (this.wakeAtMs !== null) this.time(Math.max(1, this.wakeAtMs - this.now));
      else break;
    }
  }

  /** What is not as it must be once all is quiet. */
  problems(): string[] {
    const found: string[] = [];
    for (const task of this.containers.keys()) {
      if (!this.wanted.has(task)) found.push(`${task} was removed, its container is still there`);
    }
    for (const task of this.wanted.keys()) {
      const report = this.worker.reports().find((one) => one.task === task);
      if (report === undefined) found.push(`${task} is assigned and unknown`);
      else found.push(...this.#problemsOf(task, report));
    }
    return found;
  }

  #problemsOf(task: TaskId, report: TaskReport): string[] {
    const found: string[] = [];
    const runs = this.containers.get(task)?.state === "running";
    const wanted = this.wanted.get(task);
    const over = isTerminal(report.state);
    const says = report.state === "running" && report.healthy !== false;
    if (says !== runs) found.push(`${task} is said to be ${report.state}, runs: ${runs}`);
    if (wanted?.desired === "stopped" && !over) found.push(`${task} is ${report.state}, not over`);
    if (!runs && !over) found.push(`${task} neither runs nor is over`);
    const lasting = wanted?.desired === "running" && wanted.restart.condition === "any";
    if (lasting && !runs && report.state !== "rejected") found.push(`${task} should run`);
    return found;
  }
}

const unanswered: StepOutcome = {
  kind: "failed",
  fault: fault("engine-unavailable", "The engine does not answer.", "Start it."),
};
const refused: StepOutcome = {
  kind: "failed",
  fault: fault("engine-refused", "The engine refuses.", "Look at its log."),
};

function taskOf(step: EngineStep): TaskId {
  return step.kind === "create" ? step.spec.task : step.task;
}

function often(op: Op["op"], weight: number): { arbitrary: Arbitrary<Op["op"]>; weight: number } {
  return { arbitrary: constant(op), weight };
}

const someOp: Arbitrary<Op> = record({
  op: oneof(
    often("assign", 8),
    often("stop", 3),
    often("remove", 2),
    often("full", 2),
    often("answer", 30),
    often("event", 20),
    often("exit", 8),
    often("snatch", 2),
    often("reconnect", 3),
    often("list", 5),
    often("time", 10),
    often("restart", 3),
  ),
  a: nat(50),
  b: nat(255),
});

test("whatever happens, states move forward and what should run runs once the dust has settled", () => {
  holds(
    property(array(someOp, { maxLength: 150, size: "max" }), (ops) => {
      const world = new World();
      for (const op of ops) world.do(op);
      world.settle();
      expect(world.problems()).toEqual([]);
      // What the disk holds is what the worker knows.
      expect(world.memory?.reports ?? []).toEqual(world.worker.reports());
      expect(world.memory?.assignments ?? []).toEqual(world.worker.assignments);
      expect(new Map(world.worker.reports().map((report) => [report.task, report]))).toEqual(
        new Map([...world.reported].filter(([task]) => world.wanted.has(task))),
      );
    }),
    { numRuns: 400 },
  );
});
