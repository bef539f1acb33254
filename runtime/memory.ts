import type { Fault } from "../lib/errors.ts";
import { fault } from "../lib/errors.ts";
import type { Millis, TaskId } from "../state/ids.ts";
import type { DriverName } from "../state/spec.ts";
import type {
  ContainerSpec,
  ContainerStatus,
  Engine,
  EngineStep,
  ListOutcome,
  StepOutcome,
} from "./engine.ts";
import { exitMessage } from "./exit-message.ts";

/**
 * An engine without an engine: containers are entries of a map and behave as their spec says. The
 * simulator drives it in virtual time; demos and tests in real time (memory-driver.ts). No clock, no
 * chance: the same calls at the same times give the same statuses.
 *
 * What a container does is read from its argv (entrypoint, then command):
 *   exit <code> [after <ms>]   ends by itself with that code
 *   stubborn                   ignores SIGTERM: a stop waits its whole grace, then kills (137)
 *   print <words…>             writes one line, then runs for ever
 *   env <name>                 writes that variable's value, then runs for ever
 *   anything else              runs for ever, ends with 143 when stopped
 * The image `missing` cannot be had, nor the command `missing`.
 */

/** One machine's containers. They outlive the node that made them: hand the same machine to the next engine. */
export interface MemoryMachine {
  readonly containers: Map<TaskId, MemoryContainer>;
  /** Who hears of starts and ends; null while no node is up. Belongs to the newest engine. */
  listener: ((status: ContainerStatus) => void) | null;
  /** Counts the engines made on this machine: the answers of all but the newest are dropped. */
  generation: number;
}

export interface MemoryContainer {
  readonly spec: ContainerSpec;
  status: ContainerStatus;
  /** Counts starts, so that a timer of an earlier run does not end this one. */
  run: number;
  /** The newest output, oldest first: at most OUTPUT_LINES. */
  readonly output: MemoryLine[];
  /** Called once at the end of the present run. */
  readonly waiters: (() => void)[];
}

export interface MemoryLine {
  readonly timeMs: Millis;
  readonly text: string;
}

/** What befalls a step: it takes effect after `delayMs`, or fails then with `fault` and no effect. */
export interface StepFate {
  readonly delayMs: number;
  readonly fault: Fault | null;
}

export interface MemoryEngineOptions {
  readonly machine: MemoryMachine;
  readonly now: () => Millis;
  /** Calls `run` once, `delayMs` from now; never before it returns. */
  readonly after: (delayMs: number, run: () => void) => void;
  readonly fate: (step: EngineStep) => StepFate;
}

const OUTPUT_LINES = 1_000;
const KILLED = 137;
const TERMINATED = 143;

/** A machine without containers. */
export function memoryMachine(): MemoryMachine {
  return { containers: new Map(), listener: null, generation: 0 };
}

/** The fate of every step on a healthy, infinitely fast machine. */
export function instantly(): StepFate {
  return { delayMs: 0, fault: null };
}

export class MemoryEngine implements Engine {
  readonly name: DriverName = "memory";
  readonly #options: MemoryEngineOptions;
  readonly #machine: MemoryMachine;
  readonly #generation: number;

  /** Takes the machine over: an earlier engine on it is deaf and mute from now on, as after its crash. */
  constructor(options: MemoryEngineOptions) {
    this.#options = options;
    this.#machine = options.machine;
    this.#machine.generation += 1;
    this.#machine.listener = null;
    this.#generation = this.#machine.generation;
  }

