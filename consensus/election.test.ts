import { describe, expect, it } from "vitest";
import { Prng } from "../lib/prng.ts";
import { Raft } from "./raft.ts";
import {
  ASK,
  BEAT,
  THREE,
  answer,
  lone,
  TestCluster,
  between,
  clusterOf,
  founded,
  kinds,
  learners,
  normal,
  voters,
} from "./testing.ts";

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
        const grant = {
          kind: "pre-vote-reply",
          from: 2,
          to: 1,
          term: 2,
          rejected: false,
          commit: 0,
          commitTerm: 0,
        } as const;
        cluster.step(grant);
      }
      expect(cluster.raft(1).role).toBe(role);
      cluster.step({ ...BEAT, term: 9 });
      expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 9, leader: 2, vote: 0 });
    },
  );

  it("starts as a follower that knows no leader, in the term of its disk", () => {
    const cluster = lone(THREE, [1, 2], { term: 7, vote: 3 });
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 7, vote: 3, leader: 0 });
  });

  it("item 5: answers an append or a heartbeat of an earlier term, so that the stale leader steps down", () => {
    const cluster = lone(THREE, [], { term: 5 });
    const told = { kind: "append-reply", from: 1, to: 2, term: 5, index: 0, rejected: false };
    expect(answer(cluster, { ...BEAT, term: 4 })).toEqual([told]);
    const append = { kind: "append", from: 2, to: 1, term: 4, prevIndex: 1, prevTerm: 1 } as const;
    expect(answer(cluster, { ...append, entries: [normal(4, 2)], commit: 2 })).toEqual([told]);
    expect(cluster.raft(1).lastIndex).toBe(1);
    expect(cluster.raft(1).leader).toBe(0);
  });

  it("ignores a vote of an earlier term", () => {
    const cluster = lone(THREE, [], { term: 5 });
    expect(answer(cluster, { kind: "vote", transfer: false, ...ASK, term: 4 })).toEqual([]);
  });

  it("does not take a message for another node", () => {
    const cluster = lone();
    expect(() => cluster.raft(1).step({ ...BEAT, to: 3, term: 1 })).toThrow("addressee");
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
      const cluster = lone(THREE, log);
      const [lastIndex, lastTerm] = [last[0] ?? 0, last[1] ?? 0];
      const asked = { kind, transfer: false, from: 2, to: 1, term: 5, lastIndex, lastTerm };
      expect(answer(cluster, asked)).toMatchObject([{ kind: `${kind}-reply`, rejected: !granted }]);
    }
  });

  it.each([
    { vote: 0, from: 2, granted: true },
    { vote: 2, from: 2, granted: true },
    { vote: 3, from: 2, granted: false },
    { vote: 1, from: 2, granted: false },
  ])("one vote a term: having voted for $vote, node $from gets one: $granted", (row) => {
    const cluster = lone(THREE, [], { term: 2, vote: row.vote });
    const [reply] = answer(cluster, {
      kind: "vote",
      transfer: false,
      ...ASK,
      from: row.from,
      term: 2,
    });
    expect(reply).toMatchObject({ kind: "vote-reply", term: 2, rejected: !row.granted });
  });

  it.each(["follower", "pre-candidate", "candidate", "leader"] as const)(
    "a %s grants a vote of a later term, when no leader is heard or the leader wishes it",
    (role) => {
      const cluster = clusterOf(3);
      if (role === "leader") cluster.elect(1);
      if (role.endsWith("candidate")) cluster.act(1, (raft) => raft.campaign());
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
      expect(cluster.raft(1).role).toBe(role);
      cluster.drop();
      const ask = { kind: "vote", from: 2, to: 1, term: 7, lastIndex: 9, lastTerm: 6 } as const;
      cluster.step({ ...ask, transfer: role === "leader" });
      cluster.persist(1);
      expect(cluster.drop(kinds("vote-reply"))).toMatchObject([
        { to: 2, term: 7, rejected: false },
      ]);
      expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 7, vote: 2 });
    },
  );

  it("a candidate with a newer last term overwrites longer logs of an earlier one", () => {
    const cluster = new TestCluster();
    cluster.add(1, founded(THREE, [3]));
    cluster.add(2, founded(THREE, [2, 2, 2], { term: 3 }));
    cluster.add(3, founded(THREE, [2, 2], { term: 3 }));
    cluster.act(2, (raft) => raft.campaign());
    cluster.stabilize(2, 1);
    expect(cluster.leaders).toEqual([]);
    cluster.elect(1);
    expect(cluster.terms(2)).toEqual([1, 3, 4]);
    expect(cluster.terms(3)).toEqual([1, 3, 4]);
  });
});

