import { type Membership, memberIds } from "../../consensus/membership.ts";
import type { ClusterState } from "../../state/cluster.ts";
import type { NodeId } from "../../state/ids.ts";
import { FULL_MESH_NODES } from "./defaults.ts";
import type { Member } from "./message.ts";
import { neighboursOf } from "./rings.ts";

/** The members as the log says, sorted by id. */
export function membersOf(state: ClusterState, membership: Membership): Member[] {
  const holders = new Set(memberIds(membership));
  return [...state.nodes.values()]
    .map(({ id, raftId, name, addresses }) => ({
      id,
      raftId,
      name,
      addresses,
      holdsLog: holders.has(raftId),
    }))
    .toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/**
 * With whom a node stays connected: all while they are few; else the log holders, one of which manages, and those that it
 * watches or that watch it, over which gossip travels as well. So no node has many connections.
 */
export function connectList(self: NodeId, members: readonly Member[]): Member[] {
  const others = members.filter(({ id }) => id !== self);
  if (members.length <= FULL_MESH_NODES) return others;
  const ids = members.map(({ id }) => id);
  const { subjects, observers } = neighboursOf(self, ids);
  const wanted = new Set([...subjects, ...observers]);
  return others.filter(({ id, holdsLog }) => holdsLog || wanted.has(id));
}
