import { describe, expect, it } from "vitest";
import { present } from "../lib/assert.ts";
import { Prng } from "../lib/prng.ts";
import type { Membership } from "./membership.ts";
import type { Entry, Message, RaftId } from "./message.ts";
import { voteResult } from "./quorum.ts";
import type { SnapshotMeta } from "./snapshot.ts";
import { TestCluster, type TestNode, founded, text, voters } from "./testing.ts";

/**
 * Random schedules on bare Raft: ticks, loss, repetition, slow disks, power loss, changes of membership,
 * snapshots that are fetched late, leaders that hand over or give up.
 */

/** What was true of a node at the last check. */
interface Seen {
  readonly life: number;
  /** The term that it led, 0: none. */
  readonly led: number;
  readonly commit: number;
  readonly applied: number;
  readonly membership: Membership;
  readonly diskTerm: number;
  readonly diskVote: RaftId;
}

interface History {
  readonly leaders: Map<number, RaftId>;
  /** By index: whatever any node has applied. */
  readonly applied: Map<number, string>;
  /** By index: the term of what any node has called committed. */
  readonly committed: Map<number, number>;
  readonly seen: Map<RaftId, Seen>;
  restored: number;
  handedOver: number;
}

/** A snapshot of a node's state that is not durable yet. */
interface Pending {
  readonly id: RaftId;
  readonly life: number;
  readonly meta: SnapshotMeta;
}

interface World {
  readonly prng: Prng;
  readonly cluster: TestCluster;
  readonly history: History;
  readonly sent: Message[];
  pending: Pending[];
}

const IDS = [1, 2, 3, 4, 5];

function show(entry: Entry): string {
  return `${entry.term} ${entry.kind} ${text(entry.data)}`;
}

function fail(what: string): never {
  throw new Error(what);
}

/** The term that the node's disk holds at `index`; undefined when neither its log nor its base tells. */
function diskTermAt({ disk: { base, entries } }: TestNode, index: number): number | undefined {
  if (index === base.index) return base.term;
  return entries[index - base.index - 1]?.term;
}

function holds(node: TestNode, index: number, term: number): boolean {
  return index < node.disk.base.index || diskTermAt(node, index) === term;
}

/** What a leader newly calls committed is durable on a quorum, of the membership before or after. */
function checkCommitted(cluster: TestCluster, node: TestNode, before: Seen): void {
  const { raft } = node;
  const index = raft.commitIndex;
  const wasLeading = before.life === node.lives && before.led === raft.term;
  if (raft.role !== "leader" || !wasLeading || index <= before.commit) return;
  const term = present(raft.termAt(index), "a leader has what it commits");
  if (term !== raft.term) fail(`${node.id} commits ${index}/${term} in term ${raft.term}`);
  const isDurable = [before.membership, raft.membership].some(
    (membership) => voteResult(membership, (id) => holds(cluster.node(id), index, term)) === "won",
  );
  if (!isDurable) fail(`${node.id} commits ${index}/${term}, which is not on a quorum`);
}

function checkLeader(node: TestNode, history: History): void {
  const { raft, id } = node;
  if (raft.role !== "leader") return;
  const known = history.leaders.get(raft.term);
  if (known !== undefined && known !== id) fail(`${known} and ${id} both lead term ${raft.term}`);
  if (known !== undefined) return;
  history.leaders.set(raft.term, id);
  for (const [index, entry] of history.applied) {
    if (index <= raft.base.index) continue;
    if (!entry.startsWith(`${raft.termAt(index)} `)) fail(`${id} leads without ${index}: ${entry}`);
  }
}

/** Everyone calls the same entries committed. */
function checkCommits({ id, raft }: TestNode, after: number, history: History): void {
  for (let index = Math.max(after, raft.base.index) + 1; index <= raft.commitIndex; index++) {
    const term = present(raft.termAt(index), "what is committed is in the log");
    const known = history.committed.get(index) ?? term;
    if (known !== term) fail(`${id} calls ${index}/${term} committed, others ${index}/${known}`);
    history.committed.set(index, term);
  }
}

