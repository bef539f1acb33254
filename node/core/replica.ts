import { assert } from "../../lib/assert.ts";
import type { Prng } from "../../lib/prng.ts";
import type { ConfChange, Membership } from "../../consensus/membership.ts";
import type { Entry, Message } from "../../consensus/message.ts";
import { type ProposeOutcome, Raft, type Ready, type WriteMark } from "../../consensus/raft.ts";
import type { RaftConfig } from "../../consensus/raft-state.ts";
import type { WorkerMemory } from "../../runtime/worker-memory.ts";
import {
  ClusterState,
  type Outcome,
  type StateEvent,
  decodeEnvelope,
  encodeEnvelope,
} from "../../state/cluster.ts";
import type { Envelope } from "../../state/command.ts";
import type { DiskImage, DiskWrite, Identity } from "../storage.ts";
import { ELECTION_TICKS, HEARTBEAT_TICKS } from "./defaults.ts";

/** What became of one log entry when it was applied. */
export interface AppliedEntry {
  readonly index: number;
  readonly term: number;
  /** Null for entries that hold no command. */
  readonly outcome: Outcome | null;
  readonly events: readonly StateEvent[];
}

export interface ReplicaOutput {
  readonly persist: { readonly write: number; readonly data: DiskWrite } | null;
  readonly messages: readonly Message[];
  readonly applied: readonly AppliedEntry[];
  readonly reads: readonly { readonly id: number; readonly index: number }[];
  /** Committed entries wait that this call did not get to. */
  readonly more: boolean;
}

const RAFT_BOUNDS = {
  /** One append: far below the largest frame, large enough to fill a sync. */
  maxMessageBytes: 1 << 20,
  maxInflight: 256,
  maxInflightBytes: 8 << 20,
  /** Ten times what is in flight: more means that the quorum is gone. */
  maxUncommittedBytes: 64 << 20,
  /** Applied in one call: a few milliseconds' worth. */
  maxApply: 200,
} as const;

interface Batch {
  identity: Identity | null;
  hardState: DiskWrite["hardState"];
  entries: readonly Entry[];
  worker: WorkerMemory | null;
  /** To leave when the batch is durable. */
  messages: Message[];
  mark: WriteMark | null;
}

function emptyBatch(): Batch {
  return { identity: null, hardState: null, entries: [], worker: null, messages: [], mark: null };
}

function hasWrite(batch: Batch): boolean {
  const { identity, hardState, entries, worker } = batch;
  return identity !== null || hardState !== null || entries.length > 0 || worker !== null;
}

/**
 * This node's share of the replicated log: Raft, what the disk still owes, and the state that the
 * committed entries make. One write is in flight at a time and everything that comes meanwhile joins
 * the next (group commit without a timer); what depends on durability waits for its batch.
 */
export class Replica {
  readonly raft: Raft;
  readonly raftId: number;
  readonly state: ClusterState = new ClusterState();
  #inFlight: { write: number; batch: Batch } | null = null;
  #next: Batch = emptyBatch();
  #writes = 0;

  constructor(raftId: number, image: DiskImage, prng: Prng) {
    const config: RaftConfig = {
      id: raftId,
      electionTicks: ELECTION_TICKS,
      heartbeatTicks: HEARTBEAT_TICKS,
      ...RAFT_BOUNDS,
    };
    this.raftId = raftId;
    this.raft = new Raft(config, prng, image.hardState, image.entries);
  }

  /** Whether it leads and has applied everything that earlier leaders committed: only then it may decide. */
  get isManager(): boolean {
    const { raft } = this;
    return raft.role === "leader" && raft.termAt(raft.appliedIndex) === raft.term;
  }

  /** Whether it takes part in the log now, as far as it knows. */
  get holdsLog(): boolean {
    const { voters, outgoing, learners } = this.raft.membership;
    const id = this.raftId;
    return voters.includes(id) || outgoing.includes(id) || learners.includes(id);
  }

  propose(envelope: Envelope): ProposeOutcome {
    return this.raft.propose(encodeEnvelope(envelope));
  }

