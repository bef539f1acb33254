import { describe, expect, it } from "vitest";
import type { Message, RaftId } from "./message.ts";
import {
  ASK,
  BEAT,
  THREE,
  TestCluster,
  answer,
  between,
  clusterOf,
  conf,
  diskOf,
  founded,
  kinds,
  lone,
  voters,
} from "./testing.ts";

const TICKS = 10;

/** The pre-vote that node 2 sends to node 1 for `term`, with a log as long as a new cluster's. */
function preVote(term: number, from: RaftId = 2): Message {
  return { kind: "pre-vote", from, to: 1, term, lastIndex: 1, lastTerm: 1 };
}

function ticksUntilAsks(cluster: TestCluster, id: RaftId): number {
  for (let ticks = 1; ticks < 100; ticks++) {
    cluster.tick(id);
    if (cluster.drop(kinds("pre-vote")).length > 0) return ticks;
  }
  throw new Error("it never asks");
}

describe("two that stand at once", () => {
  it.each([
    [1, 3],
    [3, 1],
  ])("and hear each other do not split the votes: of %i and %i the lower id wins", (...both) => {
    const cluster = clusterOf(3);
    for (const id of both) cluster.act(id, (raft) => raft.campaign());
    cluster.drop(({ to }) => to === 2);
    cluster.stabilize(1, 3);
    expect(cluster.raft(1)).toMatchObject({ role: "leader", term: 2 });
    expect(cluster.raft(3)).toMatchObject({ role: "follower", leader: 1 });
  });

  it("the longer log wins, whatever its id", () => {
    const cluster = new TestCluster();
    for (const id of [1, 2]) cluster.add(id, founded(THREE));
    cluster.add(3, founded(THREE, [1]));
    for (const id of [1, 3]) cluster.act(id, (raft) => raft.campaign());
    cluster.drop(({ to }) => to === 2);
    cluster.stabilize(1, 3);
    expect(cluster.raft(3)).toMatchObject({ role: "leader", term: 2 });
  });

  it("and do not hear each other split the votes; the third one elects whoever asks it first", () => {
    const cluster = clusterOf(3);
    for (const id of [1, 3]) cluster.act(id, (raft) => raft.campaign());
    cluster.drop(({ from, to }) => from !== 2 && to !== 2);
    for (const id of [1, 3]) cluster.persist(id);
    cluster.stabilize(2, 3);
    cluster.deliver(between(1, 2));
    expect(cluster.raft(3)).toMatchObject({ role: "leader", term: 2, vote: 3 });
    expect(cluster.raft(1).role).not.toBe("leader");
  });
});

