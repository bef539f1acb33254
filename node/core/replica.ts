import { assert, present } from "../../lib/assert.ts";
import type { Prng } from "../../lib/prng.ts";
import type { LogCut, SnapshotId, SnapshotMeta } from "../../consensus/snapshot.ts";
import { type ConfChange, type Membership, isMember, isVoter } from "../../consensus/membership.ts";
import type { Entry, Message, RaftId } from "../../consensus/message.ts";
import { type ProposeOutcome, Raft } from "../../consensus/raft.ts";
import type { Ready, WriteMark } from "../../consensus/ready.ts";
import type { RaftConfig } from "../../consensus/raft-state.ts";
import type { WorkerMemory } from "../../runtime/worker-memory.ts";
import {
  type ClusterState,
  type Outcome,
  type StateEvent,
  decodeEnvelope,
  encodeEnvelope,
} from "../../state/cluster.ts";
import type { Envelope } from "../../state/command.ts";
import type { Millis } from "../../state/ids.ts";
import { snapshotChunks } from "../../state/snapshot.ts";
import { type DiskImage, type DiskWrite, type Identity, NO_WRITE } from "../storage.ts";
import {
  AUDIT_ENTRIES,
  AUDIT_MARKS,
  ELECTION_TICKS,
  HEARTBEAT_TICKS,
  type LOG_BOUNDS,
  KEEP_BYTES,
  SNAPSHOT_BYTES,
  SNAPSHOT_LATEST,
  SNAPSHOT_PATIENCE,
  SNAPSHOT_RATIO,
  TICK_MS,
} from "./defaults.ts";

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
  /** To be made durable beside the log; `saved` must follow. */
  readonly save: { readonly meta: SnapshotMeta; readonly chunks: Iterable<Uint8Array> } | null;
  /** To be fetched from that node, if that is not under way; `fetched` must follow when it succeeds. */
  readonly wanted: Ready["wanted"];
  /** Committed entries wait that this call did not get to. */
  readonly more: boolean;
}

interface Batch {
  identity: Identity | null;
  hardState: DiskWrite["hardState"];
  cut: LogCut | null;
  entries: Entry[];
  worker: WorkerMemory | null;
  /** To leave when the batch is durable. */
  messages: Message[];
  mark: WriteMark | null;
}

function emptyBatch(): Batch {
  return { ...NO_WRITE, entries: [], messages: [], mark: null };
}

