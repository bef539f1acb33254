import type { Allocation } from "../state/allocation.ts";
import { portKey } from "../state/allocation.ts";
import type { NodeRecord } from "../state/node-record.ts";
import type { Resources, ServiceSpec } from "../state/spec.ts";
import type { TaskPort } from "../state/task.ts";
import { DEFAULT_ASK } from "./score.ts";

/** A node as it will be once the steps of the pass so far are applied. */
export class NodeDraft {
  readonly record: NodeRecord;
  /** Tasks that are placed here and not over. */
  tasks: number;
  /** What is not reserved; below zero when the node's capacity shrank under its tasks. */
  free: Resources;
  /** What is reserved, tasks that reserve nothing counted as DEFAULT_ASK. */
  weight: Resources;
  readonly #portsBefore: Allocation["hostPorts"];
  readonly #portsAdded = new Set<string>();
  #cursor: number;

  constructor(record: NodeRecord, allocation: Allocation) {
    const { resources, unreserved } = allocation;
    this.record = record;
    this.tasks = allocation.tasks;
    this.free = minus(record.resources, resources);
    this.weight = {
      cpuMilli: resources.cpuMilli + unreserved.cpu * DEFAULT_ASK.cpuMilli,
      memoryMib: resources.memoryMib + unreserved.memory * DEFAULT_ASK.memoryMib,
      diskMib: resources.diskMib,
    };
    this.#portsBefore = allocation.hostPorts;
    this.#cursor = allocation.portCursor;
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
    this.tasks += 1;
    this.free = minus(this.free, ask);
    this.weight = {
      cpuMilli: this.weight.cpuMilli + (ask.cpuMilli || DEFAULT_ASK.cpuMilli),
      memoryMib: this.weight.memoryMib + (ask.memoryMib || DEFAULT_ASK.memoryMib),
      diskMib: this.weight.diskMib + ask.diskMib,
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

function minus(a: Resources, b: Resources): Resources {
  return {
    cpuMilli: a.cpuMilli - b.cpuMilli,
    memoryMib: a.memoryMib - b.memoryMib,
    diskMib: a.diskMib - b.diskMib,
  };
}
