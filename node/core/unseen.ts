import type { UnseenSince } from "../../scheduler/fence.ts";
import type { ClusterState, StateEvent } from "../../state/cluster.ts";
import type { Millis, TaskId } from "../../state/ids.ts";

const PRUNE_LEAST = 1_000;

/**
 * When this node applied that a leased task had been lost or orphaned, on its own clock: the fence before its slot's next task counts from then.
 * Every holder of the log notes it, so that a new manager need not begin anew.
 */
export class Unseen {
  readonly #since: Map<TaskId, Millis> = new Map();
  /** Whatever was lost before is not known to have been for any longer than since then. */
  #knownSinceMs: Millis;
  /** Those that are forgotten are looked for when there are so many: seldom, since each is looked at. */
  #pruneAt = PRUNE_LEAST;

  constructor(now: Millis) {
    this.#knownSinceMs = now;
  }

  readonly since: UnseenSince = (task) => this.#since.get(task) ?? this.#knownSinceMs;

  applied(events: readonly StateEvent[], state: ClusterState, now: Millis): void {
    for (const { task, to } of events) {
      if (task === null || (to !== "lost" && to !== "orphaned")) continue;
      if (state.tasks.get(task)?.spec.partition === "at-most-one") this.#since.set(task, now);
    }
    if (this.#since.size < this.#pruneAt) return;
    for (const task of this.#since.keys()) if (!state.tasks.has(task)) this.#since.delete(task);
    this.#pruneAt = Math.max(PRUNE_LEAST, 2 * this.#since.size);
  }

  /** The state is another's from now on: it may hold losses that were never seen here. */
  restored(now: Millis): void {
    this.#since.clear();
    this.#knownSinceMs = now;
  }
}
