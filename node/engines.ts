import { join } from "node:path";
import { fault, OrchError } from "../lib/errors.ts";
import { type EngineAddress, engineAddresses } from "../runtime/docker-address.ts";
import type {
  ContainerStatus,
  Driver,
  EngineStep,
  ListOutcome,
  LogLine,
  LogOptions,
  StepOutcome,
} from "../runtime/engine.ts";
import { MemoryDriver } from "../runtime/memory-driver.ts";
import { memoryMachine } from "../runtime/memory.ts";
import { PROCESS_LOG_BOUND, ProcessDriver } from "../runtime/process.ts";
import type { NodeId, TaskId } from "../state/ids.ts";
import type { DriverName } from "../state/spec.ts";
import { existsSync } from "node:fs";

/** The runtimes of this node behind one port: a task with an image goes to Docker, one without is a process. */
export class Engines {
  readonly #drivers: ReadonlyMap<DriverName, Driver>;
  /** Which driver has a task's container. */
  readonly #owners: Map<TaskId, Driver> = new Map();

  constructor(drivers: readonly Driver[]) {
    this.#drivers = new Map(drivers.map((driver) => [driver.name, driver]));
  }

  perform(step: EngineStep, done: (outcome: StepOutcome) => void): void {
    const driver =
      step.kind === "create" ? this.#driverFor(step.spec.image) : this.#owner(step.task);
    if (driver === undefined) {
      done(step.kind === "create" || step.kind === "start" ? refusal() : { kind: "done" });
      return;
    }
    if (step.kind === "create") this.#owners.set(step.spec.task, driver);
    if (step.kind === "remove") this.#owners.delete(step.task);
    driver.perform(step, done);
  }

  #driverFor(image: string | null): Driver | undefined {
    const memory = this.#drivers.get("memory");
    return memory ?? this.#drivers.get(image === null ? "process" : "docker");
  }

  #owner(task: TaskId): Driver | undefined {
    return this.#owners.get(task);
  }

  /** All drivers' containers; fails when one of them cannot tell, as a container not listed counts as gone. */
  list(done: (outcome: ListOutcome) => void): void {
    const statuses: ContainerStatus[] = [];
    let waiting = this.#drivers.size;
    let failure: ListOutcome | null = null;
    if (waiting === 0) done({ kind: "listed", statuses });
    for (const driver of this.#drivers.values()) {
      driver.list((outcome) => {
        if (outcome.kind === "failed") failure = outcome;
        else {
          statuses.push(...outcome.statuses);
          for (const { task } of outcome.statuses) this.#owners.set(task, driver);
        }
        waiting -= 1;
        if (waiting === 0) done(failure ?? { kind: "listed", statuses });
      });
    }
  }

  watch(listener: (status: ContainerStatus) => void): void {
    for (const driver of this.#drivers.values()) driver.watch(listener);
  }

  logs(task: TaskId, options: LogOptions): AsyncIterable<LogLine> {
    const driver = this.#owners.get(task);
    if (driver !== undefined) return driver.logs(task, options);
    const reason = `task ${task} has no container on this node any more`;
    throw new OrchError(fault("not-found", reason, "Its output went with it."));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#drivers.values()].map((driver) => driver.close()));
  }
}

function refusal(): StepOutcome {
  const reason = "this node has no runtime for the task";
  return { kind: "failed", fault: fault("engine-refused", reason, "Start a Docker engine here.") };
}

export interface EngineChoice {
  readonly names: readonly DriverName[];
  /** For the node's log: what was found, and what that means. */
  readonly told: string;
  /** Where containers run; null: nowhere. */
  readonly address: EngineAddress | null;
  /** Connects the runtimes, once it is known whose node this is: containers carry its cluster's name. */
  open(clusterId: string, nodeId: NodeId): Engines;
}

/** What runtimes keep in the node's data folder. */
export function runtimeFolder(dataDir: string): string {
  return join(dataDir, "runtime");
}

/**
 * The runtimes that this machine offers, or the one that was asked for. An engine whose socket is there but
 * silent is kept: it may be starting, and its tasks must not be taken for gone.
 */
export async function findEngines(
  wanted: DriverName | null,
  dataDir: string,
  hasImages: boolean,
): Promise<EngineChoice> {
  if (wanted === "memory") {
    return {
      names: ["memory"],
      told: "memory driver: nothing really runs",
      address: null,
      open: () => new Engines([new MemoryDriver(memoryMachine())]),
    };
  }
  const docker = wanted === "process" ? null : await findEngine(wanted === "docker" || hasImages);
  const processes = wanted !== "docker";
  const names: DriverName[] = [
    ...(docker === null ? [] : ["docker" as const]),
    ...(processes ? ["process" as const] : []),
  ];
  const open = (clusterId: string, nodeId: NodeId): Engines => {
    const drivers: Driver[] = [];
    if (docker !== null) drivers.push(docker.open({ clusterId, nodeId }));
    if (processes) {
      const folder = runtimeFolder(dataDir);
      drivers.push(new ProcessDriver({ dataDir: folder, logBound: PROCESS_LOG_BOUND }));
    }
    return new Engines(drivers);
  };
  const about = [
    ...(wanted === "process" ? [] : [docker === null ? "no Docker engine answers" : docker.told]),
    ...(processes ? ["tasks without an image run as plain processes, not isolated"] : []),
  ];
  return { names, told: about.join("; "), address: docker?.address ?? null, open };
}

interface FoundEngine {
  readonly told: string;
  readonly address: EngineAddress;
  open(owner: { clusterId: string; nodeId: NodeId }): Driver;
}

/**
 * The engine that answers. One that does not is kept only when it was asked for or tasks here need it
 * (`needed`): it may be starting, and nothing is started here before it says what runs. Else its socket is
 * a remnant, and waiting for it would hold up the processes.
 */
async function findEngine(needed: boolean): Promise<FoundEngine | null> {
  const known = engineAddresses(process.env);
  const there = known.filter((address) => address.kind === "tcp" || existsSync(address.path));
  const first = there[0] ?? (needed ? known[0] : undefined);
  if (first === undefined) return null;
  // Loaded only where there may be an engine: its client is large.
  const { findDocker } = await import("../runtime/docker-client.ts");
  const { DockerDriver } = await import("../runtime/docker.ts");
  const found = await findDocker(process.env);
  if (found === null && !needed) return null;
  return {
    told: found === null ? "a Docker engine that does not answer yet" : "Docker engine found",
    address: found ?? first,
    open: (owner) => new DockerDriver({ address: found ?? first, ...owner }),
  };
}
