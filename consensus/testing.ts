import { assert, present } from "../lib/assert.ts";
import { Prng } from "../lib/prng.ts";
import { type ConfChange, type MemberChange, encodeChange } from "./membership.ts";
import type { Entry, HardState, Message, RaftId } from "./message.ts";
import { Raft } from "./raft.ts";
import type { Ready, WriteMark } from "./ready.ts";
import type { RaftConfig, RaftImage } from "./raft-state.ts";
import { type LogCut, type SnapshotMeta, WHOLE_LOG } from "./snapshot.ts";

/** A cluster of Rafts for tests: everything that reaches a disk or another node does so by the test's hand. */

/** One Ready's share for the disk, and what may leave when it is durable. */
export interface TestWrite {
  readonly hardState: HardState | null;
  readonly cut: LogCut | null;
  readonly entries: readonly Entry[];
  readonly mark: WriteMark;
  readonly messages: readonly Message[];
}

export interface TestNode {
  readonly id: RaftId;
  readonly config: RaftConfig;
  raft: Raft;
  disk: RaftImage;
  /** What its leader offered and it has not fetched. */
  wanted: Ready["wanted"];
  /** Handed to the disk, oldest first, not durable. */
  writes: TestWrite[];
  /** Everything that its state is made of: applied in this life, or before the snapshot that it began from. */
  applied: Entry[];
  /** Committed and kept from being applied while `holdsApply`. */
  unapplied: Entry[];
  holdsApply: boolean;
  reads: { id: number; index: number }[];
  lives: number;
}

const DEFAULTS = {
  electionTicks: 10,
  heartbeatTicks: 1,
  maxMessageBytes: 1 << 20,
  maxInflight: 256,
  maxInflightBytes: 8 << 20,
  maxUncommittedBytes: 1 << 20,
  maxApply: 100,
  maxApplyBytes: 1 << 20,
  maxApplyLag: 5_000,
} as const;

export type TestBounds = Partial<Omit<RaftConfig, "id">>;

export function bytes(content: string): Uint8Array {
  return new TextEncoder().encode(content);
}

export function text(data: Uint8Array): string {
  return new TextDecoder().decode(data);
}

export function normal(term: number, index: number, data = ""): Entry {
  return { term, index, kind: "normal", data: bytes(data) };
}

export function conf(term: number, index: number, change: ConfChange): Entry {
  return { term, index, kind: "conf", data: encodeChange(change) };
}

export function voters(...ids: readonly RaftId[]): MemberChange[] {
  return ids.map((id) => ({ op: "add-voter", id }));
}

export function learners(...ids: readonly RaftId[]): MemberChange[] {
  return ids.map((id) => ({ op: "add-learner", id }));
}

/** A disk with the whole log on it. */
export function diskOf(hardState: HardState, entries: readonly Entry[]): RaftImage {
  return { hardState, snapshot: null, base: WHOLE_LOG, entries };
}

/** A disk on which nothing was ever written. */
export const NEW_DISK: RaftImage = diskOf({ term: 0, vote: 0, commit: 0 }, []);

/** A disk whose first entry, of term 1, founds the membership; `terms` are those of the entries after it. */
export function founded(
  changes: readonly MemberChange[],
  terms: readonly number[] = [],
  hardState: Partial<HardState> = {},
): RaftImage {
  const entries = [
    conf(1, 1, { changes }),
    ...terms.map((term, i) => normal(term, i + 2, `${term}.${i + 2}`)),
  ];
  const term = Math.max(1, ...terms);
  return diskOf({ term, vote: 0, commit: 1, ...hardState }, entries);
}

function merge(disk: RaftImage, { cut, entries, hardState }: TestWrite): RaftImage {
  const base = cut?.base ?? disk.base;
  const whole = cut?.dropLog === true ? [] : disk.entries.slice(base.index - disk.base.index);
  const [first] = entries;
  const kept = first === undefined ? whole : whole.slice(0, first.index - base.index - 1);
  return {
    hardState: hardState ?? disk.hardState,
    snapshot: cut?.meta ?? disk.snapshot,
    base,
    entries: [...kept, ...entries],
  };
}

export class TestCluster {
  readonly nodes: Map<RaftId, TestNode> = new Map();
  /** Sent and not delivered, oldest first. */
  network: Message[] = [];
  /** By index: every snapshot that was made, and what the state was made of there. */
  readonly snapshots: Map<number, { meta: SnapshotMeta; applied: readonly Entry[] }> = new Map();

  add(id: RaftId, disk: RaftImage, bounds: TestBounds = {}): TestNode {
    const config: RaftConfig = { ...DEFAULTS, ...bounds, id };
    const raft = new Raft(config, new Prng(id), disk);
    const node: TestNode = {
      id,
      config,
      raft,
      disk,
      wanted: null,
      writes: [],
      applied: [],
      unapplied: [],
      holdsApply: false,
      reads: [],
      lives: 1,
    };
    this.nodes.set(id, node);
    this.take(id);
    return node;
  }