  proposeChange(change: ConfChange): ProposeOutcome {
    return this.raft.proposeChange(change);
  }

  get membership(): Membership {
    return this.raft.membership;
  }

  /** Adds to the next write; only the newest of each matters. */
  remember(part: { readonly identity?: Identity; readonly worker?: WorkerMemory }): void {
    if (part.identity !== undefined) this.#next.identity = part.identity;
    if (part.worker !== undefined) this.#next.worker = part.worker;
  }

  /** The write is durable: what waited for it may leave. */
  persisted(write: number, out: Message[]): void {
    const flight = this.#inFlight;
    assert(flight !== null && flight.write === write, "writes complete in order, one at a time");
    this.#inFlight = null;
    if (flight.batch.mark !== null) this.raft.persisted(flight.batch.mark);
    this.#release(flight.batch.messages, out);
  }

  #release(messages: readonly Message[], out: Message[]): void {
    for (const message of messages) {
      if (this.#isOverdue(message)) continue;
      if (message.to === this.raftId) this.raft.step(message);
      else out.push(message);
    }
  }

  /** Takes everything that Raft wants done now, applying what is committed. `messages` are those already released. */
  take(messages: Message[]): ReplicaOutput {
    const applied: AppliedEntry[] = [];
    const reads: { id: number; index: number }[] = [];
    let budget: number = RAFT_BOUNDS.maxApply;
    for (;;) {
      const ready = this.raft.ready();
      messages.push(...ready.messages);
      reads.push(...ready.reads);
      this.#enqueue(ready);
      for (const entry of ready.committed) applied.push(this.#apply(entry));
      budget -= ready.committed.length;
      const released = this.#releaseIdle(messages);
      if (budget <= 0) break;
      if (ready.committed.length === 0 && !released) break;
    }
    return { persist: this.#flush(), messages, applied, reads, more: budget <= 0 };
  }

  #enqueue(ready: Ready): void {
    const next = this.#next;
    if (ready.hardState !== null) next.hardState = ready.hardState;
    const [first] = ready.entries;
    if (first !== undefined) {
      next.entries = [...next.entries.filter(({ index }) => index < first.index), ...ready.entries];
    }
    if (ready.hardState !== null || first !== undefined) next.mark = ready.write;
    next.messages.push(...ready.durableMessages);
  }

  /**
   * Whether what a message speaks of may have been cut before it ever reached the disk: what an earlier
   * term's leader was promised, and the log with which a candidacy began that is over.
   */
  #isOverdue(message: Message): boolean {
    if (message.kind === "append-reply") return message.term < this.raft.term;
    if (message.kind !== "vote") return false;
    return message.term !== this.raft.term || this.raft.role !== "candidate";
  }

  /** Without anything to write, nothing has to be waited for. Returns whether messages to itself were stepped. */
  #releaseIdle(out: Message[]): boolean {
    if (this.#inFlight !== null || hasWrite(this.#next) || this.#next.messages.length === 0) {
      return false;
    }
    const { messages } = this.#next;
    this.#next.messages = [];
    this.#release(messages, out);
    return messages.some(({ to }) => to === this.raftId);
  }

  #flush(): ReplicaOutput["persist"] {
    if (this.#inFlight !== null || !hasWrite(this.#next)) return null;
    this.#writes += 1;
    const batch = this.#next;
    this.#next = emptyBatch();
    this.#inFlight = { write: this.#writes, batch };
    const { identity, hardState, entries, worker } = batch;
    return { write: this.#writes, data: { identity, hardState, cut: null, entries, worker } };
  }

  #apply(entry: Entry): AppliedEntry {
    const { index, term } = entry;
    if (entry.kind === "conf" || entry.data.length === 0) {
      this.raft.applied(entry);
      return { index, term, outcome: null, events: [] };
    }
    const { outcome, events } = this.state.apply(index, decodeEnvelope(entry.data));
    this.raft.applied(entry);
    return { index, term, outcome, events };
  }
}