function ticksToCampaign(cluster: TestCluster): number {
  for (let ticks = 1; ticks < 100; ticks++) {
    cluster.tick(1);
    // Who stands asks all; a question that comes again goes only to those who have not answered it.
    const asked = cluster.drop(kinds("pre-vote"));
    if (!asked.some(({ to }) => to === 2)) continue;
    const { term } = cluster.raft(1);
    cluster.step({
      kind: "pre-vote-reply",
      from: 2,
      to: 1,
      term,
      rejected: true,
      commit: 0,
      commitTerm: 0,
    });
    return ticks;
  }
  throw new Error("it never campaigns");
}

describe("item 3: election timeouts are drawn anew each time, within [T, 2T)", () => {
  it("a follower campaigns at every tick of the range, never outside", () => {
    const seen = new Set<number>();
    const cluster = lone();
    for (let i = 0; i < 400; i++) {
      seen.add(ticksToCampaign(cluster));
      cluster.step({ ...BEAT, term: i + 2 });
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
        const raft = new Raft({ ...config, id }, new Prng(seed * 3 + id), disk);
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
    cluster.step({
      kind: "pre-vote-reply",
      from: 3,
      to: 1,
      term: 2,
      rejected: false,
      commit: 0,
      commitTerm: 0,
    });
    expect(cluster.raft(1).role).toBe("candidate");
    const append = { kind: "append", from: 3, to: 1, term: 2, prevIndex: 1, prevTerm: 1 } as const;
    cluster.step({ ...append, entries: [normal(2, 2)], commit: 1 });
    expect(cluster.raft(1)).toMatchObject({ role: "follower", leader: 3, vote: 1 });
  });

  it("two candidates of one term: the loser follows, and its own late vote does not count", () => {
    const cluster = clusterOf(3);
    for (const id of [1, 3]) {
      cluster.act(id, (raft) => raft.campaign());
      cluster.persist(id);
      for (const from of [1, 2, 3].filter((other) => other !== id)) {
        cluster.step({
          kind: "pre-vote-reply",
          from,
          to: id,
          term: 2,
          rejected: false,
          commit: 0,
          commitTerm: 0,
        });
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
    const grant = {
      kind: "pre-vote-reply",
      from: 2,
      to: 1,
      term: 2,
      rejected: false,
      commit: 0,
      commitTerm: 0,
    } as const;
    for (let i = 0; i < 3; i++) cluster.step(grant);
    cluster.persist(1);
    expect(cluster.raft(1).role).toBe("pre-candidate");
  });

  it("votes of learners and strangers do not count", () => {
    const cluster = lone([...voters(1, 2, 3), ...learners(4)]);
    cluster.act(1, (raft) => raft.campaign());
    cluster.persist(1);
    for (const from of [4, 9]) {
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
    expect(cluster.raft(1).role).toBe("pre-candidate");
  });

  it("a lost election makes a follower of the candidate", () => {
    const cluster = clusterOf(3);
    cluster.act(1, (raft) => raft.campaign());
    cluster.persist(1);
    for (const from of [2, 3]) {
      cluster.step({
        kind: "pre-vote-reply",
        from,
        to: 1,
        term: 1,
        rejected: true,
        commit: 0,
        commitTerm: 0,
      });
    }
    expect(cluster.raft(1)).toMatchObject({ role: "follower", term: 1 });
  });
});
