import { isLearner } from "../../consensus/membership.ts";
import type { NodeId } from "../../state/ids.ts";
import type { NodeConfig } from "./node-config.ts";
import { logView } from "./log-view.ts";
import type { Replica } from "./replica.ts";
import type { LocalView } from "./view-types.ts";

/** What a node knows of itself, without asking anyone. */
export function localView(
  replica: Replica,
  config: NodeConfig,
  { manager, holdsLog }: { readonly manager: NodeId | null; readonly holdsLog: boolean },
  managerAgeMs: number | null,
): LocalView {
  const { raft, membership, raftId } = replica;
  const { identity, facts, orchVersion } = config;
  const role = !holdsLog ? "none" : isLearner(membership, raftId) ? "learner" : raft.role;
  return {
    id: identity.node,
    name: replica.state.nodes.get(identity.node)?.name ?? facts.name,
    clusterId: identity.clusterId,
    raftId,
    role,
    term: raft.term,
    vote: raft.vote,
    commitIndex: raft.commitIndex,
    appliedIndex: raft.appliedIndex,
    lastIndex: raft.lastIndex,
    leader: raft.leader,
    manager,
    managerAgeMs,
    voters: [...new Set([...membership.voters, ...membership.outgoing])],
    learners: membership.learners,
    log: logView(replica),
    stateHash: replica.state.hash(),
    // Applied is all that it knows to be committed, and somebody answers for the cluster.
    ready: manager !== null && raft.appliedIndex === raft.commitIndex,
    addresses: facts.addresses,
    version: orchVersion,
  };
}
