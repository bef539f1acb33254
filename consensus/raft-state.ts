import { assert } from "../lib/assert.ts";
import type { Prng } from "../lib/prng.ts";
import { RaftLog } from "./log.ts";
import { type Membership, NO_MEMBERS, isLearner, isVoter, memberIds } from "./membership.ts";
import { type Entry, type HardState, type Message, NONE, type RaftId } from "./message.ts";
import { Progress } from "./progress.ts";
import type { LogBase, LogCut, SnapshotId, SnapshotMeta } from "./snapshot.ts";

export type Role = "follower" | "pre-candidate" | "candidate" | "leader";

/** Which role may follow which; a leader is never a candidate again without having followed. */
const ROLES: Readonly<Record<Role, readonly Role[]>> = {
  follower: ["follower", "pre-candidate", "candidate"],
  "pre-candidate": ["follower", "pre-candidate", "candidate"],
  candidate: ["follower", "pre-candidate", "candidate", "leader"],
  leader: ["follower"],
};

export interface RaftConfig {
  readonly id: RaftId;
  /** A follower campaigns after [1, 2) times this many ticks without a leader. */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** Bytes of entries in one append. */
  readonly maxMessageBytes: number;
  /** Appends on their way to one follower, in number and in bytes. */
  readonly maxInflight: number;
  readonly maxInflightBytes: number;
  /** Bytes proposed and not committed: beyond this a proposal is refused, so that a lost quorum costs no memory. */
  readonly maxUncommittedBytes: number;
  /** Entries handed out for applying at once, in number and in bytes. */
  readonly maxApply: number;
  readonly maxApplyBytes: number;
  /** Committed and not applied: beyond this a proposal is refused, so that the state machine keeps up. */
  readonly maxApplyLag: number;
}

/** What Raft begins from: what was durable when the node last stood. */
export interface RaftImage {
  readonly hardState: HardState;
  /** The snapshot that the state was restored from; null: the state is empty and the log whole. */
  readonly snapshot: SnapshotMeta | null;
  readonly base: LogBase;
  /** From `base.index + 1` without gaps. */
  readonly entries: readonly Entry[];
}

/** What the parts of Raft share. Fields are changed by the modules of this folder only. */
export class RaftState {
  readonly config: RaftConfig;
  readonly id: RaftId;
  readonly prng: Prng;
  readonly log: RaftLog;
  role: Role = "follower";
  term: number;
  vote: RaftId;
  leader: RaftId = NONE;
  membership: Membership;
  /** The leader's view of everyone, itself included. */
  progress: Map<RaftId, Progress> = new Map();
  /** Answers of the election under way. */
  votes: Map<RaftId, boolean> = new Map();
  electionElapsed = 0;
  heartbeatElapsed = 0;
  randomizedTimeout = 0;
  /** The latest term for which this node let others stand before it, and whom since. */
  stoodBack: { readonly term: number; readonly before: Set<RaftId> } = {
    term: 0,
    before: new Set(),
  };
  /** A candidate that the leader asked to stand. */
  byTransfer = false;
  /** To whom a leader is handing over: it takes no proposals meanwhile. */
  transferee: RaftId = NONE;
  /** Ticks since then. Not the election's: a leader that keeps trying still has to hear its quorum. */
  transferElapsed = 0;
  /** The newest snapshot that is durable here; what a follower that needs one is offered. */
  snapshot: SnapshotMeta | null;
  /** The log begins anew: to be made durable. */
  cut: LogCut | null = null;
  /** Offered by the leader and needed. */
  wanted: { readonly from: RaftId; readonly id: SnapshotId } | null = null;
  /** No further membership change is proposed until everything up to here is applied. */
  pendingChangeIndex = 0;
  uncommittedBytes = 0;
  /** Entries were appended that followers have not been sent yet. */
  broadcastDue = false;
  /** The commit index moved and followers have not been told. */
  commitDue = false;
  /** May leave at once. */
  outbox: Message[] = [];
  /** May leave when all that was handed to the disk until now is durable. */
  outboxDurable: Message[] = [];

  constructor(config: RaftConfig, prng: Prng, image: RaftImage) {
    assert(config.id > 0, "a raft id is positive");
    assert(
      config.electionTicks > config.heartbeatTicks,
      "heartbeats come within an election timeout",
    );
    this.config = config;
    this.id = config.id;
    this.prng = prng;
    const { hardState, snapshot, base, entries } = image;
    this.term = hardState.term;
    this.vote = hardState.vote;
    this.log = new RaftLog(base, entries, hardState.commit, snapshot?.index ?? 0);
    this.snapshot = snapshot;
    this.membership = snapshot?.membership ?? NO_MEMBERS;
    assert(this.term >= this.log.lastTerm, "the current term is at least the log's");
    this.drawTimeout();
  }

  drawTimeout(): void {
    this.randomizedTimeout = this.config.electionTicks + this.prng.below(this.config.electionTicks);
  }

  /** Whether this node may stand for election: a voter that knows all it is a voter of. */
  get isPromotable(): boolean {
    return isVoter(this.membership, this.id);
  }

  get isLearner(): boolean {
    return isLearner(this.membership, this.id);
  }

  become(role: Role): void {
    assert(ROLES[this.role].includes(role), `${this.role} cannot become ${role}`);
    this.role = role;
  }

  /** Starts afresh in `term`: no votes counted, timers at zero, a new random timeout. */
  reset(term: number): void {
    assert(term >= this.term, "a term never falls");
    if (term !== this.term) {
      this.term = term;
      this.vote = NONE;
    }
    this.leader = NONE;
    this.electionElapsed = 0;
    this.heartbeatElapsed = 0;
    this.drawTimeout();
    this.votes = new Map();
    this.progress = new Map();
    this.transferee = NONE;
    this.pendingChangeIndex = 0;
    this.uncommittedBytes = 0;
    this.broadcastDue = false;
    this.commitDue = false;
  }

  becomeFollower(term: number, leader: RaftId): void {
    this.become("follower");
    this.reset(term);
    this.leader = leader;
  }

  newProgress(next: number): Progress {
    return new Progress(next, this.config.maxInflight, this.config.maxInflightBytes);
  }

  /** Brings the leader's view in line with the membership. */
  syncProgress(): void {
    const ids = memberIds(this.membership);
    for (const id of this.progress.keys()) {
      if (!ids.includes(id)) this.progress.delete(id);
    }
    for (const id of ids) {
      if (this.progress.has(id)) continue;
      const progress = this.newProgress(
        id === this.id ? this.log.lastIndex + 1 : Math.max(this.log.lastIndex, 1),
      );
      // A newcomer counts as heard from, so that adding it does not make the leader step down.
      progress.recentlyActive = true;
      this.progress.set(id, progress);
    }
  }

  send(message: Message): void {
    assert(message.from === this.id, "a node speaks for itself only");
    this.outbox.push(message);
  }

  /** For answers that promise something: they wait until the promise is durable. */
  sendDurable(message: Message): void {
    assert(message.from === this.id, "a node speaks for itself only");
    this.outboxDurable.push(message);
  }
}
