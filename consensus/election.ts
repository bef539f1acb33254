import { assert, present } from "../lib/assert.ts";
import { type Message, NONE, type RaftId } from "./message.ts";
import { voteResult } from "./quorum.ts";
import type { RaftState } from "./raft-state.ts";
import { becomeLeader } from "./replication.ts";

/** Elections: PreVote, votes, the recent-leader rule (Raft thesis §4.2.3, §9.6). */

type VoteRequest = Extract<Message, { kind: "vote" | "pre-vote" }>;
type VoteReply = Extract<Message, { kind: "vote-reply" | "pre-vote-reply" }>;

/**
 * Asks the voters whether they would elect this node, without disturbing anyone's term. Does nothing
 * while it must not stand: not a voter, leader already, or a committed membership change is unapplied
 * (the node could count a quorum of a configuration that is gone).
 */
export function campaign(s: RaftState): void {
  if (!mayCampaign(s)) return;
  becomePreCandidate(s);
  requestVotes(s, "pre-vote");
}

/** Asks for votes at once, since the leader wishes it: the others need not be asked whether they miss it. */
export function campaignForTransfer(s: RaftState): void {
  if (!mayCampaign(s)) return;
  becomeCandidate(s, true);
  requestVotes(s, "vote");
}

/** Ticks of a node's turn: an election that nobody disturbs, with its syncs, takes less. */
const TURN_TICKS = 2;

/**
 * The leader's connection broke: its followers soon stand for election, one after the other, the lowest id first.
 * Who stand at once split the votes, and then it takes an election timeout.
 */
export function standInTurn(s: RaftState, lost: RaftId): void {
  const voters = new Set([...s.membership.voters, ...s.membership.outgoing]);
  const before = [...voters].filter((id) => id !== lost && id < s.id).length;
  s.leader = NONE;
  const turn = s.randomizedTimeout - 1 - before * TURN_TICKS;
  s.electionElapsed = Math.max(s.electionElapsed, turn);
}

function mayCampaign(s: RaftState): boolean {
  return s.role !== "leader" && s.isPromotable && !s.log.hasUnappliedChange();
}

function becomePreCandidate(s: RaftState): void {
  // Neither term nor vote changes: nothing has been promised yet.
  s.become("pre-candidate");
  s.votes = new Map();
  s.leader = NONE;
  s.electionElapsed = 0;
  s.drawTimeout();
}

function becomeCandidate(s: RaftState, byTransfer: boolean): void {
  s.become("candidate");
  s.reset(s.term + 1);
  s.byTransfer = byTransfer;
  s.vote = s.id;
}

function requestVotes(s: RaftState, kind: "vote" | "pre-vote"): void {
  const { lastIndex, lastTerm } = s.log;
  const term = kind === "vote" ? s.term : s.term + 1;
  const voters = new Set([...s.membership.voters, ...s.membership.outgoing]);
  for (const to of voters) {
    if (s.votes.has(to)) continue;
    if (to === s.id) {
      // The own vote counts like any other, once it is durable.
      s.sendDurable({ kind: `${kind}-reply`, from: s.id, to, term, rejected: false, ...known(s) });
    } else if (kind === "vote") {
      // After term, vote and the log it speaks of are durable: else a candidate that is elected by the
      // others alone and loses power could be elected in this very term again, with another log.
      s.sendDurable({ kind, from: s.id, to, term, lastIndex, lastTerm, transfer: s.byTransfer });
    } else {
      s.send({ kind, from: s.id, to, term, lastIndex, lastTerm });
    }
  }
}

/** More than a round trip and a sync take. */
const ASK_AGAIN_TICKS = 3;

/**
 * A tick of a node that may stand: a request or its answer can be lost with a connection, and comes again. Not before
 * its own vote is durable: until then requests for votes have not left, and copies of them would pile up.
 */
export function askAgain(s: RaftState): void {
  if (s.electionElapsed % ASK_AGAIN_TICKS !== 0 || !s.votes.has(s.id)) return;
  if (s.role === "pre-candidate") requestVotes(s, "pre-vote");
  if (s.role === "candidate") requestVotes(s, "vote");
}

