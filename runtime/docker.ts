import { setTimeout as delay } from "node:timers/promises";
import type Docker from "dockerode";
import type { Fault } from "../lib/errors.ts";
import { fault, OrchError } from "../lib/errors.ts";
import type { TaskId } from "../state/ids.ts";
import { taskId } from "../state/ids.ts";
import type { DriverName } from "../state/spec.ts";
import type { EngineAddress } from "./docker-address.ts";
import { bounded, CALL_MS, connect, statusOf, textOf, unavailable } from "./docker-client.ts";
import { dockerLogs } from "./docker-logs.ts";
import type { Owner } from "./docker-spec.ts";
import {
  createOptions,
  imageMissing,
  isPassing,
  ownLabels,
  refusal,
  statusFrom,
  TASK_LABEL,
} from "./docker-spec.ts";
import type { Sight } from "./docker-watch.ts";
import { Told, watchContainers } from "./docker-watch.ts";
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

/** A large image over a slow line; one that takes longer is tried again and finds the layers it has. */
const PULL_MS = 15 * 60_000;
const REMOVE_MS = 30_000;
/** What the engine may add to the grace that a stop gives. */
const STOP_EXTRA_MS = 20_000;
/** Docker 19.03, Podman 3: the first that takes all that createOptions asks for. */
const OLDEST_API = [1, 40] as const;
const PARALLEL_INSPECTIONS = 8;

export interface DockerDriverOptions extends Owner {
  readonly address: EngineAddress;
}

/**
 * Tasks as containers of any engine with Docker's API (version 1.40 on; Podman's socket too). Containers
 * are found by their labels, never by name, so a restarted orch finds what it made.
 */
export class DockerDriver implements Driver {
  readonly name: DriverName = "docker";
  readonly #options: DockerDriverOptions;
  readonly #client: Docker;
  readonly #told = new Told();
  readonly #closing = new AbortController();
  #listener: ((status: ContainerStatus) => void) | null = null;
  #watching: Promise<void> = Promise.resolve();

  /** Does not connect yet. Throws OrchError engine-unavailable when the address's certificates cannot be read. */
  constructor(options: DockerDriverOptions) {
    this.#options = options;
    this.#client = connect(options.address);
  }

