import { until } from "../../test/fixtures/node-process.ts";
import type { Loss } from "./contender.ts";
import type { Events } from "./events.ts";

const LIMIT_MS = 60_000;

export interface LostNode {
  readonly id: string;
  readonly name: string;
  /** Those of the tasks that it had. */
  readonly slots: readonly string[];
}

/** When the first of the nodes told each of the three. `from`: what was heard before counts for nothing; `gone`: ids of all lost nodes. */
export async function replaced(
  events: Events,
  from: number,
  node: LostNode,
  sinceMs: number,
  gone: ReadonlySet<string>,
): Promise<Loss> {
  const seen = (): (number | undefined)[] => {
    const heard = events.heard.slice(from);
    const down = heard.find(
      ({ event }) => event.type === "node" && event.node === node.id && event.to === "down",
    );
    const last = (to: string, isThere: (on: string) => boolean): number | undefined => {
      const times = node.slots.map(
        (slot) =>
          heard.find(
            ({ event }) =>
              event.slot === slot && event.to === to && event.node !== null && isThere(event.node),
          )?.atMs,
      );
      const known = times.filter((atMs) => atMs !== undefined);
      return known.length === times.length ? Math.max(...known) : undefined;
    };
    // It may be placed on another that is dead already and not known to be; it does not run there.
    const committed = last("assigned", (on) => on !== node.id);
    return [down?.atMs, committed, last("running", (on) => !gone.has(on))];
  };
  const times = await until(
    () => `${node.name} was lost: ${seen().join(", ")} of ${node.slots.join(" ")}`,
    () => {
      const all = seen().filter((atMs) => atMs !== undefined);
      return all.length === 3 ? all : null;
    },
    LIMIT_MS,
    5,
  );
  const [downMs = 0, committedMs = 0, runningMs = 0] = times.map((atMs) => atMs - sinceMs);
  return { downMs, committedMs, runningMs };
}
