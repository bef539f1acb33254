import { describe, expect, it } from "vitest";
import {
  ASK,
  BEAT,
  THREE,
  answer,
  lone,
  TestCluster,
  between,
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

describe("item 4: a pre-vote disturbs nobody", () => {
  it("asking changes neither term nor vote, of the asker and of the asked", () => {
    const cluster = clusterOf(3);
    cluster.act(1, (raft) => raft.campaign());
    cluster.deliver();
    for (const id of [1, 2, 3]) expect(cluster.raft(id)).toMatchObject({ term: 1, vote: 0 });
    cluster.persist(2);
    expect(cluster.node(2).disk.hardState).toMatchObject({ term: 1, vote: 0 });
  });

  it("granting does not postpone the granter's own election", () => {
    const cluster = lone();
    const fresh = lone();
    let at = 0;
    while (cluster.raft(1).role === "follower" && at < 100) {
      cluster.step({ kind: "pre-vote", ...ASK, term: 2 });
      cluster.tick(1);
      at += 1;
    }
    fresh.tick(1, at - 1);
    expect(fresh.raft(1).role).toBe("follower");
    fresh.tick(1);
    expect(fresh.raft(1).role).toBe("pre-candidate");
  });

  it("a node that was cut off comes back without raising the term", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.tick(3, 200);
    cluster.drop();
    expect(cluster.raft(3)).toMatchObject({ role: "pre-candidate", term: 2 });
    cluster.tick(3, 20);
    cluster.stabilize();
    expect(cluster.raft(1)).toMatchObject({ role: "leader", term: 2 });
    cluster.tick(1);
    cluster.stabilize();
    expect(cluster.raft(3)).toMatchObject({ role: "follower", leader: 1, term: 2 });
  });

  it("a grant for another term is not counted", () => {
    const cluster = clusterOf(3);
    cluster.act(1, (raft) => raft.campaign());
    cluster.step({
      kind: "pre-vote-reply",
      from: 2,
      to: 1,
      term: 5,
      rejected: false,
      commit: 0,
      commitTerm: 0,
    });
    cluster.step({
      kind: "pre-vote-reply",
      from: 3,
      to: 1,
      term: 5,
      rejected: false,
      commit: 0,
      commitTerm: 0,
    });
    expect(cluster.raft(1)).toMatchObject({ role: "pre-candidate", term: 1 });
  });

  it("a pre-vote that comes back when it is a candidate already is not counted as a vote", () => {
    const cluster = clusterOf(5);
    cluster.act(1, (raft) => raft.campaign());
    cluster.persist(1);
    for (const from of [2, 3, 4]) {
      cluster.step({
        kind: "pre-vote-reply",
        from,
        to: 1,
        term: 2,
        rejected: false,
        commit: 0,
        commitTerm: 0,
      });
    }
    expect(cluster.raft(1).role).toBe("candidate");
    // Its own vote becomes durable, and another late pre-vote arrives.
    cluster.persist(1);
    cluster.step({
      kind: "pre-vote-reply",
      from: 5,
      to: 1,
      term: 2,
      rejected: false,
      commit: 0,
      commitTerm: 0,
    });
    cluster.step({
      kind: "vote-reply",
      from: 2,
      to: 1,
      term: 2,
      rejected: false,
      commit: 0,
      commitTerm: 0,
    });
    expect(cluster.raft(1).role).toBe("candidate");
    cluster.step({
      kind: "vote-reply",
      from: 3,
      to: 1,
      term: 2,
      rejected: false,
      commit: 0,
      commitTerm: 0,
    });
    expect(cluster.raft(1).role).toBe("leader");
  });

  it("a rejection from a later term is followed into it", () => {
    const cluster = clusterOf(3);
    cluster.act(1, (raft) => raft.campaign());
    cluster.step({
      kind: "pre-vote-reply",
      from: 2,
      to: 1,
      term: 8,
      rejected: true,
      commit: 0,
      commitTerm: 0,
    });
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 8 });
  });
});

