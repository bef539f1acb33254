import { fault } from "../../lib/errors.ts";
import type { Millis, NodeId } from "../../state/ids.ts";
import type { NodeConfig } from "./node-config.ts";
import type { Digests } from "./digests.ts";
import { logView } from "./log-view.ts";
import type { Replica } from "./replica.ts";
import type { Query, Response } from "./request.ts";
import { answer } from "./views.ts";
import type { Watch } from "./watch.ts";

export const NO_COPY: Response = {
  kind: "refused",
  fault: fault(
    "no-manager",
    "this node holds no copy of the cluster's state",
    "Ask a voter or standby (`orch node ls`), or ask without consistency=stale.",
  ),
};

/** What a node that holds the log has beside it. */
export interface Seen {
  readonly config: NodeConfig;
  readonly manager: NodeId | null;
  readonly watch: Pick<Watch, "missing">;
  readonly digests: Pick<Digests, "usage">;
  readonly now: Millis;
}

/** An answer from what this node has applied, however old: for when no manager is to be had. */
export function staleAnswer(replica: Replica, query: Query, seen: Seen): Response {
  const { config, manager, watch, digests, now } = seen;
  if (replica.state.clusterId === "") return NO_COPY;
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
    missedBy: (node) => watch.missing(node, now),
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
