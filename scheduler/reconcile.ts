import { unreachable } from "../lib/assert.ts";
import type { Job } from "../state/cluster.ts";
import type { Millis, NodeId } from "../state/ids.ts";
import type { ServiceSpec } from "../state/spec.ts";
import type { Task } from "../state/task.ts";
import { isTerminal } from "../state/task.ts";

/** Finished tasks that a slot keeps besides its newest; one that is not wanted any more keeps none. */
const KEPT = 2;
const REJECTED_WAIT_MS = 1000;
const REJECTED_WAIT_MAX_MS = 60_000;
/** A task that ends well at once under `any` must not spin. */
const COMPLETE_WAIT_MIN_MS = 1000;
/** For so long a node that rejected a slot's task comes last for that slot. */
const AVOID_MS = 300_000;

type Slots = ReadonlyMap<number, readonly Task[]>;

/** A slot that should have a placed task and has none. */
export interface Need {
  readonly slot: number;
  /** The task that waits for a place; null: a new one is due. */
  readonly pending: Task | null;
  /** The slot's newest task when a new one is due. */
  readonly previous: Task | null;
  readonly rejections: number;
  readonly avoid: ReadonlySet<NodeId>;
}

/** What one service lacks to be as it should. */
export interface Gap {
  readonly stops: { readonly task: Task; readonly message: string }[];
  /** Waiting tasks first, then slots without one, each by slot. */
  readonly needs: Need[];
  readonly forgets: Task[];
  /** When a wait ends; null: none is on. */
  wakeAtMs: Millis | null;
}

/** Compares a service that should run with its slots. */
export function reconcile(job: Job, service: ServiceSpec, slots: Slots, now: Millis): Gap {
  const gap: Gap = { stops: [], needs: [], forgets: [], wakeAtMs: null };
  const version = job.serviceVersions[service.name] ?? job.version;
  const fresh: Need[] = [];
  const outdated: Task[] = [];
  // Slots that are neither as they should be nor waiting for their turn in an update.
  let inTransition = 0;
  let seen = 0;
  for (let slot = 1; slot <= service.replicas; slot++) {
    const tasks = slots.get(slot);
    const newest = tasks?.at(-1);
    if (tasks === undefined || newest === undefined) {
      fresh.push({ slot, pending: null, previous: null, rejections: 0, avoid: NONE });
      inTransition += 1;
      continue;
    }
    seen += 1;
    collectHistory(gap, tasks, KEPT);
    if (isTerminal(newest.state)) {
      if (settleEnded(gap, fresh, tasks, newest, { job, service, version, now })) inTransition += 1;
    } else if (
      newest.desired === "running" &&
      newest.version < version &&
      newest.state !== "pending"
    ) {
      outdated.push(newest);
    } else if (!isUp(newest)) {
      // A slot that never had a task may wait for the room that the update itself makes.
      if (newest.state !== "pending" || newest.previous !== null) inTransition += 1;
      if (newest.desired === "running" && newest.state === "pending")
        waitOn(gap, tasks, newest, version, job, now);
    }
  }
  gap.needs.push(...fresh);
  const next = inTransition === 0 ? firstToReplace(outdated) : undefined;
  if (next !== undefined) gap.stops.push({ task: next, message: replacedBy(job) });
  if (slots.size > seen)
    dropSlots(gap, slots, service.replicas, `scaled down to ${service.replicas}`);
  return gap;
}

/** For a service that should not run: stopped, or no part of its job any more. */
export function dismantle(slots: Slots, message: string): Gap {
  const gap: Gap = { stops: [], needs: [], forgets: [], wakeAtMs: null };
  dropSlots(gap, slots, 0, message);
  return gap;
}

const NONE: ReadonlySet<NodeId> = new Set();

/** Running as wanted: what an update waits for before it goes on. */
function isUp(task: Task): boolean {
  return task.desired === "running" && task.state === "running" && task.healthy !== false;
}

/** Worst off first, so that an update away from a broken version takes nothing down that works; then by slot. */
function firstToReplace(outdated: readonly Task[]): Task | undefined {
  return outdated.find((task) => !isUp(task)) ?? outdated[0];
}

