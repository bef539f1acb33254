import { type Brake, brakeOf, holdsBack } from "../state/brake.ts";
import type { ClusterState, Job } from "../state/cluster.ts";
import type { PlanStep } from "../state/command.ts";
import { type Millis, taskId } from "../state/ids.ts";
import type { ServiceSpec } from "../state/spec.ts";
import type { Task } from "../state/task.ts";
import { fenceOf, isFenced, type UnseenSince } from "./fence.ts";
import { withoutFigures } from "./filter.ts";
import { heldBack } from "./held-back.ts";
import type { Place } from "./place.ts";
import { Board } from "./place.ts";
import type { Gap, Need } from "./reconcile.ts";
import { dismantle, reconcile } from "./reconcile.ts";

export interface Schedule {
  readonly steps: readonly PlanStep[];
  /** More is left for another pass at once. */
  readonly more: boolean;
  /** When a pass may have something to do though nothing changed by then (a wait ends); null: never. */
  readonly wakeAtMs: Millis | null;
}

/** What may keep a pass from placing a task that could be placed. */
export interface Caution {
  /** See `brakeOf`; 100: nothing is ever held back. */
  readonly brakePercent: number;
  readonly unseenSince: UnseenSince;
}

/**
 * One pass: compares every job with its tasks and says what to do about it, in at most `budget` steps. Each step
 * holds when applied to this very state in this order. Reads only; the same state and time give the same steps.
 */
export function schedule(
  state: ClusterState,
  now: Millis,
  budget: number,
  caution: Caution,
): Schedule {
  const pass = new Pass(state, budget, caution, now);
  for (const job of state.jobs.values()) {
    for (const [service, gap] of gapsOf(state, job, now)) pass.fill(job, service, gap);
    if (pass.full) break;
  }
  return pass.finish();
}

/** Each service of the job, also one that it has no more, with what it lacks. */
function* gapsOf(state: ClusterState, job: Job, now: Millis): Generator<[ServiceSpec | null, Gap]> {
  const slots = state.slotsOfJob(job.name);
  const wanted = new Set<string>();
  for (const service of job.spec.services) {
    if (job.stopped.includes(service.name)) continue;
    wanted.add(service.name);
    yield [service, reconcile(job, service, slots.get(service.name) ?? NO_SLOTS, now)];
  }
  for (const [name, tasks] of slots) {
    if (wanted.has(name)) continue;
    const message = job.stopped.includes(name)
      ? "its service was stopped"
      : `version ${job.version} has no service ${name}`;
    yield [null, dismantle(tasks, message)];
  }
}

const NOBODY = taskId("");

const NO_SLOTS: ReadonlyMap<number, readonly Task[]> = new Map();

class Pass {
  readonly #state: ClusterState;
  readonly #budget: number;
  readonly #brake: Brake | null;
  readonly #unseenSince: UnseenSince;
  readonly #now: Millis;
  readonly #steps: PlanStep[] = [];
  /** What nothing waits for: done with what the budget leaves. */
  readonly #later: PlanStep[] = [];
  #board: Board | null = null;
  #wakeAtMs: Millis | null = null;
  #full = false;

  constructor(state: ClusterState, budget: number, caution: Caution, now: Millis) {
    this.#state = state;
    this.#budget = budget;
    this.#brake = brakeOf(state, caution.brakePercent, now);
    this.#unseenSince = caution.unseenSince;
    this.#now = now;
  }

  /** Whether something was left out: the budget is spent. */
  get full(): boolean {
    return this.#full;
  }

  fill(job: Job, service: ServiceSpec | null, gap: Gap): void {
    if (gap.wakeAtMs !== null) this.#wakeAt(gap.wakeAtMs);
    for (const { task, message } of gap.stops) this.#add({ kind: "stop", task: task.id, message });
    if (service !== null && gap.needs.length > 0) this.#place(job, service, gap.needs);
    for (const task of gap.forgets) {
      if (this.#isConfirmed(task)) this.#later.push({ kind: "forget", task: task.id });
    }
  }

  finish(): Schedule {
    for (const step of this.#later) {
      if (!this.#add(step)) break;
    }
    return { steps: this.#steps, more: this.#full, wakeAtMs: this.#wakeAtMs };
  }

  #wakeAt(atMs: Millis): void {
    this.#wakeAtMs = Math.min(this.#wakeAtMs ?? atMs, atMs);
  }

  #add(step: PlanStep): boolean {
    if (this.#steps.length >= this.#budget) this.#full = true;
    else this.#steps.push(step);
    return !this.#full;
  }

  #place(job: Job, service: ServiceSpec, needs: readonly Need[]): void {
    this.#board ??= new Board(this.#state);
    const slots = this.#state.slotsOfJob(job.name).get(service.name) ?? NO_SLOTS;
    const placer = this.#board.for(service, slots.values());
    for (const need of needs) {
      if (this.#steps.length >= this.#budget) {
        // A waiting task that fits nowhere is no work left over, but only a look would tell.
        this.#full = true;
        return;
      }
      const place =
        this.#heldBack(job, service, need) ??
        this.#fenced(service, slots.get(need.slot) ?? []) ??
        placer.next(need.avoid);
      const { pending } = need;
      if (pending === null) {
        this.#add(create(job, service, need, place));
      } else if (typeof place === "string") {
        if (withoutFigures(place) === withoutFigures(pending.message)) continue;
        this.#later.push({ kind: "explain", task: pending.id, message: place });
      } else {
        const message = `placed on ${place.nodeName}`;
        this.#add({
          kind: "assign",
          task: pending.id,
          node: place.node,
          ports: place.ports,
          message,
        });
      }
    }
  }

  /** Why a slot gets no place for now, though there may be one; null: it may have one. */
  #heldBack(job: Job, service: ServiceSpec, { pending, previous }: Need): string | null {
    const brake = this.#brake;
    if (brake === null) return null;
    const before = pending === null ? previous : this.#state.tasks.get(pending.previous ?? NOBODY);
    const version = job.serviceVersions[service.name] ?? job.version;
    if (!holdsBack(brake, before ?? undefined, version)) return null;
    this.#wakeAt(brake.untilMs);
    return heldBack(brake);
  }

  /** Why a slot gets no place before its earlier task has ended for sure; null: it has. */
  #fenced(service: ServiceSpec, tasks: readonly Task[]): string | null {
    const fence = fenceOf(this.#state, service, tasks, this.#unseenSince, this.#now);
    if (fence === null) return null;
    if (fence.untilMs !== null) this.#wakeAt(fence.untilMs);
    return fence.message;
  }

  /** A task on a node that is down may still run there: its record stays until the node is back. */
  #isConfirmed(task: Task): boolean {
    if (isFenced(task, this.#unseenSince, this.#now)) return false;
    if (task.state !== "lost" || task.node === null) return true;
    return this.#state.nodes.get(task.node)?.liveness !== "down";
  }
}

function create(job: Job, service: ServiceSpec, need: Need, place: Place | string): PlanStep {
  const { slot, previous, rejections } = need;
  const instead =
    previous === null ? "" : ` in place of ${previous.id}, which is ${previous.state}`;
  const placed = typeof place !== "string";
  return {
    kind: "create",
    job: job.name,
    service: service.name,
    slot,
    version: job.version,
    previous: previous?.id ?? null,
    rejections,
    node: placed ? place.node : null,
    ports: placed ? place.ports : [],
    message: placed ? `placed on ${place.nodeName}${instead}` : place,
  };
}
