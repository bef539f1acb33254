import type { RaftId } from "./message.ts";
import type { Membership } from "./membership.ts";

/** Majorities, also of joint configurations: a joint decision needs a majority of both sets of voters. */

export type VoteResult = "won" | "lost" | "pending";

/**
 * The highest index that a quorum has reached, given each voter's (0 when unknown). With no voters at
 * all it is unbounded, so that the empty half of a joint configuration decides nothing.
 */
export function committedIndex(membership: Membership, reached: (id: RaftId) => number): number {
  return Math.min(
    majorityIndex(membership.voters, reached),
    majorityIndex(membership.outgoing, reached),
  );
}

function majorityIndex(voters: readonly RaftId[], reached: (id: RaftId) => number): number {
  if (voters.length === 0) return Number.MAX_SAFE_INTEGER;
  const sorted = voters.map(reached).toSorted((a, b) => b - a);
  return sorted[Math.floor(voters.length / 2)] ?? 0;
}

/** Where an election stands, given each voter's answer (undefined while it has not answered). */
export function voteResult(
  membership: Membership,
  answer: (id: RaftId) => boolean | undefined,
): VoteResult {
  const incoming = majorityVote(membership.voters, answer);
  const outgoing = majorityVote(membership.outgoing, answer);
  if (incoming === "lost" || outgoing === "lost") return "lost";
  if (incoming === "won" && outgoing === "won") return "won";
  return "pending";
}

function majorityVote(
  voters: readonly RaftId[],
  answer: (id: RaftId) => boolean | undefined,
): VoteResult {
  if (voters.length === 0) return "won";
  const needed = Math.floor(voters.length / 2) + 1;
  let granted = 0;
  let missing = 0;
  for (const id of voters) {
    const vote = answer(id);
    if (vote === undefined) missing += 1;
    else if (vote) granted += 1;
  }
  if (granted >= needed) return "won";
  return granted + missing >= needed ? "pending" : "lost";
}
