import { isVoter } from "../../consensus/membership.ts";
import { NONE } from "../../consensus/message.ts";
import { isoTimeOrNull } from "./iso-time.ts";
import type { Replica } from "./replica.ts";
import type { FollowerView, LogView } from "./view-types.ts";

/** How a node's copy of the log stands and, on the manager, everyone else's. */
export function logView(replica: Replica): LogView {
  const { raft, state, membership, snapshotAtMs } = replica;
  const byRaftId = new Map([...state.nodes.values()].map((node) => [node.raftId, node]));
  const nameOf = (raftId: number): string => byRaftId.get(raftId)?.name ?? `raft id ${raftId}`;
  const followers = raft.followers().flatMap((raftId): FollowerView[] => {
    const progress = raft.progressOf(raftId);
    if (raft.role !== "leader" || progress === undefined) return [];
    const { match, state: mode, isActive: active } = progress;
    const votes = isVoter(membership, raftId);
    return [{ raftId, name: nameOf(raftId), votes, match, state: mode, active }];
  });
  const voters = [...new Set([...membership.voters, ...membership.outgoing])];
  return {
    baseIndex: raft.base.index,
    entries: raft.lastIndex - raft.base.index,
    snapshotIndex: raft.snapshot?.index ?? 0,
    snapshotAt: isoTimeOrNull(snapshotAtMs),
    featureLevel: state.featureLevel,
    voters: voters.map(nameOf),
    transferee: raft.transferee === NONE ? null : nameOf(raft.transferee),
    followers,
  };
}