describe("who encourages another", () => {
  it("does not stand itself until half an election timeout has passed, nor much later", () => {
    const seen = Array.from({ length: 40 }, (_, seed) => {
      const cluster = lone();
      cluster.tick(1, seed % TICKS);
      expect(answer(cluster, preVote(2))).toMatchObject([{ rejected: false }]);
      return ticksUntilAsks(cluster, 1);
    });
    expect(Math.min(...seen)).toBeGreaterThanOrEqual(TICKS / 2);
    expect(Math.max(...seen)).toBeLessThan(TICKS * 1.5);
  });

  it("votes for it, though the leader was heard an election timeout ago", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.tick(3, TICKS);
    cluster.drop();
    const { lastIndex } = cluster.raft(3);
    const ask = { from: 2, to: 3, term: 3, lastIndex, lastTerm: 2 } as const;
    cluster.step({ kind: "pre-vote", ...ask });
    cluster.step({ kind: "vote", transfer: false, ...ask });
    expect(cluster.raft(3)).toMatchObject({ term: 3, vote: 2 });
  });

  it("does so once a term for each: one that hears no answers does not keep the others from standing", () => {
    const cluster = lone();
    const ticks = ticksUntilAsks(lone(), 1);
    let asked = 0;
    for (let tick = 0; tick < 2 * TICKS + ticks && asked === 0; tick++) {
      cluster.step(preVote(2));
      cluster.tick(1);
      asked = cluster.drop(kinds("pre-vote")).length;
    }
    expect(asked).toBe(2);
  });

  it("and not once for all of them: one that cannot finish does not have the others split the votes", () => {
    const cluster = clusterOf(5);
    for (const id of [3, 4]) cluster.step({ ...preVote(2, 1), to: id });
    cluster.act(3, (raft) => raft.campaign());
    cluster.act(4, (raft) => raft.campaign());
    cluster.drop(({ from, to }) => [1, 5].includes(from) || [1, 5].includes(to));
    cluster.stabilize(2, 3, 4);
    expect(cluster.raft(3)).toMatchObject({ role: "leader", term: 2 });
    expect(cluster.raft(4)).toMatchObject({ role: "follower", leader: 3 });
  });

  it("so also before one of an earlier term than another that asked", () => {
    const cluster = clusterOf(5);
    cluster.step({ ...preVote(7, 1), to: 4 });
    cluster.act(4, (raft) => raft.campaign());
    cluster.step({ ...preVote(2, 3), to: 4 });
    expect(cluster.raft(4).role).toBe("follower");
  });

  it("still believes in the one that it encouraged when that one leads, and asks late", () => {
    const cluster = lone();
    cluster.step({ kind: "vote", ...ASK, term: 2, transfer: false });
    cluster.step({ ...BEAT, term: 2 });
    expect(answer(cluster, preVote(2)).at(-1)).toMatchObject({ rejected: false });
    expect(cluster.raft(1)).toMatchObject({ role: "follower", leader: 2, term: 2 });
  });

  it("a candidate goes on: others have voted for it", () => {
    const cluster = lone();
    cluster.act(1, (raft) => raft.campaign());
    cluster.persist(1);
    cluster.step({
      kind: "pre-vote-reply",
      from: 3,
      to: 1,
      term: 2,
      rejected: false,
      commit: 0,
      commitTerm: 0,
    });
    expect(cluster.raft(1)).toMatchObject({ role: "candidate", term: 2 });
    cluster.step(preVote(3));
    expect(cluster.raft(1)).toMatchObject({ role: "candidate", term: 2 });
  });
});

describe("who stands while its disk stands still", () => {
  it("stays what it is, however many encourage it: it raises no term, and the others stand back once", () => {
    const cluster = clusterOf(5);
    const others = [2, 3, 4, 5];
    let asked = 0;
    for (let tick = 0; tick < 6 * TICKS; tick++) {
      cluster.tick(1);
      asked += cluster.deliver(kinds("pre-vote")).length;
      for (const id of others) cluster.persist(id);
      cluster.deliver(kinds("pre-vote-reply"));
    }
    expect(asked).toBeGreaterThan(2 * others.length);
    expect(cluster.raft(1)).toMatchObject({ role: "pre-candidate", term: 1 });
    cluster.stabilize();
    expect(cluster.raft(1)).toMatchObject({ role: "leader", term: 2 });
  });

  it("asks nobody again: what it asked still waits for the disk", () => {
    const cluster = clusterOf(3);
    cluster.step({ kind: "timeout-now", from: 2, to: 1, term: 1 });
    const waiting = cluster.node(1).writes.length;
    cluster.tick(1, TICKS - 1);
    expect(cluster.raft(1).role).toBe("candidate");
    expect(cluster.node(1).writes).toHaveLength(waiting);
    cluster.persist(1);
    expect(cluster.drop(kinds("vote")).map(({ to }) => to)).toEqual([2, 3]);
  });
});

describe("a request that was lost comes again", () => {
  it("to those that have not answered, and to no others", () => {
    const cluster = clusterOf(5);
    cluster.act(1, (raft) => raft.campaign());
    cluster.persist(1);
    cluster.drop();
    cluster.step({
      kind: "pre-vote-reply",
      from: 2,
      to: 1,
      term: 2,
      rejected: false,
      commit: 0,
      commitTerm: 0,
    });
    cluster.tick(1, 2);
    expect(cluster.drop()).toEqual([]);
    cluster.tick(1);
    expect(cluster.drop(kinds("pre-vote")).map(({ to }) => to)).toEqual([3, 4, 5]);
  });

  it("as a vote too, and with the leader's wish if there was one", () => {
    for (const transfer of [false, true]) {
      const cluster = clusterOf(3);
      if (transfer) {
        cluster.step({ kind: "timeout-now", from: 2, to: 1, term: 1 });
      } else {
        cluster.act(1, (raft) => raft.campaign());
        cluster.persist(1);
        cluster.step({
          kind: "pre-vote-reply",
          from: 2,
          to: 1,
          term: 2,
          rejected: false,
          commit: 0,
          commitTerm: 0,
        });
      }
      cluster.persist(1);
      cluster.drop();
      cluster.tick(1, 3);
      cluster.persist(1);
      expect(cluster.drop(kinds("vote"))).toMatchObject([
        { to: 2, term: 2, transfer },
        { to: 3, term: 2, transfer },
      ]);
    }
  });
});

