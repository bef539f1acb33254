import { describe, expect, it } from "vitest";
import {
  BEAT,
  NEW_DISK,
  THREE,
  TestCluster,
  between,
  bytes,
  clusterOf,
  conf,
  diskOf,
  founded,
  kinds,
  learners,
  lone,
  normal,
  voters,
} from "./testing.ts";

/** Three voters, of which 1 leads. */
function led(count = 3): TestCluster {
  const cluster = clusterOf(count);
  cluster.elect(1);
  return cluster;
}

function transfer(cluster: TestCluster, from: number, to: number): string {
  const outcome = cluster.act(from, (raft) => raft.transfer(to));
  return outcome.kind === "begun" ? outcome.kind : outcome.reason;
}

describe("item 9: to whom leadership goes", () => {
  it("an up-to-date follower leads within one election, although all have just heard the leader", () => {
    const cluster = led();
    expect(transfer(cluster, 1, 2)).toBe("begun");
    const kindsSent = new Set(cluster.network.map(({ kind }) => kind));
    expect(kindsSent, "it needs nothing first").toContain("timeout-now");
    cluster.stabilize();
    expect(cluster.leaders).toEqual([2]);
    expect(cluster.raft(1)).toMatchObject({ role: "follower", leader: 2, term: 3, transferee: 0 });
  });

  it("no pre-vote is asked, and the votes say that it is a transfer", () => {
    const cluster = led();
    transfer(cluster, 1, 2);
    cluster.deliver();
    cluster.persist(2);
    expect(cluster.drop(kinds("pre-vote"))).toEqual([]);
    const asked = cluster.drop(kinds("vote"));
    expect(asked.map((m) => m.kind === "vote" && m.transfer)).toEqual([true, true]);
  });

  it("and back again", () => {
    const cluster = led();
    transfer(cluster, 1, 2);
    cluster.stabilize();
    expect(transfer(cluster, 2, 1)).toBe("begun");
    cluster.stabilize();
    expect(cluster.leaders).toEqual([1]);
    expect(cluster.raft(1).term).toBe(4);
  });

  it("a slow follower is sent what it lacks, and takes over when it holds it", () => {
    const cluster = led();
    for (const data of ["a", "b", "c"]) cluster.propose(1, data);
    cluster.stabilize(1, 2);
    expect(transfer(cluster, 1, 3)).toBe("begun");
    expect(cluster.drop(kinds("timeout-now")), "not before").toEqual([]);
    cluster.tick(1);
    cluster.stabilize();
    expect(cluster.leaders).toEqual([3]);
    expect(cluster.commands(3)).toEqual(["a", "b", "c"]);
  });

  it("a follower that needs a snapshot takes over when it has begun from it", () => {
    const cluster = led();
    for (const data of ["a", "b"]) cluster.propose(1, data);
    cluster.stabilize(1, 2);
    cluster.snapshot(1, 4);
    transfer(cluster, 1, 3);
    cluster.tick(1);
    cluster.stabilize();
    expect(cluster.leaders, "it is still fetching").toEqual([1]);
    cluster.fetch(3);
    cluster.stabilize();
    expect(cluster.leaders).toEqual([3]);
    expect(cluster.commands(3)).toEqual(["a", "b"]);
  });

  it.each([
    ["itself", 1, "is-leader"],
    ["a node that is no member", 9, "not-a-voter"],
    ["a learner", 4, "not-a-voter"],
  ])("not to %s: nothing happens", (_, to, reason) => {
    const cluster = new TestCluster();
    const disk = founded([...THREE, ...learners(4)]);
    for (const id of [1, 2, 3, 4]) cluster.add(id, disk);
    cluster.elect(1);
    expect(transfer(cluster, 1, to)).toBe(reason);
    expect(cluster.network).toEqual([]);
    expect(cluster.propose(1, "a").kind).toBe("proposed");
  });

  it("a follower has nothing to hand over", () => {
    const cluster = led();
    expect(transfer(cluster, 2, 3)).toBe("not-leader");
    expect(transfer(cluster, 2, 2)).toBe("not-leader");
  });

  it("a learner that is told to take over does not", () => {
    const cluster = lone([...voters(2, 3), ...learners(1)]);
    cluster.step({ kind: "timeout-now", from: 2, to: 1, term: 1 });
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 1 });
  });

  it("item 10: nor does one that has not applied a committed change", () => {
    const entries = [conf(1, 1, { changes: THREE }), conf(1, 2, { changes: voters(4) })];
    const cluster = new TestCluster();
    cluster.add(1, diskOf({ term: 1, vote: 0, commit: 1 }, entries));
    cluster.node(1).holdsApply = true;
    cluster.step({ ...BEAT, term: 1, commit: 2 });
    cluster.step({ kind: "timeout-now", from: 2, to: 1, term: 1 });
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 1 });
    cluster.apply(1);
    cluster.step({ kind: "timeout-now", from: 2, to: 1, term: 1 });
    expect(cluster.raft(1)).toMatchObject({ role: "candidate", term: 2 });
  });
});