  node(id: RaftId): TestNode {
    return present(this.nodes.get(id), `the test has a node ${id}`);
  }

  raft(id: RaftId): Raft {
    return this.node(id).raft;
  }

  /** Acts on a node and takes what comes of it. */
  act<T>(id: RaftId, action: (raft: Raft) => T): T {
    const result = action(this.raft(id));
    this.take(id);
    return result;
  }

  /** Takes every Ready that the node has: messages to the network, writes to its disk's queue. */
  take(id: RaftId): void {
    const node = this.node(id);
    for (;;) {
      const ready = node.raft.ready();
      this.network.push(...ready.messages);
      node.reads.push(...ready.reads);
      const { hardState, cut, entries, write: mark, durableMessages } = ready;
      if (hardState !== null || entries.length > 0 || durableMessages.length > 0) {
        node.writes.push({ hardState, cut, entries, mark, messages: durableMessages });
      }
      if (ready.wanted !== null) node.wanted = ready.wanted;
      node.unapplied.push(...ready.committed);
      if (node.holdsApply || node.unapplied.length === 0) break;
      this.#apply(node);
    }
  }

  #apply(node: TestNode): void {
    for (const entry of node.unapplied) {
      node.raft.applied(entry);
      node.applied.push(entry);
    }
    node.unapplied = [];
  }

  /** Applies what was held back. */
  apply(id: RaftId): void {
    this.#apply(this.node(id));
    this.take(id);
  }

  tick(id: RaftId, count = 1): void {
    for (let i = 0; i < count; i++) this.act(id, (raft) => raft.tick());
  }

  /** The oldest `count` writes become durable, each with what waited for it. */
  persist(id: RaftId, count = Number.MAX_SAFE_INTEGER): void {
    const node = this.node(id);
    for (let done = 0; done < count; done++) {
      const write = node.writes.shift();
      if (write === undefined) return;
      node.disk = merge(node.disk, write);
      node.raft.persisted(write.mark);
      for (const message of write.messages) {
        if (message.to === id) node.raft.step(message);
        else this.network.push(message);
      }
      this.take(id);
    }
  }

  /** Takes a snapshot of what the node has applied, durable at once, and drops the log up to `keepAfter`. */
  snapshot(id: RaftId, keepAfter: number): SnapshotMeta {
    const meta = this.image(id);
    this.act(id, (raft) => raft.compact(meta, keepAfter));
    return meta;
  }

  /** The state as the node has applied it, which becomes durable when the test says so by `raft.compact`. */
  image(id: RaftId): SnapshotMeta {
    const { raft, applied } = this.node(id);
    const index = raft.appliedIndex;
    const term = present(raft.termAt(index), "what is applied last is in the log");
    const meta = { index, term, membership: raft.membership };
    this.snapshots.set(index, { meta, applied: [...applied] });
    return meta;
  }

  /** The node fetches what it was offered last and begins from it. Returns whether it had to. */
  fetch(id: RaftId): boolean {
    const node = this.node(id);
    const { wanted } = node;
    assert(wanted !== null, `node ${id} was offered a snapshot`);
    node.wanted = null;
    const { meta, applied } = present(
      this.snapshots.get(wanted.id.index),
      "what is offered exists",
    );
    return this.act(id, (raft) => {
      const begun = raft.restore(meta);
      if (begun) node.applied = [...applied];
      return begun;
    });
  }

  /** Delivers what is on its way now and matches; what that causes stays on its way. Returns what was delivered. */
  deliver(matches: (m: Message) => boolean = () => true): Message[] {
    const [taken, left] = split(this.network, matches);
    this.network = left;
    for (const message of taken) this.step(message);
    return taken;
  }

  /** Loses what is on its way now and matches. Returns what was lost. */
  drop(matches: (m: Message) => boolean = () => true): Message[] {
    const [taken, left] = split(this.network, matches);
    this.network = left;
    return taken;
  }

  step(message: Message): void {
    if (this.nodes.has(message.to)) this.act(message.to, (raft) => raft.step(message));
  }

  /** Persists and delivers until nothing is left, for the nodes given (all when none are); the rest is lost. */
  stabilize(...ids: readonly RaftId[]): void {
    const among = ids.length === 0 ? [...this.nodes.keys()] : ids;
    for (let rounds = 0; rounds < 1_000; rounds++) {
      for (const id of among) this.persist(id);
      const delivered = this.deliver(({ from, to }) => among.includes(from) && among.includes(to));
      this.drop(({ from, to }) => among.includes(from) !== among.includes(to));
      if (delivered.length === 0 && among.every((id) => this.node(id).writes.length === 0)) return;
    }
    assert(false, "the cluster does not come to rest");
  }

  /** A heartbeat of the leader and all that follows: others hear what is committed. */
  beat(id: RaftId, ...among: readonly RaftId[]): void {
    this.tick(id);
    this.stabilize(...among);
  }

  /** Campaigns and lets everyone (or the nodes given) answer; the candidate must win. */
  elect(id: RaftId, ...among: readonly RaftId[]): void {
    this.act(id, (raft) => raft.campaign());
    this.stabilize(...among);
    assert(this.raft(id).role === "leader", `node ${id} is elected`);
  }

  /** As `elect`, among nodes that have just lost their leader. */
  succeed(id: RaftId, ...among: readonly RaftId[]): void {
    for (const other of among) this.act(other, (raft) => raft.peerLost(raft.leader));
    this.elect(id, ...among);
  }

  propose(id: RaftId, data: string): ReturnType<Raft["propose"]> {
    return this.act(id, (raft) => raft.propose(bytes(data)));
  }

  change(id: RaftId, ...changes: readonly MemberChange[]): ReturnType<Raft["proposeChange"]> {
    return this.act(id, (raft) => raft.proposeChange({ changes }));
  }

  /** The node loses its memory and what was not durable, and starts again from its disk. */
  restart(id: RaftId): void {
    const node = this.node(id);
    node.lives += 1;
    const { config, disk } = node;
    const prng = new Prng(id * 1_000 + node.lives);
    node.raft = new Raft(config, prng, disk);
    node.wanted = null;
    node.writes = [];
    node.applied = [...(this.snapshots.get(disk.snapshot?.index ?? 0)?.applied ?? [])];
    node.unapplied = [];
    node.reads = [];
    this.take(id);
  }

  /** What the node applied, commands only. */
  commands(id: RaftId): string[] {
    const { applied } = this.node(id);
    return applied
      .filter(({ kind, data }) => kind === "normal" && data.length > 0)
      .map(({ data }) => text(data));
  }

  /** Every entry's term, from index 1; 0 for what is gone. */
  terms(id: RaftId): number[] {
    const raft = this.raft(id);
    return Array.from({ length: raft.lastIndex }, (_, i) => raft.termAt(i + 1) ?? 0);
  }

  get leaders(): RaftId[] {
    return [...this.nodes.values()].flatMap(({ id, raft }) => (raft.role === "leader" ? [id] : []));
  }
}

