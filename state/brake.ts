import type { ClusterState } from "./cluster.ts";
import type { Index, Millis, NodeId } from "./ids.ts";
import type { NodeRecord } from "./node-record.ts";
import type { Task } from "./task.ts";

/** Nodes that go down within this time of each other were lost at once: a switch, a power feed, a wrong firewall rule. */
export const BRAKE_WINDOW_MS = 60_000;
/** For so long nothing is replaced after the last of them: most such losses end by themselves, or with a call, by then. */
export const BRAKE_HOLD_MS = 300_000;
/** The hold ends at a full step of this: a loss takes seconds to be noticed, and each of its nodes would move the end. */
const BRAKE_STEP_MS = 15_000;
/** Fewer are the everyday loss of single nodes, whatever their share is. */
const BRAKE_NODES_MIN = 3;

/** Too many nodes went down at once: their tasks are not replaced for a while. */
export interface Brake {
  /** How many there were when the first of them went down. */
  readonly nodes: number;
  /** Those that went down at once and still are. */
  readonly down: ReadonlySet<NodeId>;
  /** When the first of them went down, by the manager's clock. */
  readonly sinceMs: Millis;
  /** When the last hold is over. */
  readonly untilMs: Millis;
}

/** Whether the node's loss counts for the brake: it runs tasks, and is to stay. */
export function isCounted({ mayWork, leaving }: NodeRecord): boolean {
  return mayWork && !leaving;
}

/**
 * The brake, as the state and the time have it; null: it is off. Counted are members that may work and do not leave.
 * A loss is a stretch of BRAKE_WINDOW_MS in which at least BRAKE_NODES_MIN of them went down, and more than
 * `sharePercent` of those that were up when it began; 100 is never exceeded. The brake is on for all losses together
 * whose hold is not over.
 *
 * What it relies on, and what follows:
 * - Only nodes that are down count. Each that comes back, leaves or is removed makes the loss smaller, down to none.
 * - Who was down before a loss began counts neither among the lost nor among those that were there: neither a machine
 *   that has been off for weeks nor one of an earlier loss holds anything back, or hides a loss.
 * - A node that comes and goes counts with its latest loss only: it holds the brake for no longer than
 *   BRAKE_WINDOW_MS + BRAKE_HOLD_MS after the first of those that it is counted with, rounded up to BRAKE_STEP_MS.
 * - What went down before the last release does not count, by its place in the log, not by a clock.
 * - Time alone only takes the brake off. Should a manager's clock be behind that of the one before, then what lies ahead
 *   of `now` by more than BRAKE_WINDOW_MS does not count until it is nearer: nobody can say how long a hold that would be.
 */
export function brakeOf(state: ClusterState, sharePercent: number, now: Millis): Brake | null {
  const { ready, lost } = census(state, now);
  const down = new Set<NodeId>();
  const losses: Omit<Brake, "down">[] = [];
  let end = 0;
  let taken = 0;
  for (const [first, { livenessAtMs: sinceMs }] of lost.entries()) {
    while ((lost[end]?.livenessAtMs ?? Infinity) <= sinceMs + BRAKE_WINDOW_MS) end += 1;
    const count = end - first;
    const nodes = ready + lost.length - first;
    if (count < BRAKE_NODES_MIN || count * 100 <= nodes * sharePercent) continue;
    const untilMs = endOfHold(lost[end - 1]?.livenessAtMs ?? sinceMs);
    if (untilMs <= now) continue;
    // Losses that overlap, or follow each other within a hold, are one: the first says how many nodes there were.
    for (const { id } of lost.slice(Math.max(first, taken), end)) down.add(id);
    taken = end;
    losses.push({ nodes, sinceMs, untilMs });
  }
  const [loss] = losses;
  const untilMs = losses.at(-1)?.untilMs;
  return loss === undefined || untilMs === undefined ? null : { ...loss, down, untilMs };
}

/** Whether the brake holds back what is to take a task's place; `version`: from which on tasks are of the wanted spec. */
export function holdsBack(brake: Brake | null, task: Task | undefined, version: number): boolean {
  if (brake === null || task?.state !== "lost" || task.node === null) return false;
  // Since then somebody said what is to run: that is wanted now.
  if (task.version < version) return false;
  return brake.down.has(task.node);
}

/** How many tasks the brake keeps pending. */
export function countHeld(state: ClusterState, brake: Brake): number {
  let held = 0;
  for (const node of brake.down) {
    for (const task of state.tasksOfNode(node)) {
      const newest = state.tasksOfSlot(task.job, task.service, task.slot).at(-1);
      if (newest?.state !== "pending" || newest.previous !== task.id) continue;
      if (holdsBack(brake, task, wantedVersion(state, task))) held += 1;
    }
  }
  return held;
}

function wantedVersion(state: ClusterState, { job, service }: Task): number {
  return state.jobs.get(job)?.serviceVersions[service] ?? 0;
}

/** How many nodes are up, and those that count as lost, in the order of their going down. */
function census(
  state: ClusterState,
  now: Millis,
): { readonly ready: number; readonly lost: readonly NodeRecord[] } {
  const releasedIndex: Index = state.brakeReleasedIndex;
  const lost: NodeRecord[] = [];
  let ready = 0;
  for (const node of state.nodes.values()) {
    if (!isCounted(node)) continue;
    if (node.liveness === "ready") ready += 1;
    else if (node.livenessIndex > releasedIndex && node.livenessAtMs <= now + BRAKE_WINDOW_MS)
      lost.push(node);
  }
  return { ready, lost: lost.toSorted((a, b) => a.livenessAtMs - b.livenessAtMs) };
}

function endOfHold(lastDownMs: Millis): Millis {
  return Math.ceil((lastDownMs + BRAKE_HOLD_MS) / BRAKE_STEP_MS) * BRAKE_STEP_MS;
}
