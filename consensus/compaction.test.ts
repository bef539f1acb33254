import { describe, expect, it } from "vitest";
import type { Membership } from "./membership.ts";
import {
  BEAT,
  NEW_DISK,
  THREE,
  type TestCluster,
  beat,
  between,
  clusterOf,
  dragging,
  learners,
  lone,
  normal,
} from "./testing.ts";

const VOTERS: Membership = { voters: [1, 2, 3], outgoing: [], learners: [], learnersNext: [] };

/** Node 1 has applied the founding entry and `count` more, all durable. */
function grown(count: number): TestCluster {
  const cluster = lone(
    THREE,
    Array.from({ length: count }, () => 1),
    { commit: count + 1 },
  );
  expect(cluster.raft(1).appliedIndex).toBe(count + 1);
  return cluster;
}

describe("items 27 and 29: compaction", () => {
  it("keeps the entries that it is told to keep, and their terms", () => {
    const cluster = grown(9);
    cluster.snapshot(1, 4);
    expect(cluster.raft(1)).toMatchObject({ base: { index: 4, term: 1 }, snapshot: { index: 10 } });
    expect(cluster.terms(1)).toEqual([0, 0, 0, 1, 1, 1, 1, 1, 1, 1]);
    cluster.persist(1);
    expect(cluster.node(1).disk).toMatchObject({ base: { index: 4 }, snapshot: { index: 10 } });
    expect(cluster.node(1).disk.entries).toHaveLength(6);
  });

  it("never goes beyond the snapshot, nor back", () => {
    const cluster = grown(9);
    cluster.snapshot(1, 99);
    expect(cluster.raft(1).base.index).toBe(10);
    cluster.step({
      ...BEAT,
      kind: "append",
      term: 1,
      prevIndex: 10,
      prevTerm: 1,
      entries: [normal(1, 11)],
      commit: 11,
    });
    cluster.snapshot(1, 0);
    expect(cluster.raft(1)).toMatchObject({ base: { index: 10 }, snapshot: { index: 11 } });
  });

  it("keeps what its own disk does not hold yet", () => {
    const cluster = grown(1);
    const entries = [normal(1, 3), normal(1, 4)];
    cluster.step({
      ...BEAT,
      kind: "append",
      term: 1,
      prevIndex: 2,
      prevTerm: 1,
      entries,
      commit: 4,
    });
    expect(cluster.raft(1)).toMatchObject({ appliedIndex: 4, stableIndex: 2 });
    cluster.snapshot(1, 4);
    expect(cluster.raft(1).base.index).toBe(2);
    // Power is lost between any two writes: what is on the disk fits together.
    for (let durable = 0; durable <= 2; durable++) {
      const other = grown(1);
      other.step({
        ...BEAT,
        kind: "append",
        term: 1,
        prevIndex: 2,
        prevTerm: 1,
        entries,
        commit: 4,
      });
      other.snapshot(1, 4);
      other.persist(1, durable);
      other.restart(1);
      expect(other.raft(1).lastIndex).toBe(durable === 0 ? 2 : 4);
      expect(other.node(1).applied).toHaveLength(durable === 0 ? 2 : 4);
    }
  });

  it("a snapshot of its own that is older than one it began from meanwhile is of no use", () => {
    const cluster = grown(3);
    const own = cluster.image(1);
    cluster.act(1, (raft) => raft.restore({ index: 9, term: 1, membership: VOTERS }));
    cluster.act(1, (raft) => raft.compact(own, own.index));
    expect(cluster.raft(1)).toMatchObject({ base: { index: 9 }, snapshot: { index: 9 } });
    cluster.persist(1);
    expect(cluster.node(1).disk).toMatchObject({ base: { index: 9 }, snapshot: { index: 9 } });
  });

  it("another's that is older than what it began from is of no use", () => {
    const cluster = grown(3);
    cluster.act(1, (raft) => raft.restore({ index: 9, term: 1, membership: VOTERS }));
    for (const index of [9, 8, 3]) {
      const older = { index, term: 1, membership: { ...VOTERS, learners: [4] } };
      expect(cluster.act(1, (raft) => raft.restore(older))).toBe(false);
    }
    expect(cluster.raft(1)).toMatchObject({ base: { index: 9 }, membership: VOTERS });
  });

  it("item 14: a write that a snapshot overtook makes nothing after it stable", () => {
    const cluster = lone(THREE, [], { term: 2 });
    const append = { kind: "append", from: 2, to: 1, commit: 1 } as const;
    const tail = [2, 3, 4, 5, 6].map((index) => normal(2, index));
    cluster.step({ ...append, term: 2, prevIndex: 1, prevTerm: 1, entries: tail });
    // It contradicts what was committed in term 3, and has not reached the disk.
    cluster.act(1, (raft) => raft.restore({ index: 4, term: 3, membership: VOTERS }));
    const next = [normal(3, 5), normal(3, 6)];
    cluster.step({ ...append, term: 3, prevIndex: 4, prevTerm: 3, entries: next });
    cluster.persist(1, 1);
    expect(cluster.raft(1)).toMatchObject({ lastIndex: 6, stableIndex: 0 });
    cluster.persist(1, 1);
    expect(cluster.raft(1).stableIndex, "the snapshot's place, and no more").toBe(4);
    cluster.persist(1);
    expect(cluster.raft(1).stableIndex).toBe(6);
    expect(cluster.node(1).disk.entries.map(({ term }) => term)).toEqual([3, 3]);
  });

  it("waits for nothing while the snapshot that it began from is on its way to the disk", () => {
    const cluster = grown(3);
    const meta = { index: 9, term: 1, membership: VOTERS };
    cluster.act(1, (raft) => raft.restore(meta));
    cluster.step({
      ...BEAT,
      kind: "append",
      term: 1,
      prevIndex: 9,
      prevTerm: 1,
      entries: [normal(1, 10)],
      commit: 10,
    });
    expect(cluster.raft(1)).toMatchObject({ appliedIndex: 10, stableIndex: 0 });
    cluster.snapshot(1, 10);
    expect(cluster.raft(1)).toMatchObject({ base: { index: 9 }, snapshot: { index: 10 } });
    cluster.persist(1);
    expect(cluster.raft(1).stableIndex).toBe(10);
  });
});

