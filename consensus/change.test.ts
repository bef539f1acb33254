import { describe, expect, it } from "vitest";
import {
  THREE,
  NEW_DISK,
  TestCluster,
  bytes,
  clusterOf,
  conf,
  diskOf,
  founded,
  kinds,
  learners,
  normal,
  voters,
} from "./testing.ts";

/** Three voters, and node 4 with an empty disk. */
function withStranger(): TestCluster {
  const cluster = clusterOf(3);
  cluster.add(4, NEW_DISK);
  cluster.elect(1);
  return cluster;
}

describe("item 19: a learner first", () => {
  it("gets the log, and is no part of any quorum until it is promoted", () => {
    const cluster = withStranger();
    cluster.change(1, ...learners(4));
    cluster.stabilize();
    cluster.propose(1, "a");
    cluster.stabilize(1, 4);
    expect(cluster.raft(1).commitIndex, "one voter and a learner").toBe(3);
    cluster.beat(1);
    cluster.beat(1);
    expect(cluster.commands(4)).toEqual(["a"]);
    expect(cluster.raft(4).isLearner).toBe(true);
    cluster.change(1, ...voters(4));
    cluster.stabilize();
    expect(cluster.raft(4).isLearner).toBe(false);
    cluster.propose(1, "b");
    cluster.stabilize(1, 4);
    expect(cluster.commands(1), "two of four").toEqual(["a"]);
  });

  it("a newcomer does not make the leader step down", () => {
    const cluster = clusterOf(1);
    cluster.elect(1);
    cluster.change(1, ...voters(2));
    cluster.persist(1);
    cluster.tick(1, 10);
    expect(cluster.raft(1).role).toBe("leader");
    cluster.tick(1, 10);
    expect(cluster.raft(1).role, "but it has to answer in time").toBe("follower");
  });
});

describe("item 20: a swap is one joint change", () => {
  const swap = [
    { op: "add-voter", id: 4 },
    { op: "remove", id: 3 },
  ] as const;

  it("is entered, and left by the leader as soon as it is applied", () => {
    const cluster = withStranger();
    cluster.change(1, ...swap);
    cluster.stabilize();
    for (const id of [1, 2, 4]) {
      expect(cluster.raft(id).membership).toEqual({
        voters: [1, 2, 4],
        outgoing: [],
        learners: [],
        learnersNext: [],
      });
    }
  });

  it("commits in between by majorities of both halves only", () => {
    const cluster = withStranger();
    cluster.change(1, { op: "remove", id: 2 }, { op: "remove", id: 3 }, ...voters(4));
    cluster.stabilize(1, 2, 3);
    expect(cluster.raft(1).membership).toMatchObject({ voters: [1, 4], outgoing: [1, 2, 3] });
    const before = cluster.raft(1).commitIndex;
    cluster.propose(1, "a");
    cluster.stabilize(1, 2, 3);
    expect(cluster.raft(1).commitIndex, "all of the old half").toBe(before);
    cluster.tick(1);
    cluster.stabilize(1, 4);
    expect(cluster.raft(1).commitIndex, "with the new half").toBeGreaterThan(before);
    expect(cluster.raft(1).membership).toMatchObject({ voters: [1, 4], outgoing: [] });
  });

  it("a new leader leaves a joint configuration that the old one entered", () => {
    const cluster = withStranger();
    cluster.change(1, ...swap);
    // Everyone applies the joint configuration; what leaves it is lost with the leader.
    for (let i = 0; i < 40 && cluster.raft(2).membership.outgoing.length === 0; i++) {
      for (const id of [1, 2, 3]) cluster.persist(id);
      cluster.drop(({ from, to }) => from === 4 || to === 4);
      cluster.deliver();
    }
    cluster.drop();
    expect(cluster.raft(2).membership.outgoing).toEqual([1, 2, 3]);
    cluster.succeed(2, 2, 3, 4);
    cluster.stabilize(2, 3, 4);
    cluster.tick(2);
    cluster.stabilize(2, 3, 4);
    expect(cluster.raft(2).membership).toMatchObject({ voters: [1, 2, 4], outgoing: [] });
  });

  it("needs both halves to elect", () => {
    const disk = founded(THREE);
    const joint = conf(1, 2, {
      changes: [{ op: "remove", id: 2 }, { op: "remove", id: 3 }, ...voters(4, 5)],
    });
    const cluster = new TestCluster();
    cluster.add(1, diskOf({ term: 1, vote: 0, commit: 2 }, [...disk.entries, joint]));
    expect(cluster.raft(1).membership.voters).toEqual([1, 4, 5]);
    cluster.act(1, (raft) => raft.campaign());
    cluster.persist(1);
    const grant = {
      kind: "pre-vote-reply",
      to: 1,
      term: 2,
      rejected: false,
      commit: 0,
      commitTerm: 0,
    } as const;
    cluster.step({ ...grant, from: 2 });
    cluster.step({ ...grant, from: 3 });
    expect(cluster.raft(1).role, "the old half alone").toBe("pre-candidate");
    cluster.step({ ...grant, from: 4 });
    expect(cluster.raft(1).role).toBe("candidate");
  });
});

