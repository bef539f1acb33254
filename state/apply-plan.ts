import { unreachable } from "../lib/assert.ts";
import { portKey } from "./allocation.ts";
import { stopTask } from "./apply-jobs.ts";
import type { Job } from "./cluster.ts";
import type { Command, PlanStep } from "./command.ts";
import type { NodeId } from "./ids.ts";
import { taskId } from "./ids.ts";
import type { ServiceSpec } from "./spec.ts";
import type { Change, Tables } from "./tables.ts";
import type { Task, TaskPort } from "./task.ts";
import { isTerminal } from "./task.ts";

type Of<Kind extends PlanStep["kind"]> = Extract<PlanStep, { kind: Kind }>;

/**
 * Carries out the scheduler's steps, each checked against the state as it is now: one that no longer fits is
 * passed by and the next pass decides anew. Returns whether anything changed.
 */
export function applyPlan(
  tables: Tables,
  command: Extract<Command, { kind: "plan" }>,
  change: Change,
): boolean {
  let changed = false;
  let created = 0;
  for (const step of command.steps) {
    if (step.kind === "create") {
      if (!create(tables, step, change, created)) continue;
      created += 1;
      changed = true;
    } else {
      changed = applyToTask(tables, step, change) || changed;
    }
  }
  return changed;
}

function applyToTask(
  tables: Tables,
  step: Exclude<PlanStep, { kind: "create" }>,
  change: Change,
): boolean {
  const task = tables.tasks.all.get(step.task);
  if (task === undefined) return false;
  switch (step.kind) {
    case "assign":
      return assign(tables, task, step, change);
    case "explain": {
      if (task.state !== "pending" || task.message === step.message) return false;
      const explained = { ...task, message: step.message, modifiedIndex: change.index };
      tables.putTask(explained, change, step.message);
      return true;
    }
    case "stop":
      return stopTask(tables, task, step.message, change);
    case "forget": {
      if (!mayForget(tables, task)) return false;
      tables.removeTask(task);
      return true;
    }
    default:
      return unreachable(step);
  }
}

function create(tables: Tables, step: Of<"create">, change: Change, created: number): boolean {
  const job = tables.jobs.get(step.job);
  const service = job?.spec.services.find((candidate) => candidate.name === step.service);
  if (job === undefined || service === undefined || job.version !== step.version) return false;
  if (job.stopped.includes(service.name) || step.slot < 1 || step.slot > service.replicas)
    return false;
  const slot = tables.tasks.ofSlot(job.name, service.name, step.slot);
  if ((slot.at(-1)?.id ?? null) !== step.previous) return false;
  if (slot.some((task) => !isTerminal(task.state) && task.desired === "running")) return false;
  if (step.node !== null && !hasRoom(tables, step.node, service, step.ports)) return false;
  const task: Task = {
    id: taskId(`${change.index.toString(36)}-${created}`),
    job: job.name,
    service: service.name,
    slot: step.slot,
    version: step.version,
    spec: service,
    node: step.node,
    ports: step.node === null ? [] : step.ports,
    state: step.node === null ? "pending" : "assigned",
    desired: "running",
    healthy: null,
    attempts: 0,
    exitCode: null,
    message: step.message,
    previous: step.previous,
    returnedIndex: null,
    rejections: step.rejections,
    createdAtMs: change.timeMs,
    startedAtMs: null,
    finishedAtMs: null,
    modifiedIndex: change.index,
  };
  tables.putTask(task, change, step.message);
  moveCursor(tables, task);
  return true;
}

function assign(tables: Tables, task: Task, step: Of<"assign">, change: Change): boolean {
  const job = tables.jobs.get(task.job);
  if (task.state !== "pending" || job === undefined || !isCurrent(job, task)) return false;
  if (!hasRoom(tables, step.node, task.spec, step.ports)) return false;
  const placed: Task = {
    ...task,
    state: "assigned",
    node: step.node,
    ports: step.ports,
    message: step.message,
    modifiedIndex: change.index,
  };
  tables.putTask(placed, change, step.message);
  moveCursor(tables, placed);
  return true;
}

/** Whether a task is of its service as the job has it now. */
export function isCurrent(job: Job, task: Task): boolean {
  const service = job.spec.services.find((candidate) => candidate.name === task.service);
  if (service === undefined || task.slot > service.replicas || job.stopped.includes(service.name))
    return false;
  return task.version >= (job.serviceVersions[service.name] ?? 0);
}

/** Whether the node can take one more task of the service with just these ports. */
export function hasRoom(
  tables: Tables,
  id: NodeId,
  service: ServiceSpec,
  ports: readonly TaskPort[],
): boolean {
  const node = tables.nodes.get(id);
  if (node === undefined || node.liveness !== "ready" || node.leaving || !node.mayWork)
    return false;
  const held = tables.tasks.allocated(id);
  const ask = service.reservations;
  if (held.resources.cpuMilli + ask.cpuMilli > node.resources.cpuMilli) return false;
  if (held.resources.memoryMib + ask.memoryMib > node.resources.memoryMib) return false;
  if (held.resources.diskMib + ask.diskMib > node.resources.diskMib) return false;
  if (ports.length !== service.ports.length) return false;
  if (new Set(ports.map(portKey)).size !== ports.length) return false;
  return service.ports.every((wanted, i) => {
    const port = ports[i];
    if (port?.container !== wanted.container || port.protocol !== wanted.protocol) return false;
    if (held.hostPorts.has(portKey(port))) return false;
    if (wanted.host !== null) return port.host === wanted.host;
    return port.host >= node.portRange.first && port.host <= node.portRange.last;
  });
}

function moveCursor(tables: Tables, task: Task): void {
  if (task.node === null) return;
  const last = task.ports.findLast((_, i) => task.spec.ports[i]?.host === null);
  if (last !== undefined) tables.tasks.movePortCursor(task.node, last.host);
}

/**
 * The newest task of a slot stays: the slot's history and its waits hang on it. So does a lost one until its
 * node is back: its container may still run there, and the node is told to stop what it hears nothing of.
 */
function mayForget(tables: Tables, task: Task): boolean {
  if (!isTerminal(task.state)) return false;
  if (tables.tasks.ofSlot(task.job, task.service, task.slot).at(-1) === task) return false;
  return (
    task.state !== "lost" || task.node === null || tables.nodes.get(task.node)?.liveness !== "down"
  );
}
