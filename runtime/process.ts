import { accessSync, constants, rmSync, statSync } from "node:fs";
import { delimiter, isAbsolute, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Fault } from "../lib/errors.ts";
import { fault, OrchError } from "../lib/errors.ts";
import type { TaskId } from "../state/ids.ts";
import type { DriverName } from "../state/spec.ts";
import type {
  ContainerSpec,
  ContainerStatus,
  Driver,
  EngineStep,
  ListOutcome,
  LogLine,
  LogOptions,
  StepOutcome,
} from "./engine.ts";
import { exitMessage } from "./exit-message.ts";
import { limitTask, ranOutOfMemory, releaseLimits } from "./process-cgroup.ts";
import type { StoredTask } from "./process-files.ts";
import { readExit, readTask, readTasks, writeExit, writeTask } from "./process-files.ts";
import { readRun } from "./process-run.ts";
import type { LogBound } from "./process-logs.ts";
import { TaskLogs, TEND_MS } from "./process-logs.ts";
import type { Leader } from "./process-shim.ts";
import { isAlive, signalGroup, startShim } from "./process-shim.ts";

/**
 * Tasks as OS processes, one process group each. They run on when orch dies; the next driver on the
 * same folder adopts them and knows how those that ended meanwhile ended.
 *
 * It does not isolate: a task runs as orch's own user, in the machine's file system and network, and
 * may leave its group (setsid). Limits hold where process-cgroup.ts finds writable control groups,
 * otherwise there are none. Without /proc (macOS) a process is known by its number alone, so after a
 * reboot another process with that number may be taken for the task.
 */

export interface ProcessDriverOptions {
  /** Tasks live in `<dataDir>/tasks`. One driver at a time. */
  readonly dataDir: string;
  readonly logBound: LogBound;
}

/** As much output as the Docker driver keeps. */
export const PROCESS_LOG_BOUND: LogBound = { maxBytes: 10 * 1024 * 1024, files: 3 };

/** How often adopted processes are looked at: they are nobody's children, so nothing tells of their end. */
const ADOPTED_MS = 200;
/** How long the kernel may take to end a killed group; one stuck on a dead disk outlasts any wait. */
const KILL_MS = 10_000;
const KILLED = 137;
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

interface ProcessTask {
  readonly folder: string;
  /** Null: damaged on disk; it can be listed, stopped and removed but not started. */
  readonly spec: StoredTask | null;
  readonly logs: TaskLogs;
  run: number;
  /** Null: it has never run. */
  leader: Leader | null;
  /** Made by an earlier process: its end must be looked for. */
  adopted: boolean;
  status: ContainerStatus;
  readonly waiters: Set<() => void>;
}

export class ProcessDriver implements Driver {
  readonly name: DriverName = "process";
  readonly #options: ProcessDriverOptions;
  readonly #tasks = new Map<TaskId, ProcessTask>();
  readonly #timers: NodeJS.Timeout[];
  #listener: (status: ContainerStatus) => void = () => undefined;
  #tending = false;
  #closed = false;

