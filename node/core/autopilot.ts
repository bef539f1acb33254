import {
  type ConfChange,
  type Membership,
  isJoint,
  memberIds,
} from "../../consensus/membership.ts";

/** Who takes part in Raft, chosen by rule: a pure function from what is known to at most one change. */

export interface Candidate {
  readonly raftId: number;
  /** Heard from by the manager, and not down. */
  readonly alive: boolean;
  readonly mayVote: boolean;
  /** Holds the log up to what is committed, or nearly. */
  readonly caughtUp: boolean;
}

/** How many learners are kept beside the voters, ready to take over. */
const STANDBYS = 2;

/** How many voters a cluster of `nodes` nodes should have: odd, few, and one only where three are not to be had. */
export function voterTarget(nodes: number): number {
  if (nodes < 3) return 1;
  return nodes < 7 ? 3 : 5;
}

/**
 * The next change of the membership, or null. One at a time, learners first; voters are added so that
 * their number stays odd, and only when a quorum of the new configuration is alive (the cluster must be
 * able to commit the next entry).
 */
export function autopilot(
  membership: Membership,
  candidates: readonly Candidate[],
): ConfChange | null {
  if (isJoint(membership)) return null;
  const byId = new Map(candidates.map((candidate) => [candidate.raftId, candidate]));
  return (
    dropGone(membership, byId) ??
    promote(membership, candidates, byId) ??
    addLearner(membership, candidates)
  );
}

/** A raft id that no member has any more: its node was removed, or lost its log and came back under another. */
function dropGone(membership: Membership, byId: ReadonlyMap<number, Candidate>): ConfChange | null {
  const learner = membership.learners.find((id) => !byId.has(id));
  if (learner !== undefined) return { changes: [{ op: "remove", id: learner }] };
  const voter = membership.voters.find((id) => !byId.has(id));
  if (voter === undefined) return null;
  const left = membership.voters.filter((id) => id !== voter);
  return left.length > 0 && quorumAlive(left, byId)
    ? { changes: [{ op: "remove", id: voter }] }
    : null;
}

function promote(
  membership: Membership,
  candidates: readonly Candidate[],
  byId: ReadonlyMap<number, Candidate>,
): ConfChange | null {
  const target = voterTarget(candidates.filter(({ mayVote }) => mayVote).length);
  const missing = target - membership.voters.length;
  if (missing <= 0) return null;
  const fit = membership.learners.filter((id) => {
    const candidate = byId.get(id);
    return candidate?.alive === true && candidate.caughtUp && candidate.mayVote;
  });
  // From an odd number two join at once, from an even one a single voter makes it odd again.
  const step = membership.voters.length % 2 === 1 ? 2 : 1;
  if (fit.length < step) return null;
  const added = fit.slice(0, step);
  if (!quorumAlive([...membership.voters, ...added], byId)) return null;
  return { changes: added.map((id) => ({ op: "add-voter", id }) as const) };
}

function addLearner(membership: Membership, candidates: readonly Candidate[]): ConfChange | null {
  const present = new Set(memberIds(membership));
  const target = voterTarget(candidates.filter(({ mayVote }) => mayVote).length);
  const wanted = Math.max(0, target - membership.voters.length) + STANDBYS;
  if (membership.learners.length >= wanted) return null;
  const next = candidates.find(
    ({ raftId, alive, mayVote }) => alive && mayVote && !present.has(raftId),
  );
  return next === undefined ? null : { changes: [{ op: "add-learner", id: next.raftId }] };
}

function quorumAlive(voters: readonly number[], byId: ReadonlyMap<number, Candidate>): boolean {
  const alive = voters.filter((id) => byId.get(id)?.alive === true).length;
  return alive > voters.length / 2;
}
