import { describe, expect, it } from "vitest";
import {
  BEAT,
  THREE,
  TestCluster,
  beat,
  between,
  clusterOf,
  founded,
  kinds,
  lone,
  normal,
} from "./testing.ts";
import type { Message } from "./message.ts";

function appends(messages: readonly Message[]): Extract<Message, { kind: "append" }>[] {
  return messages.filter((m) => m.kind === "append");
}

describe("item 17: flow control", () => {
  it("a message holds entries up to a bound, and one at least", () => {
    const cluster = clusterOf(3, { maxMessageBytes: 100 });
    cluster.elect(1);
    cluster.act(1, (raft) => {
      for (let i = 0; i < 4; i++) raft.propose(new Uint8Array(20));
      raft.propose(new Uint8Array(500));
    });
    const sent = appends(cluster.network.filter(({ to }) => to === 2));
    expect(sent.map(({ entries }) => entries.length)).toEqual([2, 2, 1]);
  });

  it("appends on their way are bounded in number", () => {
    const cluster = clusterOf(3, { maxInflight: 4 });
    cluster.elect(1);
    for (let i = 0; i < 20; i++) cluster.propose(1, "x");
    expect(appends(cluster.network.filter(({ to }) => to === 2))).toHaveLength(4);
    cluster.stabilize();
    cluster.beat(1);
    expect(cluster.commands(2)).toHaveLength(20);
  });

  it("appends on their way are bounded in bytes", () => {
    const cluster = clusterOf(3, { maxInflightBytes: 100 });
    cluster.elect(1);
    for (let i = 0; i < 20; i++) cluster.propose(1, "x".repeat(26));
    expect(appends(cluster.network.filter(({ to }) => to === 2))).toHaveLength(2);
  });

  it("without a quorum proposals are refused before memory runs out, and taken again after", () => {
    const cluster = clusterOf(3, { maxUncommittedBytes: 1_000 });
    cluster.elect(1);
    const fill = (): number => {
      for (let taken = 0; taken < 100; taken++) {
        const outcome = cluster.propose(1, "x".repeat(76));
        if (outcome.kind === "proposed") continue;
        expect(outcome.reason).toBe("overloaded");
        return taken;
      }
      return 100;
    };
    expect(fill()).toBe(10);
    expect(fill()).toBe(0);
    cluster.stabilize();
    expect(fill()).toBe(10);
  });

  it("one proposal is taken when nothing is uncommitted, whatever its size", () => {
    const cluster = clusterOf(3, { maxUncommittedBytes: 10 });
    cluster.elect(1);
    expect(cluster.propose(1, "x".repeat(100)).kind).toBe("proposed");
    expect(cluster.propose(1, "").kind).toBe("refused");
  });

  it("entries are handed out for applying in portions", () => {
    const cluster = clusterOf(1, { maxApply: 3 });
    cluster.elect(1);
    cluster.node(1).holdsApply = true;
    for (let i = 0; i < 8; i++) cluster.propose(1, "x");
    cluster.persist(1);
    expect(cluster.raft(1).commitIndex).toBe(10);
    expect(cluster.node(1).unapplied.length).toBeLessThanOrEqual(3);
    cluster.node(1).holdsApply = false;
    cluster.apply(1);
    expect(cluster.commands(1)).toHaveLength(8);
  });

  it("changes of membership count in the bound, and are not refused by it", () => {
    const cluster = clusterOf(3, { maxUncommittedBytes: 100 });
    cluster.elect(1);
    expect(cluster.propose(1, "x".repeat(76)).kind).toBe("proposed");
    expect(cluster.change(1, { op: "add-learner", id: 4 }).kind).toBe("proposed");
    expect(cluster.propose(1, "").kind).toBe("refused");
    cluster.stabilize();
    expect(cluster.propose(1, "x".repeat(76)).kind).toBe("proposed");
  });

  it("what an earlier leader left uncommitted does not count against the next one", () => {
    const cluster = clusterOf(3, { maxUncommittedBytes: 300 });
    cluster.elect(1);
    for (let i = 0; i < 2; i++) cluster.propose(1, "x".repeat(100));
    for (const id of [1, 2, 3]) cluster.persist(id);
    cluster.deliver();
    for (const id of [1, 2, 3]) cluster.persist(id);
    cluster.drop();
    cluster.succeed(2, 2, 3);
    expect(cluster.raft(2).commitIndex).toBe(5);
    expect(cluster.propose(2, "x".repeat(200)).kind).toBe("proposed");
    expect(cluster.propose(2, "x".repeat(200)).kind).toBe("refused");
  });

  it("what an earlier leader left frees no room for the next one's own when it is committed", () => {
    const cluster = clusterOf(3, { maxUncommittedBytes: 300 });
    cluster.elect(1);
    for (let i = 0; i < 2; i++) cluster.propose(1, "x".repeat(100));
    cluster.deliver();
    for (const id of [2, 3]) cluster.persist(id);
    cluster.drop();
    for (const id of [2, 3]) cluster.act(id, (raft) => raft.peerLost(1));
    cluster.act(2, (raft) => raft.campaign());
    while (cluster.raft(2).role !== "leader") {
      for (const id of [2, 3]) cluster.persist(id);
      cluster.deliver();
    }
    expect(cluster.propose(2, "x".repeat(200)).kind).toBe("proposed");
    cluster.persist(2);
    cluster.deliver(kinds("append"));
    cluster.persist(3);
    cluster.deliver(between(3, 2));
    expect(cluster.raft(2)).toMatchObject({ commitIndex: 5, lastIndex: 6 });
    expect(cluster.propose(2, "x".repeat(200)).kind).toBe("refused");
  });

  it("a leader whose state machine does not keep up takes no proposals until it does", () => {
    const cluster = clusterOf(1, { maxApplyLag: 5 });
    cluster.elect(1);
    cluster.node(1).holdsApply = true;
    for (let i = 0; i < 6; i++) {
      expect(cluster.propose(1, "x").kind, `proposal ${i}`).toBe("proposed");
      cluster.persist(1);
    }
    expect(cluster.raft(1).commitIndex - cluster.raft(1).appliedIndex).toBe(6);
    expect(cluster.propose(1, "x")).toEqual({ kind: "refused", reason: "overloaded" });
    cluster.node(1).holdsApply = false;
    cluster.apply(1);
    expect(cluster.propose(1, "x").kind).toBe("proposed");
  });

  it("nobody is behind who follows: a follower's slow state machine stops no proposals", () => {
    const cluster = clusterOf(3, { maxApplyLag: 5 });
    cluster.elect(1);
    cluster.node(2).holdsApply = true;
    for (let i = 0; i < 20; i++) {
      expect(cluster.propose(1, "x").kind).toBe("proposed");
      cluster.stabilize();
    }
    cluster.beat(1);
    cluster.node(2).holdsApply = false;
    cluster.apply(2);
    expect(cluster.commands(2)).toHaveLength(20);
  });

  it("portions for applying are bounded in bytes as well, with one entry at least", () => {
    const disk = founded(THREE, [1, 1, 1, 1], { commit: 5 });
    const cluster = new TestCluster();
    const node = cluster.add(1, disk, { maxApplyBytes: 60 });
    expect(node.applied, "all of them, over several portions").toHaveLength(5);
    node.holdsApply = true;
    const long = normal(1, 6, "x".repeat(500));
    const entries = [long, normal(1, 7), normal(1, 8), normal(1, 9)];
    const append = { kind: "append", from: 2, to: 1, term: 1, prevIndex: 5, prevTerm: 1 } as const;
    cluster.step({ ...append, entries, commit: 9 });
    const portions: number[] = [];
    while (node.unapplied.length > 0) {
      portions.push(node.unapplied.length);
      for (const entry of node.unapplied) node.raft.applied(entry);
      node.unapplied = [];
      cluster.take(1);
    }
    expect(portions).toEqual([1, 2, 1]);
  });

  it("after a restart all that was committed is applied, in portions", () => {
    const disk = founded(
      THREE,
      Array.from({ length: 20 }, () => 1),
      { commit: 21 },
    );
    const cluster = new TestCluster();
    cluster.add(1, disk, { maxApply: 4 });
    expect(cluster.node(1).applied.map(({ index }) => index)).toEqual(
      Array.from({ length: 21 }, (_, i) => i + 1),
    );
  });

  it("entries are applied before they are durable here once a quorum holds them, and again after a power loss", () => {
    const cluster = lone();
    const append = { kind: "append", from: 2, to: 1, term: 1, prevIndex: 1, prevTerm: 1 } as const;
    cluster.step({ ...append, entries: [normal(1, 2, "a"), normal(1, 3, "b")], commit: 3 });
    expect(cluster.raft(1)).toMatchObject({ appliedIndex: 3, stableIndex: 1 });
    cluster.restart(1);
    expect(cluster.commands(1)).toEqual([]);
    cluster.step({ ...append, entries: [normal(1, 2, "a"), normal(1, 3, "b")], commit: 1 });
    cluster.persist(1);
    cluster.step({ ...BEAT, term: 1, commit: 3 });
    expect(cluster.commands(1)).toEqual(["a", "b"]);
  });

  it("a follower with a full window is sent no more until it answers, and then what fits", () => {
    const cluster = clusterOf(3, { maxInflight: 2 });
    cluster.elect(1);
    for (const data of ["a", "b", "c"]) cluster.propose(1, data);
    const [first, second, third] = appends(cluster.drop(({ to }) => to === 2));
    expect([first?.prevIndex, second?.prevIndex, third]).toEqual([2, 3, undefined]);
    cluster.step({ kind: "append-reply", from: 2, to: 1, term: 2, index: 3, rejected: false });
    expect(appends(cluster.drop(({ to }) => to === 2))).toMatchObject([
      { prevIndex: 4, entries: [{ index: 5 }] },
    ]);
    // An answer that was overtaken frees nothing.
    cluster.step({ kind: "append-reply", from: 2, to: 1, term: 2, index: 2, rejected: false });
    cluster.propose(1, "d");
    expect(appends(cluster.drop(({ to }) => to === 2))).toEqual([]);
  });

  it("heartbeats go through a full window, and tell of no more than what arrived", () => {
    const cluster = clusterOf(3, { maxInflight: 1 });
    cluster.elect(1);
    for (const data of ["a", "b"]) cluster.propose(1, data);
    cluster.drop(({ to }) => to === 3);
    cluster.stabilize(1, 2);
    expect(cluster.raft(1).commitIndex).toBe(4);
    cluster.tick(1);
    expect(cluster.network.filter(({ to }) => to === 3)).toMatchObject([
      { kind: "heartbeat", commit: 2 },
    ]);
    cluster.stabilize();
    expect(cluster.commands(3)).toEqual(["a", "b"]);
  });

  it("a read costs no room in a window", () => {
    const cluster = clusterOf(3, { maxInflight: 1 });
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.drop(kinds("append"));
    cluster.act(1, (raft) => raft.readIndex(1));
    beat(cluster);
    expect(cluster.node(1).reads).toMatchObject([{ id: 1, index: 2 }]);
  });
});
