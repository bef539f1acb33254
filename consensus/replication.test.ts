import { describe, expect, it } from "vitest";
import type { Message } from "./message.ts";
import {
  THREE,
  TestCluster,
  between,
  bytes,
  clusterOf,
  founded,
  kinds,
  normal,
  voters,
} from "./testing.ts";

function appends(messages: readonly Message[]): Extract<Message, { kind: "append" }>[] {
  return messages.filter((m) => m.kind === "append");
}

/** Three nodes with these logs after the founding entry, in term `term`. */
function withLogs(term: number, ...logs: readonly (readonly number[])[]): TestCluster {
  const cluster = new TestCluster();
  const ids = logs.map((_, i) => i + 1);
  logs.forEach((log, i) => cluster.add(i + 1, founded(voters(...ids), log, { term })));
  return cluster;
}

describe("commit (Raft §5.3)", () => {
  it("what a majority holds is committed and applied, and told to the followers with the next heartbeat", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    expect(cluster.propose(1, "a")).toEqual({ kind: "proposed", index: 3, term: 2 });
    cluster.stabilize();
    expect(cluster.commands(1)).toEqual(["a"]);
    expect(cluster.raft(2).commitIndex, "no message was spent on it").toBe(2);
    cluster.beat(1);
    for (const id of [1, 2, 3]) {
      expect(cluster.raft(id).commitIndex).toBe(3);
      expect(cluster.commands(id)).toEqual(["a"]);
    }
  });

  it.each([
    { count: 3, holding: [2], committed: true },
    { count: 3, holding: [], committed: false },
    { count: 5, holding: [2], committed: false },
    { count: 5, holding: [2, 3], committed: true },
    { count: 4, holding: [2], committed: false },
    { count: 4, holding: [2, 3], committed: true },
  ])("of $count, the leader and $holding hold it: $committed", ({ count, holding, committed }) => {
    const cluster = clusterOf(count);
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.stabilize(1, ...holding);
    expect(cluster.raft(1).commitIndex).toBe(committed ? 3 : 2);
  });

  it("proposals of one turn share a message", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.act(1, (raft) => {
      for (const name of ["a", "b", "c"]) raft.propose(bytes(name));
    });
    const sent = appends(cluster.network);
    expect(sent.map(({ to, entries }) => [to, entries.length])).toEqual([
      [2, 3],
      [3, 3],
    ]);
  });

  it("a follower proposes nothing", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    expect(cluster.propose(2, "a")).toEqual({ kind: "refused", reason: "not-leader" });
    expect(cluster.raft(2).lastIndex).toBe(2);
  });
});

describe("item 11: an earlier term's entries are committed by one of the leader's own (Raft figure 8)", () => {
  it("a majority that holds an earlier term's entry does not commit it", () => {
    const cluster = withLogs(3, [2], [2], []);
    cluster.act(1, (raft) => raft.campaign());
    // Elected, and its own first entry reaches nobody.
    cluster.stabilize(1);
    for (const kind of ["pre-vote-reply", "vote-reply"] as const) {
      cluster.step({ kind, from: 3, to: 1, term: 4, rejected: false, commit: 0, commitTerm: 0 });
      cluster.persist(1);
    }
    expect(cluster.raft(1).role).toBe("leader");
    expect(cluster.terms(1)).toEqual([1, 2, 4]);
    const reply = { kind: "append-reply", from: 2, to: 1, term: 4, rejected: false } as const;
    cluster.step({ ...reply, index: 2 });
    expect(cluster.raft(1).commitIndex).toBe(1);
    cluster.step({ ...reply, index: 3 });
    expect(cluster.raft(1).commitIndex).toBe(3);
  });

  it("a new leader commits what came before with its empty entry", () => {
    const cluster = withLogs(3, [2, 2], [2], []);
    cluster.elect(1);
    expect(cluster.raft(1).commitIndex).toBe(4);
    expect(cluster.commands(3)).toEqual(["2.2", "2.3"]);
  });

  it("an uncommitted entry of a lost leader is replaced", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.propose(1, "lost");
    cluster.drop();
    cluster.persist(1);
    cluster.succeed(2, 2, 3);
    cluster.propose(2, "kept");
    cluster.stabilize(2, 3);
    cluster.tick(2);
    cluster.stabilize();
    for (const id of [1, 2, 3]) expect(cluster.commands(id)).toEqual(["kept"]);
    expect(cluster.node(1).disk.entries.map(({ term }) => term)).toEqual([1, 2, 3, 3]);
  });
});

