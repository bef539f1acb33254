import { type Membership, memberIds } from "../../consensus/membership.ts";
import type { ClusterState } from "../../state/cluster.ts";
import type { NodeId } from "../../state/ids.ts";
import { FULL_MESH_NODES, RING_NEIGHBOURS } from "./defaults.ts";
import type { Member } from "./message.ts";

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
 * With whom a node stays connected: all while they are few; else the log holders, one of which manages,
 * and its neighbours on the ring of ids, so that gossip has a mesh and no node has many connections.
 */
export function connectList(self: NodeId, members: readonly Member[]): Member[] {
  const others = members.filter(({ id }) => id !== self);
  if (members.length <= FULL_MESH_NODES) return others;
  const at = members.findIndex(({ id }) => id === self);
  return others.filter((member) => {
    const distance = Math.abs(members.indexOf(member) - at);
    return member.holdsLog || Math.min(distance, members.length - distance) <= RING_NEIGHBOURS;
  });
}
