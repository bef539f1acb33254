import { describe, expect, it } from "vitest";
import { present } from "../lib/assert.ts";
import { Prng } from "../lib/prng.ts";
import type { Entry, Message, RaftId } from "./message.ts";
import { TestCluster, bytes, founded, text, voters } from "./testing.ts";

/** Random schedules on bare Raft: ticks, loss, repetition, slow disks, power loss, changes of membership. */

interface History {
  readonly leaders: Map<number, RaftId>;
  readonly applied: Map<number, string>;
}

function show(entry: Entry): string {
  return `${entry.term} ${entry.kind} ${text(entry.data)}`;
}

function check(cluster: TestCluster, history: History): void {
  for (const { id, raft, applied } of cluster.nodes.values()) {
    if (raft.role === "leader") {
      const known = history.leaders.get(raft.term);
      if (known !== undefined && known !== id) {
        throw new Error(`${known} and ${id} both lead term ${raft.term}`);
      }
      history.leaders.set(raft.term, id);
    }
    for (const entry of applied.slice(-3)) {
      const known = history.applied.get(entry.index);
      if (known !== undefined && known !== show(entry)) {
        throw new Error(`index ${entry.index}: ${known} and ${show(entry)} on ${id}`);
      }
      history.applied.set(entry.index, show(entry));
    }
    if (raft.appliedIndex > raft.commitIndex || raft.commitIndex > raft.lastIndex) {
      throw new Error(`${id}: applied ${raft.appliedIndex} commit ${raft.commitIndex}`);
    }
  }
}

function change(cluster: TestCluster, prng: Prng, id: RaftId): void {
  const { membership } = cluster.raft(id);
  const target = prng.between(1, 5);
  const ops = ["add-voter", "add-learner", "remove"] as const;
  const changes = [{ op: prng.pick(ops), id: target }];
  if (prng.chance(400)) changes.push({ op: prng.pick(ops), id: prng.between(1, 5) });
  // Two voters at least, so that there is something to lose.
  const left = membership.voters.filter((voter) => changes.every((c) => c.id !== voter));
  if (left.length >= 2) cluster.change(id, ...changes);
}

function act(cluster: TestCluster, prng: Prng, sent: Message[], serial: number): void {
  const slow = 1 + (Math.floor(serial / 150) % 10);
  const id = prng.between(1, 5);
  const node = cluster.node(id);
  const dice = prng.below(100);
  if (dice < 22) cluster.tick(id, prng.between(1, 3));
  else if (dice < 62) {
    const [message] = cluster.network.length === 0 ? [] : [prng.pick(cluster.network)];
    if (message === undefined) return;
    cluster.network.splice(cluster.network.indexOf(message), 1);
    sent.push(message);
    if (sent.length > 50) sent.shift();
    if (!prng.chance(60)) cluster.step(message);
  } else if (dice < 82) {
    // A slow disk now and then: what it owes stays owed for long.
    if (id !== slow || prng.chance(50)) cluster.persist(id, prng.between(1, 3));
  } else if (dice < 91) cluster.act(id, (raft) => raft.propose(bytes(`${serial}`)));
  else if (dice < 94 && sent.length > 0) cluster.step(prng.pick(sent));
  else if (dice < 96) change(cluster, prng, id);
  else if (dice < 98) {
    node.holdsApply = !node.holdsApply;
    if (!node.holdsApply) cluster.apply(id);
  } else if (prng.chance(500)) cluster.restart(id);
  else if (node.raft.leader !== 0) {
    cluster.act(id, (raft) => raft.peerLost(raft.leader));
  }
}

function run(seed: number): { leaders: number; applied: number } {
  const prng = new Prng(seed);
  const cluster = new TestCluster();
  for (let id = 1; id <= 5; id++) cluster.add(id, founded(voters(1, 2, 3)), { electionTicks: 5 });
  const history: History = { leaders: new Map(), applied: new Map() };
  const sent: Message[] = [];
  for (let at = 0; at < 3_000; at++) {
    act(cluster, prng, sent, at);
    check(cluster, history);
  }
  // After all faults: one leader, and everyone who takes part holds the same.
  for (const { id } of cluster.nodes.values()) {
    cluster.node(id).holdsApply = false;
    cluster.apply(id);
  }
  cluster.stabilize();
  for (let round = 0; round < 400; round++) {
    for (const id of cluster.nodes.keys()) {
      cluster.tick(id);
      cluster.stabilize();
      check(cluster, history);
    }
  }
  expect(cluster.leaders).toHaveLength(1);
  const leader = cluster.raft(present(cluster.leaders[0], "there is a leader"));
  expect(leader.membership.outgoing).toEqual([]);
  for (const id of leader.membership.voters) {
    expect(cluster.raft(id).appliedIndex, `node ${id}`).toBe(leader.lastIndex);
  }
  return { leaders: history.leaders.size, applied: history.applied.size };
}

describe("random schedules", () => {
  it("never elect two leaders in a term nor apply two entries at an index, and converge", () => {
    let leaders = 0;
    let applied = 0;
    const from = Number(process.env["FROM"] ?? 1);
    const count = Number(process.env["SEEDS"] ?? 30);
    for (let seed = from; seed < from + count; seed++) {
      try {
        const result = run(seed);
        leaders += result.leaders;
        applied += result.applied;
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
    }
    // The schedules must not be so hostile that nothing happens.
    expect(leaders).toBeGreaterThan(count);
    expect(applied).toBeGreaterThan(count * 10);
  }, 600_000);
});
