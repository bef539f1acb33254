import type { NodeId } from "../../state/ids.ts";
import { FAR_MS } from "./options.ts";
import { Violation } from "./violation.ts";
import type { World } from "./world.ts";

/** What must come of it when a node is not there any more, or only seems so. */

/** A second more than an operator is promised on a quick network: these links and disks take half a second, clocks drift. */
const FALLEN_MS = 3_000;
const SILENT_MS = 5_500;
/** An election comes first, which two may stand for at once. */
const MANAGER_SILENT_MS = 8_000;
/** Where messages are lost, a beat, an alert or a vote has to come again. */
const LOSSY_MS = 8_000;

export const LIMITS_MS = {
  "a node falls": FALLEN_MS,
  "a node falls silent": SILENT_MS,
  "the manager's node falls silent": MANAGER_SILENT_MS,
} as const;

/** Within that time the cluster has written down that the node is down. */
export function expectDown(world: World, drill: keyof typeof LIMITS_MS, node: NodeId): void {
  const { lossPerMille, delayMs } = world.options;
  const isSlow = delayMs.high >= FAR_MS || lossPerMille > 0;
  const withinMs = LIMITS_MS[drill] + (isSlow ? LOSSY_MS : 0);
  const endMs = world.queue.nowMs + withinMs;
  while (world.queue.nowMs < endMs) {
    world.until(world.queue.nowMs + 100);
    if (livenessOf(world, node) === "down") return;
  }
  throw new Violation("liveness", `${drill}: ${node} is not known to be down after ${withinMs} ms`);
}

/** For that long nobody takes the node for down. */
export function expectReady(world: World, drill: string, node: NodeId, forMs: number): void {
  const endMs = world.queue.nowMs + forMs;
  while (world.queue.nowMs < endMs) {
    world.until(world.queue.nowMs + 100);
    if (livenessOf(world, node) !== "down") continue;
    throw new Violation("false alarm", `${drill}: ${node} is taken for down`);
  }
}

/** As the manager has it; null while there is none, or the one there is has not heard of its successor. */
function livenessOf(world: World, node: NodeId): "ready" | "down" | null {
  const managers = world.running().filter(({ node: core, id }) => core?.isManager && id !== node);
  const [newest] = managers.toSorted(
    (a, b) => (b.node?.replica.raft.term ?? 0) - (a.node?.replica.raft.term ?? 0),
  );
  return newest?.node?.replica.state.nodes.get(node)?.liveness ?? null;
}