/** What a node, or the leader of the latest term, believes durable is durable. */
function checkDurable(cluster: TestCluster, node: TestNode, history: History): void {
  const { raft, id } = node;
  const { stableIndex } = raft;
  const stableTerm = raft.termAt(stableIndex);
  if (stableTerm !== undefined && !holds(node, stableIndex, stableTerm)) {
    fail(`${id} calls ${stableIndex}/${stableTerm} stable, and its disk does not hold it`);
  }
  if (raft.role !== "leader" || raft.term < Math.max(...history.leaders.keys())) return;
  for (const other of cluster.nodes.values()) {
    const match = raft.progressOf(other.id)?.match ?? 0;
    const term = raft.termAt(match);
    if (match > 0 && term !== undefined && !holds(other, match, term)) {
      fail(`${id} takes ${match}/${term} for durable on ${other.id}`);
    }
  }
}

function checkNode(cluster: TestCluster, node: TestNode, history: History): void {
  const { id, raft, applied, disk, lives } = node;
  checkLeader(node, history);
  const before = history.seen.get(id);
  for (const entry of applied.slice(before?.life === lives ? before.applied : 0)) {
    const known = history.applied.get(entry.index);
    if (known !== undefined && known !== show(entry)) {
      fail(`index ${entry.index}: ${known} and ${show(entry)} on ${id}`);
    }
    history.applied.set(entry.index, show(entry));
  }
  checkCommits(node, before?.life === lives ? before.commit : 0, history);
  checkDurable(cluster, node, history);
  const { base, appliedIndex, commitIndex, lastIndex } = raft;
  if (base.index > appliedIndex || appliedIndex > commitIndex || commitIndex > lastIndex) {
    fail(
      `${id}: base ${base.index} applied ${appliedIndex} commit ${commitIndex} last ${lastIndex}`,
    );
  }
  if ((raft.snapshot?.index ?? 0) < base.index) fail(`${id}: no snapshot holds what is gone`);
  if (applied.length !== appliedIndex) fail(`${id}: its state has ${applied.length} entries`);
  const { term, vote } = disk.hardState;
  if (before !== undefined) {
    const { diskTerm, diskVote } = before;
    if (term < diskTerm) fail(`${id}: its term fell to ${term}`);
    if (term === diskTerm && diskVote !== 0 && vote !== diskVote)
      fail(`${id}: two votes in ${term}`);
    if (before.life === lives && commitIndex < before.commit) fail(`${id}: its commit index fell`);
    checkCommitted(cluster, node, before);
  }
  history.seen.set(id, {
    life: lives,
    led: raft.role === "leader" ? raft.term : 0,
    commit: commitIndex,
    applied: appliedIndex,
    membership: raft.membership,
    diskTerm: term,
    diskVote: vote,
  });
}

function check({ cluster, history }: World): void {
  for (const node of cluster.nodes.values()) checkNode(cluster, node, history);
}

/** What two nodes hold both, in memory: where the terms are the same once, all before is. */
function checkLogs({ cluster, history }: World): void {
  const nodes = [...cluster.nodes.values()];
  const known = new Map<string, string>();
  for (const { id, disk, applied } of nodes) {
    for (const entry of disk.entries) {
      const name = `${entry.index}/${entry.term}`;
      if ((known.get(name) ?? show(entry)) !== show(entry)) fail(`${name} differs on ${id}`);
      known.set(name, show(entry));
    }
    applied.forEach((entry, i) => {
      const same = history.applied.get(i + 1) === show(entry);
      if (entry.index !== i + 1 || !same) fail(`${id} has applied ${show(entry)} at ${i + 1}`);
    });
  }
  for (const { raft: a, id } of nodes) {
    for (const { raft: b, id: other } of nodes) {
      if (id >= other) continue;
      let hasMet = false;
      const from = Math.max(a.base.index, b.base.index, 1);
      for (let index = Math.min(a.lastIndex, b.lastIndex); index >= from; index--) {
        const isSame = a.termAt(index) === b.termAt(index);
        if (hasMet && !isSame) fail(`${id} and ${other} agree after ${index} and not there`);
        hasMet ||= isSame;
      }
    }
  }
}

