import { assert } from "../lib/assert.ts";
import type { RaftId } from "./message.ts";

/**
 * Who takes part in Raft. A change becomes active when its entry is applied (as in etcd/raft), which is
 * safe with two guards: one change in flight, and no campaign while a committed change is unapplied.
 */
export interface Membership {
  /** Sorted. While a joint change is under way: the incoming voters. */
  readonly voters: readonly RaftId[];
  /** Sorted. The outgoing voters of a joint configuration; empty otherwise. */
  readonly outgoing: readonly RaftId[];
  /** Sorted. They hold the log and do not vote. */
  readonly learners: readonly RaftId[];
  /** Voters of `outgoing` that become learners when the joint configuration is left. */
  readonly learnersNext: readonly RaftId[];
}

export const NO_MEMBERS: Membership = { voters: [], outgoing: [], learners: [], learnersNext: [] };

export interface MemberChange {
  readonly op: "add-voter" | "add-learner" | "remove";
  readonly id: RaftId;
}

/** What a `conf` entry holds. No changes: leave the joint configuration. */
export interface ConfChange {
  readonly changes: readonly MemberChange[];
}

export type ChangeOutcome =
  | { readonly kind: "changed"; readonly membership: Membership }
  | { readonly kind: "refused"; readonly reason: string };

/** Whether a joint configuration is active: it must be left before the next change. */
export function isJoint(membership: Membership): boolean {
  return membership.outgoing.length > 0;
}

export function isVoter(membership: Membership, id: RaftId): boolean {
  return membership.voters.includes(id) || membership.outgoing.includes(id);
}

export function isLearner(membership: Membership, id: RaftId): boolean {
  return !isVoter(membership, id) && membership.learners.includes(id);
}

export function isMember(membership: Membership, id: RaftId): boolean {
  return isVoter(membership, id) || membership.learners.includes(id);
}

/** Everyone to replicate to, sorted. */
export function memberIds(membership: Membership): RaftId[] {
  const { voters, outgoing, learners } = membership;
  return [...new Set([...voters, ...outgoing, ...learners])].toSorted((a, b) => a - b);
}

/**
 * The membership after a change, or why it is refused. One changed voter is a simple step, more make a
 * joint configuration that an empty change leaves again (Raft thesis §4.3, etcd/raft confchange).
 */
export function applyChange(membership: Membership, change: ConfChange): ChangeOutcome {
  if (change.changes.length === 0) return leaveJoint(membership);
  if (isJoint(membership)) return refused("a joint configuration must be left first");
  const voters = new Set(membership.voters);
  const learners = new Set(membership.learners);
  for (const { op, id } of change.changes) {
    if (!Number.isSafeInteger(id) || id <= 0) return refused(`${id} is not a raft id`);
    voters.delete(id);
    learners.delete(id);
    if (op === "add-voter") voters.add(id);
    if (op === "add-learner") learners.add(id);
  }
  if (voters.size === 0) return refused("it would leave no voter");
  const changed = symmetricDifference(membership.voters, voters);
  if (changed <= 1) {
    return checked({
      voters: sorted(voters),
      outgoing: [],
      learners: sorted(learners),
      learnersNext: [],
    });
  }
  // A voter that becomes a learner still votes in the outgoing half: it is demoted on leaving.
  const demoted = membership.voters.filter((id) => learners.has(id));
  for (const id of demoted) learners.delete(id);
  return checked({
    voters: sorted(voters),
    outgoing: membership.voters,
    learners: sorted(learners),
    learnersNext: demoted,
  });
}

function leaveJoint(membership: Membership): ChangeOutcome {
  if (!isJoint(membership)) return refused("there is no joint configuration to leave");
  return checked({
    voters: membership.voters,
    outgoing: [],
    learners: sorted(new Set([...membership.learners, ...membership.learnersNext])),
    learnersNext: [],
  });
}

function checked(membership: Membership): ChangeOutcome {
  const { voters, outgoing, learners, learnersNext } = membership;
  assert(voters.length > 0, "a configuration has a voter");
  assert(
    learners.every((id) => !voters.includes(id) && !outgoing.includes(id)),
    "a learner does not vote",
  );
  assert(
    learnersNext.every((id) => outgoing.includes(id)),
    "only an outgoing voter is demoted later",
  );
  return { kind: "changed", membership };
}

function refused(reason: string): ChangeOutcome {
  return { kind: "refused", reason };
}

function symmetricDifference(before: readonly RaftId[], after: ReadonlySet<RaftId>): number {
  const kept = before.filter((id) => after.has(id)).length;
  return before.length - kept + (after.size - kept);
}

function sorted(ids: ReadonlySet<RaftId>): RaftId[] {
  return [...ids].toSorted((a, b) => a - b);
}

const KINDS = ["add-voter", "add-learner", "remove"] as const;

/** One byte for the kind and eight for the id, per change. */
export function encodeChange(change: ConfChange): Uint8Array {
  const bytes = new Uint8Array(change.changes.length * 9);
  const view = new DataView(bytes.buffer);
  change.changes.forEach(({ op, id }, i) => {
    view.setUint8(i * 9, KINDS.indexOf(op));
    view.setFloat64(i * 9 + 1, id);
  });
  return bytes;
}

/** The inverse of encodeChange; a committed entry that cannot be read is a bug or damage: it stops the node. */
export function decodeChange(bytes: Uint8Array): ConfChange {
  assert(bytes.length % 9 === 0, "a conf entry holds whole changes");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const changes: MemberChange[] = [];
  for (let at = 0; at < bytes.length; at += 9) {
    const op = KINDS[view.getUint8(at)];
    assert(op !== undefined, "a conf entry holds known changes");
    changes.push({ op, id: view.getFloat64(at + 1) });
  }
  return { changes };
}
