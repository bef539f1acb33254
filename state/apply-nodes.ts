import { fault } from "../lib/errors.ts";
import type { Outcome } from "./cluster.ts";
import type { Command } from "./command.ts";
import { same } from "./equal.ts";
import type { NodeId } from "./ids.ts";
import type { NodeFacts, NodeRecord } from "./node-record.ts";
import type { Change, Tables } from "./tables.ts";
import { isTerminal } from "./task.ts";

type Of<Kind extends Command["kind"]> = Extract<Command, { kind: Kind }>;

const UNCHANGED: Outcome = { kind: "done", changed: false, version: null };
const CHANGED: Outcome = { kind: "done", changed: true, version: null };

export function applyInit(tables: Tables, command: Of<"cluster-init">, change: Change): Outcome {
  if (tables.clusterId !== "") {
    return refuseInit(tables.clusterId);
  }
  tables.found(command.clusterId, command.joinSecret, change);
  return CHANGED;
}

function refuseInit(clusterId: string): Outcome {
  const message = `this cluster was founded already, as ${clusterId}`;
  return {
    kind: "refused",
    fault: fault("already-initialized", message, "Join it instead: `orch node join`.", {
      clusterId,
    }),
  };
}

/** A new member, or one that comes again under a new raft id because it lost its log. */
export function applyAdmit(tables: Tables, command: Of<"node-admit">, change: Change): Outcome {
  const old = tables.nodes.get(command.node);
  const node: NodeRecord = {
    ...command.facts,
    name: freeName(tables, command.facts.name, command.node),
    id: command.node,
    raftId: tables.nextRaftId(),
    liveness: "ready",
    joinedAtMs: old?.joinedAtMs ?? change.timeMs,
    modifiedIndex: change.index,
  };
  const message =
    old === undefined ? "joined" : `joined again under a new raft id (it was ${old.raftId})`;
  tables.putNode(node, change, `${node.name} ${message}`);
  return CHANGED;
}

export function applyFacts(tables: Tables, command: Of<"node-facts">, change: Change): Outcome {
  const old = tables.nodes.get(command.node);
  if (old === undefined) return noSuchNode(command.node);
  const { id, raftId, liveness, joinedAtMs, modifiedIndex } = old;
  const name = freeName(tables, command.facts.name, id);
  const facts: NodeFacts = { ...command.facts, name };
  const next: NodeRecord = { ...facts, id, raftId, liveness, joinedAtMs, modifiedIndex };
  if (same(old, next)) return UNCHANGED;
  const renamed = old.name === name ? "" : ` (it was named ${old.name})`;
  tables.putNode(
    { ...next, modifiedIndex: change.index },
    change,
    `${name} said new facts of itself${renamed}`,
  );
  return CHANGED;
}

/** A node that goes down loses every task that is not over: whether they still run, nobody can see. */
export function applyLiveness(
  tables: Tables,
  command: Of<"node-liveness">,
  change: Change,
): Outcome {
  const old = tables.nodes.get(command.node);
  if (old === undefined) return noSuchNode(command.node);
  if (old.liveness === command.liveness) return UNCHANGED;
  const node: NodeRecord = { ...old, liveness: command.liveness, modifiedIndex: change.index };
  tables.putNode(
    node,
    change,
    command.liveness === "down" ? `${node.name} is down` : `${node.name} is back`,
  );
  if (command.liveness === "ready") return CHANGED;
  for (const task of tables.tasks.ofNode(node.id)) {
    if (isTerminal(task.state)) continue;
    const stopping = task.desired === "stopped" ? " before it had confirmed the stop" : "";
    const message = `its node ${node.name} went down${stopping}`;
    const lost = {
      ...task,
      state: "lost" as const,
      healthy: null,
      message,
      finishedAtMs: change.timeMs,
      modifiedIndex: change.index,
    };
    tables.putTask(lost, change, message);
  }
  return CHANGED;
}

function noSuchNode(node: NodeId): Outcome {
  const message = `no node ${node} in this cluster`;
  return {
    kind: "refused",
    fault: fault("not-found", message, "See `orch node ls`.", { node }),
  };
}

/** The name, or the name with the first free number behind it when another node has it. */
function freeName(tables: Tables, wanted: string, node: NodeId): string {
  let name = wanted;
  for (let n = 2; (tables.nodesByName.get(name) ?? node) !== node; n++) name = `${wanted}-${n}`;
  return name;
}