describe("item 9: while leadership is handed over", () => {
  it("proposals and changes are refused, reads are not", () => {
    const cluster = led();
    cluster.propose(1, "a");
    cluster.stabilize(1, 2);
    transfer(cluster, 1, 3);
    expect(cluster.propose(1, "b")).toEqual({ kind: "refused", reason: "transferring" });
    expect(cluster.change(1, ...voters(4))).toEqual({ kind: "refused", reason: "transferring" });
    expect(cluster.raft(1).lastIndex).toBe(3);
    expect(cluster.act(1, (raft) => raft.readIndex(7))).toBe(true);
    cluster.stabilize(1, 2);
    expect(cluster.node(1).reads).toMatchObject([{ id: 7, index: 3 }]);
  });

  it("with writes: each is committed once, by the old leader or the new one, or refused", () => {
    const cluster = led();
    const taken: string[] = [];
    for (let i = 0; i < 20; i++) {
      const leader = cluster.leaders.at(-1) ?? 1;
      if (cluster.propose(leader, `${i}`).kind === "proposed") taken.push(`${i}`);
      if (i % 5 === 2) transfer(cluster, leader, (leader % 3) + 1);
      for (const id of [1, 2, 3]) cluster.persist(id);
      cluster.deliver();
      if (i % 5 === 4) cluster.stabilize();
    }
    expect(taken.length).toBeGreaterThan(5);
    expect(taken.length).toBeLessThan(20);
    for (const id of [1, 2, 3]) expect(cluster.commands(id)).toEqual(taken);
  });

  it("after an election timeout it gives up and takes proposals again", () => {
    const cluster = led();
    transfer(cluster, 1, 3);
    for (let i = 0; i < 10; i++) {
      expect(cluster.propose(1, "a").kind, `tick ${i}`).toBe("refused");
      cluster.tick(1);
      cluster.stabilize(1, 2);
    }
    expect(cluster.raft(1)).toMatchObject({ role: "leader", term: 2, transferee: 0 });
    expect(cluster.propose(1, "a").kind).toBe("proposed");
  });

  it("asked twice for the same node, the time is not counted anew", () => {
    const cluster = led();
    for (let i = 0; i < 10; i++) {
      expect(transfer(cluster, 1, 3)).toBe("begun");
      cluster.tick(1);
      cluster.stabilize(1, 2);
    }
    expect(cluster.raft(1)).toMatchObject({ role: "leader", transferee: 0 });
  });

  it("asked for another node, that one takes over, within a time of its own", () => {
    const cluster = led();
    transfer(cluster, 1, 3);
    cluster.tick(1, 9);
    cluster.drop();
    transfer(cluster, 1, 2);
    expect(cluster.raft(1).transferee).toBe(2);
    cluster.tick(1, 1);
    expect(cluster.raft(1).transferee).toBe(2);
    cluster.stabilize(1, 2);
    expect(cluster.leaders).toEqual([2]);
  });

  it("a leader that is asked over and over still steps down when it hears no quorum", () => {
    const cluster = led();
    for (let i = 0; i < 25; i++) {
      transfer(cluster, 1, 2 + (i % 2));
      cluster.tick(1);
      cluster.drop();
    }
    expect(cluster.raft(1).role).toBe("follower");
  });

  it("a lost request to take over is repeated with the follower's next acknowledgement", () => {
    const cluster = led();
    transfer(cluster, 1, 2);
    expect(cluster.drop(kinds("timeout-now"))).toHaveLength(1);
    cluster.stabilize();
    expect(cluster.leaders).toEqual([2]);
  });

  it("the leader follows whoever is in a later term meanwhile, and forgets that it wished to hand over", () => {
    const cluster = led();
    transfer(cluster, 1, 3);
    cluster.drop();
    const later = { kind: "append-reply", from: 2, to: 1, term: 9, index: 0 } as const;
    cluster.step({ ...later, rejected: false });
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 9, transferee: 0 });
  });

  it("a transferee that is not elected leaves the others free to elect: writes go on in a later term", () => {
    const cluster = led();
    transfer(cluster, 1, 2);
    cluster.deliver(kinds("timeout-now"));
    cluster.persist(2);
    // The others grant, and 2 dies before it hears so.
    cluster.deliver(kinds("vote"));
    cluster.drop();
    for (const id of [1, 3]) cluster.persist(id);
    cluster.drop(({ to }) => to === 2);
    cluster.nodes.delete(2);
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 3 });
    cluster.elect(1, 1, 3);
    cluster.propose(1, "a");
    cluster.stabilize(1, 3);
    expect(cluster.commands(1)).toEqual(["a"]);
  });

  it("a request to take over from an earlier term is ignored", () => {
    const cluster = lone(THREE, [], { term: 5 });
    cluster.step({ kind: "timeout-now", from: 2, to: 1, term: 4 });
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 5 });
  });

  it("one of a later term is followed into that term, and into the next as candidate", () => {
    const cluster = lone(THREE, [], { term: 5 });
    cluster.step({ kind: "timeout-now", from: 2, to: 1, term: 7 });
    expect(cluster.raft(1)).toMatchObject({ role: "candidate", term: 8, vote: 1 });
  });

  it.each(["pre-candidate", "candidate"] as const)("a %s goes on as it is", (role) => {
    const cluster = clusterOf(3);
    cluster.act(1, (raft) => raft.campaign());
    cluster.persist(1);
    if (role === "candidate") {
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
    const { term } = cluster.raft(1);
    cluster.step({ kind: "timeout-now", from: 2, to: 1, term });
    expect(cluster.raft(1)).toMatchObject({ role, term });
  });
});