describe("item 12: what a follower does with an append", () => {
  const base = { kind: "append", from: 2, to: 1, term: 3 } as const;

  it.each([
    {
      name: "matches at its end",
      prev: [3, 3],
      terms: [3],
      commit: 4,
      reply: { index: 4, rejected: false },
      committed: 4,
    },
    {
      name: "matches nowhere",
      prev: [3, 2],
      terms: [3],
      commit: 4,
      reply: { index: 3, rejected: true, hintIndex: 2, hintTerm: 2 },
      committed: 1,
    },
    {
      name: "starts beyond its end",
      prev: [9, 3],
      terms: [3],
      commit: 4,
      reply: { index: 9, rejected: true, hintIndex: 3, hintTerm: 3 },
      committed: 1,
    },
    {
      name: "commits no further than what matches",
      prev: [1, 1],
      terms: [2],
      commit: 3,
      reply: { index: 2, rejected: false },
      committed: 2,
    },
    {
      name: "commits no further than the leader did",
      prev: [1, 1],
      terms: [2, 3],
      commit: 2,
      reply: { index: 3, rejected: false },
      committed: 2,
    },
    {
      name: "empty, commits no further than the entry before",
      prev: [1, 1],
      terms: [],
      commit: 3,
      reply: { index: 1, rejected: false },
      committed: 1,
    },
  ])("one that $name", ({ prev: [prevIndex, prevTerm], terms, commit, reply, committed }) => {
    const cluster = withLogs(3, [2, 3], [], []);
    const entries = terms.map((term, i) => normal(term, (prevIndex ?? 0) + 1 + i));
    cluster.step({ ...base, prevIndex: prevIndex ?? 0, prevTerm: prevTerm ?? 0, entries, commit });
    cluster.persist(1);
    expect(cluster.drop()).toMatchObject([{ kind: "append-reply", to: 2, term: 3, ...reply }]);
    expect(cluster.raft(1).commitIndex).toBe(committed);
  });

  it("a late one of the same leader does not shorten the log", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.propose(1, "a");
    const late = cluster.drop(between(1, 2));
    cluster.propose(1, "b");
    cluster.tick(1);
    cluster.stabilize();
    expect(cluster.commands(2)).toEqual(["a", "b"]);
    for (const message of late) cluster.step(message);
    cluster.persist(2);
    expect(cluster.raft(2).lastIndex).toBe(4);
    expect(cluster.node(2).disk.entries).toHaveLength(4);
  });

  it("one of an earlier term's leader changes nothing", () => {
    const cluster = withLogs(3, [2, 3], [2, 3], [2, 3]);
    cluster.elect(1);
    const old = { kind: "append", from: 3, to: 2, term: 2, prevIndex: 2, prevTerm: 2 } as const;
    cluster.step({ ...old, entries: [normal(2, 3, "old")], commit: 9 });
    cluster.stabilize();
    for (const id of [1, 2, 3]) expect(cluster.terms(id)).toEqual([1, 2, 3, 4]);
    expect(cluster.raft(2).commitIndex).toBe(4);
  });

  it("one from below its commit index is answered with that index", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.stabilize();
    cluster.beat(1);
    cluster.step({
      kind: "append",
      from: 1,
      to: 2,
      term: 2,
      prevIndex: 0,
      prevTerm: 0,
      entries: [],
      commit: 0,
    });
    cluster.persist(2);
    expect(cluster.drop()).toMatchObject([{ kind: "append-reply", index: 3, rejected: false }]);
  });

  it("a heartbeat commits no more than the leader knows the follower to hold", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.stabilize(1, 2);
    cluster.tick(1);
    const beats = cluster.network.filter(({ kind }) => kind === "heartbeat");
    expect(beats.map((m) => m.kind === "heartbeat" && [m.to, m.commit])).toEqual([
      [2, 3],
      [3, 2],
    ]);
  });

  it("messages that are reordered, and repeated, come to the same", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    for (const name of ["a", "b", "c", "d"]) cluster.propose(1, name);
    const late = cluster.drop(between(1, 2)).toReversed();
    for (const message of [...late, ...late]) cluster.step(message);
    cluster.stabilize();
    cluster.tick(1);
    cluster.stabilize();
    expect(cluster.commands(2)).toEqual(["a", "b", "c", "d"]);
  });
});

describe("figure 7: a new leader brings every kind of log in line with its own", () => {
  const LEADER = [1, 1, 4, 4, 5, 5, 6, 6, 6];
  it.each([
    { name: "a: missing one", log: [1, 1, 4, 4, 5, 5, 6, 6] },
    { name: "b: missing many", log: [1, 1, 4] },
    { name: "c: one too many", log: [1, 1, 4, 4, 5, 5, 6, 6, 6, 6] },
    { name: "d: a later term", log: [1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7] },
    { name: "e: missing some, others too many", log: [1, 1, 4, 4, 4, 4] },
    { name: "f: terms that nobody knows", log: [1, 1, 2, 2, 2, 3, 3, 3, 3, 3] },
  ])("$name", ({ log }) => {
    const cluster = withLogs(7, LEADER, log, []);
    cluster.elect(1, 1, 3);
    cluster.tick(1);
    cluster.stabilize();
    expect(cluster.terms(2)).toEqual([1, ...LEADER, 8]);
    expect(cluster.node(2).disk.entries).toEqual(cluster.node(1).disk.entries);
  });
});