function change({ cluster, prng }: World, id: RaftId): void {
  const { membership } = cluster.raft(id);
  const ops = ["add-voter", "add-learner", "remove"] as const;
  const changes = [{ op: prng.pick(ops), id: prng.between(1, 5) }];
  if (prng.chance(400)) changes.push({ op: prng.pick(ops), id: prng.between(1, 5) });
  // Two voters at least, so that there is something to lose.
  const left = membership.voters.filter((voter) => changes.every((c) => c.id !== voter));
  if (left.length >= 2) cluster.change(id, ...changes);
}

function fetch({ cluster, history }: World, id: RaftId): void {
  const { wanted, unapplied } = cluster.node(id);
  if (wanted === null || unapplied.length > 0) return;
  if (cluster.fetch(id)) history.restored += 1;
}

/** Takes a snapshot, which becomes durable now or later, by when the node may be elsewhere. */
function snapshot(world: World, id: RaftId): void {
  const { cluster, prng, pending } = world;
  const [oldest] = pending;
  if (oldest !== undefined && prng.chance(500)) {
    world.pending = pending.slice(1);
    if (cluster.node(oldest.id).lives !== oldest.life) return;
    const keepAfter = Math.max(0, oldest.meta.index - prng.below(6));
    cluster.act(oldest.id, (raft) => raft.compact(oldest.meta, keepAfter));
    return;
  }
  const { raft, lives } = cluster.node(id);
  if (raft.appliedIndex <= (raft.snapshot?.index ?? 0)) return;
  pending.push({ id, life: lives, meta: cluster.image(id) });
}

function rare(world: World, someone: RaftId): void {
  const { cluster, prng, history } = world;
  // Only a leader has much to do.
  const id = prng.pick([someone, ...cluster.leaders]);
  const node = cluster.node(id);
  const dice = prng.below(100);
  if (dice < 25) change(world, id);
  else if (dice < 40) {
    node.holdsApply = !node.holdsApply;
    if (!node.holdsApply) cluster.apply(id);
  } else if (dice < 48) cluster.restart(id);
  else if (dice < 54) {
    if (node.raft.leader !== 0) cluster.act(id, (raft) => raft.peerLost(raft.leader));
  } else if (dice < 78) snapshot(world, id);
  else if (dice < 88) fetch(world, id);
  else if (dice < 97) {
    const outcome = cluster.act(id, (raft) => raft.transfer(prng.between(1, 5)));
    if (outcome.kind === "begun") history.handedOver += 1;
  } else cluster.act(id, (raft) => raft.abdicate());
}

/** Out of a hundred steps, drawn for each run: some are calm, in some little else than faults happens. */
interface Weather {
  readonly ticks: number;
  readonly rare: number;
  readonly lossPerMille: number;
  readonly reorderPerMille: number;
  readonly slowDiskPerMille: number;
}

function weatherOf(prng: Prng): Weather {
  return {
    ticks: prng.pick([4, 10, 20]),
    rare: prng.pick([3, 10]),
    lossPerMille: prng.pick([0, 60, 200]),
    reorderPerMille: prng.pick([0, 200, 1_000]),
    slowDiskPerMille: prng.pick([0, 950]),
  };
}

