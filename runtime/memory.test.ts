import { describe, expect, test } from "vitest";
import { fault } from "../lib/errors.ts";
import { taskId } from "../state/ids.ts";
import { specOf } from "../test/compliance/engine.ts";
import type { ContainerSpec, ContainerStatus, EngineStep, StepOutcome } from "./engine.ts";
import type { MemoryMachine, StepFate } from "./memory.ts";
import { instantly, MemoryEngine, memoryMachine } from "./memory.ts";

const A = taskId("1-0");
const B = taskId("1-1");
const setup = { image: "nginx", commands: { forever: ["serve"] } };

/** Virtual time: timers run in order of their time, then of their making. */
class Clock {
  nowMs = 1_000;
  #timers: { readonly atMs: number; readonly run: () => void }[] = [];

  after(delayMs: number, run: () => void): void {
    this.#timers.push({ atMs: this.nowMs + delayMs, run });
  }

  advance(byMs: number): void {
    const end = this.nowMs + byMs;
    for (;;) {
      const next = this.#timers
        .filter((timer) => timer.atMs <= end)
        .toSorted((one, other) => one.atMs - other.atMs)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.nowMs = next.atMs;
      next.run();
    }
    this.nowMs = end;
  }
}

class Lab {
  readonly clock = new Clock();
  readonly machine: MemoryMachine = memoryMachine();
  readonly heard: string[] = [];
  engine: MemoryEngine;
  #fate: (step: EngineStep) => StepFate = instantly;

  constructor() {
    this.engine = this.node();
  }

  /** A node's engine on the machine, as after a restart. */
  node(): MemoryEngine {
    this.engine = new MemoryEngine({
      machine: this.machine,
      now: () => this.clock.nowMs,
      after: (delayMs, run) => this.clock.after(delayMs, run),
      fate: (step) => this.#fate(step),
    });
    this.engine.watch((status) => this.heard.push(this.#line(status)));
    return this.engine;
  }

  befall(fate: (step: EngineStep) => StepFate): void {
    this.#fate = fate;
  }

  step(step: EngineStep): StepOutcome[] {
    const outcomes: StepOutcome[] = [];
    this.engine.perform(step, (outcome) => outcomes.push(outcome));
    return outcomes;
  }

  run(task = A, change: Partial<ContainerSpec> = {}): StepOutcome[] {
    this.step({ kind: "create", spec: specOf(setup, task, change) });
    return this.step({ kind: "start", task });
  }

  #line(status: ContainerStatus): string {
    return `${this.clock.nowMs} ${status.task} ${status.state} ${status.exitCode ?? "-"}`;
  }
}

const DONE = { kind: "done" };

describe("in virtual time", () => {
  test("a container ends when and how its command says", () => {
    const lab = new Lab();
    lab.run(A, { command: ["exit", "3", "after", "500"] });
    lab.clock.advance(499);
    expect(lab.engine.running()).toEqual([A]);
    lab.clock.advance(1);
    expect(lab.heard).toEqual(["1000 1-0 running -", "1500 1-0 exited 3"]);
  });

  test("the timer of an earlier run does not end a later one", () => {
    const lab = new Lab();
    lab.run(A, { command: ["exit", "3", "after", "500"] });
    lab.clock.advance(400);
    lab.engine.crash(A, 1);
    lab.step({ kind: "start", task: A });
    lab.clock.advance(499);
    expect(lab.engine.running()).toEqual([A]);
    lab.clock.advance(1);
    expect(lab.heard.slice(1)).toEqual([
      "1400 1-0 exited 1",
      "1400 1-0 running -",
      "1900 1-0 exited 3",
    ]);
  });

  test("a stop takes no time, or the whole grace, or until the crash", () => {
    const lab = new Lab();
    lab.run(A);
    expect(lab.step({ kind: "stop", task: A, graceMs: 1_000 })).toEqual([DONE]);
    lab.run(B, { command: ["stubborn"] });
    const first = lab.step({ kind: "stop", task: B, graceMs: 1_000 });
    lab.clock.advance(999);
    expect(first).toEqual([]);
    lab.clock.advance(1);
    expect(first).toEqual([DONE]);
    lab.step({ kind: "start", task: B });
    const second = lab.step({ kind: "stop", task: B, graceMs: 1_000 });
    lab.engine.crash(B, 139);
    expect(second).toEqual([DONE]);
    lab.clock.advance(5_000);
    expect(second).toEqual([DONE]);
    expect(lab.heard.at(-1)).toBe("2000 1-1 exited 139");
  });

  test("a step takes effect when its delay is over, or fails without effect", () => {
    const lab = new Lab();
    lab.befall(() => ({ delayMs: 50, fault: null }));
    const outcomes = lab.step({ kind: "create", spec: specOf(setup, A) });
    lab.clock.advance(49);
    expect([outcomes, lab.engine.statuses()]).toEqual([[], []]);
    lab.clock.advance(1);
    expect(outcomes).toEqual([DONE]);
    const reason = fault("engine-unavailable", "away", "wait");
    lab.befall(() => ({ delayMs: 0, fault: reason }));
    expect(lab.step({ kind: "start", task: A })).toEqual([{ kind: "failed", fault: reason }]);
    expect(lab.engine.running()).toEqual([]);
  });
});

describe("a machine", () => {
  test("keeps its containers when its node dies, and tells the next node only", () => {
    const lab = new Lab();
    lab.run(A, { command: ["exit", "0", "after", "500"] });
    lab.run(B);
    lab.befall(() => ({ delayMs: 100, fault: null }));
    const unheard = lab.step({ kind: "stop", task: B, graceMs: 0 });
    lab.engine.detach();
    lab.clock.advance(500);
    expect([unheard, lab.heard.length]).toEqual([[], 2]);
    const next = lab.node();
    expect(next.statuses().map((status) => `${status.task} ${status.state}`)).toEqual([
      "1-0 exited",
      "1-1 exited",
    ]);
  });

  test("has each port once", () => {
    const lab = new Lab();
    const ports = [{ container: 80, host: 8_080, protocol: "tcp" as const }];
    expect(lab.run(A, { ports })).toEqual([DONE]);
    expect(lab.run(B, { ports })).toMatchObject([
      { fault: { code: "engine-refused", details: { port: 8_080 } } },
    ]);
    lab.engine.crash(A, 1);
    expect(lab.step({ kind: "start", task: B })).toEqual([DONE]);
  });

  test("keeps only the newest output", () => {
    const lab = new Lab();
    for (let run = 0; run < 1_100; run++) {
      lab.run(A, { command: ["print", "hello"] });
      lab.engine.crash(A, 1);
    }
    expect(lab.machine.containers.get(A)?.output.length).toBe(1_000);
  });
});
