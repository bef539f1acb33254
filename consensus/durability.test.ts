import { describe, expect, it } from "vitest";
import { TestCluster, between, clusterOf, founded, kinds, normal, voters } from "./testing.ts";

describe("item 1: what a message promises is durable before it leaves", () => {
  it("a vote leaves after term and vote are durable", () => {
    const cluster = clusterOf(3);
    cluster.step({
      kind: "vote",
      transfer: false,
      from: 2,
      to: 1,
      term: 2,
      lastIndex: 1,
      lastTerm: 1,
    });
    expect(cluster.drop()).toEqual([]);
    cluster.persist(1);
    expect(cluster.node(1).disk.hardState).toMatchObject({ term: 2, vote: 2 });
    expect(cluster.drop()).toEqual([
      {
        kind: "vote-reply",
        from: 1,
        to: 2,
        term: 2,
        rejected: false,
        commit: 1,
        commitTerm: 1,
      },
    ]);
  });

  it("a vote that was durable is kept over a restart, and no other is given in its term", () => {
    const cluster = clusterOf(3);
    const ask = {
      kind: "vote",
      transfer: false,
      to: 1,
      term: 2,
      lastIndex: 1,
      lastTerm: 1,
    } as const;
    cluster.step({ ...ask, from: 2 });
    cluster.persist(1);
    cluster.drop();
    cluster.restart(1);
    cluster.step({ ...ask, from: 3 });
    cluster.persist(1);
    expect(cluster.drop()).toMatchObject([{ kind: "vote-reply", to: 3, rejected: true }]);
    cluster.step({ ...ask, from: 2 });
    cluster.persist(1);
    expect(cluster.drop()).toMatchObject([{ kind: "vote-reply", to: 2, rejected: false }]);
  });

  it("a request for votes leaves after the candidate's term, vote and log are durable", () => {
    const cluster = clusterOf(3);
    const append = { from: 2, to: 1, term: 1, prevIndex: 1, prevTerm: 1, commit: 1 } as const;
    cluster.step({ kind: "append", ...append, entries: [normal(1, 2, "x")] });
    // At the leader's wish it stands at once: nothing but the vote waits for the disk.
    cluster.step({ kind: "timeout-now", from: 2, to: 1, term: 1 });
    expect(cluster.raft(1).role).toBe("candidate");
    expect(cluster.drop(kinds("vote"))).toEqual([]);
    cluster.persist(1);
    expect(cluster.node(1).disk.hardState).toMatchObject({ term: 2, vote: 1 });
    expect(cluster.node(1).disk.entries).toHaveLength(2);
    expect(cluster.drop(kinds("vote"))).toMatchObject([
      { to: 2, lastIndex: 2 },
      { to: 3, lastIndex: 2 },
    ]);
  });

  it("a leader that lost power is not elected in the same term again, to write other entries", () => {
    const cluster = clusterOf(3);
    // The others' disks are quick, the candidate's never finishes.
    const others = (): void => {
      cluster.persist(2);
      cluster.persist(3);
      cluster.deliver();
    };
    cluster.act(1, (raft) => raft.campaign());
    cluster.deliver();
    for (let i = 0; i < 6 && cluster.raft(1).role !== "leader"; i++) others();
    cluster.propose(1, "first life");
    for (let i = 0; i < 6; i++) {
      cluster.drop(between(1, 3));
      others();
    }
    cluster.drop();
    cluster.restart(1);
    cluster.act(1, (raft) => raft.campaign());
    cluster.stabilize(1, 3);
    cluster.propose(1, "second life");
    cluster.stabilize();
    for (let i = 0; i < 60; i++) {
      for (const id of [1, 2, 3]) {
        cluster.tick(id);
        cluster.stabilize();
      }
    }
    expect(cluster.commands(2)).toEqual(cluster.commands(1));
    expect(cluster.commands(3)).toEqual(cluster.commands(1));
  });

  it("an acknowledgement leaves after the entries are durable", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.propose(1, "x");
    cluster.deliver();
    expect(cluster.drop(kinds("append-reply"))).toEqual([]);
    cluster.persist(2);
    expect(cluster.node(2).disk.entries).toHaveLength(3);
    expect(cluster.drop(kinds("append-reply"))).toMatchObject([{ from: 2, index: 3 }]);
  });

  it("the commit index is durable with the entries that came with it, so a restart knows the membership", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.change(1, { op: "add-learner", id: 4 });
    cluster.stabilize();
    // The commit index alone is no reason for a write ...
    expect(cluster.node(2).disk.hardState.commit).toBeLessThan(3);
    cluster.propose(1, "after");
    cluster.stabilize();
    // ... but travels with the next entry.
    expect(cluster.node(2).disk.hardState.commit).toBe(3);
    cluster.restart(2);
    expect(cluster.raft(2).membership.learners).toEqual([4]);
  });
});