describe("items 21 and 22: one change at a time, active when applied", () => {
  it("a second is refused until the first is applied", () => {
    const cluster = withStranger();
    expect(cluster.change(1, ...voters(4)).kind).toBe("proposed");
    expect(cluster.raft(1).changePending).toBe(true);
    expect(cluster.change(1, ...voters(5))).toEqual({ kind: "refused", reason: "change-pending" });
    expect(cluster.raft(1).membership.voters).toEqual([1, 2, 3]);
    cluster.stabilize();
    expect(cluster.raft(1).membership.voters).toEqual([1, 2, 3, 4]);
    expect(cluster.change(1, ...voters(5)).kind).toBe("proposed");
  });

  it("a new leader refuses one until everything before its term is applied", () => {
    const cluster = new TestCluster();
    const entries = [...founded(THREE).entries, conf(1, 2, { changes: voters(4) })];
    for (const id of [1, 2, 3]) {
      cluster.add(id, diskOf({ term: 1, vote: 0, commit: 1 }, entries));
    }
    cluster.act(1, (raft) => raft.campaign());
    for (const kind of ["pre-vote-reply", "vote-reply"] as const) {
      cluster.step({ kind, from: 2, to: 1, term: 2, rejected: false, commit: 0, commitTerm: 0 });
      cluster.persist(1);
    }
    expect(cluster.raft(1).role).toBe("leader");
    expect(cluster.change(1, ...voters(5))).toEqual({ kind: "refused", reason: "change-pending" });
    cluster.stabilize();
    expect(cluster.raft(1).membership.voters).toEqual([1, 2, 3, 4]);
    expect(cluster.change(1, ...voters(5)).kind).toBe("proposed");
  });

  it("two leaders, each with a change of its own, never decide apart (the bug of 2015)", () => {
    const cluster = clusterOf(4);
    cluster.elect(1);
    // Leader 1 adds 5, and only its own disk and 5's would know.
    cluster.change(1, ...voters(5));
    cluster.persist(1);
    cluster.drop();
    expect(cluster.raft(1).membership.voters).toEqual([1, 2, 3, 4]);
    // Leader 2 removes 1 and commits with 3 and 4.
    cluster.succeed(2, 2, 3, 4);
    cluster.change(2, { op: "remove", id: 1 });
    cluster.stabilize(2, 3, 4);
    expect(cluster.raft(2).membership.voters).toEqual([2, 3, 4]);
    // Leader 1 comes back with 5: not a majority of what it knows.
    cluster.add(5, NEW_DISK);
    cluster.act(1, (raft) => raft.campaign());
    cluster.stabilize(1, 5);
    expect(cluster.raft(1).membership.voters).toEqual([1, 2, 3, 4]);
    expect(cluster.raft(1).commitIndex).toBe(2);
    cluster.tick(1, 30);
    cluster.stabilize();
    expect(cluster.leaders).toEqual([2]);
  });

  it("a change that makes no sense is refused, and leaves nothing behind", () => {
    const cluster = clusterOf(1);
    cluster.elect(1);
    expect(cluster.change(1, { op: "remove", id: 1 })).toMatchObject({ reason: "bad-change" });
    expect(cluster.change(1)).toMatchObject({ reason: "bad-change" });
    expect(cluster.change(1, ...voters(0))).toMatchObject({ reason: "bad-change" });
    expect(cluster.raft(1)).toMatchObject({ lastIndex: 2, changePending: false });
  });

  it("a committed change that is refused when applied changes nothing, on all nodes", () => {
    const cluster = clusterOf(1);
    cluster.elect(1);
    const bad = conf(2, 3, { changes: [{ op: "remove", id: 1 }] });
    const follower = new TestCluster();
    follower.add(1, founded(voters(1, 2)));
    follower.step({
      kind: "append",
      from: 2,
      to: 1,
      term: 2,
      prevIndex: 1,
      prevTerm: 1,
      entries: [conf(2, 2, { changes: [] }), { ...bad, index: 3 }, normal(2, 4)],
      commit: 4,
    });
    expect(follower.raft(1).appliedIndex).toBe(4);
    expect(follower.raft(1).membership.voters).toEqual([2]);
  });

  it("entries are applied in order, once", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.node(1).holdsApply = true;
    cluster.propose(1, "a");
    cluster.propose(1, "b");
    cluster.stabilize();
    const [a] = cluster.node(1).unapplied;
    if (a === undefined) throw new Error("it was committed");
    expect(() => cluster.raft(1).applied({ ...a, index: a.index + 1 })).toThrow("in order");
    cluster.raft(1).applied(a);
    expect(() => cluster.raft(1).applied(a)).toThrow("in order");
  });
});

