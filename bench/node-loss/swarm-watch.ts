import type { Loss } from "./contender.ts";
import type { SwarmEngine } from "./swarm-engine.ts";

/** Times are up to that and one answer's time too long. */
const EVERY_MS = 200;
const OUTSTANDING = 20;
const LIMIT_MS = 180_000;

export interface LostEngine {
  readonly id: string;
  readonly name: string;
  /** Those of the tasks that it had. */
  readonly slots: readonly number[];
  /** Ids of all tasks before the fault. */
  readonly before: ReadonlySet<string>;
}

/** Asks those that are left again and again, whatever became of the questions before, until all three are seen. */
export async function replacedIn(
  left: readonly SwarmEngine[],
  engine: LostEngine,
  sinceMs: number,
  gone: ReadonlySet<string>,
): Promise<Loss> {
  const done = Promise.withResolvers<Loss>();
  let downMs: number | null = null;
  const committed = new Map<number, number>();
  const running = new Map<number, number>();
  const look = async ({ api }: SwarmEngine): Promise<void> => {
    const [nodes, tasks] = await Promise.all([api.nodes(), api.tasks()]);
    const atMs = performance.now() - sinceMs;
    if (nodes.some(({ ID, Status }) => ID === engine.id && Status.State === "down"))
      downMs ??= atMs;
    for (const { ID, Slot = 0, NodeID = "", Status } of tasks) {
      if (engine.before.has(ID) || NodeID === "" || NodeID === engine.id) continue;
      if (!committed.has(Slot)) committed.set(Slot, atMs);
      if (Status.State === "running" && !gone.has(NodeID) && !running.has(Slot))
        running.set(Slot, atMs);
    }
    const [committedMs, runningMs] = [last(committed, engine), last(running, engine)];
    if (downMs === null || committedMs === null || runningMs === null) return;
    done.resolve({ downMs, committedMs, runningMs });
  };
  const outstanding = new Map<SwarmEngine, number>();
  const ask = (): void => {
    for (const each of left) {
      const count = outstanding.get(each) ?? 0;
      if (count >= OUTSTANDING) continue;
      outstanding.set(each, count + 1);
      // Without a leader it refuses, or does not answer: others will, later.
      void look(each)
        .catch(() => undefined)
        .then(() => outstanding.set(each, (outstanding.get(each) ?? 0) - 1));
    }
  };
  const asking = setInterval(ask, EVERY_MS);
  const limit = setTimeout(() => {
    const seen = `down ${downMs}, placed ${[...committed.keys()].join(" ")}, run ${[...running.keys()].join(" ")}`;
    done.reject(new Error(`${engine.name} with ${engine.slots.join(" ")} was lost: ${seen}`));
  }, LIMIT_MS);
  try {
    return await done.promise;
  } finally {
    clearInterval(asking);
    clearTimeout(limit);
  }
}

/** When the last of the engine's slots was seen; null: not all were. */
function last(seen: ReadonlyMap<number, number>, { slots }: LostEngine): number | null {
  const times = slots.map((slot) => seen.get(slot)).filter((atMs) => atMs !== undefined);
  return times.length === slots.length ? Math.max(...times) : null;
}