describe("items 5 and 6: CheckQuorum and the recent-leader rule", () => {
  it("a leader that hears no quorum for an election timeout steps down, in its term", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.tick(1, 10);
    expect(cluster.raft(1).role, "they answered within the first round").toBe("leader");
    cluster.drop();
    cluster.tick(1, 10);
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 2, leader: 0 });
  });

  it("a leader that hears a bare quorum stays", () => {
    const cluster = clusterOf(5);
    cluster.elect(1);
    for (let i = 0; i < 50; i++) {
      cluster.tick(1);
      cluster.stabilize(1, 2, 3);
    }
    expect(cluster.raft(1).role).toBe("leader");
  });

  it("learners do not keep a leader in office", () => {
    const cluster = new TestCluster();
    for (const id of [1, 2, 3, 4]) cluster.add(id, founded([...THREE, ...learners(4)]));
    cluster.elect(1);
    for (let i = 0; i < 20; i++) {
      cluster.tick(1);
      cluster.stabilize(1, 4);
    }
    expect(cluster.raft(1).role).toBe("follower");
  });

  it.each(["vote", "pre-vote"] as const)(
    "a follower that hears its leader ignores a %s of a later term",
    (kind) => {
      const cluster = clusterOf(3);
      cluster.elect(1);
      cluster.tick(2, 9);
      cluster.step({ kind, from: 3, to: 2, term: 9, lastIndex: 9, lastTerm: 2, transfer: false });
      cluster.persist(2);
      expect(cluster.drop()).toEqual([]);
      expect(cluster.raft(2)).toMatchObject({ term: 2, leader: 1 });
      cluster.tick(1);
      cluster.stabilize();
      cluster.tick(2, 10);
      cluster.drop();
      cluster.step({ kind, from: 3, to: 2, term: 9, lastIndex: 9, lastTerm: 2, transfer: false });
      cluster.persist(2);
      expect(cluster.drop(kinds(`${kind}-reply`))).toMatchObject([{ to: 3, rejected: false }]);
    },
  );

  it("a leader with a quorum ignores votes too", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.step({
      kind: "vote",
      from: 3,
      to: 1,
      term: 9,
      lastIndex: 9,
      lastTerm: 2,
      transfer: false,
    });
    expect(cluster.raft(1)).toMatchObject({ role: "leader", term: 2 });
  });

  it("a node stuck in a later term is freed: the leader steps down, and all meet in one term", () => {
    const cluster = new TestCluster();
    for (const id of [1, 2]) cluster.add(id, founded(THREE));
    cluster.add(3, founded(THREE, [], { term: 9 }));
    cluster.elect(1, 1, 2);
    cluster.tick(1);
    cluster.stabilize();
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 9 });
    cluster.succeed(1, 1, 2, 3);
    expect(cluster.raft(3)).toMatchObject({ leader: 1, term: 10 });
  });

  it("a learner that joins with a later term costs one election, and the cluster is stable again", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.add(4, diskOf({ term: 20, vote: 0, commit: 0 }, []));
    cluster.change(1, ...learners(4));
    for (let i = 0; i < 60; i++) {
      for (const id of [1, 2, 3, 4]) cluster.tick(id);
      cluster.stabilize();
    }
    expect(cluster.leaders).toHaveLength(1);
    expect(cluster.raft(4).term).toBe(21);
    expect(cluster.raft(4).appliedIndex).toBe(cluster.raft(1).appliedIndex);
    for (const id of [1, 2, 3]) expect(cluster.raft(id).term).toBe(21);
  });

  it("who can reach only one of two others does not depose a leader that reaches both", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    for (let i = 0; i < 100; i++) {
      for (const id of [1, 2, 3]) cluster.tick(id);
      for (let j = 0; j < 4; j++) {
        for (const id of [1, 2, 3]) cluster.persist(id);
        cluster.drop(between(1, 3));
        cluster.drop(between(3, 1));
        cluster.deliver();
      }
    }
    expect(cluster.raft(1)).toMatchObject({ role: "leader", term: 2 });
  });

  it("a broken connection to the leader is a hint: it asks at once, and goes on following who lives", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.act(2, (raft) => raft.peerLost(1));
    cluster.tick(2, 3);
    expect(cluster.raft(2).role).toBe("pre-candidate");
    cluster.stabilize();
    cluster.tick(1);
    cluster.stabilize();
    expect(cluster.raft(2)).toMatchObject({ role: "follower", leader: 1, term: 2 });
    cluster.act(2, (raft) => raft.peerLost(3));
    cluster.tick(2, 3);
    expect(cluster.raft(2).role).toBe("follower");
  });
});

