import { type Fault, fault } from "../lib/errors.ts";
import { stopTask } from "./apply-jobs.ts";
import { takeBack } from "./apply-return.ts";
import type { Outcome } from "./cluster.ts";
import type { Command } from "./command.ts";
import { same } from "./equal.ts";
import type { NodeId } from "./ids.ts";
import type { NodeFacts, NodeRecord } from "./node-record.ts";
import type { Change, Tables } from "./tables.ts";
import { isTerminal, type Task } from "./task.ts";

type Of<Kind extends Command["kind"]> = Extract<Command, { kind: Kind }>;

const UNCHANGED: Outcome = { kind: "done", changed: false, version: null };
const CHANGED: Outcome = { kind: "done", changed: true, version: null };

/** A new member, or one that comes again under a new raft id because it lost its log. */
export function applyAdmit(tables: Tables, command: Of<"node-admit">, change: Change): Outcome {
  const { facts } = command;
  if (facts.featureLevel < tables.featureLevel) return refuseOld(facts, tables.featureLevel);
  const old = tables.nodes.get(command.node);
  // It was asked before the last admission was done, perhaps by an earlier process of the joiner, and came late: who
  // was told of that one would lose the id that it was given.
  if (old !== undefined && change.since !== null && change.since < old.admittedIndex) {
    return refuseLate(old);
  }
  const node: NodeRecord = {
    ...facts,
    name: freeName(tables, facts.name, command.node),
    id: command.node,
    raftId: tables.nextRaftId(),
    ...since("ready", change),
    downs: old?.downs ?? 0,
    leaving: false,
    joinedAtMs: old?.joinedAtMs ?? change.timeMs,
    admittedIndex: change.index,
    modifiedIndex: change.index,
  };
  const message =
    old === undefined ? "joined" : `joined again under a new raft id (it was ${old.raftId})`;
  tables.putNode(node, change, `${node.name} ${message}`);
  return CHANGED;
}

function refuseLate({ id, name }: NodeRecord): Outcome {
  const message = `node ${name} was admitted while this admission was under way`;
  const hint = "If it does not run by now, join again.";
  return { kind: "refused", fault: fault("conflict", message, hint, { node: id }) };
}

function refuseOld(facts: NodeFacts, level: number): Outcome {
  const { name, orchVersion, featureLevel } = facts;
  const message = `node ${name} runs orch ${orchVersion}, which understands feature level ${featureLevel}; this cluster is at ${level}`;
  const hint = "Install the version of orch that the other nodes run, then join again.";
  const details = { node: name, orchVersion, nodeLevel: featureLevel, level };
  return { kind: "refused", fault: fault("too-old", message, hint, details) };
}

export function applyFacts(tables: Tables, command: Of<"node-facts">, change: Change): Outcome {
  const old = tables.nodes.get(command.node);
  if (old === undefined) return noSuchNode(command.node);
  if (command.facts.featureLevel < tables.featureLevel) {
    return refuseOld(command.facts, tables.featureLevel);
  }
  const { id, raftId, liveness, livenessAtMs, livenessIndex, downs } = old;
  const { leaving, joinedAtMs, admittedIndex, modifiedIndex } = old;
  const name = freeName(tables, command.facts.name, id);
  const facts: NodeFacts = { ...command.facts, name };
  const lives = { liveness, livenessAtMs, livenessIndex, downs };
  const record = { id, raftId, ...lives, leaving, joinedAtMs, admittedIndex, modifiedIndex };
  const next: NodeRecord = { ...facts, ...record };
  if (same(old, next)) return UNCHANGED;
  const renamed = old.name === name ? "" : ` (it was named ${old.name})`;
  tables.putNode(
    { ...next, modifiedIndex: change.index },
    change,
    `${name} said new facts of itself${renamed}`,
  );
  return CHANGED;
}

/** A node that was ready for so long has left its earlier downs behind. */
const FLAP_CALM_MS = 600_000;

