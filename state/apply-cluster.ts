import { fault } from "../lib/errors.ts";
import { isCounted } from "./brake.ts";
import { noSuchNode, removeNode } from "./apply-nodes.ts";
import type { Outcome } from "./cluster.ts";
import type { Command } from "./command.ts";
import type { Change, Tables } from "./tables.ts";

type Of<Kind extends Command["kind"]> = Extract<Command, { kind: Kind }>;

const UNCHANGED: Outcome = { kind: "done", changed: false, version: null };
const CHANGED: Outcome = { kind: "done", changed: true, version: null };

export function applyInit(tables: Tables, command: Of<"cluster-init">, change: Change): Outcome {
  const { clusterId, joinSecret, featureLevel } = command;
  if (tables.clusterId !== "") {
    const message = `this cluster was founded already, as ${tables.clusterId}`;
    const hint = "Join it instead: `orch node join`.";
    const details = { clusterId: tables.clusterId };
    return { kind: "refused", fault: fault("already-initialized", message, hint, details) };
  }
  tables.identify(clusterId, joinSecret, change, "the cluster was founded");
  tables.putFeatureLevel(featureLevel, change, null);
  return CHANGED;
}

/** The cluster goes on as another one, with this node alone; jobs, configs and the history of tasks stay. */
export function applyRecover(
  tables: Tables,
  command: Of<"cluster-recover">,
  change: Change,
): Outcome {
  const { clusterId, joinSecret } = command;
  const node = tables.nodes.get(command.node);
  if (node === undefined) return noSuchNode(command.node);
  const message = `the cluster was recovered from the data of ${node.name}`;
  tables.identify(clusterId, joinSecret, change, message);
  for (const other of tables.nodes.values()) {
    if (other.id !== node.id) removeNode(tables, other, change);
  }
  if (node.leaving) {
    const staying = { ...node, leaving: false, modifiedIndex: change.index };
    tables.putNode(staying, change, `${node.name} stays`);
  }
  return CHANGED;
}

export function applyJoinSecret(
  tables: Tables,
  { joinSecret }: Of<"join-secret-put">,
  change: Change,
): Outcome {
  if (joinSecret === tables.joinSecret) return UNCHANGED;
  tables.identify(tables.clusterId, joinSecret, change, "the join token was replaced");
  return CHANGED;
}

/** A note in the log up to where losses of nodes hold nothing back: see brake.ts. */
export function applyBrakeRelease(tables: Tables, change: Change): Outcome {
  const down = [...tables.nodes.values()].filter(
    (node) => isCounted(node) && node.liveness === "down",
  );
  const isNews = down.some(({ livenessIndex }) => livenessIndex > tables.brakeReleasedIndex);
  if (!isNews) return UNCHANGED;
  const are = down.length === 1 ? "1 node is" : `${down.length} nodes are`;
  tables.releaseBrake(change, `the brake was released: ${are} down, their tasks are replaced`);
  return CHANGED;
}

/** Refused while a member is below the level: it would meet entries that it cannot read. */
export function applyFeatureLevel(
  tables: Tables,
  command: Of<"feature-level">,
  change: Change,
): Outcome {
  const { level } = command;
  if (level <= tables.featureLevel) return UNCHANGED;
  for (const node of tables.nodes.values()) {
    if (node.featureLevel >= level) continue;
    const message = `node ${node.name} understands feature level ${node.featureLevel} only: the cluster cannot rise to ${level}`;
    const hint = `Upgrade orch on ${node.name}, or remove it.`;
    const details = { node: node.id, nodeLevel: node.featureLevel, level };
    return { kind: "refused", fault: fault("too-old", message, hint, details) };
  }
  tables.putFeatureLevel(level, change, `the cluster rose to feature level ${level}`);
  return CHANGED;
}
