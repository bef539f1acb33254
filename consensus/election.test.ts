import { describe, expect, it } from "vitest";
import { Prng } from "../lib/prng.ts";
import type { Message } from "./message.ts";
import { Raft } from "./raft.ts";
import {
  TestCluster,
  between,
  bytes,
  clusterOf,
  conf,
  founded,
  kinds,
  learners,
  normal,
  voters,
} from "./testing.ts";

const FOUNDED = voters(1, 2, 3);

/** One node of three, at term 1 with its founding entry, or as given. */
function lone(...args: Parameters<typeof founded> | []): TestCluster {
  const cluster = new TestCluster();
  const [changes, terms, hardState] = args;
  cluster.add(1, founded(changes ?? FOUNDED, terms, hardState));
  return cluster;
}

/** What node 1 answers, once all it writes is durable. */
function answer(cluster: TestCluster, message: Message): Message[] {
  cluster.step(message);
  cluster.persist(1);
  return cluster.drop();
}

const ask = { from: 2, to: 1, lastIndex: 1, lastTerm: 1 } as const;
const beat = { kind: "heartbeat", from: 2, to: 1, commit: 0, context: 0 } as const;

describe("terms (Raft §5.1)", () => {
  it.each(["follower", "pre-candidate", "candidate", "leader"] as const)(
    "a %s takes a later term over from any message but a pre-vote",
    (role) => {
      const cluster = clusterOf(3);
      if (role === "leader") cluster.elect(1);
      if (role === "candidate" || role === "pre-candidate") {
        cluster.act(1, (raft) => raft.campaign());
      }
      if (role === "candidate") {
        cluster.stabilize(1);
        const grant = { kind: "pre-vote-reply", from: 2, to: 1, term: 2, rejected: false } as const;
        cluster.step(grant);
      }
      expect(cluster.raft(1).role).toBe(role);
      cluster.step({ ...beat, term: 9 });
      expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 9, leader: 2, vote: 0 });
    },
  );

  it("starts as a follower that knows no leader, in the term of its disk", () => {
    const cluster = lone(FOUNDED, [1, 2], { term: 7, vote: 3 });
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 7, vote: 3, leader: 0 });
  });

  it("item 5: answers an append or a heartbeat of an earlier term, so that the stale leader steps down", () => {
    const cluster = lone(FOUNDED, [], { term: 5 });
    const told = { kind: "append-reply", from: 1, to: 2, term: 5, index: 0, rejected: false };
    expect(answer(cluster, { ...beat, term: 4 })).toEqual([told]);
    const append = { kind: "append", from: 2, to: 1, term: 4, prevIndex: 1, prevTerm: 1 } as const;
    expect(answer(cluster, { ...append, entries: [normal(4, 2)], commit: 2 })).toEqual([told]);
    expect(cluster.raft(1).lastIndex).toBe(1);
    expect(cluster.raft(1).leader).toBe(0);
  });

  it("ignores a vote of an earlier term", () => {
    const cluster = lone(FOUNDED, [], { term: 5 });
    expect(answer(cluster, { kind: "vote", ...ask, term: 4 })).toEqual([]);
  });

  it("does not take a message for another node", () => {
    const cluster = lone();
    expect(() => cluster.raft(1).step({ ...beat, to: 3, term: 1 })).toThrow("addressee");
  });
});