describe("items 27 and 28: over a restart", () => {
  it("the state begins from the snapshot and goes on with the entries after it", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.change(1, ...learners(4));
    cluster.stabilize();
    cluster.snapshot(2, 3);
    cluster.propose(1, "b");
    cluster.stabilize();
    cluster.restart(2);
    beat(cluster);
    expect(cluster.raft(2)).toMatchObject({ base: { index: 3 }, appliedIndex: 5 });
    expect(cluster.raft(2).membership).toEqual({ ...VOTERS, learners: [4] });
    expect(cluster.commands(2)).toEqual(["a", "b"]);
  });

  it("a snapshot whose place in the log was not durable yet is offered again", () => {
    const cluster = dragging();
    beat(cluster);
    expect(cluster.fetch(3)).toBe(true);
    // It promised nothing to the leader: its acknowledgement waits for the same write.
    expect(cluster.network.filter(between(3, 1))).toEqual([]);
    cluster.restart(3);
    expect(cluster.raft(3)).toMatchObject({ lastIndex: 2, appliedIndex: 1, snapshot: null });
    expect(cluster.raft(1).progressOf(3)?.match).toBe(2);
    beat(cluster);
    expect(cluster.fetch(3)).toBe(true);
    cluster.stabilize();
    cluster.restart(3);
    expect(cluster.raft(3)).toMatchObject({
      lastIndex: 7,
      appliedIndex: 7,
      snapshot: { index: 7 },
    });
    expect(cluster.commands(3)).toHaveLength(5);
  });

  it("who began from a snapshot leads, and offers it in turn", () => {
    const cluster = dragging();
    beat(cluster);
    cluster.fetch(3);
    cluster.stabilize();
    cluster.add(4, NEW_DISK);
    cluster.act(1, (raft) => raft.transfer(3));
    cluster.stabilize();
    expect(cluster.leaders).toEqual([3]);
    cluster.change(3, ...learners(4));
    cluster.stabilize();
    expect(cluster.node(4).wanted).toEqual({ from: 3, id: { index: 7, term: 2 } });
    cluster.fetch(4);
    cluster.stabilize();
    expect(cluster.commands(4)).toEqual(cluster.commands(3));
  });
});