describe("those who lose the connection to their leader", () => {
  it("take turns to stand: the lowest id at once, the next ones later", () => {
    const cluster = clusterOf(5);
    cluster.elect(3);
    for (const id of [1, 2, 4, 5]) cluster.act(id, (raft) => raft.peerLost(3));
    const standing: string[] = [];
    for (let tick = 1; tick <= 7; tick++) {
      for (const id of [1, 2, 4, 5]) cluster.tick(id);
      cluster.drop();
      const roles = [1, 2, 4, 5].filter((id) => cluster.raft(id).role === "pre-candidate");
      standing.push(roles.join());
    }
    expect(standing).toEqual(["1", "1", "1,2", "1,2", "1,2,4", "1,2,4", "1,2,4,5"]);
  });
});

describe("item 7: who was removed cannot disrupt", () => {
  it("does not campaign, and is ignored where a leader is heard", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.change(1, { op: "remove", id: 3 });
    cluster.stabilize(1, 2);
    // It never learned of its removal.
    cluster.tick(3, 100);
    cluster.stabilize();
    expect(cluster.raft(1)).toMatchObject({ role: "leader", term: 2 });
    cluster.step({
      kind: "vote",
      from: 3,
      to: 2,
      term: 50,
      lastIndex: 99,
      lastTerm: 49,
      transfer: false,
    });
    expect(cluster.raft(2).term).toBe(2);
  });

  it("who knows that it was removed does not stand", () => {
    const cluster = lone(voters(2, 3));
    cluster.tick(1, 100);
    cluster.act(1, (raft) => raft.campaign());
    expect(cluster.raft(1).role).toBe("follower");
    expect(cluster.drop()).toEqual([]);
  });
});

describe("item 8: a learner", () => {
  it("votes when it is asked: the candidate may know that it is a voter by now", () => {
    const cluster = lone([...voters(2, 3), ...learners(1)]);
    expect(cluster.raft(1).isLearner).toBe(true);
    expect(answer(cluster, { kind: "vote", ...ASK, term: 2, transfer: false })).toMatchObject([
      { rejected: false },
    ]);
  });

  it("does not stand", () => {
    const cluster = lone([...voters(2, 3), ...learners(1)]);
    cluster.tick(1, 100);
    expect(cluster.raft(1).role).toBe("follower");
  });
});

describe("item 10: no campaign while a committed change is not applied", () => {
  it("waits until it is", () => {
    const disk = founded(THREE);
    const change = conf(1, 2, { changes: voters(4) });
    const cluster = new TestCluster();
    cluster.add(1, diskOf({ term: 1, vote: 0, commit: 1 }, [...disk.entries, change]));
    const node = cluster.node(1);
    node.holdsApply = true;
    cluster.step({ ...BEAT, term: 1, commit: 2 });
    cluster.act(1, (raft) => raft.campaign());
    cluster.tick(1, 100);
    expect(cluster.raft(1).role).toBe("follower");
    node.holdsApply = false;
    cluster.apply(1);
    cluster.act(1, (raft) => raft.campaign());
    expect(cluster.raft(1).role).toBe("pre-candidate");
    expect(cluster.drop(kinds("pre-vote")).map(({ to }) => to)).toEqual([2, 3, 4]);
  });

  it("an uncommitted change, and a committed command, are no obstacle", () => {
    const disk = founded(THREE);
    const entries = [...disk.entries, normal(1, 2, "x"), conf(1, 3, { changes: voters(4) })];
    const cluster = new TestCluster();
    cluster.add(1, diskOf({ term: 1, vote: 0, commit: 1 }, entries));
    cluster.node(1).holdsApply = true;
    cluster.step({ ...BEAT, term: 1, commit: 2 });
    cluster.act(1, (raft) => raft.campaign());
    expect(cluster.raft(1).role).toBe("pre-candidate");
    expect(cluster.raft(1).propose(bytes("x"))).toMatchObject({ reason: "not-leader" });
  });
});