describe("item 2: a vote only for a log that is up to date", () => {
  it.each([
    { log: [], last: [1, 1], granted: true },
    { log: [1], last: [1, 1], granted: false },
    { log: [2], last: [9, 1], granted: false },
    { log: [1, 1], last: [2, 2], granted: true },
    { log: [2, 2], last: [2, 2], granted: false },
    { log: [2, 2], last: [3, 2], granted: true },
  ])("log 1,$log beside a last entry (index, term) $last: $granted", ({ log, last, granted }) => {
    for (const kind of ["vote", "pre-vote"] as const) {
      const cluster = lone(FOUNDED, log);
      const [lastIndex, lastTerm] = [last[0] ?? 0, last[1] ?? 0];
      const asked = { kind, from: 2, to: 1, term: 5, lastIndex, lastTerm };
      expect(answer(cluster, asked)).toMatchObject([{ kind: `${kind}-reply`, rejected: !granted }]);
    }
  });

  it.each([
    { vote: 0, from: 2, granted: true },
    { vote: 2, from: 2, granted: true },
    { vote: 3, from: 2, granted: false },
    { vote: 1, from: 2, granted: false },
  ])("one vote a term: having voted for $vote, node $from gets one: $granted", (row) => {
    const cluster = lone(FOUNDED, [], { term: 2, vote: row.vote });
    const [reply] = answer(cluster, { kind: "vote", ...ask, from: row.from, term: 2 });
    expect(reply).toMatchObject({ kind: "vote-reply", term: 2, rejected: !row.granted });
  });

  it("a candidate with a newer last term overwrites longer logs of an earlier one", () => {
    const cluster = new TestCluster();
    cluster.add(1, founded(FOUNDED, [3]));
    cluster.add(2, founded(FOUNDED, [2, 2, 2], { term: 3 }));
    cluster.add(3, founded(FOUNDED, [2, 2], { term: 3 }));
    cluster.act(2, (raft) => raft.campaign());
    cluster.stabilize(2, 1);
    expect(cluster.leaders).toEqual([]);
    cluster.elect(1);
    expect(cluster.terms(2)).toEqual([1, 3, 4]);
    expect(cluster.terms(3)).toEqual([1, 3, 4]);
  });
});

describe("item 3: election timeouts are drawn anew each time, within [T, 2T)", () => {
  function ticksToCampaign(cluster: TestCluster): number {
    for (let ticks = 1; ; ticks++) {
      cluster.tick(1);
      if (cluster.drop(kinds("pre-vote")).length > 0) return ticks;
    }
  }

  it("a follower campaigns at every tick of the range, never outside", () => {
    const seen = new Set<number>();
    const cluster = lone();
    for (let i = 0; i < 400; i++) {
      seen.add(ticksToCampaign(cluster));
      cluster.step({ ...beat, term: i + 2 });
    }
    expect([...seen].toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 10 }, (_, i) => i + 10),
    );
  });

  it("a pre-candidate draws anew as well", () => {
    const cluster = lone();
    const seen = new Set(Array.from({ length: 100 }, () => ticksToCampaign(cluster)));
    expect(seen.size).toBe(10);
  });

  it("three nodes seldom time out together", () => {
    let together = 0;
    for (let seed = 0; seed < 300; seed++) {
      const asking = [1, 2, 3].map((id) => {
        const { config, disk } = lone().node(1);
        const raft = new Raft(
          { ...config, id },
          new Prng(seed * 3 + id),
          disk.hardState,
          disk.entries,
        );
        for (const entry of raft.ready().committed) raft.applied(entry);
        let ticks = 0;
        while (raft.role === "follower") {
          raft.tick();
          ticks += 1;
        }
        return ticks;
      });
      const first = Math.min(...asking);
      if (asking.filter((ticks) => ticks === first).length > 1) together += 1;
    }
    expect(together / 300).toBeLessThan(0.4);
  });
});