describe("item 23: the leader leaves", () => {
  it("removed, it steps down when the change is applied, and the others know of the commit", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.change(1, { op: "remove", id: 1 });
    cluster.stabilize();
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 2 });
    expect(cluster.raft(2).membership.voters).toEqual([2, 3]);
    cluster.tick(1, 50);
    expect(cluster.raft(1).role).toBe("follower");
    cluster.succeed(2, 2, 3);
    expect(cluster.propose(2, "a").kind).toBe("proposed");
  });

  it("demoted to a learner, it steps down as well", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.change(1, ...learners(1));
    cluster.stabilize();
    expect(cluster.raft(1)).toMatchObject({ role: "follower", isLearner: true });
  });

  it("replaced, it leads until the joint configuration is left", () => {
    const cluster = withStranger();
    cluster.change(1, { op: "remove", id: 1 }, ...voters(4));
    for (let i = 0; i < 40 && cluster.raft(1).membership.outgoing.length === 0; i++) {
      for (const id of [1, 2, 3]) cluster.persist(id);
      cluster.deliver();
    }
    expect(cluster.raft(1).membership).toMatchObject({ voters: [2, 3, 4], outgoing: [1, 2, 3] });
    expect(cluster.raft(1).role).toBe("leader");
    cluster.stabilize();
    expect(cluster.raft(1).role).toBe("follower");
    expect(cluster.raft(2).membership).toMatchObject({ voters: [2, 3, 4], outgoing: [] });
  });

  it("a smaller quorum commits what waited for the larger one", () => {
    const cluster = clusterOf(4);
    cluster.elect(1);
    cluster.change(1, { op: "remove", id: 4 });
    cluster.act(1, (raft) => raft.propose(bytes("a")));
    // Two of four hold "a", three of four hold the change.
    cluster.deliver(({ to }) => to === 2);
    cluster.persist(1);
    cluster.persist(2);
    cluster.deliver(kinds("append-reply"));
    expect(cluster.commands(1)).toEqual([]);
    cluster.step({ kind: "append-reply", from: 3, to: 1, term: 2, index: 3, rejected: false });
    expect(cluster.raft(1).membership.voters).toEqual([1, 2, 3]);
    expect(cluster.commands(1)).toEqual(["a"]);
  });

  it("who was removed is sent nothing more, and its answers do not count", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.change(1, { op: "remove", id: 3 });
    cluster.stabilize();
    cluster.propose(1, "a");
    expect(cluster.network.map(({ to }) => to)).toEqual([2]);
    cluster.persist(1);
    cluster.step({ kind: "append-reply", from: 3, to: 1, term: 2, index: 4, rejected: false });
    expect(cluster.raft(1).commitIndex).toBe(3);
    expect(cluster.raft(1).progressOf(3)).toBeUndefined();
  });
});
