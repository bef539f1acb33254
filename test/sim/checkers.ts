import type { Membership } from "../../consensus/membership.ts";
import type { Message, RaftId } from "../../consensus/message.ts";
import type { Raft } from "../../consensus/raft.ts";
import type { Effect, Event } from "../../node/core/effect.ts";
import type { Replica } from "../../node/core/replica.ts";
import type { NodeId } from "../../state/ids.ts";
import { ClusterState, decodeEnvelope } from "../../state/cluster.ts";
import type { DiskImage } from "../../node/storage.ts";
import { ChangeChecks, checkLevel } from "./change-checks.ts";
import type { SimDisk } from "./disk.ts";
import { holdsOnDisk, lastOnDisk } from "./durable.ts";
import { ElectionChecks, hasQuorum } from "./election-checks.ts";
import type { Host } from "./host.ts";
import { LogHistory } from "./log-history.ts";
import { checkTold } from "./told.ts";
import { Violation } from "./violation.ts";

/** What was seen of a host after its last event, to be compared with what is seen after the next. */
interface Seen {
  readonly life: number;
  readonly raftId: number;
  readonly term: number;
  readonly role: string;
  readonly lastIndex: number;
  readonly commit: number;
  readonly applied: number;
  readonly membership: Membership;
  readonly transferee: RaftId;
}

/** What must hold after every step, whatever the faults: docs/invariants.md names them. */
export class Checkers {
  readonly #hosts: ReadonlyMap<NodeId, Host>;
  readonly #lost: readonly SimDisk[];
  readonly #log: LogHistory = new LogHistory();
  readonly #elections: ElectionChecks = new ElectionChecks(() => this.#images());
  readonly #changes: ChangeChecks = new ChangeChecks(() => this.#images());
  readonly #hashes: Map<number, string> = new Map();
  readonly #seen: Map<NodeId, Seen> = new Map();
  /** Per raft id, so that a wiped disk begins anew. */
  readonly #durable: Map<number, { term: number; vote: number }> = new Map();
  readonly #disks: Map<number, SimDisk> = new Map();
  #applied = 0;

  /** `lost`: disks that are gone, wiped or with their node; what they held was promised all the same. */
  constructor(hosts: ReadonlyMap<NodeId, Host>, lost: readonly SimDisk[]) {
    this.#hosts = hosts;
    this.#lost = lost;
  }

