import type { Allocation } from "./allocation.ts";
import { NodeAllocation, NOTHING_ALLOCATED } from "./allocation.ts";
import type { NodeId, TaskId } from "./ids.ts";
import type { Task, TaskState } from "./task.ts";
import { isTerminal } from "./task.ts";

/** All tasks and every index over them, kept with each change: no look-up walks all tasks. */
export class TaskTable {
  readonly #tasks = new Map<TaskId, Task>();
  readonly #jobs = new Map<string, JobTasks>();
  readonly #nodes = new Map<NodeId, NodeTasks>();
  readonly #counts = new Map<TaskState, number>();

  get all(): ReadonlyMap<TaskId, Task> {
    return this.#tasks;
  }

  /** How many tasks are in that state. */
  count(state: TaskState): number {
    return this.#counts.get(state) ?? 0;
  }

  /** In the order of creation. */
  ofJob(job: string): readonly Task[] {
    return [...(this.#jobs.get(job)?.tasks.values() ?? [])];
  }

  /**
   * The tasks of every slot that has any, by service: within a slot the last is the one that counts. They stand in the order of their creation, but for those that
   * were taken back: these came behind what had taken their place.
   */
  services(job: string): ReadonlyMap<string, ReadonlyMap<number, readonly Task[]>> {
    return this.#jobs.get(job)?.services ?? NO_SERVICES;
  }

  ofSlot(job: string, service: string, slot: number): readonly Task[] {
    return this.services(job).get(service)?.get(slot) ?? [];
  }

  /** In the order of creation, also those that are over. */
  ofNode(node: NodeId): readonly Task[] {
    const entry = this.#nodes.get(node);
    if (entry === undefined) return [];
    entry.sorted ??= [...entry.tasks.values()].toSorted((a, b) => compareCreation(a.id, b.id));
    return entry.sorted;
  }

  allocated(node: NodeId): Allocation {
    return this.#nodes.get(node)?.allocation ?? NOTHING_ALLOCATED;
  }

  /** By service, in the order in which `services` lists them: the first task of a slot may be gone long since. */
  slotOrder(): readonly ServiceSlots[] {
    return [...this.#jobs].flatMap(([job, { services }]) =>
      [...services].map(([service, slots]) => ({ job, service, slots: [...slots.keys()] })),
    );
  }

  /** Of every node that was given a port of its range, by node id. */
  portCursors(): readonly PortCursor[] {
    const cursors: PortCursor[] = [];
    for (const [node, { allocation }] of this.#nodes) {
      if (allocation.portCursor !== 0) cursors.push({ node, port: allocation.portCursor });
    }
    return cursors.toSorted((a, b) => (a.node < b.node ? -1 : 1));
  }

  /** Gives slots that have no tasks yet their places behind the service's others. Their tasks must follow. */
  restoreSlots(job: string, service: string, numbers: readonly number[]): void {
    const { services } = entryOf(this.#jobs, job, newJobTasks);
    const slots = entryOf(services, service, newSlots);
    for (const number of numbers) slots.set(number, []);
  }

  /** Adds a task or puts its newer self in its place. A task's node is given once and never changes. */
  put(task: Task): void {
    const old = this.#tasks.get(task.id);
    this.#tasks.set(task.id, task);
    this.#recount(old?.state ?? null, task.state);
    const job = entryOf(this.#jobs, task.job, newJobTasks);
    job.tasks.set(task.id, task);
    const slots = entryOf(job.services, task.service, newSlots);
    const slot = slots.get(task.slot) ?? [];
    const keepsPlace = old !== undefined && old.returnedIndex === task.returnedIndex;
    slots.set(
      task.slot,
      keepsPlace
        ? slot.map((other) => (other === old ? task : other))
        : inOrder(
            slot.filter((other) => other !== old),
            task,
          ),
    );
    if (task.node === null) return;
    const node = entryOf(this.#nodes, task.node, newNodeTasks);
    node.tasks.set(task.id, task);
    node.sorted = null;
    const held = old !== undefined && occupies(old);
    if (held && !occupies(task)) node.allocation.release(old);
    if (!held && occupies(task)) node.allocation.take(task);
  }

  /** Takes a task out that is over: it holds no room any more. */
  remove(task: Task): void {
    this.#tasks.delete(task.id);
    this.#recount(task.state, null);
    const job = entryOf(this.#jobs, task.job, newJobTasks);
    job.tasks.delete(task.id);
    if (job.tasks.size === 0) this.#jobs.delete(task.job);
    const slots = entryOf(job.services, task.service, newSlots);
    const left = (slots.get(task.slot) ?? []).filter((other) => other !== task);
    if (left.length > 0) slots.set(task.slot, left);
    else slots.delete(task.slot);
    if (slots.size === 0) job.services.delete(task.service);
    if (task.node === null) return;
    const node = entryOf(this.#nodes, task.node, newNodeTasks);
    node.tasks.delete(task.id);
    node.sorted = null;
  }

  /** Remembers which port of the node's range was given out last: the next search starts behind it. */
  movePortCursor(node: NodeId, port: number): void {
    entryOf(this.#nodes, node, newNodeTasks).allocation.portCursor = port;
  }

  #recount(before: TaskState | null, after: TaskState | null): void {
    if (before !== null) this.#counts.set(before, this.count(before) - 1);
    if (after !== null) this.#counts.set(after, this.count(after) + 1);
  }
}

/** The numbers of a service's slots that have tasks, in the order of each slot's first task. */
export interface ServiceSlots {
  readonly job: string;
  readonly service: string;
  readonly slots: readonly number[];
}

export interface PortCursor {
  readonly node: NodeId;
  readonly port: number;
}

interface JobTasks {
  readonly tasks: Map<TaskId, Task>;
  readonly services: Map<string, Map<number, readonly Task[]>>;
}

interface NodeTasks {
  readonly tasks: Map<TaskId, Task>;
  readonly allocation: NodeAllocation;
  /** Made when asked for. */
  sorted: readonly Task[] | null;
}

const NO_SERVICES: ReadonlyMap<string, ReadonlyMap<number, readonly Task[]>> = new Map();

function newJobTasks(): JobTasks {
  return { tasks: new Map(), services: new Map() };
}

function newSlots(): Map<number, readonly Task[]> {
  return new Map();
}

function newNodeTasks(): NodeTasks {
  return { tasks: new Map(), allocation: new NodeAllocation(), sorted: null };
}

/** The map's entry of that key, made first if there is none. */
function entryOf<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}

/** The slot's tasks with one more: each stands where it was created, or taken back. */
function inOrder(slot: readonly Task[], task: Task): readonly Task[] {
  const at = slot.findLastIndex((other) => placeInSlot(other) <= placeInSlot(task)) + 1;
  return [...slot.slice(0, at), task, ...slot.slice(at)];
}

function placeInSlot(task: Task): number {
  return task.returnedIndex ?? Number.parseInt(task.id.split("-")[0] ?? "", 36);
}

/** Whether a task takes room on its node. */
function occupies(task: Task): boolean {
  return task.node !== null && !isTerminal(task.state);
}

/** Below 0: `a` was created before `b`. Ids are `<index in base 36>-<n>`: a longer index is a later one. */
export function compareCreation(a: TaskId, b: TaskId): number {
  const [indexA = "", nA = ""] = a.split("-");
  const [indexB = "", nB = ""] = b.split("-");
  return compareDigits(indexA, indexB) || compareDigits(nA, nB);
}

function compareDigits(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
