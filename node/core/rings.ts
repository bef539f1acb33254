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

/**
 * `neighboursOf` for any node of one list, ready: a manager that has thousands to judge cannot walk the list for each.
 */
export class Rings {
  readonly #members: readonly NodeId[];
  readonly #ids: readonly NodeId[];
  readonly #ranks: ReadonlyMap<NodeId, number>;
  /** On each ring: the ranks in their order, and where in it each rank is. */
  readonly #rings: readonly { readonly order: Uint32Array; readonly at: Uint32Array }[];

  constructor(members: readonly NodeId[]) {
    this.#members = members;
    this.#ids = members.toSorted((a, b) => (a < b ? -1 : 1));
    this.#ranks = new Map(this.#ids.map((id, rank) => [id, rank]));
    const hashes = this.#ids.map(hashOf);
    this.#rings = Array.from({ length: RINGS }, (_, ring) => orderOf(hashes, ring));
  }

  of(node: NodeId): Neighbours {
    const rank = this.#ranks.get(node);
    const count = this.#ids.length;
    if (rank === undefined || count - 1 <= RINGS) return neighboursOf(node, this.#members);
    const subjects = new Set<NodeId>();
    const observers = new Set<NodeId>();
    for (const { order, at } of this.#rings) {
      const place = at[rank] ?? 0;
      subjects.add(this.#ids[order[(place + 1) % count] ?? 0] ?? node);
      observers.add(this.#ids[order[(place + count - 1) % count] ?? 0] ?? node);
    }
    return { subjects: [...subjects], observers: [...observers] };
  }
}

/** Above any count of members, and small enough that a place and a rank fit into one exact number. */
const RANKS = 0x10_0000;

function orderOf(hashes: readonly number[], ring: number): { order: Uint32Array; at: Uint32Array } {
  const count = hashes.length;
  // Of equal places the lower id comes first. In plain loops: a manager of thousands does this at every change of its list.
  const keys = new Float64Array(count);
  for (let rank = 0; rank < count; rank++)
    keys[rank] = onRing(hashes[rank] ?? 0, ring) * RANKS + rank;
  keys.sort();
  const order = new Uint32Array(count);
  const at = new Uint32Array(count);
  for (let place = 0; place < count; place++) {
    const key = keys[place] ?? 0;
    const rank = key - Math.floor(key / RANKS) * RANKS;
    order[place] = rank;
    at[rank] = place;
  }
  return { order, at };
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

/** A number from 0 to 1, below 1, that is the node's own: many nodes are spread evenly by it. */
export function shareOf(node: NodeId): number {
  return onRing(hashOf(node), RINGS) / TURN;
}

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
