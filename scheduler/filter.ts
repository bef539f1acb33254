import { present } from "../lib/assert.ts";
import type { NodeRecord } from "../state/node-record.ts";
import type { Constraint, DriverName, ServiceSpec } from "../state/spec.ts";
import type { NodeDraft } from "./node-draft.ts";

/**
 * The filters in the order in which they run, as numbers: thousands of nodes are asked for each service, and words
 * are wanted only when none fits. A constraint or port of the spec is told apart by its place, added to the filter's.
 */
const FITS = 0;
const DOWN = 1;
const LEAVING = 2;
const NO_WORK = 3;
const DRIVER = 4;
const CONSTRAINT = 1000;
const CPU = 10_000;
const MEMORY = 10_001;
const DISK = 10_002;
const HOST_PORT = 20_000;
const RANGE = 30_000;

/** Whether the node can take a task of the service now. */
export function fits(draft: NodeDraft, service: ServiceSpec): boolean {
  return verdict(draft, service) === FITS;
}

/**
 * Why no node can take a task of the service: how many nodes fail for which cause (each counts for the first filter
 * that it fails) and, of what runs short, the most that one of them has.
 */
export function explain(drafts: readonly NodeDraft[], service: ServiceSpec): string {
  if (drafts.length === 0) return "no node fits: the cluster has no nodes";
  const tally = new Map<number, { count: number; bestFree: number }>();
  for (const draft of drafts) {
    const failed = verdict(draft, service);
    const free = freeOf(draft, failed);
    const entry = tally.get(failed);
    if (entry === undefined) tally.set(failed, { count: 1, bestFree: free });
    else {
      entry.count += 1;
      entry.bestFree = Math.max(entry.bestFree, free);
    }
  }
  const causes = [...tally]
    .filter(([failed]) => failed !== FITS)
    .toSorted(([a], [b]) => a - b)
    .map(
      ([failed, { count, bestFree }]) =>
        `${count} ${words(failed, service, count === 1, bestFree)}`,
    );
  return `no node fits: ${drafts.length} ${drafts.length === 1 ? "node" : "nodes"}, ${causes.join(", ")}`;
}

/** The sentence without the figures that change with every placement, or loss of a node, elsewhere: to see whether it is news. */
export function withoutFigures(sentence: string): string {
  return sentence
    .replaceAll(/best has \d+/g, "best has")
    .replace(/^(held back until \S+): \d+ of \d+/, "$1");
}

/** The first filter that the node fails. */
function verdict(draft: NodeDraft, service: ServiceSpec): number {
  const node = draft.record;
  if (node.liveness !== "ready") return DOWN;
  if (node.leaving) return LEAVING;
  if (!node.mayWork) return NO_WORK;
  if (!node.drivers.includes(neededDriver(service))) return DRIVER;
  const constraint = service.constraints.findIndex((each) => !holds(each, node));
  if (constraint >= 0) return CONSTRAINT + constraint;
  const need = service.reservations;
  if (need.cpuMilli > draft.free.cpuMilli) return CPU;
  if (need.memoryMib > draft.free.memoryMib) return MEMORY;
  if (need.diskMib > draft.free.diskMib) return DISK;
  if (service.ports.length === 0) return FITS;
  const taken = service.ports.findIndex(
    ({ host, protocol }) => host !== null && draft.hasPortTaken({ host, protocol }),
  );
  if (taken >= 0) return HOST_PORT + taken;
  return draft.choosePorts(service) === null ? RANGE : FITS;
}

function freeOf(draft: NodeDraft, failed: number): number {
  if (failed === CPU) return draft.free.cpuMilli;
  if (failed === MEMORY) return draft.free.memoryMib;
  return failed === DISK ? draft.free.diskMib : 0;
}

/** What follows a number of nodes: "2 are down", "1 is down". */
function words(failed: number, service: ServiceSpec, one: boolean, bestFree: number): string {
  const need = service.reservations;
  const shortOf = (what: string, asked: number, unit: string): string =>
    `${one ? "lacks" : "lack"} ${what} (need ${asked} ${unit}, best has ${Math.max(0, bestFree)} ${unit} free)`;
  if (failed === DOWN) return one ? "is down" : "are down";
  if (failed === LEAVING) return one ? "is leaving" : "are leaving";
  if (failed === NO_WORK) return one ? "takes no tasks" : "take no tasks";
  if (failed === DRIVER) return `${one ? "lacks" : "lack"} the driver ${neededDriver(service)}`;
  if (failed === CPU) return shortOf("cpu", need.cpuMilli, "milli-CPU");
  if (failed === MEMORY) return shortOf("memory", need.memoryMib, "MiB");
  if (failed === DISK) return shortOf("disk", need.diskMib, "MiB");
  if (failed === RANGE)
    return one ? "has no free port left in its range" : "have no free port left in their range";
  const port = service.ports[failed - HOST_PORT];
  if (port !== undefined)
    return `${one ? "has" : "have"} host port ${port.host}/${port.protocol} taken`;
  const constraint = present(
    service.constraints[failed - CONSTRAINT],
    "a filter that a node failed",
  );
  return `${one ? "fails" : "fail"} ${constraint.attribute}${constraint.operator}${constraint.value}`;
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