describe("elections", () => {
  it.each([1, 2, 3, 5, 7])(
    "of %i nodes are won in two rounds, by all and by a bare majority",
    (count) => {
      const cluster = clusterOf(count);
      const quorum = Array.from({ length: Math.floor(count / 2) + 1 }, (_, i) => i + 1);
      cluster.elect(1, ...quorum);
      expect(cluster.raft(1)).toMatchObject({ role: "leader", term: 2, vote: 1, leader: 1 });
      expect(cluster.raft(1).commitIndex).toBe(2);
    },
  );

  it("are not won by half", () => {
    const cluster = clusterOf(4);
    cluster.act(1, (raft) => raft.campaign());
    cluster.stabilize(1, 2);
    expect(cluster.raft(1).role).toBe("pre-candidate");
  });

  it("a leader appends an empty entry and sends heartbeats at every heartbeat tick", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    expect(cluster.terms(1)).toEqual([1, 2]);
    cluster.tick(1);
    expect(cluster.drop().map(({ kind, to }) => `${kind} ${to}`)).toEqual([
      "heartbeat 2",
      "heartbeat 3",
    ]);
  });

  it("a candidate falls back to the leader of its term", () => {
    const cluster = clusterOf(3);
    cluster.act(1, (raft) => raft.campaign());
    cluster.step({ kind: "pre-vote-reply", from: 2, to: 1, term: 2, rejected: false });
    cluster.step({ kind: "pre-vote-reply", from: 3, to: 1, term: 2, rejected: false });
    expect(cluster.raft(1).role).toBe("candidate");
    const append = { kind: "append", from: 3, to: 1, term: 2, prevIndex: 1, prevTerm: 1 } as const;
    cluster.step({ ...append, entries: [normal(2, 2)], commit: 1 });
    expect(cluster.raft(1)).toMatchObject({ role: "follower", leader: 3, vote: 1 });
  });

  it("two candidates of one term: the loser follows, and its own late vote does not count", () => {
    const cluster = clusterOf(3);
    for (const id of [1, 3]) {
      cluster.act(id, (raft) => raft.campaign());
      for (const from of [1, 2, 3].filter((other) => other !== id)) {
        cluster.step({ kind: "pre-vote-reply", from, to: id, term: 2, rejected: false });
      }
    }
    cluster.persist(1);
    cluster.drop(between(1, 3));
    cluster.deliver();
    cluster.persist(2);
    cluster.deliver();
    expect(cluster.leaders).toEqual([1]);
    cluster.deliver(between(1, 3));
    expect(cluster.raft(3)).toMatchObject({ role: "follower", leader: 1, term: 2, vote: 3 });
    cluster.stabilize();
    expect(cluster.leaders).toEqual([1]);
  });

  it("a vote counts once, however often it arrives", () => {
    const cluster = clusterOf(5);
    cluster.act(1, (raft) => raft.campaign());
    const grant = { kind: "pre-vote-reply", from: 2, to: 1, term: 2, rejected: false } as const;
    for (let i = 0; i < 3; i++) cluster.step(grant);
    cluster.persist(1);
    expect(cluster.raft(1).role).toBe("pre-candidate");
  });

  it("votes of learners and strangers do not count", () => {
    const cluster = lone([...voters(1, 2, 3), ...learners(4)]);
    cluster.act(1, (raft) => raft.campaign());
    cluster.persist(1);
    for (const from of [4, 9]) {
      cluster.step({ kind: "pre-vote-reply", from, to: 1, term: 2, rejected: false });
    }
    expect(cluster.raft(1).role).toBe("pre-candidate");
  });

  it("a lost election makes a follower of the candidate", () => {
    const cluster = clusterOf(3);
    cluster.act(1, (raft) => raft.campaign());
    cluster.persist(1);
    for (const from of [2, 3]) {
      cluster.step({ kind: "pre-vote-reply", from, to: 1, term: 1, rejected: true });
    }
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 1 });
  });
});

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
    while (cluster.raft(1).role === "follower") {
      cluster.step({ kind: "pre-vote", ...ask, term: 2 });
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
    cluster.step({ kind: "pre-vote-reply", from: 2, to: 1, term: 5, rejected: false });
    cluster.step({ kind: "pre-vote-reply", from: 3, to: 1, term: 5, rejected: false });
    expect(cluster.raft(1)).toMatchObject({ role: "pre-candidate", term: 1 });
  });

  it("a pre-vote that comes back when it is a candidate already is not counted as a vote", () => {
    const cluster = clusterOf(5);
    cluster.act(1, (raft) => raft.campaign());
    for (const from of [2, 3, 4]) {
      cluster.step({ kind: "pre-vote-reply", from, to: 1, term: 2, rejected: false });
    }
    expect(cluster.raft(1).role).toBe("candidate");
    // Its own pre-vote and its own vote become durable, and another late pre-vote arrives.
    cluster.persist(1);
    cluster.step({ kind: "pre-vote-reply", from: 5, to: 1, term: 2, rejected: false });
    cluster.step({ kind: "vote-reply", from: 2, to: 1, term: 2, rejected: false });
    expect(cluster.raft(1).role).toBe("candidate");
    cluster.step({ kind: "vote-reply", from: 3, to: 1, term: 2, rejected: false });
    expect(cluster.raft(1).role).toBe("leader");
  });

  it("a rejection from a later term is followed into it", () => {
    const cluster = clusterOf(3);
    cluster.act(1, (raft) => raft.campaign());
    cluster.step({ kind: "pre-vote-reply", from: 2, to: 1, term: 8, rejected: true });
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
    for (const id of [1, 2, 3, 4]) cluster.add(id, founded([...FOUNDED, ...learners(4)]));
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
      cluster.step({ kind, from: 3, to: 2, term: 9, lastIndex: 9, lastTerm: 2 });
      cluster.persist(2);
      expect(cluster.drop()).toEqual([]);
      expect(cluster.raft(2)).toMatchObject({ term: 2, leader: 1 });
      cluster.tick(1);
      cluster.stabilize();
      cluster.tick(2, 10);
      cluster.drop();
      cluster.step({ kind, from: 3, to: 2, term: 9, lastIndex: 9, lastTerm: 2 });
      cluster.persist(2);
      expect(cluster.drop(kinds(`${kind}-reply`))).toMatchObject([{ to: 3, rejected: false }]);
    },
  );

  it("a leader with a quorum ignores votes too", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.step({ kind: "vote", from: 3, to: 1, term: 9, lastIndex: 9, lastTerm: 2 });
    expect(cluster.raft(1)).toMatchObject({ role: "leader", term: 2 });
  });

  it("a node stuck in a later term is freed: the leader steps down, and all meet in one term", () => {
    const cluster = new TestCluster();
    for (const id of [1, 2]) cluster.add(id, founded(FOUNDED));
    cluster.add(3, founded(FOUNDED, [], { term: 9 }));
    cluster.elect(1, 1, 2);
    cluster.tick(1);
    cluster.stabilize();
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 9 });
    cluster.succeed(1, 1, 2, 3);
    expect(cluster.raft(3)).toMatchObject({ leader: 1, term: 10 });
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
    cluster.step({ kind: "vote", from: 3, to: 2, term: 50, lastIndex: 99, lastTerm: 49 });
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
    expect(answer(cluster, { kind: "vote", ...ask, term: 2 })).toMatchObject([{ rejected: false }]);
  });

  it("does not stand", () => {
    const cluster = lone([...voters(2, 3), ...learners(1)]);
    cluster.tick(1, 100);
    expect(cluster.raft(1).role).toBe("follower");
  });
});

describe("item 10: no campaign while a committed change is not applied", () => {
  it("waits until it is", () => {
    const disk = founded(FOUNDED);
    const change = conf(1, 2, { changes: voters(4) });
    const cluster = new TestCluster();
    cluster.add(1, {
      hardState: { term: 1, vote: 0, commit: 1 },
      entries: [...disk.entries, change],
    });
    const node = cluster.node(1);
    node.holdsApply = true;
    cluster.step({ ...beat, term: 1, commit: 2 });
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
    const disk = founded(FOUNDED);
    const entries = [...disk.entries, normal(1, 2, "x"), conf(1, 3, { changes: voters(4) })];
    const cluster = new TestCluster();
    cluster.add(1, { hardState: { term: 1, vote: 0, commit: 1 }, entries });
    cluster.node(1).holdsApply = true;
    cluster.step({ ...beat, term: 1, commit: 2 });
    cluster.act(1, (raft) => raft.campaign());
    expect(cluster.raft(1).role).toBe("pre-candidate");
    expect(cluster.raft(1).propose(bytes("x"))).toMatchObject({ reason: "not-leader" });
  });
});