function deliverOne({ cluster, prng, sent }: World, weather: Weather): void {
  const { network } = cluster;
  const at = prng.chance(weather.reorderPerMille) ? prng.below(Math.max(1, network.length)) : 0;
  const [message] = network.splice(at, 1);
  if (message === undefined) return;
  sent.push(message);
  if (sent.length > 50) sent.shift();
  if (!prng.chance(weather.lossPerMille)) cluster.step(message);
}

function act(world: World, weather: Weather, serial: number): void {
  const { cluster, prng, sent } = world;
  const slow = 1 + (Math.floor(serial / 150) % 10);
  const id = prng.pick(IDS);
  const dice = prng.below(100);
  if (dice < weather.ticks) cluster.tick(id, prng.between(1, 3));
  else if (dice < weather.ticks + weather.rare) rare(world, id);
  else if (dice < 40) {
    // A slow disk now and then: what it owes stays owed for long.
    if (id !== slow || !prng.chance(weather.slowDiskPerMille))
      cluster.persist(id, prng.between(1, 3));
  } else if (dice < 47) cluster.propose(prng.pick([id, ...cluster.leaders]), `${serial}`);
  else if (dice < 48) {
    if (sent.length > 0) cluster.step(prng.pick(sent));
  } else deliverOne(world, weather);
}

/** After all faults: one leader, and everyone who takes part holds the same. */
function heal(world: World): void {
  const { cluster } = world;
  for (const id of IDS) {
    cluster.node(id).holdsApply = false;
    cluster.apply(id);
  }
  cluster.stabilize();
  for (let round = 0; round < 400; round++) {
    for (const id of IDS) {
      cluster.tick(id);
      cluster.stabilize();
      fetch(world, id);
      cluster.stabilize();
      check(world);
    }
  }
  checkLogs(world);
  expect(cluster.leaders).toHaveLength(1);
  const leader = cluster.raft(present(cluster.leaders[0], "there is a leader"));
  expect(leader.membership.outgoing).toEqual([]);
  for (const id of [...leader.membership.voters, ...leader.membership.learners]) {
    expect(cluster.raft(id).appliedIndex, `node ${id}`).toBe(leader.lastIndex);
    expect(cluster.raft(id).membership, `node ${id}`).toEqual(leader.membership);
  }
  expect(leader.transferee).toBe(0);
}

function run(seed: number): World {
  const prng = new Prng(seed);
  const cluster = new TestCluster();
  const bounds = {
    electionTicks: 5,
    maxInflight: prng.between(1, 8),
    maxMessageBytes: prng.pick([30, 200]),
  };
  for (const id of IDS) cluster.add(id, founded(voters(1, 2, 3)), bounds);
  const history: History = {
    leaders: new Map(),
    applied: new Map(),
    committed: new Map(),
    seen: new Map(),
    restored: 0,
    handedOver: 0,
  };
  const world: World = { prng, cluster, history, sent: [], pending: [] };
  const weather = weatherOf(prng);
  for (let at = 0; at < 4_000; at++) {
    act(world, weather, at);
    check(world);
    if (at % 100 === 0) checkLogs(world);
  }
  heal(world);
  return world;
}

describe("random schedules", () => {
  it("never elect two leaders in a term nor apply two entries at an index, and converge", () => {
    const total = { leaders: 0, applied: 0, restored: 0, handedOver: 0 };
    const from = Number(process.env["FROM"] ?? 1);
    const count = Number(process.env["SEEDS"] ?? 60);
    for (let seed = from; seed < from + count; seed++) {
      try {
        const { history } = run(seed);
        total.leaders += history.leaders.size;
        total.applied += history.applied.size;
        total.restored += history.restored;
        total.handedOver += history.handedOver;
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
    }
    // The schedules must not be so hostile that nothing happens.
    expect(total.leaders).toBeGreaterThan(count);
    expect(total.applied).toBeGreaterThan(count * 10);
    expect(total.restored).toBeGreaterThan(count / 4);
    expect(total.handedOver).toBeGreaterThan(count);
  }, 600_000);
});
