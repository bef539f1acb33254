import type { LeasedTask, LeaseGuard } from "../../runtime/worker-lease.ts";
import type { MemoryEngine } from "../../runtime/memory.ts";

/** It gives the node itself the first chance. */
const LAG_MS = 1_000;
const LOOK_MS = 200;

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
    const running = new Set(engine()?.running());
    const isOver = ({ untilMs }: LeasedTask): boolean => untilMs + LAG_MS <= now();
    const late = guard.tasks.filter((leased) => running.has(leased.task) && isOver(leased));
    for (const { task, graceMs } of late) {
      this.#place.ended(task);
      engine()?.perform({ kind: "stop", task, graceMs }, () => {});
    }
    // Others are over later, some are being started, and an engine may not have heard.
    after(LOOK_MS, () => this.#look(guard));
  }
}
