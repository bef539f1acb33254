import type { NodeRecord } from "../state/node-record.ts";
import type { Constraint, DriverName, ServiceSpec } from "../state/spec.ts";
import type { NodeDraft } from "./node-draft.ts";

/** Why one node cannot take a task of the service, as the end of "1 …" and of "2 …". */
interface Cause {
  /** Filters run in this order; a node counts for the first that it fails. */
  readonly rank: number;
  readonly one: string;
  readonly many: string;
  /** For what runs short: how much is asked and how much this node has free. */
  readonly short: { readonly need: number; readonly free: number; readonly unit: string } | null;
}

/** Whether the node can take a task of the service now. */
export function fits(draft: NodeDraft, service: ServiceSpec): boolean {
  return cause(draft, service) === null;
}

/**
 * Why no node can take a task of the service: how many nodes fail for which cause, and of what runs short the
 * most that one of them has.
 */
export function explain(drafts: readonly NodeDraft[], service: ServiceSpec): string {
  if (drafts.length === 0) return "no node fits: the cluster has no nodes";
  const tally = new Map<string, { readonly cause: Cause; count: number; bestFree: number }>();
  for (const draft of drafts) {
    const found = cause(draft, service);
    if (found === null) continue;
    const free = found.short?.free ?? 0;
    const entry = tally.get(found.many);
    if (entry === undefined) tally.set(found.many, { cause: found, count: 1, bestFree: free });
    else {
      entry.count += 1;
      entry.bestFree = Math.max(entry.bestFree, free);
    }
  }
  const parts = [...tally.values()]
    .toSorted((a, b) => a.cause.rank - b.cause.rank || (a.cause.many < b.cause.many ? -1 : 1))
    .map(({ cause: { one, many, short }, count, bestFree }) => {
      const verb = `${count} ${count === 1 ? one : many}`;
      if (short === null) return verb;
      const best = Math.max(0, bestFree);
      return `${verb} (need ${short.need} ${short.unit}, best has ${best} ${short.unit} free)`;
    });
  return `no node fits: ${drafts.length} ${drafts.length === 1 ? "node" : "nodes"}, ${parts.join(", ")}`;
}

/** The sentence without the figures that change with every placement elsewhere: to see whether it is news. */
export function withoutFigures(sentence: string): string {
  return sentence.replaceAll(/best has \d+/g, "best has");
}

function cause(draft: NodeDraft, service: ServiceSpec): Cause | null {
  const node = draft.record;
  if (node.liveness !== "ready") return because(0, "is down", "are down");
  if (!node.mayWork) return because(1, "takes no tasks", "take no tasks");
  const driver = neededDriver(service);
  if (!node.drivers.includes(driver))
    return because(2, `lacks the driver ${driver}`, `lack the driver ${driver}`);
  const failed = service.constraints.find((constraint) => !holds(constraint, node));
  if (failed !== undefined) {
    const text = `${failed.attribute}${failed.operator}${failed.value}`;
    return because(3, `fails ${text}`, `fail ${text}`);
  }
  return shortage(draft, service) ?? portCause(draft, service);
}

function because(rank: number, one: string, many: string): Cause {
  return { rank, one, many, short: null };
}

function shortage(draft: NodeDraft, service: ServiceSpec): Cause | null {
  const need = service.reservations;
  const free = draft.free;
  if (need.cpuMilli > free.cpuMilli)
    return lack(4, "cpu", need.cpuMilli, free.cpuMilli, "milli-CPU");
  if (need.memoryMib > free.memoryMib)
    return lack(5, "memory", need.memoryMib, free.memoryMib, "MiB");
  if (need.diskMib > free.diskMib) return lack(6, "disk", need.diskMib, free.diskMib, "MiB");
  return null;
}

function lack(rank: number, what: string, need: number, free: number, unit: string): Cause {
  return { rank, one: `lacks ${what}`, many: `lack ${what}`, short: { need, free, unit } };
}

function portCause(draft: NodeDraft, service: ServiceSpec): Cause | null {
  if (service.ports.length === 0) return null;
  for (const { host, protocol } of service.ports) {
    if (host === null || !draft.hasPortTaken({ host, protocol })) continue;
    const text = `host port ${host}/${protocol} taken`;
    return because(7, `has ${text}`, `have ${text}`);
  }
  if (draft.choosePorts(service) !== null) return null;
  return because(8, "has no free port left in its range", "have no free port left in their range");
}

function neededDriver(service: ServiceSpec): DriverName {
  return service.driver ?? (service.image === null ? "process" : "docker");
}

/** An attribute that the node does not have equals nothing. */
function holds(constraint: Constraint, node: NodeRecord): boolean {
  return (
    (attribute(node, constraint.attribute) === constraint.value) === (constraint.operator === "==")
  );
}

const LABEL = "node.labels.";

function attribute(node: NodeRecord, name: string): string | null {
  switch (name) {
    case "node.id":
      return node.id;
    case "node.name":
      return node.name;
    case "node.datacenter":
      return node.datacenter;
    case "node.platform.os":
      return node.os;
    case "node.platform.arch":
      return node.arch;
    default: {
      const label = name.startsWith(LABEL) ? name.slice(LABEL.length) : null;
      return label !== null && Object.hasOwn(node.labels, label)
        ? (node.labels[label] ?? null)
        : null;
    }
  }
}