  perform(step: EngineStep, done: (outcome: StepOutcome) => void): void {
    const fate = this.#options.fate(step);
    const answer = (reason: Fault | null): void => {
      if (this.#generation !== this.#machine.generation) return;
      done(reason === null ? { kind: "done" } : { kind: "failed", fault: reason });
    };
    const run = (): void => {
      if (fate.fault === null) this.#run(step, answer);
      else answer(fate.fault);
    };
    if (fate.delayMs === 0) run();
    else this.#options.after(fate.delayMs, run);
  }

  list(done: (outcome: ListOutcome) => void): void {
    done({ kind: "listed", statuses: this.statuses() });
  }

  watch(listener: (status: ContainerStatus) => void): void {
    if (this.#generation === this.#machine.generation) this.#machine.listener = listener;
  }

  /** The node's process has died: nothing of this engine is heard any more, containers run on. */
  detach(): void {
    if (this.#generation !== this.#machine.generation) return;
    this.#machine.generation += 1;
    this.#machine.listener = null;
  }

  /** Every container's status, in the order of their making. */
  statuses(): ContainerStatus[] {
    return [...this.#machine.containers.values()].map((container) => container.status);
  }

  /** The tasks whose containers run now, in the order of their making. */
  running(): TaskId[] {
    return this.statuses()
      .filter((status) => status.state === "running")
      .map((status) => status.task);
  }

  /** Ends a running container from outside, as a bug in it or the kernel's OOM killer would. */
  crash(task: TaskId, exitCode: number): void {
    const container = this.#machine.containers.get(task);
    if (container !== undefined) this.#exit(container, container.run, exitCode);
  }

  #run(step: EngineStep, answer: (reason: Fault | null) => void): void {
    switch (step.kind) {
      case "create":
        return answer(this.#create(step.spec));
      case "start":
        return answer(this.#start(step.task));
      case "stop":
        return this.#stop(step.task, step.graceMs, () => answer(null));
      case "remove":
        this.#remove(step.task);
        return answer(null);
    }
  }

  #create(spec: ContainerSpec): Fault | null {
    if (this.#machine.containers.has(spec.task)) return null;
    if (spec.image === "missing") {
      return fault(
        "image-missing",
        `The image "missing" of ${spec.slot} is not there.`,
        "Name an image that exists.",
        { image: spec.image },
      );
    }
    const status: ContainerStatus = {
      task: spec.task,
      state: "created",
      exitCode: null,
      message: "",
      startedAtMs: null,
      finishedAtMs: null,
    };
    this.#machine.containers.set(spec.task, { spec, status, run: 0, output: [], waiters: [] });
    return null;
  }

  #start(task: TaskId): Fault | null {
    const container = this.#machine.containers.get(task);
    if (container === undefined) return notCreated(task);
    if (container.status.state === "running") return null;
    const refusal = this.#refusal(container);
    if (refusal !== null) return refusal;
    container.run += 1;
    const { run } = container;
    const argv = argvOf(container.spec);
    const now = this.#options.now();
    this.#print(container, firstLine(container.spec, argv));
    container.status = {
      task,
      state: "running",
      exitCode: null,
      message: "",
      startedAtMs: now,
      finishedAtMs: null,
    };
    this.#tell(container.status);
    if (argv[0] === "exit") {
      const delayMs = argv[2] === "after" ? wholeNumber(argv[3]) : 0;
      this.#options.after(delayMs, () => this.#exit(container, run, wholeNumber(argv[1])));
    }
    return null;
  }

  /** Why the container cannot start, as an engine would say it. */
  #refusal(container: MemoryContainer): Fault | null {
    const { spec } = container;
    if (argvOf(spec)[0] === "missing") {
      return fault(
        "engine-refused",
        `${spec.slot}: there is no command "missing".`,
        "Name a command that exists.",
        {
          command: "missing",
        },
      );
    }
    for (const other of this.#machine.containers.values()) {
      if (other.status.state !== "running") continue;
      const taken = spec.ports.find((port) =>
        other.spec.ports.some((used) => used.host === port.host && used.protocol === port.protocol),
      );
      if (taken === undefined) continue;
      return fault(
        "engine-refused",
        `${spec.slot}: port ${taken.host}/${taken.protocol} of this node is in use by ${other.spec.slot}.`,
        "Publish another port, or none: then the scheduler picks a free one.",
        { port: taken.host, protocol: taken.protocol },
      );
    }
    return null;
  }

  #stop(task: TaskId, graceMs: number, done: () => void): void {
    const container = this.#machine.containers.get(task);
    if (container === undefined || container.status.state !== "running") return done();
    const { run } = container;
    container.waiters.push(done);
    if (argvOf(container.spec)[0] !== "stubborn") this.#exit(container, run, TERMINATED);
    else this.#options.after(graceMs, () => this.#exit(container, run, KILLED));
  }

  #remove(task: TaskId): void {
    const container = this.#machine.containers.get(task);
    if (container === undefined) return;
    this.#exit(container, container.run, KILLED);
    this.#machine.containers.delete(task);
    this.#tell({ ...container.status, state: "gone", exitCode: null, message: "" });
  }

  #exit(container: MemoryContainer, run: number, exitCode: number): void {
    if (container.run !== run || container.status.state !== "running") return;
    container.status = {
      ...container.status,
      state: "exited",
      exitCode,
      message: exitMessage(exitCode),
      finishedAtMs: this.#options.now(),
    };
    this.#tell(container.status);
    for (const waiter of container.waiters.splice(0)) waiter();
  }

  #print(container: MemoryContainer, text: string): void {
    container.output.push({ timeMs: this.#options.now(), text });
    if (container.output.length > OUTPUT_LINES) container.output.shift();
  }

  #tell(status: ContainerStatus): void {
    this.#machine.listener?.(status);
  }
}

function argvOf(spec: ContainerSpec): readonly string[] {
  return [...(spec.entrypoint ?? []), ...(spec.command ?? [])];
}

function firstLine(spec: ContainerSpec, argv: readonly string[]): string {
  if (argv[0] === "print") return argv.slice(1).join(" ");
  if (argv[0] === "env") return spec.environment[argv[1] ?? ""] ?? "";
  return `${spec.slot} started (${[spec.image ?? "no image", ...argv].join(" ")}), in memory only`;
}

function wholeNumber(text: string | undefined): number {
  const value = Number(text);
  return Number.isSafeInteger(value) && value >= 0 ? value : 0;
}

function notCreated(task: TaskId): Fault {
  return fault(
    "engine-refused",
    `Task ${task} has no container on this node to start.`,
    "Somebody removed it: the task is replaced by a new one.",
    { task },
  );
}
