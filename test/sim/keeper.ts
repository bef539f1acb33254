import type { LeaseGuard } from "../../runtime/worker-lease.ts";
import type { MemoryEngine } from "../../runtime/memory.ts";

/** It gives the node itself the first chance. */
const LAG_MS = 1_000;
const RETRY_MS = 250;

export interface KeeperPlace {
  /** The machine's clock. */
  readonly now: () => number;
  readonly after: (delayMs: number, run: () => void) => void;
  /** The engine of the node that ran last, which need not run any more. */
  readonly engine: () => MemoryEngine | null;
  readonly ended: (task: string) => void;
}

/** What ends a node's leased tasks when their lease is over and the node does not: it outlives the node's process. */
export class SimKeeper {
  readonly #place: KeeperPlace;
  #guard: LeaseGuard = { untilMs: 0, tasks: [] };

  constructor(place: KeeperPlace) {
    this.#place = place;
  }

  /** The end of the lease that it keeps; 0: it keeps none. */
  get untilMs(): number {
    return this.#guard.untilMs;
  }

  take(guard: LeaseGuard): void {
    this.#guard = guard;
    this.#look(guard);
  }

  #look(guard: LeaseGuard): void {
    if (guard !== this.#guard || guard.tasks.length === 0) return;
    const { now, after, engine } = this.#place;
    const leftMs = guard.untilMs + LAG_MS - now();
    if (leftMs > 0) {
      after(leftMs, () => this.#look(guard));
      return;
    }
    const running = new Set(engine()?.running());
    const late = guard.tasks.filter(({ task }) => running.has(task));
    for (const { task, graceMs } of late) {
      this.#place.ended(task);
      engine()?.perform({ kind: "stop", task, graceMs }, () => {});
    }
    // One that was being started, or whose stop the engine has not heard.
    after(RETRY_MS, () => this.#look(guard));
  }
}