describe("item 15: probing is per term, not per entry", () => {
  it("a hundred entries of another term cost one probe", () => {
    const other = Array.from({ length: 100 }, () => 2);
    const mine = Array.from({ length: 100 }, () => 3);
    const cluster = withLogs(3, mine, other, []);
    cluster.elect(1, 1, 3);
    let rejections = 0;
    cluster.tick(1);
    for (let i = 0; i < 20; i++) {
      for (const id of [1, 2, 3]) cluster.persist(id);
      rejections += cluster.deliver().filter((m) => m.kind === "append-reply" && m.rejected).length;
    }
    expect(cluster.terms(2)).toEqual(cluster.terms(1));
    expect(rejections).toBeLessThanOrEqual(2);
  });

  it("the leader goes back over its own terms as well", () => {
    const mine = [...Array.from({ length: 50 }, () => 5), 6];
    const other = Array.from({ length: 60 }, () => 4);
    const cluster = withLogs(6, mine, other, []);
    cluster.elect(1, 1, 3);
    let rejections = 0;
    cluster.tick(1);
    for (let i = 0; i < 20; i++) {
      for (const id of [1, 2, 3]) cluster.persist(id);
      rejections += cluster.deliver().filter((m) => m.kind === "append-reply" && m.rejected).length;
    }
    expect(cluster.terms(2)).toEqual(cluster.terms(1));
    expect(rejections).toBeLessThanOrEqual(2);
  });
});

describe("item 16: probing and recovery", () => {
  it("a lost append is found out at the next heartbeat", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.drop();
    cluster.stabilize();
    expect(cluster.raft(2).lastIndex).toBe(2);
    cluster.beat(1);
    expect(cluster.raft(2).lastIndex).toBe(3);
    cluster.beat(1);
    expect(cluster.commands(2)).toEqual(["a"]);
  });

  it("a follower whose probe was lost is probed again after a heartbeat", () => {
    const cluster = clusterOf(3);
    cluster.elect(1, 1, 2);
    cluster.propose(1, "a");
    cluster.stabilize(1, 2);
    expect(cluster.raft(3).lastIndex).toBe(1);
    cluster.tick(1);
    cluster.stabilize();
    expect(cluster.commands(3)).toEqual(["a"]);
  });

  it("a follower that lost a full window of appends recovers by an empty one", () => {
    const cluster = clusterOf(3, { maxInflight: 3 });
    cluster.elect(1);
    for (let i = 0; i < 10; i++) cluster.propose(1, `${i}`);
    const lost = appends(cluster.drop(between(1, 2)));
    expect(lost).toHaveLength(3);
    cluster.stabilize();
    expect(cluster.raft(2).lastIndex).toBe(2);
    cluster.tick(1);
    cluster.deliver();
    expect(cluster.deliver(kinds("heartbeat-reply"))).toHaveLength(2);
    const [empty] = appends(cluster.network.filter(({ to }) => to === 2));
    expect(empty).toMatchObject({ entries: [], prevIndex: 5 });
    cluster.stabilize();
    expect(cluster.commands(2)).toHaveLength(10);
  });

  it("an acknowledgement of more than was ever sent is ignored", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    cluster.step({ kind: "append-reply", from: 2, to: 1, term: 2, index: 99, rejected: false });
    expect(cluster.raft(1).progressOf(2)).toMatchObject({ match: 2 });
  });
});

describe("item 18: what became of a proposal", () => {
  it("another term's entry at its index means that it failed for sure", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    const outcome = cluster.propose(1, "lost");
    cluster.drop();
    cluster.persist(1);
    cluster.succeed(2, 2, 3);
    cluster.tick(2);
    cluster.stabilize();
    if (outcome.kind !== "proposed") throw new Error("it was proposed");
    const there = cluster.node(1).applied.find(({ index }) => index === outcome.index);
    expect(there?.term).toBe(3);
    expect(outcome.term).toBe(2);
  });
});

it("restarted nodes apply everything again, from the first entry", () => {
  const cluster = new TestCluster();
  for (const id of [1, 2, 3]) cluster.add(id, founded(THREE));
  cluster.elect(1);
  cluster.propose(1, "a");
  cluster.stabilize();
  for (const id of [1, 2, 3]) cluster.restart(id);
  expect(cluster.commands(1)).toEqual([]);
  cluster.elect(2);
  for (const id of [1, 2, 3]) expect(cluster.commands(id)).toEqual(["a"]);
});