function split<T>(list: readonly T[], matches: (item: T) => boolean): [T[], T[]] {
  return [list.filter(matches), list.filter((item) => !matches(item))];
}

/** Nodes 1 to `count`, all voters, founded, with the same bounds. */
export function clusterOf(count: number, bounds: TestBounds = {}): TestCluster {
  const cluster = new TestCluster();
  const ids = Array.from({ length: count }, (_, i) => i + 1);
  for (const id of ids) cluster.add(id, founded(voters(...ids)), bounds);
  return cluster;
}

/** Node 1 leads, 2 follows, 3 has missed `count` entries from 3 on, of which the leader keeps `kept`. */
export function dragging(count = 5, kept = 0): TestCluster {
  const cluster = clusterOf(3);
  cluster.elect(1);
  for (let i = 0; i < count; i++) cluster.propose(1, `${i}`);
  cluster.stabilize(1, 2);
  cluster.snapshot(1, cluster.raft(1).appliedIndex - kept);
  return cluster;
}

/** A leader's heartbeat and its answers, and what they bring about. */
export function beat(cluster: TestCluster, leader: RaftId = 1): void {
  cluster.tick(leader);
  cluster.stabilize();
}

export const THREE: readonly MemberChange[] = voters(1, 2, 3);

/** One node of three, at term 1 with its founding entry, or as given. */
export function lone(
  changes: readonly MemberChange[] = THREE,
  terms: readonly number[] = [],
  hardState: Partial<HardState> = {},
): TestCluster {
  const cluster = new TestCluster();
  cluster.add(1, founded(changes, terms, hardState));
  return cluster;
}

/** What node 1 answers, once all it writes is durable. */
export function answer(cluster: TestCluster, message: Message): Message[] {
  cluster.step(message);
  cluster.persist(1);
  return cluster.drop();
}

/** Of a request for a vote by node 2, which holds the founding entry. */
export const ASK = { from: 2, to: 1, lastIndex: 1, lastTerm: 1 } as const;

/** Node 2 leads. */
export const BEAT = { kind: "heartbeat", from: 2, to: 1, commit: 0, context: 0 } as const;

export function between(from: RaftId, to: RaftId): (m: Message) => boolean {
  return (m) => m.from === from && m.to === to;
}

/** Messages of these kinds. */
export function kinds(...names: readonly Message["kind"][]): (m: Message) => boolean {
  return (m) => names.includes(m.kind);
}