function hasWrite(batch: Batch): boolean {
  const { identity, hardState, entries, worker } = batch;
  // A cut comes with a hard state.
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
  /** The state's hash at some of the newest indices, the oldest first. */
  readonly marks: Map<number, string> = new Map();
  readonly #bounds: typeof LOG_BOUNDS;
  #state: ClusterState;
  #inFlight: { write: number; batch: Batch; ticks: number } | null = null;
  #next: Batch = emptyBatch();
  #writes = 0;
  /** What was applied since the last snapshot was begun. */
  #bytesSince = 0;
  /** How large the last snapshot is; one that was not made by this process may be of any size. */
  #savedBytes: number;
  /** The snapshot that is being made durable. */
  #saving: SnapshotId | null = null;
  #snapshotAtMs: Millis | null = null;
  #proposalsRefused = 0;

  /** `state`: what the image's snapshot holds; an empty one without. */
  constructor(
    raftId: number,
    image: DiskImage,
    state: ClusterState,
    prng: Prng,
    bounds: typeof LOG_BOUNDS,
  ) {
    const config: RaftConfig = {
      id: raftId,
      electionTicks: ELECTION_TICKS,
      heartbeatTicks: HEARTBEAT_TICKS,
      ...bounds.raft,
    };
    this.raftId = raftId;
    this.#bounds = bounds;
    this.#savedBytes = image.snapshot === null ? 0 : Number.MAX_SAFE_INTEGER;
    this.#state = state;
    this.raft = new Raft(config, prng, image);
  }

  /** Another object once a snapshot takes its place: not to be kept. */
  get state(): ClusterState {
    return this.#state;
  }

  /**
   * One unit of time. A leader whose disk has not done a write for as long as an election takes gives up: its
   * heartbeats would go on and hold everybody up (etcd#13527).
   */
  tick(): void {
    this.raft.tick();
    if (this.#inFlight === null) return;
    this.#inFlight.ticks += 1;
    const { voters, outgoing } = this.membership;
    const isAlone = voters.length === 1 && outgoing.length === 0;
    if (this.#inFlight.ticks >= ELECTION_TICKS && !isAlone) this.raft.abdicate();
  }

  /** Whether no node has this number any more. One that Raft still counts is heard: its removal has to be committed. */
  hasLost(raftId: number): boolean {
    return !isMember(this.membership, raftId) && this.state.isRetired(raftId);
  }

  /** Whether it leads and has applied everything that earlier leaders committed: only then it may decide. */
  get isManager(): boolean {
    const { raft } = this;
    return raft.role === "leader" && raft.termAt(raft.appliedIndex) === raft.term;
  }

  /** Whether it takes part in the log now, as far as it knows. */
  get holdsLog(): boolean {
    return isMember(this.raft.membership, this.raftId);
  }

  propose(envelope: Envelope): ProposeOutcome {
    const outcome = this.raft.propose(encodeEnvelope(envelope));
    if (outcome.kind === "refused") this.#proposalsRefused += 1;
    return outcome;
  }

  /** Since the process started: because another leads, is about to, or a quorum does not keep up. */
  get proposalsRefused(): number {
    return this.#proposalsRefused;
  }

  /** When the newest snapshot was made or fetched by this process; null: by none, or an earlier one. */
  get snapshotAtMs(): Millis | null {
    return this.#snapshotAtMs;
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
    let budget = this.#bounds.raft.maxApply;
    let wanted: Ready["wanted"] = null;
    for (;;) {
      const ready = this.raft.ready();
      messages.push(...ready.messages);
      reads.push(...ready.reads);
      wanted = ready.wanted ?? wanted;
      this.#enqueue(ready);
      for (const entry of ready.committed) applied.push(this.#apply(entry));
      budget -= ready.committed.length;
      const released = this.#releaseIdle(messages);
      if (budget <= 0) break;
      if (ready.committed.length === 0 && !released) break;
    }
    const more = budget <= 0;
    // What is still being caught up with would be overtaken at once.
    const save = more ? null : this.#save();
    return { persist: this.#flush(), messages, applied, reads, save, wanted, more };
  }

  /** For how long the disk has not done the write that it was given. */
  get diskHungMs(): number {
    return (this.#inFlight?.ticks ?? 0) * TICK_MS;
  }

  /** A snapshot of what is applied, when it is time for one. */
  #save(): ReplicaOutput["save"] {
    const { raft } = this;
    const index = raft.appliedIndex;
    const since = index - (raft.snapshot?.index ?? 0);
    const { snapshotEntries } = this.#bounds;
    // A large state is not written again for a small change of it.
    const isWorthIt = this.#bytesSince >= SNAPSHOT_RATIO * this.#savedBytes;
    const isDue =
      (since >= snapshotEntries && isWorthIt) ||
      since >= snapshotEntries * SNAPSHOT_LATEST ||
      this.#bytesSince >= SNAPSHOT_BYTES;
    if (this.#saving !== null || !isDue || since === 0) return null;
    const isLong =
      since >= snapshotEntries * SNAPSHOT_PATIENCE ||
      this.#bytesSince >= SNAPSHOT_BYTES * SNAPSHOT_PATIENCE;
    if (this.#fetching().length > 0 && !isLong) return null;
    const term = present(raft.termAt(index), "what was applied last is in the log");
    const meta = { index, term, membership: raft.membership };
    this.#saving = meta;
    this.#bytesSince = 0;
    this.#savedBytes = 0;
    return { meta, chunks: this.#counted(snapshotChunks(this.#state.freeze())) };
  }

  *#counted(chunks: Iterable<Uint8Array>): Generator<Uint8Array> {
    for (const chunk of chunks) {
      this.#savedBytes += chunk.length;
      yield chunk;
    }
  }

  /** The snapshot is durable: the log's beginning goes. */
  saved(meta: SnapshotMeta, now: Millis): void {
    assert(this.#saving?.index === meta.index, "a snapshot is saved when it was asked for");
    this.#saving = null;
    this.#snapshotAtMs = now;
    const { raft } = this;
    const kept = raft.startOfLast(meta.index, this.#bounds.keepEntries, KEEP_BYTES);
    // What a follower fetches now must be of use when it is there: the log goes on from it.
    const fetching = this.#fetching().map((id) => (raft.progressOf(id)?.next ?? 1) - 1);
    raft.compact(meta, Math.min(kept, ...fetching));
  }

  /** Followers that are heard and need a snapshot. */
  #fetching(): RaftId[] {
    const { raft } = this;
    return raft.followers().filter((id) => {
      const progress = raft.progressOf(id);
      return progress?.state === "snapshot" && progress.isActive;
    });
  }

  /** Has the voter that is most up to date lead in this one's place. Returns whether there is one to ask. */
  handOver(): boolean {
    const { raft } = this;
    let best = { id: 0, match: -1 };
    for (const id of raft.followers()) {
      const progress = raft.progressOf(id);
      if (progress?.isActive !== true || !isVoter(raft.membership, id)) continue;
      if (progress.match > best.match) best = { id, match: progress.match };
    }
    return best.id !== 0 && raft.transfer(best.id).kind === "begun";
  }

  /** A snapshot that was wanted is durable here: the state begins anew from it, unless it is behind by now. */
  fetched(meta: SnapshotMeta, state: ClusterState, now: Millis): void {
    if (!this.raft.restore(meta)) return;
    this.#state = state;
    this.#snapshotAtMs = now;
    this.#savedBytes = Number.MAX_SAFE_INTEGER;
  }

  #enqueue(ready: Ready): void {
    const next = this.#next;
    if (ready.hardState !== null) next.hardState = ready.hardState;
    if (ready.cut !== null) {
      // A snapshot of its own may be done before the other node's, which it goes beyond, is on the disk: the
      // next one will take its place.
      if (ready.cut.dropLog || next.cut?.dropLog !== true) next.cut = ready.cut;
      if (ready.cut.dropLog) next.entries = [];
    }
    const [first] = ready.entries;
    if (first !== undefined) {
      const last = next.entries.at(-1)?.index ?? 0;
      // What a later leader has overtaken is not written any more.
      if (first.index <= last)
        next.entries = next.entries.filter(({ index }) => index < first.index);
      for (const entry of ready.entries) next.entries.push(entry);
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
    this.#inFlight = { write: this.#writes, batch, ticks: 0 };
    const { identity, hardState, cut, entries, worker } = batch;
    return { write: this.#writes, data: { identity, hardState, cut, entries, worker } };
  }

  /** Notes the state's hash now and then, for the audit. */
  #mark(index: number): void {
    if (index % AUDIT_ENTRIES !== 0) return;
    this.marks.set(index, this.#state.hash());
    const [oldest] = this.marks.keys();
    if (this.marks.size > AUDIT_MARKS && oldest !== undefined) this.marks.delete(oldest);
  }

  #apply(entry: Entry): AppliedEntry {
    const applied = this.#applyOne(entry);
    this.#bytesSince += entry.data.length;
    this.#mark(entry.index);
    return applied;
  }

  #applyOne(entry: Entry): AppliedEntry {
    const { index, term } = entry;
    if (entry.kind === "conf" || entry.data.length === 0) {
      this.raft.applied(entry);
      return { index, term, outcome: null, events: [] };
    }
    const { outcome, events } = this.#state.apply(index, decodeEnvelope(entry.data));
    this.raft.applied(entry);
    return { index, term, outcome, events };
  }
}