describe("item 9: a transfer ends when its target may not lead any more", () => {
  it.each([
    ["removed", { op: "remove", id: 4 }],
    ["demoted", { op: "add-learner", id: 4 }],
  ] as const)("%s", (_, change) => {
    const cluster = led(4);
    cluster.change(1, change);
    transfer(cluster, 1, 4);
    cluster.drop(({ to }) => to === 4);
    expect(cluster.raft(1).transferee).toBe(4);
    cluster.stabilize(1, 2, 3);
    expect(cluster.raft(1)).toMatchObject({ role: "leader", transferee: 0 });
    expect(cluster.propose(1, "a").kind).toBe("proposed");
  });

  it("in a joint configuration an incoming voter may take over, and leaves it", () => {
    const cluster = led();
    cluster.add(4, NEW_DISK);
    cluster.change(1, ...voters(4), { op: "remove", id: 1 });
    while (cluster.raft(1).membership.outgoing.length === 0) {
      cluster.persist(1);
      cluster.persist(2);
      cluster.deliver(({ from, to }) => from + to === 3);
      cluster.drop(({ to }) => to > 2);
    }
    expect(transfer(cluster, 1, 2)).toBe("begun");
    cluster.stabilize();
    expect(cluster.leaders).toEqual([2]);
    expect(cluster.raft(2).membership).toMatchObject({ voters: [2, 3, 4], outgoing: [] });
    expect(cluster.raft(4).appliedIndex).toBe(cluster.raft(2).lastIndex);
  });
});

describe("item 35: a leader whose disk stands still gives up", () => {
  it("and the follower that holds most leads, without waiting for a timeout", () => {
    const cluster = led();
    // Its disk takes nothing from here on: the followers commit without it.
    cluster.propose(1, "a");
    cluster.deliver(between(1, 3));
    cluster.persist(3);
    cluster.deliver(between(3, 1));
    cluster.act(1, (raft) => raft.abdicate());
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 2, leader: 0 });
    expect(cluster.network.filter(kinds("timeout-now"))).toMatchObject([{ to: 3, term: 2 }]);
    cluster.deliver(between(1, 3));
    cluster.stabilize(2, 3);
    expect(cluster.leaders).toEqual([3]);
    expect(cluster.commands(3)).toEqual(["a"]);
  });

  it("also right after it counted who is to be heard", () => {
    const cluster = led();
    cluster.tick(1, 10);
    cluster.drop();
    cluster.act(1, (raft) => raft.abdicate());
    expect(cluster.drop(kinds("timeout-now"))).toHaveLength(1);
  });

  it("prefers a follower that it hears to one that holds more", () => {
    const cluster = led();
    cluster.propose(1, "a");
    cluster.stabilize(1, 2);
    cluster.tick(1, 10);
    cluster.persist(3);
    cluster.deliver(({ from, to }) => from === 3 || to === 3);
    cluster.persist(3);
    cluster.deliver(({ from }) => from === 3);
    expect(cluster.raft(1).progressOf(2)?.recentlyActive).toBe(false);
    expect(cluster.raft(1).progressOf(3)).toMatchObject({ recentlyActive: true, match: 2 });
    cluster.act(1, (raft) => raft.abdicate());
    expect(cluster.drop(kinds("timeout-now"))).toMatchObject([{ to: 3 }]);
  });

  it("never to a learner, and alone to nobody", () => {
    const cluster = new TestCluster();
    for (const id of [1, 2]) cluster.add(id, founded([...voters(1), ...learners(2)]));
    cluster.elect(1);
    cluster.act(1, (raft) => raft.abdicate());
    expect(cluster.drop(kinds("timeout-now"))).toEqual([]);
    expect(cluster.raft(1).role).toBe("follower");
    cluster.elect(1);
  });

  it("who does not lead has nothing to give up", () => {
    const cluster = led();
    cluster.act(2, (raft) => raft.abdicate());
    expect(cluster.raft(2)).toMatchObject({ role: "follower", leader: 1 });
    expect(cluster.network).toEqual([]);
  });

  it("what it proposed and nobody took over has failed for sure when another's entry is there", () => {
    const cluster = led();
    const mine = cluster.act(1, (raft) => raft.propose(bytes("lost")));
    cluster.drop();
    cluster.act(1, (raft) => raft.abdicate());
    cluster.stabilize();
    for (const id of cluster.leaders) cluster.beat(id);
    expect(mine).toMatchObject({ index: 3, term: 2 });
    expect(cluster.raft(1).termAt(3)).toBe(3);
    expect(cluster.commands(1)).toEqual([]);
    expect(normal(3, 3)).toMatchObject({ index: cluster.raft(1).commitIndex });
  });
});
