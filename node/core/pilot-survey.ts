import {
  type ConfChange,
  type MemberChange,
  type Membership,
  isVoter,
} from "../../consensus/membership.ts";
import type { RaftId } from "../../consensus/message.ts";
import { assert } from "../../lib/assert.ts";
import type { Millis } from "../../state/ids.ts";
import { EXCHANGE_MS, GONE_AFTER_MS, LEADER_CALM_MS, STABLE_MS, STANDBYS } from "./defaults.ts";
import type { Place } from "./spread.ts";

/** What the autopilot knows of one node: a record of the replicated state and what this leader heard of it. */
export interface Candidate extends Place {
  readonly raftId: RaftId;
  /** Heard from by the manager within the last seconds, and not down in the state. */
  readonly alive: boolean;
  /** Since when this manager has known it so, alive or not. A new manager starts anew. */
  readonly sinceMs: Millis;
  /** False for a node that was started with --no-vote. */
  readonly mayVote: boolean;
  /** It wants to leave the cluster. */
  readonly leaving: boolean;
  /** Nobody can dial it, as behind NAT: two such nodes never hear each other. */
  readonly isHidden: boolean;
  /** It holds the log up to the commit index, or nearly. Only members of the Raft group can. */
  readonly caughtUp: boolean;
}

export interface PilotConfig {
  /** A voter or standby away this long is replaced. */
  readonly replaceAfterMs: Millis;
  /** Odd. */
  readonly maxVoters: number;
}

export interface PilotInput {
  readonly membership: Membership;
  /** One for every node record of the state, each raft id once, in any order. */
  readonly candidates: readonly Candidate[];
  /** The node that asks. It counts as alive. */
  readonly leader: RaftId;
  readonly leaderSinceMs: Millis;
  /** When this leader last proposed a change of the membership; null when it has not. */
  readonly lastChangeMs: Millis | null;
  /** To whom this leader has tried to hand over in vain, the last one last. */
  readonly failedHeirs: readonly RaftId[];
  readonly config: PilotConfig;
  readonly nowMs: Millis;
}

/** Why a voter or standby gives up its seat. */
export type Cause =
  /** No record has its raft id: the node was removed, or came back under another. */
  | { readonly kind: "gone" }
  | { readonly kind: "leaving" }
  | { readonly kind: "no-vote" }
  | { readonly kind: "hidden" }
  | { readonly kind: "away"; readonly ms: Millis }
  /** More than are wanted. */
  | { readonly kind: "surplus" }
  /** Another adds a failure domain that the voters lack. */
  | { readonly kind: "crowded" };

export interface Leaver {
  readonly id: RaftId;
  readonly cause: Cause;
}

/** What a change is for. The caller knows the names of nodes: pilot-reason.ts makes a sentence of both. */
export interface PilotReason {
  readonly tier: "voter" | "standby";
  readonly leaves: readonly Leaver[];
  readonly joins: readonly RaftId[];
  /** How many of the tier are wanted. */
  readonly target: number;
}

export type PilotStep =
  | { readonly kind: "change"; readonly change: ConfChange; readonly reason: PilotReason }
  | { readonly kind: "transfer"; readonly to: RaftId; readonly reason: PilotReason };

/** A voter that may not stay one, alive or not. */
export interface Outgoing extends Leaver {
  readonly alive: boolean;
}

/** The input, sorted by what the rules ask. */
export interface Survey {
  readonly input: PilotInput;
  readonly target: number;
  /** Voters that may stay, the leader among them unless `leaderOut`. */
  readonly stay: readonly Candidate[];
  /** Voters that may not, other than the leader. */
  readonly outs: readonly Outgoing[];
  readonly leaderOut: Leaver | null;
  /** Voters that may stay and have been away for too long. */
  readonly away: readonly Candidate[];
  /** Learners that may vote. */
  readonly learners: readonly Candidate[];
  readonly unfitLearners: readonly Leaver[];
  /** The learners that could vote now. */
  readonly fit: readonly Candidate[];
  /** Alive, may vote, and neither voter nor learner. */
  readonly members: readonly Candidate[];
  /** Nothing was changed for a while, and the leader is not new: healthy ones may be exchanged. */
  readonly calm: boolean;
}

export function survey(told: PilotInput): Survey {
  const input = { ...told, candidates: sparing(told) };
  const { membership, leader, leaderSinceMs, lastChangeMs, nowMs, config } = input;
  const byId = new Map<RaftId, Candidate>();
  const members: Candidate[] = [];
  const present = new Set([...membership.voters, ...membership.learners]);
  for (const candidate of input.candidates) {
    if (present.has(candidate.raftId)) byId.set(candidate.raftId, candidate);
    else if (candidate.alive && isEligible(candidate)) members.push(candidate);
  }
  const own = byId.get(leader);
  if (own !== undefined && !own.alive) byId.set(leader, { ...own, alive: true });

  const [stay, out] = divide(membership.voters, byId);
  const [learners, unfitLearners] = divide(membership.learners, byId);
  const target = seats(input);
  const isYoung =
    nowMs - leaderSinceMs < STABLE_MS || membership.voters.length < Math.min(3, target);
  return {
    input,
    target,
    stay,
    outs: out
      .filter(({ id }) => id !== leader)
      .map((leaver) => ({ ...leaver, alive: byId.get(leaver.id)?.alive === true })),
    leaderOut: out.find(({ id }) => id === leader) ?? null,
    away: stay.filter((voter) => awayMs(voter, nowMs) >= config.replaceAfterMs),
    learners,
    unfitLearners,
    fit: learners.filter(
      (learner) => learner.alive && learner.caughtUp && (isYoung || isStable(learner, nowMs)),
    ),
    members,
    calm:
      nowMs - leaderSinceMs >= LEADER_CALM_MS &&
      (lastChangeMs === null || nowMs - lastChangeMs >= EXCHANGE_MS),
  };
}