/** A node that goes down loses every task that is not over: whether they still run, nobody can see. */
export function applyLiveness(
  tables: Tables,
  command: Of<"node-liveness">,
  change: Change,
): Outcome {
  const old = tables.nodes.get(command.node);
  if (old === undefined) return noSuchNode(command.node);
  if (old.liveness === command.liveness) return UNCHANGED;
  const liveness = since(command.liveness, change);
  const calmMs = change.timeMs - old.livenessAtMs;
  const isAgain = old.downs > 0 && calmMs < FLAP_CALM_MS;
  const downs = command.liveness === "ready" ? old.downs : isAgain ? old.downs + 1 : 1;
  const node: NodeRecord = { ...old, ...liveness, downs, modifiedIndex: change.index };
  tables.putNode(
    node,
    change,
    command.liveness === "down"
      ? `${node.name} is down: ${command.reason}`
      : `${node.name} is back`,
  );
  if (command.liveness === "ready") {
    takeBack(tables, node, command.claims, change);
    return CHANGED;
  }
  for (const task of tables.tasks.ofNode(node.id)) {
    if (isTerminal(task.state)) continue;
    const stopping = task.desired === "stopped" ? " before it had confirmed the stop" : "";
    endUnseen(tables, task, "lost", `its node ${node.name} went down${stopping}`, change);
  }
  return CHANGED;
}

function since(
  liveness: NodeRecord["liveness"],
  { timeMs, index }: Change,
): Pick<NodeRecord, "liveness" | "livenessAtMs" | "livenessIndex"> {
  return { liveness, livenessAtMs: timeMs, livenessIndex: index };
}

/** Ends a task whose worker cannot be asked any more. */
function endUnseen(
  tables: Tables,
  task: Task,
  state: "lost" | "orphaned",
  message: string,
  change: Change,
): void {
  const ended: Task = {
    ...task,
    state,
    healthy: null,
    message,
    finishedAtMs: change.timeMs,
    modifiedIndex: change.index,
  };
  tables.putTask(ended, change, message);
}

/** Takes no more tasks, and those that it has are told to stop: their slots get new ones elsewhere. */
export function applyLeave(tables: Tables, command: Of<"node-leave">, change: Change): Outcome {
  const old = tables.nodes.get(command.node);
  if (old === undefined) return noSuchNode(command.node);
  if (old.leaving) return UNCHANGED;
  const others = [...tables.nodes.values()].filter(({ id }) => id !== old.id);
  const stay = others.filter(({ leaving, mayVote }) => mayVote && !leaving);
  // One that is down itself is not needed for the log: it may go while one other is there.
  if (!stay.some(({ liveness }) => liveness === "ready")) {
    const message = `node ${old.name} cannot leave: it is the last here that may keep the cluster's log`;
    const hint =
      "Join another machine first. To end the cluster, stop its nodes and remove their data folders.";
    return { kind: "refused", fault: fault("conflict", message, hint, { node: old.id }) };
  }
  const node: NodeRecord = { ...old, leaving: true, modifiedIndex: change.index };
  const message = `${node.name} leaves the cluster`;
  tables.putNode(node, change, message);
  for (const task of tables.tasks.ofNode(node.id)) {
    stopTask(tables, task, `its node ${message}`, change);
  }
  return CHANGED;
}

export function applyRemove(tables: Tables, command: Of<"node-remove">, change: Change): Outcome {
  const node = tables.nodes.get(command.node);
  if (node === undefined) return noSuchNode(command.node);
  const refusal = refuseRemoval(node, command.force);
  if (refusal !== null) return { kind: "refused", fault: refusal };
  removeNode(tables, node, change);
  return CHANGED;
}

/** Why a node may not be removed now; null: it may. */
export function refuseRemoval(node: NodeRecord | undefined, force: boolean): Fault | null {
  if (node === undefined || force || node.liveness === "down" || node.leaving) return null;
  const message = `node ${node.name} is up: it would be cut off with its tasks running`;
  const hint = `Let it leave: \`orch node leave ${node.name}\`. With --force it is removed all the same.`;
  return fault("conflict", message, hint, { node: node.id });
}

/** Takes a node out for good; what it still runs belongs to nobody. */
export function removeNode(tables: Tables, node: NodeRecord, change: Change): void {
  tables.removeNode(node, change, `${node.name} ${node.leaving ? "left" : "was removed"}`);
  for (const task of tables.tasks.ofNode(node.id)) {
    if (isTerminal(task.state)) continue;
    endUnseen(tables, task, "orphaned", `its node ${node.name} was removed`, change);
  }
}

export function noSuchNode(node: NodeId): Outcome {
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
