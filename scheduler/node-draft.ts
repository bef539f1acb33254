import type { Allocation } from "../state/allocation.ts";
import { portKey } from "../state/allocation.ts";
import type { NodeRecord } from "../state/node-record.ts";
import type { Resources, ServiceSpec } from "../state/spec.ts";
import type { TaskPort } from "../state/task.ts";
import { DEFAULT_ASK } from "./score.ts";

/** A node as it will be once the steps of the pass so far are applied. */
export class NodeDraft {
  readonly record: NodeRecord;
  readonly #portsBefore: ReadonlySet<string>;
  readonly #portsAdded = new Set<string>();
  #held: Resources;
  #unreserved: Allocation["unreserved"];
  #tasks: number;
  #cursor: number;

  constructor(record: NodeRecord, allocation: Allocation) {
    this.record = record;
    this.#portsBefore = allocation.hostPorts;
    this.#held = allocation.resources;
    this.#unreserved = allocation.unreserved;
    this.#tasks = allocation.tasks;
    this.#cursor = allocation.portCursor;
  }

  get tasks(): number {
    return this.#tasks;
  }

  /** What is not reserved; below zero when the node's capacity shrank under its tasks. */
  get free(): Resources {
    const { resources } = this.record;
    return {
      cpuMilli: resources.cpuMilli - this.#held.cpuMilli,
      memoryMib: resources.memoryMib - this.#held.memoryMib,
      diskMib: resources.diskMib - this.#held.diskMib,
    };
  }

  /** What is reserved, tasks that reserve nothing counted as DEFAULT_ASK. */
  get weight(): Resources {
    return {
      cpuMilli: this.#held.cpuMilli + this.#unreserved.cpu * DEFAULT_ASK.cpuMilli,
      memoryMib: this.#held.memoryMib + this.#unreserved.memory * DEFAULT_ASK.memoryMib,
      diskMib: this.#held.diskMib,
    };
  }

  hasPortTaken(port: { readonly host: number; readonly protocol: string }): boolean {
    const key = portKey(port);
    return this.#portsBefore.has(key) || this.#portsAdded.has(key);
  }

  /**
   * The host ports that the service's next task would get here, in the order of its spec; null when its own are
   * taken or the range has too few. Ports from the range are given out in turn, so that one which was just freed
   * rests as long as possible: its old connections may linger.
   */
  choosePorts(service: ServiceSpec): readonly TaskPort[] | null {
    const taken = new Set<string>();
    for (const { host, protocol } of service.ports) {
      if (host === null) continue;
      if (this.hasPortTaken({ host, protocol })) return null;
      taken.add(portKey({ host, protocol }));
    }
    const ports: TaskPort[] = [];
    let cursor = this.#cursor;
    for (const { container, host: wanted, protocol } of service.ports) {
      const host = wanted ?? this.#nextFree(cursor, protocol, taken);
      if (host === null) return null;
      if (wanted === null) cursor = host;
      taken.add(portKey({ host, protocol }));
      ports.push({ container, host, protocol });
    }
    return ports;
  }

  /** Puts one task of the service here, on ports that `choosePorts` gave. */
  take(service: ServiceSpec, ports: readonly TaskPort[]): void {
    const ask = service.reservations;
    this.#tasks += 1;
    this.#held = {
      cpuMilli: this.#held.cpuMilli + ask.cpuMilli,
      memoryMib: this.#held.memoryMib + ask.memoryMib,
      diskMib: this.#held.diskMib + ask.diskMib,
    };
    this.#unreserved = {
      cpu: this.#unreserved.cpu + (ask.cpuMilli === 0 ? 1 : 0),
      memory: this.#unreserved.memory + (ask.memoryMib === 0 ? 1 : 0),
    };
    for (const [i, port] of ports.entries()) {
      this.#portsAdded.add(portKey(port));
      if (service.ports[i]?.host === null) this.#cursor = port.host;
    }
  }

  #nextFree(cursor: number, protocol: "tcp" | "udp", taken: ReadonlySet<string>): number | null {
    const { first, last } = this.record.portRange;
    const size = last - first + 1;
    const start = cursor >= first && cursor < last ? cursor + 1 : first;
    for (let i = 0; i < size; i++) {
      const host = first + ((start - first + i) % size);
      if (!this.hasPortTaken({ host, protocol }) && !taken.has(portKey({ host, protocol })))
        return host;
    }
    return null;
  }
}