describe("answers say what is committed", () => {
  it("a candidate learns from one that refuses it", () => {
    const cluster = lone(THREE, [1, 1]);
    expect(cluster.raft(1).commitIndex).toBe(1);
    cluster.act(1, (raft) => raft.campaign());
    const refusal = { kind: "pre-vote-reply", from: 2, to: 1, term: 1, rejected: true } as const;
    // Beyond its log, and of another term than its own: nothing that it has.
    cluster.step({ ...refusal, commit: 9, commitTerm: 1 });
    cluster.step({ ...refusal, commit: 3, commitTerm: 2 });
    expect(cluster.raft(1).commitIndex).toBe(1);
    cluster.step({ ...refusal, commit: 2, commitTerm: 1 });
    expect(cluster.raft(1).commitIndex).toBe(2);
    cluster.step({ ...refusal, from: 3, commit: 1, commitTerm: 1 });
    expect(cluster.raft(1).commitIndex).toBe(2);
  });

  it("also of one whose log begins right after it", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.beat(1);
    cluster.snapshot(1, 2);
    expect(cluster.raft(1)).toMatchObject({ base: { index: 2, term: 2 }, commitIndex: 2 });
    cluster.act(1, (raft) => raft.abdicate());
    cluster.drop();
    expect(answer(cluster, preVote(3))).toMatchObject([
      { to: 2, rejected: true, commit: 2, commitTerm: 2 },
    ]);
  });

  it("a candidate that learns of a change counts no answer before it has applied it", () => {
    const entries = [conf(1, 1, { changes: THREE }), conf(1, 2, { changes: voters(4) })];
    const cluster = new TestCluster();
    cluster.add(1, diskOf({ term: 1, vote: 0, commit: 1 }, entries));
    cluster.node(1).holdsApply = true;
    cluster.act(1, (raft) => raft.campaign());
    cluster.persist(1);
    const grant = { from: 2, to: 1, term: 2, rejected: false, commit: 2, commitTerm: 1 } as const;
    cluster.step({ kind: "pre-vote-reply", ...grant });
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 1, commitIndex: 2 });
    cluster.act(1, (raft) => raft.campaign());
    expect(cluster.raft(1).role).toBe("follower");
    cluster.apply(1);
    cluster.act(1, (raft) => raft.campaign());
    expect(cluster.raft(1).role).toBe("pre-candidate");
    expect(cluster.raft(1).membership.voters).toEqual([1, 2, 3, 4]);
  });

  it("an only voter that forgot that it is the only one learns it from those that it asks", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.change(1, { op: "add-learner", id: 2 }, { op: "add-learner", id: 3 });
    cluster.stabilize();
    cluster.beat(1);
    expect(cluster.raft(3).membership.voters).toEqual([1]);
    // Its last entry reaches the others before its own disk; then its power fails. What it wrote down says that
    // the joint configuration began, and not yet that it was left.
    cluster.propose(1, "lost");
    cluster.deliver();
    for (const id of [2, 3]) cluster.persist(id);
    cluster.drop();
    const node = cluster.node(1);
    node.disk = { ...node.disk, hardState: { ...node.disk.hardState, commit: 3 } };
    cluster.restart(1);
    expect(cluster.raft(1).membership.outgoing).toEqual([1, 2, 3]);
    for (const id of [2, 3]) cluster.act(id, (raft) => raft.peerLost(1));
    cluster.act(1, (raft) => raft.campaign());
    cluster.stabilize();
    expect(cluster.raft(1).membership.outgoing).toEqual([]);
    cluster.elect(1);
    expect(cluster.commands(1)).toEqual([]);
  });
});