function replacedBy(job: Job): string {
  return `replaced by version ${job.version}`;
}

function waitOn(
  gap: Gap,
  tasks: readonly Task[],
  task: Task,
  version: number,
  job: Job,
  now: Millis,
): void {
  if (task.version < version) {
    // Never placed: replacing it takes nothing away.
    gap.stops.push({ task, message: replacedBy(job) });
    return;
  }
  const avoid = rejecters(tasks, now);
  gap.needs.push({
    slot: task.slot,
    pending: task,
    previous: null,
    rejections: task.rejections,
    avoid,
  });
}

interface Wanted {
  readonly job: Job;
  readonly service: ServiceSpec;
  /** Tasks of an older version of the job are of an older spec of the service. */
  readonly version: number;
  readonly now: Millis;
}

/** Deals with a slot whose newest task is over. Returns whether the slot holds an update up. */
function settleEnded(
  gap: Gap,
  fresh: Need[],
  tasks: readonly Task[],
  newest: Task,
  wanted: Wanted,
): boolean {
  const dueMs = replaceAt(newest, wanted);
  if (dueMs === null) return newest.state !== "complete";
  // An end in the future is a clock that was set back: waiting for it could take for ever.
  if (dueMs > wanted.now && (newest.finishedAtMs ?? 0) <= wanted.now) {
    gap.wakeAtMs = Math.min(gap.wakeAtMs ?? dueMs, dueMs);
    return true;
  }
  fresh.push({
    slot: newest.slot,
    pending: null,
    previous: newest,
    rejections:
      newest.state === "rejected" && newest.version >= wanted.version ? newest.rejections + 1 : 0,
    avoid: rejecters(tasks, wanted.now),
  });
  return true;
}

/** When a slot whose newest task is over gets another; 0: at once; null: never. */
function replaceAt(task: Task, { job, service, version }: Wanted): Millis | null {
  if (task.version < version) return 0;
  const { condition, delayMs } = service.restart;
  const endMs = task.finishedAtMs ?? 0;
  switch (task.state) {
    case "complete":
      return condition === "any" ? endMs + Math.max(delayMs, COMPLETE_WAIT_MIN_MS) : null;
    // Its worker tried as often as the restart policy allows: only a changed job gets another chance.
    case "failed":
      return task.version < job.version ? 0 : null;
    case "stopped":
      return condition === "none" && task.version >= job.version ? null : 0;
    case "rejected":
      return (
        endMs + Math.min(REJECTED_WAIT_MS << Math.min(task.rejections, 6), REJECTED_WAIT_MAX_MS)
      );
    case "lost":
    case "orphaned":
      return 0;
    case "pending":
    case "assigned":
    case "preparing":
    case "starting":
    case "running":
    case "stopping":
      return null;
    default:
      return unreachable(task.state);
  }
}

function rejecters(tasks: readonly Task[], now: Millis): ReadonlySet<NodeId> {
  let found: Set<NodeId> | null = null;
  for (const { state, node, finishedAtMs } of tasks) {
    if (state !== "rejected" || node === null || (finishedAtMs ?? 0) + AVOID_MS < now) continue;
    found ??= new Set();
    found.add(node);
  }
  return found ?? NONE;
}

function dropSlots(gap: Gap, slots: Slots, replicas: number, message: string): void {
  const surplus = [...slots].filter(([slot]) => slot > replicas).toSorted(([a], [b]) => b - a);
  for (const [, tasks] of surplus) {
    for (const task of tasks) {
      if (!isTerminal(task.state) && task.desired === "running") gap.stops.push({ task, message });
    }
    collectHistory(gap, tasks, 0);
  }
}

function collectHistory(gap: Gap, tasks: readonly Task[], kept: number): void {
  for (let i = 0; i < tasks.length - 1 - kept; i++) {
    const task = tasks[i];
    if (task !== undefined && isTerminal(task.state)) gap.forgets.push(task);
  }
}
