import type { Resources } from "./spec.ts";
import type { Task } from "./task.ts";

/** What the tasks that are placed on a node and not over take of it. A live view: read it, don't keep it. */
export interface Allocation {
  readonly resources: Resources;
  /** As `portKey` writes them. Not to be listed: replicas agree on the set, not on its order. */
  readonly hostPorts: Pick<ReadonlySet<string>, "has" | "size">;
  readonly tasks: number;
  /** How many of the tasks reserve no CPU, and how many no memory. */
  readonly unreserved: { readonly cpu: number; readonly memory: number };
  /** The port of its range that the scheduler gave out last; 0: none yet. */
  readonly portCursor: number;
}

/** A host port as a set's element: `tcp/8080`. */
export function portKey(port: { readonly host: number; readonly protocol: string }): string {
  return `${port.protocol}/${port.host}`;
}

/** An allocation that is kept with each task that comes and goes. */
export class NodeAllocation implements Allocation {
  readonly hostPorts: Set<string> = new Set();
  resources: Resources = { cpuMilli: 0, memoryMib: 0, diskMib: 0 };
  unreserved: { readonly cpu: number; readonly memory: number } = { cpu: 0, memory: 0 };
  tasks = 0;
  portCursor = 0;

  take(task: Task): void {
    this.#count(task, 1);
    for (const port of task.ports) this.hostPorts.add(portKey(port));
  }

  release(task: Task): void {
    this.#count(task, -1);
    for (const port of task.ports) this.hostPorts.delete(portKey(port));
  }

  #count(task: Task, sign: 1 | -1): void {
    const ask = task.spec.reservations;
    this.tasks += sign;
    this.resources = {
      cpuMilli: this.resources.cpuMilli + sign * ask.cpuMilli,
      memoryMib: this.resources.memoryMib + sign * ask.memoryMib,
      diskMib: this.resources.diskMib + sign * ask.diskMib,
    };
    this.unreserved = {
      cpu: this.unreserved.cpu + (ask.cpuMilli === 0 ? sign : 0),
      memory: this.unreserved.memory + (ask.memoryMib === 0 ? sign : 0),
    };
  }
}

export const NOTHING_ALLOCATED: Allocation = new NodeAllocation();