  /** Adopts what is in the folder. Throws OrchError data-unwritable when the folder cannot be used. */
  constructor(options: ProcessDriverOptions) {
    // Absolute, since the shim runs in another working directory.
    this.#options = { ...options, dataDir: resolve(options.dataDir) };
    try {
      for (const id of readTasks(this.#tasksFolder())) this.#tasks.set(id, this.#adopt(id));
    } catch (error) {
      const folder = this.#tasksFolder();
      throw new OrchError(
        fault(
          "data-unwritable",
          `Cannot use ${folder}: ${textOf(error)}.`,
          "Give orch a folder that it may write.",
        ),
        error,
      );
    }
    this.#timers = [
      setInterval(() => this.#look(), ADOPTED_MS),
      setInterval(() => void this.#tend(), TEND_MS),
    ];
    for (const timer of this.#timers) timer.unref();
  }

  perform(step: EngineStep, done: (outcome: StepOutcome) => void): void {
    void this.#run(step).then(
      () => done({ kind: "done" }),
      (error: unknown) => done({ kind: "failed", fault: stepFault(step, error) }),
    );
  }

  list(done: (outcome: ListOutcome) => void): void {
    this.#look();
    done({ kind: "listed", statuses: [...this.#tasks.values()].map((task) => task.status) });
  }

  watch(listener: (status: ContainerStatus) => void): void {
    this.#listener = listener;
  }

  async *logs(id: TaskId, options: LogOptions): AsyncGenerator<LogLine, void, undefined> {
    const task = this.#tasks.get(id);
    if (task === undefined) return;
    await task.logs.tend();
    yield* task.logs.read(options, () => {
      if (this.#closed || this.#tasks.get(id) !== task) return "gone";
      return task.status.state === "running" ? "running" : "ended";
    });
  }

  /** Always answers: the engine is the operating system. */
  ping(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#listener = () => undefined;
    for (const timer of this.#timers) clearInterval(timer);
    return Promise.resolve();
  }

  async #run(step: EngineStep): Promise<void> {
    switch (step.kind) {
      case "create":
        this.#create(step.spec);
        break;
      case "start":
        await this.#start(step.task);
        break;
      case "stop":
        await this.#stop(step.task, step.graceMs);
        break;
      case "remove":
        await this.#remove(step.task);
        break;
    }
  }

  #create(spec: ContainerSpec): void {
    if (this.#tasks.has(spec.task)) return;
    const refusal = refusalOf(spec);
    if (refusal !== null) throw new OrchError(refusal);
    const folder = this.#folder(spec.task);
    const { slot, environment, workingDir, limits } = spec;
    const stored: StoredTask = { slot, argv: argvOf(spec), environment, workingDir, limits };
    writeTask(folder, stored);
    this.#tasks.set(spec.task, this.#fresh(spec.task, folder, stored));
  }

  async #start(id: TaskId): Promise<void> {
    const task = this.#tasks.get(id);
    if (task === undefined || task.spec === null) throw new OrchError(notCreated(id));
    this.#settleIfDead(task);
    if (task.status.state === "running") return;
    const launch = launchOf(task.spec, task.folder);
    const run = task.run + 1;
    const procs = limitTask(task.folder, task.spec.limits);
    const child = await startShim({ folder: task.folder, run, procs, ...launch });
    const record = readRun(task.folder);
    if (record === null || record.run !== run) throw new OrchError(notStarted(task.folder));
    Object.assign(task, { run, leader: record.leader, adopted: false });
    this.#tell(task, {
      state: "running",
      exitCode: null,
      message: "",
      startedAtMs: record.startedAtMs,
      finishedAtMs: null,
    });
    if (child.exitCode !== null || child.signalCode !== null) this.#settle(task, run);
    else child.once("exit", () => this.#settle(task, run));
  }

  async #stop(id: TaskId, graceMs: number): Promise<void> {
    const task = this.#tasks.get(id);
    if (task === undefined || !this.#runs(task)) return;
    if (task.leader !== null) signalGroup(task.leader, "SIGTERM");
    if (!(await this.#ends(task, graceMs))) await this.#kill(task);
  }

  async #remove(id: TaskId): Promise<void> {
    const task = this.#tasks.get(id);
    if (task === undefined) return;
    if (this.#runs(task)) await this.#kill(task);
    // A process that is just dying may still write: its last file must not keep the folder.
    rmSync(task.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
    releaseLimits(task.folder);
    this.#tasks.delete(id);
    this.#tell(task, { state: "gone", exitCode: null, message: "" });
  }

  async #kill(task: ProcessTask): Promise<void> {
    if (task.leader !== null) signalGroup(task.leader, "SIGKILL");
    if (await this.#ends(task, KILL_MS)) return;
    throw new OrchError(
      fault(
        "engine-unavailable",
        `The processes of ${task.status.task} do not end, although killed ${KILL_MS / 1000} s ago.`,
        "They wait in the kernel, most often for a disk or a network file system that does not answer.",
      ),
    );
  }

  /** Waits for the end of the present run, at most so long. Whether it has ended. */
  async #ends(task: ProcessTask, waitMs: number): Promise<boolean> {
    const limit = new AbortController();
    const ended = (): void => limit.abort();
    task.waiters.add(ended);
    try {
      const until = performance.now() + waitMs;
      for (let left = waitMs; this.#runs(task) && left > 0; left = until - performance.now()) {
        await delay(Math.min(left, 20), undefined, { signal: limit.signal }).catch(() => undefined);
      }
      return !this.#runs(task);
    } finally {
      task.waiters.delete(ended);
    }
  }

  #runs(task: ProcessTask): boolean {
    this.#settleIfDead(task);
    return task.status.state === "running";
  }

  /** The end of adopted processes, and of children whose end the runtime has not told yet. */
  #look(): void {
    if (this.#closed) return;
    for (const task of this.#tasks.values()) if (task.adopted) this.#settleIfDead(task);
  }

  #settleIfDead(task: ProcessTask): void {
    if (task.status.state === "running" && task.leader !== null && !isAlive(task.leader))
      this.#settle(task, task.run);
  }

  /** The run has ended: finds out how, tells it, once. */
  #settle(task: ProcessTask, run: number): void {
    if (this.#closed || task.run !== run || task.status.state !== "running") return;
    const wasKilled = readExit(task.folder)?.run !== run;
    if (wasKilled) {
      // The shim died with its group, or alone: then the rest must not go on unseen.
      if (task.leader !== null) signalGroup(task.leader, "SIGKILL");
      tryWriteExit(task.folder, run);
    }
    this.#tell(task, exitOf(task.folder, run));
    for (const waiter of task.waiters) waiter();
  }

  #tell(task: ProcessTask, change: Partial<ContainerStatus>): void {
    task.status = { ...task.status, ...change };
    if (!this.#closed) this.#listener(task.status);
  }

  async #tend(): Promise<void> {
    if (this.#tending) return;
    this.#tending = true;
    for (const task of this.#tasks.values()) {
      if (task.status.state === "running") await task.logs.tend();
    }
    this.#tending = false;
  }

  #fresh(id: TaskId, folder: string, spec: StoredTask | null): ProcessTask {
    const status: ContainerStatus = {
      task: id,
      state: "created",
      exitCode: null,
      message: "",
      startedAtMs: null,
      finishedAtMs: null,
    };
    const logs = new TaskLogs(folder, this.#options.logBound);
    return { folder, spec, logs, run: 0, leader: null, adopted: false, status, waiters: new Set() };
  }

  #adopt(id: TaskId): ProcessTask {
    const folder = this.#folder(id);
    const task = this.#fresh(id, folder, readTask(folder));
    const record = readRun(folder);
    if (record === null) return task;
    Object.assign(task, { run: record.run, leader: record.leader, adopted: true });
    task.status = { ...task.status, state: "running", startedAtMs: record.startedAtMs };
    if (isAlive(record.leader)) return task;
    if (readExit(folder)?.run !== record.run) {
      signalGroup(record.leader, "SIGKILL");
      tryWriteExit(folder, record.run);
    }
    task.status = { ...task.status, ...exitOf(folder, record.run) };
    return task;
  }

  #tasksFolder(): string {
    return join(this.#options.dataDir, "tasks");
  }

  #folder(id: TaskId): string {
    return join(this.#tasksFolder(), id);
  }
}

/** Why the process driver cannot run this at all. */
function refusalOf(spec: ContainerSpec): Fault | null {
  const refuse = (what: string, hint: string): Fault =>
    fault("engine-refused", `${spec.slot}: the process driver ${what}.`, hint, { task: spec.task });
  if (!/^[\w-]+$/u.test(spec.task))
    return refuse(`cannot keep a task named "${spec.task}"`, "This is a bug in orch.");
  if (spec.image !== null) {
    return refuse(
      `cannot run images, here ${spec.image}`,
      "Use the docker driver, or a command without an image.",
    );
  }
  if (spec.volumes.length > 0) {
    return refuse(
      "cannot mount volumes",
      "Use the docker driver, or give the command the path on the node itself.",
    );
  }
  if (argvOf(spec).length === 0)
    return refuse("needs a command", "Name the program to run in `command`.");
  const odd = Object.keys(spec.environment).find((name) => !/^[a-zA-Z_]\w*$/u.test(name));
  if (odd !== undefined) {
    return refuse(
      `cannot pass on the variable "${odd}"`,
      "Use letters, digits and underscores in its name.",
    );
  }
  return null;
}

function argvOf(spec: ContainerSpec): string[] {
  return [...(spec.entrypoint ?? []), ...(spec.command ?? [])];
}

/** What to start and where; throws OrchError engine-refused when the program or the directory is not there. */
function launchOf(
  spec: StoredTask,
  folder: string,
): { argv: string[]; cwd: string; environment: Record<string, string> } {
  const { PATH: path = DEFAULT_PATH, HOME: home = "/" } = process.env;
  const environment = { PATH: path, HOME: home, ...spec.environment };
  const cwd = resolve(folder, spec.workingDir ?? "work");
  if (!isFolder(cwd)) {
    throw new OrchError(
      fault(
        "engine-refused",
        `${spec.slot}: the working directory ${cwd} is not there.`,
        "Make it, or name another.",
      ),
    );
  }
  const [name = "", ...rest] = spec.argv;
  const program = findProgram(name, cwd, environment.PATH);
  if (program === null) {
    throw new OrchError(
      fault(
        "engine-refused",
        `${spec.slot}: there is no program "${name}" on this node that can be run.`,
        "Install it on the node, or name it by its full path.",
        { command: name },
      ),
    );
  }
  return { argv: [program, ...rest], cwd, environment };
}

/** The program's absolute path: what a shell would find, but never one of the shell's own built-ins. */
function findProgram(name: string, cwd: string, path: string): string | null {
  const places = name.includes("/") || isAbsolute(name) ? [cwd] : path.split(delimiter);
  const paths = places.map((place) => resolve(cwd, place, name));
  return paths.find((candidate) => isProgram(candidate)) ?? null;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function exitOf(folder: string, run: number): Partial<ContainerStatus> {
  const record = readExit(folder);
  const exitCode = record?.run === run ? record.exitCode : KILLED;
  const finishedAtMs = record?.run === run ? record.finishedAtMs : Date.now();
  const message =
    exitCode === KILLED && ranOutOfMemory(folder) ? "out of memory" : exitMessage(exitCode);
  return { state: "exited", exitCode, message, finishedAtMs };
}

/** Records that a run was killed. On a full disk the record is missed: a later orch then concludes the same. */
function tryWriteExit(folder: string, run: number): void {
  try {
    writeExit(folder, run, KILLED);
  } catch {
    // The status is told all the same.
  }
}

function notCreated(task: TaskId): Fault {
  return fault(
    "engine-refused",
    `Task ${task} has no folder on this node to start from, or it is damaged.`,
    "Somebody removed it: the task is replaced by a new one.",
    { task },
  );
}

function notStarted(folder: string): Fault {
  return fault(
    "engine-unavailable",
    `A process could not be started: ${folder} cannot be written, or its control group cannot be joined.`,
    "Look for a full or read-only disk; orch tries again.",
  );
}

function stepFault(step: EngineStep, error: unknown): Fault {
  if (error instanceof OrchError) return error.fault;
  return fault(
    "engine-unavailable",
    `The process driver cannot ${step.kind} a task: ${textOf(error)}.`,
    "Look at the disk of the node's data folder; orch tries again.",
  );
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
