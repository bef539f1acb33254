import type { Fault } from "../lib/errors.ts";
import type { DriverName, Resources, VolumeSpec } from "../state/spec.ts";
import type { TaskId } from "../state/ids.ts";
import type { TaskPort } from "../state/task.ts";

/** The engine port: what a worker may ask of whatever runs its tasks. One container (or process group) a task. */

/** Everything a driver needs to make the container of one task. */
export interface ContainerSpec {
  readonly task: TaskId;
  /** `<job>.<service>.<n>`: for names and labels that people read. */
  readonly slot: string;
  readonly job: string;
  readonly service: string;
  readonly image: string | null;
  readonly entrypoint: readonly string[] | null;
  readonly command: readonly string[] | null;
  /** The user's variables and orch's own (ORCH_TASK, ORCH_SLOT, ORCH_PORT_<container port>, …). */
  readonly environment: Readonly<Record<string, string>>;
  readonly workingDir: string | null;
  readonly ports: readonly TaskPort[];
  /** The address on which published ports listen. */
  readonly publishAddress: string;
  readonly volumes: readonly VolumeSpec[];
  readonly limits: { readonly cpuMilli: number | null; readonly memoryMib: number | null };
}

/** Steps are idempotent: a step that is already done succeeds. At most one step a task is in flight. */
export type EngineStep =
  /** Makes the container ready to start, image included. */
  | { readonly kind: "create"; readonly spec: ContainerSpec }
  /** Starts it, or starts it again after it exited. */
  | { readonly kind: "start"; readonly task: TaskId }
  /** Asks it to end, kills it after `graceMs`; done when it has exited. A container that is gone is a success. */
  | { readonly kind: "stop"; readonly task: TaskId; readonly graceMs: number }
  /** Removes every trace of it, killing it if need be. Named volumes stay. */
  | { readonly kind: "remove"; readonly task: TaskId };

export type StepOutcome =
  | { readonly kind: "done" }
  /** `fault.code`: image-missing or engine-refused (final for this task), engine-unavailable (try again). */
  | { readonly kind: "failed"; readonly fault: Fault };

/** What is seen of one task's container. */
export interface ContainerStatus {
  readonly task: TaskId;
  readonly state: "created" | "running" | "exited" | "gone";
  /** Of the last exit; 128 + signal when killed by one. Null unless exited. */
  readonly exitCode: number | null;
  /** Of the last exit, for people: "out of memory", "killed by SIGKILL". Empty when there is nothing to say. */
  readonly message: string;
  readonly startedAtMs: number | null;
  readonly finishedAtMs: number | null;
}

export type ListOutcome =
  | { readonly kind: "listed"; readonly statuses: readonly ContainerStatus[] }
  | { readonly kind: "failed"; readonly fault: Fault };

/**
 * A runtime driver. Callbacks rather than promises, so that the simulator drives `memory` in virtual
 * time; each is called exactly once, possibly before the call returns. Owns only containers of its
 * own node (by label or folder); others are never touched, nor listed.
 */
export interface Engine {
  readonly name: DriverName;
  perform(step: EngineStep, done: (outcome: StepOutcome) => void): void;
  /** The containers there are, also those that an earlier process of this node made: it adopts them. */
  list(done: (outcome: ListOutcome) => void): void;
  /** Hears of every start and end of a container from now on; a second call replaces the listener. */
  watch(listener: (status: ContainerStatus) => void): void;
}

/** What the shell needs beyond the port: output, usage and an end. */
export interface Driver extends Engine {
  /** Lines of a task's output, oldest first; follows until `signal` aborts when `follow`. */
  logs(task: TaskId, options: LogOptions): AsyncIterable<LogLine>;
  /** Whether the engine answers now; throws OrchError engine-unavailable with the reason if not. */
  ping(): Promise<void>;
  /** Stops watching. Containers run on. */
  close(): Promise<void>;
}

export interface LogOptions {
  readonly follow: boolean;
  /** Only the last N lines of what is there; null: all. */
  readonly tail: number | null;
  /** Only lines not older than this, epoch milliseconds; null: all. */
  readonly sinceMs: number | null;
  readonly signal: AbortSignal;
}

export interface LogLine {
  readonly stream: "stdout" | "stderr";
  readonly timeMs: number;
  /** Without the line end. */
  readonly text: string;
}

export interface Usage extends Resources {
  /** One-minute load average in thousandths. */
  readonly load1Milli: number;
  /** Over all interfaces of the machine but the loopback, received and sent; null: the machine does not tell. */
  readonly networkRxBytesPerS: number | null;
  readonly networkTxBytesPerS: number | null;
}