describe("item 13: the leader counts itself only when its own disk has it", () => {
  it("a single node commits nothing before its write is durable", () => {
    const cluster = clusterOf(1);
    cluster.elect(1);
    cluster.propose(1, "x");
    expect(cluster.raft(1).commitIndex).toBe(2);
    expect(cluster.commands(1)).toEqual([]);
    cluster.persist(1);
    expect(cluster.commands(1)).toEqual(["x"]);
  });

  it("one follower and an undurable leader are no quorum of three; two followers are", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.propose(1, "x");
    cluster.deliver();
    cluster.persist(2);
    cluster.deliver();
    expect(cluster.raft(1).commitIndex).toBe(2);
    cluster.persist(3);
    cluster.deliver();
    expect(cluster.raft(1).commitIndex).toBe(3);
    expect(cluster.raft(1).stableIndex).toBe(2);
  });

  it("does not elect itself before its own vote is durable", () => {
    const cluster = clusterOf(1);
    cluster.act(1, (raft) => raft.campaign());
    cluster.persist(1, 1);
    expect(cluster.raft(1).role).toBe("candidate");
    cluster.persist(1);
    expect(cluster.raft(1).role).toBe("leader");
  });
});

describe("item 14: a completed write of an earlier term marks nothing newer as durable", () => {
  it("two truncations later, the same index and term is not stable by the first write", () => {
    const cluster = new TestCluster();
    cluster.add(1, founded(voters(1, 2, 3)));
    const from = (leader: number, term: number, entry: number): void =>
      cluster.step({
        kind: "append",
        from: leader,
        to: 1,
        term,
        prevIndex: 1,
        prevTerm: 1,
        entries: [normal(entry, 2)],
        commit: 1,
      });
    from(2, 2, 2);
    from(3, 3, 3);
    from(2, 4, 2);
    expect(cluster.raft(1).stableIndex).toBe(1);
    cluster.persist(1, 1);
    expect(cluster.raft(1).stableIndex, "the first of three writes").toBe(1);
    cluster.persist(1, 1);
    expect(cluster.raft(1).stableIndex, "the second").toBe(1);
    cluster.persist(1, 1);
    expect(cluster.raft(1).stableIndex, "the last").toBe(2);
    expect(cluster.node(1).disk.entries.map(({ term }) => term)).toEqual([1, 2]);
  });

  it("a leader ignores its own acknowledgement of a term that is over", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.propose(1, "lost");
    cluster.drop();
    // A new leader replaces what the old one is still writing.
    cluster.succeed(2, 2, 3);
    cluster.act(2, (raft) => raft.tick());
    cluster.deliver();
    cluster.deliver();
    expect(cluster.raft(1).role).toBe("follower");
    expect(cluster.raft(1).commitIndex).toBe(2);
    cluster.persist(1, 1);
    expect(cluster.raft(1).commitIndex).toBe(2);
    cluster.stabilize();
    cluster.tick(2);
    cluster.stabilize();
    expect(cluster.terms(1)).toEqual(cluster.terms(2));
    expect(cluster.commands(1)).toEqual([]);
  });
});
