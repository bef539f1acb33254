import { assert } from "../lib/assert.ts";
import type { Prng } from "../lib/prng.ts";
import {
  askAgain,
  campaign,
  campaignForTransfer,
  handleVoteReply,
  handleVoteRequest,
  hearsLeader,
  known,
  standInTurn,
} from "./election.ts";
import { entrySize } from "./log.ts";
import {
  type ConfChange,
  type Membership,
  applyChange,
  decodeChange,
  encodeChange,
  isJoint,
  isVoter,
} from "./membership.ts";
import {
  type Entry,
  type HardState,
  isFromLeader,
  type Message,
  NONE,
  type RaftId,
} from "./message.ts";
import type { Progress } from "./progress.ts";
import { committedIndex } from "./quorum.ts";
import { type RaftConfig, type RaftImage, RaftState, type Role } from "./raft-state.ts";
import {
  appendOwn,
  broadcastAppends,
  broadcastHeartbeats,
  checkQuorum,
  compact,
  handOver,
  handleAppend,
  handleAppendReply,
  handleHeartbeatReply,
  handleSnapshotOffer,
  handleStable,
  leaveJointWhenDue,
  membershipChanged,
  restore,
  sendAppends,
} from "./replication.ts";
import type { Ready, WriteMark } from "./ready.ts";
import type { LogBase, SnapshotMeta } from "./snapshot.ts";

export type ProposeOutcome =
  | { readonly kind: "proposed"; readonly index: number; readonly term: number }
  | {
      readonly kind: "refused";
      readonly reason:
        | "not-leader"
        | "transferring"
        | "overloaded"
        | "change-pending"
        | "bad-change";
    };

export type TransferOutcome =
  | { readonly kind: "begun" }
  | { readonly kind: "refused"; readonly reason: "not-leader" | "not-a-voter" | "is-leader" };

/**
 * Raft as a synchronous state machine: messages and ticks in, `ready()` out; no clock, disk or network.
 * Follows etcd/raft 3.7: PreVote and CheckQuorum always on, ReadIndex, learners, joint consensus,
 * asynchronous storage writes. The caller makes writes durable in the order in which they were handed out.
 */
export class Raft {
  readonly #s: RaftState;
  #saved: HardState;
  /** Reads by the round that confirms them; `index` is the commit index when they came. */
  #reads: { id: number; index: number; round: number; term: number }[] = [];
  #round = 0;
  #roundDue = false;

  constructor(config: RaftConfig, prng: Prng, image: RaftImage) {
    this.#s = new RaftState(config, prng, image);
    this.#saved = image.hardState;
  }

  get role(): Role {
    return this.#s.role;
  }
  get term(): number {
    return this.#s.term;
  }
  get vote(): RaftId {
    return this.#s.vote;
  }
  get leader(): RaftId {
    return this.#s.leader;
  }
  get isLearner(): boolean {
    return this.#s.isLearner;
  }
  get membership(): Membership {
    return this.#s.membership;
  }
  get commitIndex(): number {
    return this.#s.log.committed;
  }
  get appliedIndex(): number {
    return this.#s.log.applied;
  }
  get lastIndex(): number {
    return this.#s.log.lastIndex;
  }
  get stableIndex(): number {
    return this.#s.log.stable;
  }
  /** Counts what was cut off or dropped: as long as it stays, the log has only grown. */
  get generation(): number {
    return this.#s.log.generation;
  }
  get uncommittedBytes(): number {
    return this.#s.uncommittedBytes;
  }
  get bounds(): RaftConfig {
    return this.#s.config;
  }
  get base(): LogBase {
    return this.#s.log.base;
  }
  /** The newest snapshot that is durable here. */
  get snapshot(): SnapshotMeta | null {
    return this.#s.snapshot;
  }
  /** To whom this leader is handing over; NONE: to nobody. */
  get transferee(): RaftId {
    return this.#s.transferee;
  }

  /** The term of the entry at `index`, undefined beyond the log and before its base. */
  termAt(index: number): number | undefined {
    return this.#s.log.termAt(index);
  }

  /** Where the log's last `maxCount` entries of `maxBytes` up to `last` begin: the index before them. */
  startOfLast(last: number, maxCount: number, maxBytes: number): number {
    return this.#s.log.startOfLast(last, maxCount, maxBytes);
  }