  perform(step: EngineStep, done: (outcome: StepOutcome) => void): void {
    void this.#run(step).then(
      () => done({ kind: "done" }),
      (error: unknown) => done({ kind: "failed", fault: this.#faultOf(step, error) }),
    );
  }

  list(done: (outcome: ListOutcome) => void): void {
    void this.#all().then(
      (statuses) => {
        for (const status of statuses) this.#told.note(status);
        done({ kind: "listed", statuses });
      },
      (error: unknown) => {
        done({
          kind: "failed",
          fault: unavailable(this.#options.address, "list containers", error),
        });
      },
    );
  }

  watch(listener: (status: ContainerStatus) => void): void {
    const first = this.#listener === null;
    this.#listener = listener;
    if (!first || this.#closing.signal.aborted) return;
    const sight: Sight = {
      inspect: (containerId, task) => this.#inspect(containerId, task),
      find: (task) => this.#find(task),
      all: () => this.#all(),
    };
    const tell = (status: ContainerStatus): void => this.#listener?.(status);
    this.#watching = watchContainers(
      this.#client,
      this.#options,
      sight,
      this.#told,
      tell,
      this.#closing.signal,
    );
  }

  async *logs(task: TaskId, options: LogOptions): AsyncGenerator<LogLine, void, undefined> {
    try {
      const containerId = await this.#containerId(task);
      if (containerId === null) return;
      const exists = async (): Promise<boolean> =>
        (await this.#inspect(containerId, task)) !== null;
      yield* dockerLogs(this.#client.getContainer(containerId), options, exists);
    } catch (error) {
      if (statusOf(error) === 404) return;
      throw new OrchError(
        unavailable(this.#options.address, `give the output of ${task}`, error),
        error,
      );
    }
  }

  async ping(): Promise<void> {
    try {
      const { ApiVersion: version } = await bounded(CALL_MS, () => this.#client.version());
      if (!isOldApi(version)) return;
      throw new Error(`it speaks API ${version}, orch needs ${OLDEST_API.join(".")} or newer`);
    } catch (error) {
      throw new OrchError(unavailable(this.#options.address, "answer", error), error);
    }
  }

  async close(): Promise<void> {
    this.#listener = () => undefined;
    this.#closing.abort();
    await this.#watching;
  }

  async #run(step: EngineStep): Promise<void> {
    switch (step.kind) {
      case "create":
        await this.#create(step.spec);
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

  async #create(spec: ContainerSpec): Promise<void> {
    const { image } = spec;
    if (image === null) throw new OrchError(needsImage(spec));
    if ((await this.#containerId(spec.task)) !== null) return;
    const name = `${spec.slot}.${spec.task}`;
    try {
      await this.#make({ ...spec, image }, name);
    } catch (error) {
      if (statusOf(error) === 404) {
        await this.#pull(image, spec.slot);
        await this.#make({ ...spec, image }, name);
      } else if (statusOf(error) === 409) {
        // Another cluster on this engine has the name, or our own try that was thought to have failed.
        if ((await this.#containerId(spec.task)) !== null) return;
        await this.#make({ ...spec, image }, `${name}.${this.#options.clusterId.slice(-8)}`);
      } else {
        throw error;
      }
    }
  }

  async #make(spec: ContainerSpec & { readonly image: string }, name: string): Promise<void> {
    // Apart, or the client puts the whole body, secrets included, into the URL as well.
    const request = { _query: { name }, _body: createOptions(spec, this.#options) };
    await bounded(CALL_MS, (abortSignal) =>
      this.#client.createContainer({ ...request, abortSignal }),
    );
    this.#told.note({
      task: spec.task,
      state: "created",
      exitCode: null,
      message: "",
      startedAtMs: null,
      finishedAtMs: null,
    });
  }

  async #pull(image: string, slot: string): Promise<void> {
    try {
      await bounded(PULL_MS, async (abortSignal) => {
        const progress = await this.#client.pull(image, { abortSignal });
        await new Promise<void>((resolve, reject) => {
          this.#client.modem.followProgress(progress, (error) =>
            error === null ? resolve() : reject(error),
          );
        });
      });
    } catch (error) {
      const text = textOf(error);
      if (await this.#answers()) throw new OrchError(imageMissing(image, slot, text), error);
      throw error;
    }
  }

  async #start(task: TaskId): Promise<void> {
    const containerId = await this.#containerId(task);
    if (containerId === null) throw new OrchError(notCreated(task));
    await this.#ignoring(
      [304],
      (abortSignal) => this.#client.getContainer(containerId).start({ abortSignal }),
      CALL_MS * 4,
    );
  }

  async #stop(task: TaskId, graceMs: number): Promise<void> {
    const containerId = await this.#containerId(task);
    if (containerId === null) return;
    // The engine counts in whole seconds, sends the image's own stop signal, and goes on if orch dies meanwhile.
    const t = Math.ceil(graceMs / 1000);
    const container = this.#client.getContainer(containerId);
    await this.#ignoring(
      [304, 404],
      (abortSignal) => container.stop({ t, abortSignal }),
      graceMs + STOP_EXTRA_MS,
    );
  }

  async #remove(task: TaskId): Promise<void> {
    const containerId = await this.#containerId(task);
    if (containerId === null) return;
    const container = this.#client.getContainer(containerId);
    await this.#ignoring(
      [404, 409],
      (abortSignal) => container.remove({ force: true, v: true, abortSignal }),
      REMOVE_MS,
    );
    // 409: somebody is removing it already. Done means that it is gone.
    const until = performance.now() + REMOVE_MS;
    while ((await this.#containerId(task)) !== null) {
      if (performance.now() > until)
        throw new Error(`container ${containerId} is still being removed`);
      await delay(100);
    }
  }

  async #ignoring(
    statuses: readonly number[],
    call: (signal: AbortSignal) => Promise<unknown>,
    ms: number,
  ): Promise<void> {
    try {
      await bounded(ms, call);
    } catch (error) {
      if (!statuses.includes(statusOf(error) ?? 0)) throw error;
    }
  }

  async #containerId(task: TaskId): Promise<string | null> {
    const filters = { label: ownLabels(this.#options, task) };
    const found = await bounded(CALL_MS, (abortSignal) =>
      this.#client.listContainers({ all: true, filters, abortSignal }),
    );
    return found[0]?.Id ?? null;
  }

  async #find(task: TaskId): Promise<ContainerStatus | null> {
    const containerId = await this.#containerId(task);
    return containerId === null ? null : this.#inspect(containerId, task);
  }

  async #inspect(containerId: string, task: TaskId): Promise<ContainerStatus | null> {
    try {
      const container = this.#client.getContainer(containerId);
      const { State } = await bounded(CALL_MS, (abortSignal) => container.inspect({ abortSignal }));
      return statusFrom(task, State);
    } catch (error) {
      if (statusOf(error) === 404) return null;
      throw error;
    }
  }

  async #all(): Promise<ContainerStatus[]> {
    const filters = { label: ownLabels(this.#options, null) };
    const found = await bounded(CALL_MS, (abortSignal) =>
      this.#client.listContainers({ all: true, filters, abortSignal }),
    );
    const statuses: ContainerStatus[] = [];
    for (let next = 0; next < found.length; next += PARALLEL_INSPECTIONS) {
      const part = found.slice(next, next + PARALLEL_INSPECTIONS);
      const seen = await Promise.all(
        part.map((one) => this.#inspect(one.Id, taskId(one.Labels[TASK_LABEL] ?? ""))),
      );
      statuses.push(...seen.filter((status) => status !== null));
    }
    return statuses;
  }

  async #answers(): Promise<boolean> {
    return this.ping().then(
      () => true,
      () => false,
    );
  }

  #faultOf(step: EngineStep, error: unknown): Fault {
    if (error instanceof OrchError) return error.fault;
    const task = step.kind === "create" ? step.spec.task : step.task;
    const what = step.kind === "create" ? `create ${step.spec.slot}` : `${step.kind} ${task}`;
    const text = textOf(error);
    if (isPassing(statusOf(error), text)) return unavailable(this.#options.address, what, error);
    return refusal(`Cannot ${what}`, text, task);
  }
}

function isOldApi(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major === OLDEST_API[0] ? minor < OLDEST_API[1] : major < OLDEST_API[0];
}

function needsImage(spec: ContainerSpec): Fault {
  return fault(
    "engine-refused",
    `${spec.slot} names no image, which the docker driver needs.`,
    "Name an image, or use the process driver.",
    { task: spec.task },
  );
}

function notCreated(task: TaskId): Fault {
  return fault(
    "engine-refused",
    `Task ${task} has no container on this node to start.`,
    "Somebody removed it: the task is replaced by a new one.",
    { task },
  );
}