  handled(host: Host, events: readonly Event[], effects: readonly Effect[]): void {
    const replica = host.node?.replica;
    if (replica === undefined) return;
    const before = this.#before(host, replica);
    this.#order(host, replica);
    this.#monotonic(host, replica, before);
    this.#entries(host, replica, before);
    this.#elections.handled(host, replica.raft, replica.raftId, before, events, effects);
    this.#complete(host, replica.raft, before);
    checkTold(host, replica.raft, before, events);
    this.#commits(host, replica, before);
    this.#applies(host, replica, before);
    this.#numbers(host, replica);
    this.#leader(host, replica, before, events);
    if (events.some(({ kind }) => kind === "persisted")) this.#hardState(host);
    const { raft } = replica;
    this.#seen.set(host.id, {
      life: host.life,
      raftId: replica.raftId,
      term: raft.term,
      role: raft.role,
      lastIndex: raft.lastIndex,
      commit: raft.commitIndex,
      applied: raft.appliedIndex,
      membership: raft.membership,
      transferee: raft.transferee,
    });
  }

  /** What all disks hold, also those that are lost. */
  *#images(): Generator<DiskImage> {
    for (const { disk } of this.#hosts.values()) yield disk.durable;
    for (const { durable } of this.#lost) yield durable;
  }

  #before(host: Host, { raftId, raft }: Replica): Seen {
    const seen = this.#seen.get(host.id);
    if (seen !== undefined && seen.life === host.life) return seen;
    const { membership } = raft;
    // A new life: what its disk held is what it begins with.
    return {
      life: host.life,
      raftId,
      term: 0,
      role: "none",
      lastIndex: 0,
      commit: 0,
      applied: raft.snapshot?.index ?? 0,
      membership,
      transferee: 0,
    };
  }

  #order(host: Host, { raft }: Replica): void {
    const { base, snapshot, appliedIndex, commitIndex, lastIndex, stableIndex } = raft;
    const order = [base.index, snapshot?.index ?? 0, appliedIndex, commitIndex, lastIndex];
    const ordered = order.every((index, i) => i === 0 || (order[i - 1] ?? 0) <= index);
    if (!ordered || stableIndex > lastIndex) {
      const text = `${host.id}: base, snapshot, applied, commit, last are ${order.join(", ")}`;
      throw new Violation("order of indices", text);
    }
    const { durable } = host.disk;
    const term = raft.termAt(stableIndex);
    if (stableIndex > base.index && !holdsOnDisk(durable, stableIndex, term ?? -1)) {
      throw new Violation("stable is durable", `${host.id} believes ${stableIndex} durable`);
    }
  }

  #monotonic(host: Host, { raft }: Replica, before: Seen): void {
    const fell = [
      ["term", before.term, raft.term] as const,
      ["commit index", before.commit, raft.commitIndex] as const,
      ["applied index", before.applied, raft.appliedIndex] as const,
    ].find(([, was, is]) => is < was);
    if (fell !== undefined) {
      throw new Violation("monotonic", `${host.id}: ${fell[0]} ${fell[1]}, then ${fell[2]}`);
    }
  }

  /** Leader append-only, and log matching by what every entry is and what it follows. */
  #entries(host: Host, { raft }: Replica, before: Seen): void {
    const led = before.role === "leader" && raft.role === "leader" && before.term === raft.term;
    if (led && raft.lastIndex < before.lastIndex) {
      throw new Violation("leader append-only", `${host.id} cut its log to ${raft.lastIndex}`);
    }
    this.#log.see(host.id, host.life, raft);
  }

  #complete(host: Host, raft: Raft, before: Seen): void {
    if (raft.role !== "leader") return;
    if (before.role !== "leader" || before.term !== raft.term) this.#log.complete(host.id, raft);
  }

  #leader(host: Host, { raft, raftId }: Replica, before: Seen, events: readonly Event[]): void {
    const ticked = events.some(({ kind }) => kind === "tick");
    if (raft.role === "leader") {
      this.#leading(host, raft);
      this.#changes.led(host, raft, raftId, before, ticked, this.#log.lastCommitted);
    }
    if (ticked) this.#changes.ticked(raftId, raft.commitIndex);
  }

  #commits(host: Host, { raft }: Replica, before: Seen): void {
    const led = before.role === "leader" && raft.role === "leader" && before.term === raft.term;
    if (led && raft.commitIndex > before.commit && raft.termAt(raft.commitIndex) !== raft.term) {
      const text = `${host.id} counts ${raft.commitIndex} of an earlier term (Raft figure 8)`;
      throw new Violation("commit by counting", text);
    }
    for (let index = before.commit + 1; index <= raft.commitIndex; index++) {
      const term = raft.termAt(index);
      // Within a snapshot that was fetched: its entries are checked where they were committed.
      if (term === undefined || index <= raft.base.index) continue;
      const isNew = this.#log.commit(host.id, index, term, raft.term);
      const { membership } = before;
      if (
        isNew &&
        !this.#onQuorum(index, term, membership) &&
        !this.#onQuorum(index, term, raft.membership)
      ) {
        const { voters, outgoing } = membership;
        const text = `${host.id}: index ${index} of term ${term} is not durable on a quorum of ${voters.join(",")} / ${outgoing.join(",")}`;
        throw new Violation("committed is durable", text);
      }
    }
  }

  /** Counting only what was synced, and only disks that still are who they were. */
  #onQuorum(index: number, term: number, membership: Membership): boolean {
    const holders = new Set<number>();
    for (const durable of this.#images()) {
      const { identity } = durable;
      if (identity !== null && holdsOnDisk(durable, index, term)) holders.add(identity.raftId);
    }
    return hasQuorum(membership, holders);
  }

  #applies(host: Host, { raft, state }: Replica, before: Seen): void {
    const { appliedIndex } = raft;
    if (appliedIndex === before.applied) return;
    this.#applied = Math.max(this.#applied, appliedIndex);
    const hash = state.hash();
    const known = this.#hashes.get(appliedIndex);
    if (known !== undefined && known !== hash) {
      throw new Violation(
        "state machine safety",
        `${host.id} has another state at ${appliedIndex}`,
      );
    }
    this.#hashes.set(appliedIndex, hash);
    checkLevel(host, state);
    this.#changes.applied(host, raft);
  }

  /**
   * A number of Raft belongs to one disk for ever: one that is given again, or used with another disk, could vote
   * twice. (A change that was under way may still count a node that has been removed meanwhile; it is dropped next.)
   */
  #numbers(host: Host, { raftId }: Replica): void {
    const disk = this.#disks.get(raftId);
    if (disk !== undefined && disk !== host.disk) {
      throw new Violation("removed ids", `${host.id} is ${raftId}, which was another disk's`);
    }
    this.#disks.set(raftId, host.disk);
  }

  /**
   * Replays what was committed: a command under a key that came before must change nothing, and the state must be
   * the one that the nodes have. Returns what each config held at versions 1, 2, …, and all keys.
   */
  replay(): {
    readonly values: ReadonlyMap<string, readonly string[]>;
    readonly keys: ReadonlySet<string>;
  } {
    const state = new ClusterState();
    const keys = new Set<string>();
    const values = new Map<string, string[]>();
    for (const { index, kind, data } of this.#log.committed(this.#applied)) {
      if (kind !== "normal" || data.length === 0) continue;
      const envelope = decodeEnvelope(data);
      const { key, command } = envelope;
      const before = state.hash();
      const { outcome } = state.apply(index, envelope);
      if (key !== null && keys.has(key)) {
        if (state.hash() === before) continue;
        throw new Violation("done once", `${key} changed the state again at ${index}`);
      }
      if (key !== null) keys.add(key);
      if (command.kind !== "config-put" || outcome.kind !== "done") continue;
      values.set(command.name, [...(values.get(command.name) ?? []), command.data]);
    }
    if (state.hash() !== this.#hashes.get(this.#applied)) {
      throw new Violation("determinism", "the log replayed gives another state");
    }
    this.#compare(state);
    return { values, keys };
  }

  /** All of it, and not its hash: a snapshot may have brought the hash and not what it is made of. */
  #compare(replayed: ClusterState): void {
    const wanted = Object.entries(replayed.freeze());
    for (const { id, node } of this.#hosts.values()) {
      if (node?.replica.raft.appliedIndex !== this.#applied) continue;
      const held = new Map<string, unknown>(Object.entries(node.replica.state.freeze()));
      const other = wanted.find(([name, part]) => !sameJson(part, held.get(name)));
      if (other === undefined) continue;
      throw new Violation("determinism", `${id} has other ${other[0]} than the log replayed`);
    }
  }

  #leading(host: Host, raft: Raft): void {
    const bounds = raft.bounds;
    // One entry is let in whatever its size, and the leader's own are.
    if (raft.uncommittedBytes > bounds.maxUncommittedBytes + this.#log.largestEntry + 1_000) {
      throw new Violation("bounds", `${host.id} holds ${raft.uncommittedBytes} uncommitted bytes`);
    }
    for (const id of raft.followers()) {
      const progress = raft.progressOf(id);
      if (progress === undefined) continue;
      if (progress.match >= progress.next || progress.inflight > bounds.maxInflight) {
        const { match, next, inflight } = progress;
        const text = `${host.id} of ${id}: match ${match}, next ${next}, inflight ${inflight}`;
        throw new Violation("progress", text);
      }
      const follower = [...this.#hosts.values()].find(
        ({ disk }) => disk.durable.identity?.raftId === id,
      );
      const term = raft.termAt(progress.match);
      if (follower === undefined || term === undefined || progress.match === 0) continue;
      // A later leader may have cut what this one knows of.
      if (follower.disk.durable.hardState.term > raft.term) continue;
      if (!holdsOnDisk(follower.disk.durable, progress.match, term)) {
        const text = `${host.id} believes that ${follower.id} holds ${progress.match}, its disk ends at ${lastOnDisk(follower.disk.durable)}`;
        throw new Violation("progress", text);
      }
    }
  }

  #hardState(host: Host): void {
    const { hardState, identity } = host.disk.durable;
    if (identity === null) return;
    const { term, vote } = hardState;
    const before = this.#durable.get(identity.raftId);
    if (before !== undefined) {
      const changedVote = term === before.term && before.vote !== 0 && vote !== before.vote;
      if (term < before.term || changedVote) {
        const text = `${host.id} had term ${before.term} vote ${before.vote}, now ${term}/${vote}`;
        throw new Violation("votes are kept", text);
      }
    }
    this.#durable.set(identity.raftId, { term, vote });
  }

  /** A promise leaves only when it is durable: votes with their term, acknowledgements with their entries. */
  sending(host: Host, message: Message): void {
    const raft = host.node?.replica.raft;
    if (raft === undefined) return;
    const { durable } = host.disk;
    if (message.kind === "append-reply" && !message.rejected) {
      const { index } = message;
      if (lastOnDisk(durable) < index) {
        const text = `${host.id} acknowledges ${index}, its disk ends at ${lastOnDisk(durable)}`;
        throw new Violation("durable before sent", text);
      }
      // What a leader was promised is of its term or earlier: a later one has taken its place.
      const held = durable.entries[index - durable.base.index - 1]?.term ?? 0;
      if (held > message.term) {
        const text = `${host.id} acknowledges ${index} to term ${message.term}, its disk has ${held} there`;
        throw new Violation("durable before sent", text);
      }
    }
    const seen = this.#seen.get(host.id);
    this.#elections.sending(host, raft, message, seen?.life === host.life ? seen : undefined);
  }

  get appliedLast(): number {
    return this.#applied;
  }
}

function sameJson(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