/**
 * Who stand at once split the votes, and then it takes an election timeout. So whoever encourages another does not
 * stand until its own timeout has passed anew; of two that encourage each other with equal logs the lower id goes on. Once a
 * term for each: one that asks and cannot stand must not keep the others from it, nor have them all stand at once.
 */
function standBack(s: RaftState, m: VoteRequest): void {
  if (s.role === "leader" || s.role === "candidate") return;
  // A late question of the one that leads by now.
  if (hearsLeader(s)) return;
  const isEqual = m.lastIndex === s.log.lastIndex && m.lastTerm === s.log.lastTerm;
  if (s.role === "pre-candidate" && isEqual && s.id < m.from) return;
  if (m.term > s.stoodBack.term) s.stoodBack = { term: m.term, before: new Set() };
  if (s.stoodBack.before.has(m.from)) return;
  s.stoodBack.before.add(m.from);
  // Also no leader is believed in any more: else the vote that follows would be ignored for its sake.
  s.becomeFollower(s.term, NONE);
  s.electionElapsed = Math.floor(s.config.electionTicks / 2);
}

/**
 * Whether a (pre-)vote request is to be ignored because a leader was heard within an election timeout:
 * else a node that cannot hear the leader deposes it again and again.
 */
export function hearsLeader(s: RaftState): boolean {
  return s.leader !== NONE && s.electionElapsed < s.config.electionTicks;
}

/** Answers a request for a vote of this term (a pre-vote: of a later one). Learners vote too when asked. */
export function handleVoteRequest(s: RaftState, m: VoteRequest): void {
  const free = s.vote === m.from || (s.vote === NONE && s.leader === NONE);
  const may = m.kind === "pre-vote" ? free || m.term > s.term : free;
  const granted = may && s.log.isUpToDate(m.lastIndex, m.lastTerm);
  if (granted && m.kind === "vote") {
    assert(m.term === s.term, "a vote is given in the current term");
    s.electionElapsed = 0;
    s.vote = m.from;
  }
  if (granted && m.kind === "pre-vote") standBack(s, m);
  s.sendDurable({
    kind: `${m.kind}-reply`,
    from: s.id,
    to: m.from,
    // A grant carries the term it is for, so that a late one is not counted in another election.
    term: granted ? m.term : s.term,
    rejected: !granted,
    ...known(s),
  });
}

/** What is known here to be committed: goes with every answer to a candidate. */
export function known(s: RaftState): Pick<VoteReply, "commit" | "commitTerm"> {
  const commit = s.log.committed;
  return { commit, commitTerm: present(s.log.termAt(commit), "what is committed is in the log") };
}

/**
 * Learns from a voter what is committed. A change of the membership may be committed of which the candidate does not know:
 * it would ask a quorum that is not needed any more of nodes that will not follow it (raft-rs does the same).
 */
function learnCommit(s: RaftState, { commit, commitTerm }: VoteReply): void {
  if (commit <= s.log.committed || s.log.termAt(commit) !== commitTerm) return;
  s.log.commitTo(commit);
  // Whose votes it takes may be another matter once that is applied: it stands again then.
  if (s.log.hasUnappliedChange()) s.becomeFollower(s.term, NONE);
}

/** Counts an answer; the caller has checked that it belongs to the election under way. */
export function handleVoteReply(s: RaftState, m: VoteReply): void {
  learnCommit(s, m);
  if (s.role === "follower") return;
  if (!s.votes.has(m.from)) s.votes.set(m.from, !m.rejected);
  const result = voteResult(s.membership, (id: RaftId) => s.votes.get(id));
  if (result === "lost") {
    s.becomeFollower(s.term, NONE);
    return;
  }
  if (result === "pending") return;
  // Its own disk has to answer first, on which the requests for votes would wait anyway: a node whose disk stands still
  // would raise its term with every timeout, have the others stand back each time, and depose who leads by then.
  if (!s.votes.has(s.id)) return;
  if (s.role === "pre-candidate") {
    becomeCandidate(s, false);
    requestVotes(s, "vote");
  } else {
    becomeLeader(s);
  }
}
