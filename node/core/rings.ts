import type { NodeId } from "../../state/ids.ts";
import { RINGS } from "./defaults.ts";

/** Whom a node watches, and by whom it is watched. */
export interface Neighbours {
  readonly subjects: readonly NodeId[];
  readonly observers: readonly NodeId[];
}

/**
 * RINGS rings order the members by a hash of ring and id; on each a node watches the one that follows it, as in Rapid
 * (ATC '18). So each has as many observers as any other, drawn from all of the cluster, and all nodes that have
 * the same list agree who they are. While the members are few, all watch all.
 */
export function neighboursOf(self: NodeId, members: readonly NodeId[]): Neighbours {
  const others = members.filter((id) => id !== self);
  if (others.length <= RINGS) return { subjects: others, observers: others };
  const own = hashOf(self);
  const hashes = others.map(hashOf);
  const subjects = new Set<NodeId>();
  const observers = new Set<NodeId>();
  for (let ring = 0; ring < RINGS; ring++) {
    const [next, previous] = beside(self, onRing(own, ring), others, hashes, ring);
    subjects.add(next);
    observers.add(previous);
  }
  return { subjects: [...subjects], observers: [...observers] };
}

/** The member after the place of `self` on a ring, and the one before it; around the end. */
function beside(
  self: NodeId,
  place: number,
  others: readonly NodeId[],
  hashes: readonly number[],
  ring: number,
): [NodeId, NodeId] {
  let next = self;
  let previous = self;
  let after = Number.POSITIVE_INFINITY;
  let before = Number.POSITIVE_INFINITY;
  for (const [i, id] of others.entries()) {
    const at = onRing(hashes[i] ?? 0, ring);
    // Of equal places the lower id comes first.
    const isAfter = at > place || (at === place && id > self);
    const forward = at - place + (isAfter ? 0 : TURN);
    const backward = place - at + (isAfter ? TURN : 0);
    if (forward < after || (forward === after && id < next)) [after, next] = [forward, id];
    if (backward < before || (backward === before && id > previous))
      [before, previous] = [backward, id];
  }
  return [next, previous];
}

const TURN = 0x1_0000_0000;

/** FNV-1a, 32 bits. */
function hashOf(id: NodeId): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** The finalizer of MurmurHash3, over the hash moved by the ring. */
function onRing(hash: number, ring: number): number {
  let h = (hash + Math.imul(ring + 1, 0x9e3779b9)) | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
