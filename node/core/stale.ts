import { fault } from "../../lib/errors.ts";
import type { NodeId } from "../../state/ids.ts";
import type { Sighting } from "./alerts.ts";
import type { NodeConfig } from "./node-config.ts";
import { logView } from "./log-view.ts";
import type { Replica } from "./replica.ts";
import type { Query, Response } from "./request.ts";
import { seenNodeOf, seenNodes, type Sight } from "./roster-view.ts";
import type { Roster } from "./roster.ts";
import { answer } from "./views.ts";
import type { Watch } from "./watch.ts";

const NO_COPY: Response = {
  kind: "refused",
  fault: fault(
    "no-manager",
    "this node holds no copy of the cluster's state",
    "Ask a voter or standby (`orch node ls`), or ask without consistency=stale.",
  ),
};

/** What a node answers from by itself. */
export interface Seen extends Omit<Sight, "self"> {
  readonly config: NodeConfig;
  readonly roster: Roster;
  readonly watch: Watch;
  readonly replica: Replica;
}

/** An answer from what this node knows, however old: for when no manager is to be had. */
export function staleAnswer(query: Query, seen: Seen): Response {
  const { config, roster, manager, watch, digests, replica, now } = seen;
  const isCopy = replica.holdsLog && !roster.isWithoutLog && replica.state.clusterId !== "";
  if (!isCopy) return withoutCopy(query, { ...seen, self: config.identity.node });
  if (query.kind === "token") {
    const reason = "the join token is read from the manager only";
    const hint = "Ask without consistency=stale.";
    return { kind: "refused", fault: fault("no-manager", reason, hint) };
  }
  const { voters, outgoing, learners } = replica.membership;
  const result = answer(replica.state, query, {
    manager,
    voters: new Set([...voters, ...outgoing]),
    learners: new Set(learners),
    usage: (node) => digests.usage(node),
    missedBy: (node) => missedBy(node, seen),
    isHidden: (node) => watch.isHidden(node),
    rttMs: (node) => watch.rttMs(node),
    nowMs: now,
    brakePercent: config.brakePercent,
    term: replica.raft.term,
    commitIndex: replica.raft.commitIndex,
    quorum: manager !== null,
    log: logView(replica),
    orchVersion: config.orchVersion,
  });
  if (result.kind === "refused") return result;
  return { kind: "ok", index: replica.raft.appliedIndex, manager, body: result.body };
}

/**
 * Whoever misses all others doubts itself, and raises no alarm. But while it hears no manager, all it can say of a node whose stream
 * is broken is that it does not hear it.
 */
function missedBy(node: NodeId, { config, watch, manager, now }: Seen): readonly Sighting[] {
  const known = watch.missing(node, now);
  const sinceMs = watch.lost.get(node);
  const self = config.identity.node;
  const isSaid = known.some(({ observer }) => observer === self);
  if (manager !== null || sinceMs === undefined || isSaid) return known;
  return [...known, { observer: self, how: "reset", sinceMs }];
}

/** Who the nodes are every node knows. */
function withoutCopy(query: Query, seen: Seen & Sight): Response {
  if (query.kind !== "nodes" && query.kind !== "node") return NO_COPY;
  const result = query.kind === "nodes" ? seenNodes(seen) : seenNodeOf(query.node, seen);
  if (result.kind === "refused") return result;
  return { kind: "ok", index: seen.roster.index, manager: seen.manager, body: result.body };
}