  /** The log from `index` on, which is above the base. */
  entriesFrom(index: number): Entry[] {
    return this.#s.log.slice(index, Number.MAX_SAFE_INTEGER);
  }

  /** What a leader knows of a member's log; undefined when it does not lead or knows none. */
  progressOf(
    id: RaftId,
  ):
    | Pick<
        Progress,
        "match" | "next" | "state" | "recentlyActive" | "isActive" | "inflight" | "context"
      >
    | undefined {
    return this.#s.progress.get(id);
  }

  /** Everyone that a leader replicates to; nobody when it does not lead. */
  followers(): RaftId[] {
    return [...this.#s.progress.keys()].filter((id) => id !== this.#s.id);
  }

  /** Whether a change proposed now could be accepted. */
  get changePending(): boolean {
    return this.#s.pendingChangeIndex > this.#s.log.applied || isJoint(this.#s.membership);
  }

  /** One unit of time has passed. */
  tick(): void {
    const s = this.#s;
    s.electionElapsed += 1;
    if (s.role !== "leader") {
      if (s.electionElapsed < s.randomizedTimeout) {
        askAgain(s);
        return;
      }
      s.electionElapsed = 0;
      if (s.isPromotable) campaign(s);
      // A learner cannot ask for another leader, but must not believe in one that is gone.
      else s.leader = NONE;
      return;
    }
    s.heartbeatElapsed += 1;
    s.transferElapsed += 1;
    // Whoever was to take over has not: this leader goes on.
    if (s.transferElapsed >= s.config.electionTicks) s.transferee = NONE;
    if (s.electionElapsed >= s.config.electionTicks) {
      s.electionElapsed = 0;
      checkQuorum(s);
      if (this.role !== "leader") return;
    }
    if (s.heartbeatElapsed >= s.config.heartbeatTicks) {
      s.heartbeatElapsed = 0;
      broadcastHeartbeats(s, this.#reads.length > 0 ? this.#round : 0);
    }
  }

  /** Stands for election now, if it may. */
  campaign(): void {
    campaign(this.#s);
  }

  /**
   * Hands leadership over: no proposal is taken until another leads, or an election timeout has passed. The
   * one that is to lead is brought up to date first, and then campaigns without being refused (thesis §3.10).
   */
  transfer(to: RaftId): TransferOutcome {
    const s = this.#s;
    if (s.role !== "leader") return { kind: "refused", reason: "not-leader" };
    if (to === s.id) return { kind: "refused", reason: "is-leader" };
    const progress = s.progress.get(to);
    if (progress === undefined || !isVoter(s.membership, to)) {
      return { kind: "refused", reason: "not-a-voter" };
    }
    // Asked again for the same one, the time is not counted anew: proposals would wait for ever.
    if (s.transferee !== to) s.transferElapsed = 0;
    s.transferee = to;
    handOver(s, progress);
    sendAppends(s, to, true);
    return { kind: "begun" };
  }

  /**
   * This leader cannot serve (its disk stands still): gives leadership up at once, to the follower that holds
   * most. One that was heard since the last count goes before one that was not.
   */
  abdicate(): void {
    const s = this.#s;
    if (s.role !== "leader") return;
    // Right after the count nobody has been heard since, which says nothing against them.
    const [best] = [...s.progress]
      .filter(([id, { match }]) => id !== s.id && match > 0 && isVoter(s.membership, id))
      .toSorted(
        ([, a], [, b]) => Number(b.recentlyActive) - Number(a.recentlyActive) || b.match - a.match,
      );
    const { term } = s;
    s.becomeFollower(term, NONE);
    if (best !== undefined) s.send({ kind: "timeout-now", from: s.id, to: best[0], term });
  }

  /**
   * The connection to `id` broke. If it leads, its followers ask each other (PreVote) instead of waiting out
   * the timeout. A hint: a leader that lives goes on leading, as others still hear it.
   */
  peerLost(id: RaftId): void {
    if (this.#s.role === "follower" && this.#s.leader === id) standInTurn(this.#s, id);
  }

  /** A message arrived. Any is safe: late, repeated, out of order, from a node that is no member any more. */
  step(m: Message): void {
    const s = this.#s;
    assert(m.to === s.id, "a message is stepped by its addressee");
    if (m.term > s.term && !this.#newerTerm(m)) return;
    if (m.term < s.term) {
      this.#olderTerm(m);
      return;
    }
    switch (m.kind) {
      case "vote":
      case "pre-vote":
        handleVoteRequest(s, m);
        return;
      case "vote-reply":
        if (s.role === "candidate" && m.term === s.term) handleVoteReply(s, m);
        return;
      case "pre-vote-reply":
        // A grant is for the next term, a rejection tells the voter's own.
        if (s.role === "pre-candidate" && m.term === s.term + (m.rejected ? 0 : 1)) {
          handleVoteReply(s, m);
        }
        return;
      case "append":
        this.#followLeader(m);
        handleAppend(s, m);
        return;
      case "snapshot":
        this.#followLeader(m);
        handleSnapshotOffer(s, m);
        return;
      case "timeout-now":
        if (s.role === "follower") campaignForTransfer(s);
        return;
      case "heartbeat":
        this.#followLeader(m);
        s.log.commitTo(m.commit);
        s.send({
          kind: "heartbeat-reply",
          from: s.id,
          to: m.from,
          term: s.term,
          context: m.context,
        });
        return;
      case "append-reply":
        if (s.role === "leader") handleAppendReply(s, m);
        return;
      case "heartbeat-reply":
        if (s.role === "leader") handleHeartbeatReply(s, m.from, m.context);
        return;
    }
  }

  /** A message of a later term: adopts it where that is right. Returns whether to go on with the message. */
  #newerTerm(m: Message): boolean {
    const s = this.#s;
    if (m.kind === "vote" && !m.transfer && hearsLeader(s)) return false;
    if (m.kind === "pre-vote") return !hearsLeader(s);
    if (m.kind === "pre-vote-reply" && !m.rejected) return true;
    const leads = isFromLeader(m);
    s.becomeFollower(m.term, leads ? m.from : NONE);
    return true;
  }

  /** A message of an earlier term is not followed, but its sender may have to hear of the later one. */
  #olderTerm(m: Message): void {
    const s = this.#s;
    if (isFromLeader(m)) {
      // A leader that is cut off from us must step down, or our higher term would keep us out for ever.
      s.sendDurable({
        kind: "append-reply",
        from: s.id,
        to: m.from,
        term: s.term,
        index: 0,
        rejected: false,
      });
    } else if (m.kind === "pre-vote") {
      s.sendDurable({
        kind: "pre-vote-reply",
        from: s.id,
        to: m.from,
        term: s.term,
        rejected: true,
        ...known(s),
      });
    }
  }

  #followLeader(m: Message): void {
    const s = this.#s;
    assert(s.role !== "leader", "there is one leader a term");
    if (s.role !== "follower" || s.leader !== m.from) s.becomeFollower(m.term, m.from);
    s.electionElapsed = 0;
  }

  /**
   * Proposes one entry. `proposed` promises nothing yet: it is done when an entry with this index and term
   * is applied, and has failed for sure when another term's is.
   */
  propose(data: Uint8Array): ProposeOutcome {
    const s = this.#s;
    if (s.role !== "leader") return { kind: "refused", reason: "not-leader" };
    if (s.transferee !== NONE) return { kind: "refused", reason: "transferring" };
    const size = data.length + 24;
    const isFull =
      s.uncommittedBytes > 0 && s.uncommittedBytes + size > s.config.maxUncommittedBytes;
    if (isFull || s.log.committed - s.log.applied > s.config.maxApplyLag) {
      return { kind: "refused", reason: "overloaded" };
    }
    const [entry] = appendOwn(s, [{ kind: "normal", data }]);
    assert(entry !== undefined && entrySize(entry) === size, "one entry was appended");
    return { kind: "proposed", index: entry.index, term: entry.term };
  }

  /** Proposes a change of the membership: one at a time, and none before the leader knows all earlier ones. */
  proposeChange(change: ConfChange): ProposeOutcome {
    const s = this.#s;
    if (s.role !== "leader") return { kind: "refused", reason: "not-leader" };
    if (s.transferee !== NONE) return { kind: "refused", reason: "transferring" };
    if (this.changePending) return { kind: "refused", reason: "change-pending" };
    if (applyChange(s.membership, change).kind === "refused") {
      return { kind: "refused", reason: "bad-change" };
    }
    const [entry] = appendOwn(s, [{ kind: "conf", data: encodeChange(change) }]);
    assert(entry !== undefined, "one entry was appended");
    s.pendingChangeIndex = entry.index;
    return { kind: "proposed", index: entry.index, term: entry.term };
  }

  /**
   * Asks for a linearizable read; `id` comes back in a Ready once a quorum has confirmed, by a number that
   * this leader made, that it still led after the call (Raft §6.4; the number per etcd/raft 3.7).
   * Returns false when this node cannot serve it now: not leader, or nothing of its own term committed.
   */
  readIndex(id: number): boolean {
    const s = this.#s;
    if (s.role !== "leader" || s.log.termAt(s.log.committed) !== s.term) return false;
    this.#reads.push({ id, index: s.log.committed, round: this.beginRound(), term: s.term });
    return true;
  }

  /**
   * Has everyone asked with the next Ready whether it follows this leader. Who answers that, or a later round, has
   * the number returned, or a higher one, as the `context` of its progress. To be called on a leader only.
   */
  beginRound(): number {
    assert(this.#s.role === "leader", "a leader asks its followers");
    if (!this.#roundDue) this.#round += 1;
    this.#roundDue = true;
    return this.#round;
  }

  /** Takes all that is to be done. To be called after every batch of events; empty parts mean nothing to do. */
  ready(): Ready {
    const s = this.#s;
    // Reads of an earlier term of its own are void too: others may have led in between.
    this.#reads = this.#reads.filter(({ term }) => s.role === "leader" && term === s.term);
    if (s.role === "leader") {
      if (s.broadcastDue || s.commitDue) broadcastAppends(s);
      if (this.#roundDue) broadcastHeartbeats(s, this.#round);
    }
    this.#roundDue = false;
    const { cut, wanted } = s;
    s.cut = null;
    s.wanted = null;
    const entries = s.log.takeUnstable();
    const hardState = { term: s.term, vote: s.vote, commit: s.log.committed };
    const saved = this.#saved;
    // The commit index alone is a hint that is not worth a sync: it travels with the next write.
    const changed =
      hardState.term !== saved.term ||
      hardState.vote !== saved.vote ||
      cut !== null ||
      (entries.length > 0 && hardState.commit !== saved.commit);
    if (changed) this.#saved = hardState;
    const ready: Ready = {
      hardState: changed ? hardState : null,
      cut,
      entries,
      write: { lastIndex: s.log.lastIndex, generation: s.log.generation },
      messages: s.outbox,
      durableMessages: s.outboxDurable,
      wanted,
      committed: s.log.committedEntries(s.config.maxApply, s.config.maxApplyBytes),
      reads: this.#confirmedReads(),
    };
    s.outbox = [];
    s.outboxDurable = [];
    return ready;
  }

  #confirmedReads(): { id: number; index: number }[] {
    const s = this.#s;
    if (this.#reads.length === 0) return [];
    const confirmed = committedIndex(s.membership, (id) =>
      id === s.id ? this.#round : (s.progress.get(id)?.context ?? 0),
    );
    const done = this.#reads.filter(({ round }) => round <= confirmed);
    if (done.length > 0) this.#reads = this.#reads.filter(({ round }) => round > confirmed);
    return done;
  }

  /** This Ready and all before it are durable. */
  persisted(mark: WriteMark): void {
    this.#s.log.stableTo(mark.lastIndex, mark.generation);
    handleStable(this.#s);
  }

  /**
   * A snapshot that was wanted is here and durable, beside the log. Returns whether the state is to begin anew
   * from it; false: everything in it is here already. Not to be called with committed entries unapplied.
   */
  restore(meta: SnapshotMeta): boolean {
    return restore(this.#s, meta);
  }

  /** A snapshot of what was applied is durable. What the log holds up to `keepAfter` goes. */
  compact(meta: SnapshotMeta, keepAfter: number): void {
    compact(this.#s, meta, keepAfter);
  }

  /**
   * The entry was applied by the caller; entries are applied one by one and in order. A `conf` entry
   * changes the membership here and now; returns the new one, or null when it was refused or another kind.
   */
  applied(entry: Entry): Membership | null {
    const s = this.#s;
    assert(entry.index === s.log.applied + 1, "entries are applied in order, once");
    s.log.appliedTo(entry.index);
    const outcome =
      entry.kind === "conf" ? applyChange(s.membership, decodeChange(entry.data)) : null;
    if (outcome?.kind === "changed") {
      s.membership = outcome.membership;
      membershipChanged(s);
    }
    leaveJointWhenDue(s);
    return outcome?.kind === "changed" ? s.membership : null;
  }
}
