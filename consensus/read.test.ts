import { describe, expect, it } from "vitest";
import { clusterOf, kinds } from "./testing.ts";

describe("item 25: ReadIndex", () => {
  it("is refused before an entry of the leader's own term is committed", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.propose(1, "x");
    cluster.stabilize();
    cluster.act(3, (raft) => raft.peerLost(1));
    cluster.act(2, (raft) => raft.campaign());
    // Elected by 3, and nothing appended has been acknowledged yet.
    for (let i = 0; i < 4 && cluster.raft(2).role !== "leader"; i++) {
      cluster.persist(2);
      cluster.deliver();
      cluster.persist(3);
      cluster.deliver();
    }
    expect(cluster.raft(2).role).toBe("leader");
    expect(cluster.act(2, (raft) => raft.readIndex(7))).toBe(false);
    cluster.stabilize();
    expect(cluster.act(2, (raft) => raft.readIndex(7))).toBe(true);
  });

  it("is refused by a follower", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    expect(cluster.raft(2).readIndex(1)).toBe(false);
  });

  it("waits for a quorum's heartbeat replies and tells the commit index of the call", () => {
    const cluster = clusterOf(5);
    cluster.elect(1);
    expect(cluster.act(1, (raft) => raft.readIndex(7))).toBe(true);
    expect(cluster.node(1).reads).toEqual([]);
    cluster.deliver(({ to }) => to === 2);
    cluster.deliver(kinds("heartbeat-reply"));
    expect(cluster.node(1).reads, "two of five").toEqual([]);
    cluster.deliver(({ to }) => to === 3);
    cluster.deliver(kinds("heartbeat-reply"));
    expect(cluster.node(1).reads, "three of five").toMatchObject([{ id: 7, index: 2 }]);
  });

  it("is confirmed by a leader that reaches a bare quorum, and not by one that reaches less", () => {
    const cluster = clusterOf(5);
    cluster.elect(1);
    cluster.act(1, (raft) => raft.readIndex(1));
    cluster.stabilize(1, 2, 3);
    expect(cluster.node(1).reads).toMatchObject([{ id: 1 }]);
    cluster.act(1, (raft) => raft.readIndex(2));
    for (let i = 0; i < 9; i++) {
      cluster.tick(1);
      cluster.stabilize(1, 2);
    }
    expect(cluster.node(1).reads).toHaveLength(1);
  });

  it("is not confirmed by answers to a heartbeat sent before the read", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.act(1, (raft) => raft.readIndex(1));
    cluster.deliver(kinds("heartbeat"));
    const old = cluster.drop(kinds("heartbeat-reply"));
    cluster.act(1, (raft) => raft.readIndex(2));
    for (const message of old) cluster.step(message);
    expect(cluster.node(1).reads.map(({ id }) => id)).toEqual([1]);
    cluster.stabilize();
    expect(cluster.node(1).reads.map(({ id }) => id)).toEqual([1, 2]);
  });

  it("the same id asked twice is confirmed twice, each by its own round (etcd/raft #397)", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.act(1, (raft) => raft.readIndex(5));
    cluster.deliver(kinds("heartbeat"));
    const old = cluster.drop(kinds("heartbeat-reply"));
    for (const message of old) cluster.step(message);
    expect(cluster.node(1).reads).toHaveLength(1);
    cluster.act(1, (raft) => raft.readIndex(5));
    for (const message of old) cluster.step(message);
    expect(cluster.node(1).reads, "the answers were the first one's").toHaveLength(1);
  });

  it("reads of one turn share one round of heartbeats", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.act(1, (raft) => {
      for (let id = 0; id < 10; id++) raft.readIndex(id);
    });
    expect(cluster.deliver(kinds("heartbeat"))).toHaveLength(2);
    cluster.deliver();
    expect(cluster.node(1).reads).toHaveLength(10);
  });

  it("a lost round is repeated by the next heartbeat", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.act(1, (raft) => raft.readIndex(1));
    cluster.drop();
    cluster.tick(1);
    cluster.stabilize();
    expect(cluster.node(1).reads).toHaveLength(1);
  });

  it("a deposed leader confirms nothing, and forgets its reads", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.act(1, (raft) => raft.readIndex(1));
    cluster.drop();
    cluster.succeed(2, 2, 3);
    cluster.tick(1);
    cluster.stabilize();
    expect(cluster.raft(1).role).toBe("follower");
    expect(cluster.node(1).reads).toEqual([]);
  });

  it("a read of an earlier term is not confirmed by a later one, even within one turn", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    const { raft } = cluster.node(1);
    const term = raft.term;
    // All of this happens to node 1 between two calls of ready().
    expect(raft.readIndex(1)).toBe(true);
    raft.step({ kind: "heartbeat", from: 2, to: 1, term: term + 1, commit: 0, context: 0 });
    raft.campaign();
    const grant = {
      kind: "pre-vote-reply",
      to: 1,
      term: term + 2,
      rejected: false,
      commit: 0,
      commitTerm: 0,
    } as const;
    for (const kind of ["pre-vote-reply", "vote-reply"] as const) {
      for (const from of [1, 2, 3]) raft.step({ ...grant, kind, from });
    }
    expect(raft.role).toBe("leader");
    cluster.take(1);
    cluster.stabilize();
    cluster.tick(1);
    cluster.stabilize();
    expect(cluster.node(1).reads).toEqual([]);
  });

  it("a single voter confirms at once", () => {
    const cluster = clusterOf(1);
    cluster.elect(1);
    cluster.act(1, (raft) => raft.readIndex(1));
    expect(cluster.node(1).reads).toMatchObject([{ id: 1, index: 2 }]);
  });

  it("in a joint configuration needs a majority of both halves", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.change(
      1,
      { op: "remove", id: 2 },
      { op: "remove", id: 3 },
      { op: "add-voter", id: 4 },
      { op: "add-voter", id: 5 },
    );
    cluster.stabilize(1, 2, 3);
    // 4 and 5 never answer, so the joint configuration cannot be left.
    expect(cluster.raft(1).membership.outgoing).toEqual([1, 2, 3]);
    cluster.act(1, (raft) => raft.readIndex(1));
    cluster.stabilize(1, 2, 3);
    expect(cluster.node(1).reads).toEqual([]);
  });
});