/**
 * Where fewer than three others can be had, one that is hidden is as good as any: the others reach it over what it has
 * dialled. A second one would not be: the two could not replicate to each other.
 */
function sparing({ candidates, nowMs, config }: PilotInput): readonly Candidate[] {
  const others = candidates.filter(
    (node) => isEligible(node) && awayMs(node, nowMs) < config.replaceAfterMs,
  );
  if (others.length >= 3) return candidates;
  const spared = candidates
    .filter(({ isHidden, mayVote, leaving }) => isHidden && mayVote && !leaving)
    .toSorted((a, b) => a.raftId - b.raftId)[0];
  return candidates.map((node) => (node === spared ? { ...node, isHidden: false } : node));
}

/** How many voters a cluster of `nodes` nodes has: odd, few, and one only where three are not to be had. */
export function voterTarget(nodes: number, maxVoters: number): number {
  assert(maxVoters % 2 === 1, "the number of voters is odd");
  if (nodes < 3) return 1;
  // From five on they have their standbys beside them.
  const wanted = nodes < 5 + STANDBYS ? 3 : nodes - STANDBYS;
  return Math.min(maxVoters, wanted % 2 === 1 ? wanted : wanted - 1);
}

/** The size counts nodes that are away, so that a loss does not shrink the voters; in the end it does, not below 3. */
function seats({ candidates, nowMs, config }: PilotInput): number {
  let all = 0;
  let counted = 0;
  for (const candidate of candidates) {
    if (!isEligible(candidate)) continue;
    all += 1;
    if (awayMs(candidate, nowMs) < GONE_AFTER_MS) counted += 1;
  }
  const least = Math.min(3, voterTarget(all, config.maxVoters));
  return Math.max(least, voterTarget(counted, config.maxVoters));
}

function divide(
  ids: readonly RaftId[],
  byId: ReadonlyMap<RaftId, Candidate>,
): [stay: Candidate[], out: Leaver[]] {
  const stay: Candidate[] = [];
  const out: Leaver[] = [];
  for (const id of ids) {
    const candidate = byId.get(id);
    if (candidate === undefined) out.push({ id, cause: { kind: "gone" } });
    else if (candidate.leaving) out.push({ id, cause: { kind: "leaving" } });
    else if (!candidate.mayVote) out.push({ id, cause: { kind: "no-vote" } });
    else if (candidate.isHidden) out.push({ id, cause: { kind: "hidden" } });
    else stay.push(candidate);
  }
  return [stay, out];
}

function isEligible({ mayVote, leaving, isHidden }: Candidate): boolean {
  return mayVote && !leaving && !isHidden;
}

export function isStable({ alive, sinceMs }: Candidate, nowMs: Millis): boolean {
  return alive && nowMs - sinceMs >= STABLE_MS;
}

/** 0 for a node that is here. */
export function awayMs({ alive, sinceMs }: Candidate, nowMs: Millis): Millis {
  return alive ? 0 : Math.max(0, nowMs - sinceMs);
}

/** Longer in its state first, then the lower id: a total order, so that every leader chooses alike. */
export function byAge(a: Candidate, b: Candidate): number {
  return a.sinceMs - b.sinceMs || a.raftId - b.raftId;
}

function quorum(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

/** How many of these voters are alive; the leader is, with or without a record. */
function aliveCount({ stay, outs, fit, input }: Survey, voters: readonly RaftId[]): number {
  const alive = new Set<RaftId>([input.leader]);
  for (const node of [...stay, ...fit]) if (node.alive) alive.add(node.raftId);
  for (const node of outs) if (node.alive) alive.add(node.id);
  return voters.filter((id) => alive.has(id)).length;
}

/** Voters that still can be lost before nothing can be committed; negative when it is so already. */
export function margin(view: Survey, voters: readonly RaftId[]): number {
  return aliveCount(view, voters) - quorum(voters.length);
}

/**
 * The one change from the present voters to `next`; null when they are the same, or when either has no
 * quorum alive. A voter that is well becomes a standby where one is missing.
 */
export function toVoters(
  view: Survey,
  next: readonly RaftId[],
  cause: "surplus" | "crowded",
): PilotStep | null {
  const { membership, nowMs, config } = view.input;
  const joins = next.filter((id) => !isVoter(membership, id));
  const leaves = membership.voters.filter((id) => !next.includes(id));
  if (joins.length + leaves.length === 0) return null;
  if (margin(view, membership.voters) < 0 || margin(view, next) < 0) return null;
  const standbys = view.learners.filter(
    ({ alive, raftId }) => alive && !joins.includes(raftId),
  ).length;
  let room = STANDBYS - standbys;
  const changes: MemberChange[] = joins.map((id) => ({ op: "add-voter", id }));
  const leavers: Leaver[] = [];
  for (const id of leaves) {
    const stays = view.stay.find(({ raftId }) => raftId === id);
    const out = view.outs.find((outgoing) => outgoing.id === id);
    const ms = stays === undefined ? 0 : awayMs(stays, nowMs);
    const isAway = ms >= config.replaceAfterMs;
    const demoted = stays !== undefined && !isAway && room > 0;
    if (demoted) room -= 1;
    changes.push({ op: demoted ? "add-learner" : "remove", id });
    leavers.push({ id, cause: out?.cause ?? (isAway ? { kind: "away", ms } : { kind: cause }) });
  }
  const reason: PilotReason = { tier: "voter", leaves: leavers, joins, target: view.target };
  return { kind: "change", change: { changes }, reason };
}
