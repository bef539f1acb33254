import { describe, expect, it } from "vitest";
import type { Membership } from "./membership.ts";
import type { Message } from "./message.ts";
import {
  BEAT,
  NEW_DISK,
  THREE,
  beat,
  dragging,
  TestCluster,
  between,
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

const VOTERS: Membership = { voters: [1, 2, 3], outgoing: [], learners: [], learnersNext: [] };
const OFFER = { kind: "snapshot", from: 2, to: 1 } as const;

function offers(messages: readonly Message[]): string[] {
  return messages.flatMap((m) =>
    m.kind === "snapshot" ? [`${m.to}: ${m.snapshotIndex}/${m.snapshotTerm}`] : [],
  );
}

describe("item 30: a follower that needs what is gone", () => {
  it("is offered the snapshot, begins from it, and goes on from the log", () => {
    const cluster = dragging();
    beat(cluster);
    expect(cluster.node(3).wanted).toEqual({ from: 1, id: { index: 7, term: 2 } });
    expect(cluster.fetch(3)).toBe(true);
    cluster.propose(1, "5");
    cluster.stabilize();
    cluster.beat(1);
    expect(cluster.commands(3)).toEqual(["0", "1", "2", "3", "4", "5"]);
    expect(cluster.raft(1).progressOf(3)).toMatchObject({ state: "replicate", match: 8 });
    expect(cluster.raft(3)).toMatchObject({ base: { index: 7, term: 2 }, membership: VOTERS });
  });

  it("is offered it too when the leader knows what it holds (etcd/raft #31)", () => {
    const cluster = dragging();
    expect(cluster.raft(1).progressOf(3)).toMatchObject({ state: "replicate", match: 2 });
    beat(cluster);
    expect(cluster.raft(1).progressOf(3)).toMatchObject({ state: "snapshot", match: 2 });
  });

  it("is sent entries instead while they are kept (item 29)", () => {
    const cluster = dragging(5, 5);
    expect(cluster.raft(1).base).toEqual({ index: 2, term: 2 });
    beat(cluster);
    expect(cluster.node(3).wanted).toBe(null);
    expect(cluster.commands(3)).toHaveLength(5);
  });

  it("a newcomer with an empty disk begins from a snapshot as well", () => {
    const cluster = dragging();
    cluster.add(4, NEW_DISK);
    cluster.change(1, ...learners(4));
    cluster.stabilize(1, 2, 4);
    cluster.fetch(4);
    cluster.stabilize(1, 2, 4);
    expect(cluster.raft(4).appliedIndex).toBe(8);
    expect(cluster.raft(4).membership).toEqual({ ...VOTERS, learners: [4] });
  });

  it("does not hold up the others, nor the leader in office", () => {
    const cluster = dragging();
    for (let i = 0; i < 40; i++) {
      cluster.propose(1, "more");
      beat(cluster);
    }
    expect(cluster.raft(1)).toMatchObject({ role: "leader", term: 2, commitIndex: 47 });
    expect(cluster.raft(3).appliedIndex).toBe(2);
  });

  it("with a tail that contradicts the snapshot, drops it, on its disk too", () => {
    const cluster = new TestCluster();
    for (const id of [1, 2]) cluster.add(id, founded(THREE, [], { term: 3 }));
    cluster.add(3, founded(THREE, [2, 2, 2, 2, 2, 2], { term: 2 }));
    cluster.elect(1, 1, 2);
    for (const data of ["a", "b"]) cluster.propose(1, data);
    cluster.stabilize(1, 2);
    cluster.snapshot(1, 4);
    beat(cluster);
    expect(cluster.fetch(3)).toBe(true);
    expect(cluster.raft(3)).toMatchObject({ lastIndex: 4, commitIndex: 4, stableIndex: 0 });
    cluster.stabilize();
    expect(cluster.node(3).disk.entries).toEqual([]);
    expect(cluster.node(3).disk.base).toEqual({ index: 4, term: 4 });
    cluster.propose(1, "c");
    cluster.stabilize();
    cluster.beat(1);
    expect(cluster.commands(3)).toEqual(["a", "b", "c"]);
  });

  it("a conflict below the leader's base ends in an offer, not in a probe for every entry", () => {
    const cluster = new TestCluster();
    for (const id of [1, 2]) cluster.add(id, founded(THREE, [3, 3, 3, 3], { term: 3 }));
    cluster.add(3, founded(THREE, [2, 2, 2], { term: 2 }));
    cluster.elect(1, 1, 2);
    cluster.snapshot(1, 4);
    cluster.tick(1);
    let probes = 0;
    for (let i = 0; i < 20 && cluster.node(3).wanted === null; i++) {
      for (const id of [1, 2, 3]) cluster.persist(id);
      probes += cluster.deliver().filter((m) => m.kind === "append" && m.to === 3).length;
    }
    expect(cluster.node(3).wanted).not.toBe(null);
    expect(probes).toBeLessThanOrEqual(2);
  });
});

describe("item 30: while a snapshot is on its way", () => {
  it("nothing else is sent to that follower but heartbeats and the offer", () => {
    const cluster = dragging();
    beat(cluster);
    cluster.propose(1, "more");
    expect(cluster.network.filter(between(1, 3))).toEqual([]);
    cluster.tick(1);
    expect(cluster.drop(between(1, 3)).map(({ kind }) => kind)).toEqual(["heartbeat"]);
  });

  it("a lost offer is repeated after the next heartbeat, as is one whose fetch failed or was given up", () => {
    const cluster = dragging();
    cluster.tick(1);
    cluster.deliver(between(1, 3));
    cluster.persist(3);
    cluster.deliver(between(3, 1));
    // An empty append, which finds out what it lacks.
    cluster.deliver(between(1, 3));
    cluster.persist(3);
    cluster.deliver(between(3, 1));
    expect(offers(cluster.drop(between(1, 3)))).toEqual(["3: 7/2"]);
    beat(cluster);
    expect(cluster.node(3).wanted?.id.index).toBe(7);
    cluster.node(3).wanted = null;
    beat(cluster);
    expect(cluster.node(3).wanted?.id.index).toBe(7);
  });

  it("a newer snapshot takes the place of the one that was offered", () => {
    const cluster = dragging();
    beat(cluster);
    cluster.propose(1, "5");
    cluster.stabilize(1, 2);
    cluster.snapshot(1, 8);
    beat(cluster);
    expect(cluster.node(3).wanted?.id).toEqual({ index: 8, term: 2 });
  });

  it("one fetched late, older than the log's base, is taken; what still lacks is offered then", () => {
    const cluster = dragging();
    beat(cluster);
    const late = cluster.node(3).wanted;
    cluster.propose(1, "5");
    cluster.stabilize(1, 2);
    cluster.snapshot(1, 8);
    cluster.propose(1, "6");
    cluster.stabilize(1, 2);
    beat(cluster);
    cluster.node(3).wanted = late;
    expect(cluster.fetch(3)).toBe(true);
    cluster.stabilize();
    expect(cluster.raft(1).progressOf(3)).toMatchObject({ state: "snapshot", match: 7 });
    beat(cluster);
    expect(cluster.fetch(3)).toBe(true);
    cluster.stabilize();
    expect(cluster.raft(1).progressOf(3)).toMatchObject({ state: "replicate", match: 9 });
    expect(cluster.commands(3)).toHaveLength(7);
  });

  it("any index from which the log can go on ends the wait (etcd/raft #110)", () => {
    const cluster = dragging(5, 2);
    beat(cluster);
    expect(cluster.raft(1)).toMatchObject({ base: { index: 5 }, snapshot: { index: 7 } });
    const held = { kind: "append-reply", from: 3, to: 1, term: 2, rejected: false } as const;
    cluster.step({ ...held, index: 4 });
    expect(cluster.raft(1).progressOf(3)?.state).toBe("snapshot");
    cluster.step({ ...held, index: 5 });
    expect(cluster.raft(1).progressOf(3)?.state).toBe("replicate");
    const [append] = cluster.drop(kinds("append"));
    expect(append).toMatchObject({ to: 3, prevIndex: 5 });
  });

  it("a rejection is of an earlier append and changes nothing", () => {
    const cluster = dragging();
    beat(cluster);
    const reply = { kind: "append-reply", from: 3, to: 1, term: 2, rejected: true } as const;
    cluster.step({ ...reply, index: 7, hintIndex: 1, hintTerm: 1 });
    expect(cluster.raft(1).progressOf(3)).toMatchObject({ state: "snapshot", next: 8 });
    expect(cluster.network).toEqual([]);
  });

  it("two in a row: the second finds it where the first has left it (etcd #18055)", () => {
    const cluster = dragging();
    beat(cluster);
    cluster.fetch(3);
    cluster.propose(1, "5");
    cluster.stabilize(1, 2);
    cluster.snapshot(1, 8);
    // The first one is not durable there yet.
    cluster.step({ ...OFFER, from: 1, to: 3, term: 2, snapshotIndex: 8, snapshotTerm: 2 });
    expect(cluster.fetch(3)).toBe(true);
    cluster.stabilize();
    beat(cluster);
    expect(cluster.raft(3)).toMatchObject({ appliedIndex: 8, stableIndex: 8, base: { index: 8 } });
    expect(cluster.node(3).disk).toMatchObject({ snapshot: { index: 8 }, entries: [] });
  });

  it("a window that was full when its entries went is emptied by the offer", () => {
    const cluster = clusterOf(3, { maxInflight: 2 });
    cluster.elect(1);
    for (let i = 0; i < 6; i++) cluster.propose(1, `${i}`);
    cluster.stabilize(1, 2);
    expect(cluster.raft(1).progressOf(3)).toMatchObject({ inflight: 2, next: 5 });
    cluster.snapshot(1, 8);
    beat(cluster);
    expect(cluster.raft(1).progressOf(3)).toMatchObject({ state: "snapshot", inflight: 0 });
    cluster.fetch(3);
    cluster.stabilize();
    expect(cluster.commands(3)).toHaveLength(6);
  });
});

describe("item 28: an offer of what is held", () => {
  const held = { kind: "append-reply", from: 1, to: 2, term: 2, rejected: false };

  it("at or below the commit index is answered with that index", () => {
    const cluster = lone(THREE, [1, 1, 2], { commit: 3 });
    for (const [snapshotIndex, snapshotTerm] of [
      [2, 1],
      [3, 1],
    ] as const) {
      cluster.step({ ...OFFER, term: 2, snapshotIndex, snapshotTerm });
      cluster.persist(1);
      expect(cluster.drop()).toEqual([{ ...held, index: 3 }]);
    }
    expect(cluster.node(1).wanted).toBe(null);
  });

  it("that the log matches moves the commit index, and keeps the log", () => {
    const cluster = lone(THREE, [1, 1, 2], { commit: 1 });
    cluster.step({ ...OFFER, term: 2, snapshotIndex: 3, snapshotTerm: 1 });
    expect(cluster.raft(1)).toMatchObject({ commitIndex: 3, lastIndex: 4, base: { index: 0 } });
    cluster.persist(1);
    expect(cluster.drop()).toEqual([{ ...held, index: 3 }]);
    expect(cluster.node(1).wanted).toBe(null);
  });

  it("that was fetched nevertheless is of no use", () => {
    const cluster = lone(THREE, [1, 1, 2], { commit: 3 });
    const restored = (index: number, term: number): boolean =>
      cluster.act(1, (raft) => raft.restore({ index, term, membership: VOTERS }));
    expect(restored(3, 1)).toBe(false);
    expect(restored(4, 2), "the log has it").toBe(false);
    expect(cluster.raft(1)).toMatchObject({ commitIndex: 4, base: { index: 0 }, snapshot: null });
    expect(cluster.commands(1)).toEqual(["1.2", "1.3", "2.4"]);
  });

  it("a leader begins from none", () => {
    const cluster = clusterOf(3);
    cluster.elect(1);
    const meta = { index: 99, term: 2, membership: VOTERS };
    expect(cluster.act(1, (raft) => raft.restore(meta))).toBe(false);
    expect(cluster.raft(1)).toMatchObject({ role: "leader", lastIndex: 2 });
  });

  it("of a leader of an earlier term is answered with the later one", () => {
    const cluster = lone(THREE, [], { term: 5 });
    cluster.step({ ...OFFER, term: 4, snapshotIndex: 9, snapshotTerm: 4 });
    cluster.persist(1);
    expect(cluster.drop()).toMatchObject([{ kind: "append-reply", to: 2, term: 5 }]);
    expect(cluster.node(1).wanted).toBe(null);
  });

  it("counts as hearing the leader", () => {
    const cluster = lone(THREE, [], { term: 2 });
    for (let i = 0; i < 50; i++) {
      cluster.tick(1, 5);
      cluster.step({ ...OFFER, term: 2, snapshotIndex: 9, snapshotTerm: 2 });
    }
    expect(cluster.raft(1)).toMatchObject({ role: "follower", leader: 2 });
  });

  it("stops rather than begin anew in the midst of applying", () => {
    const cluster = lone(THREE, [1, 1, 2], { commit: 1 });
    cluster.node(1).holdsApply = true;
    cluster.step({ ...BEAT, term: 2, commit: 3 });
    const meta = { index: 9, term: 2, membership: VOTERS };
    expect(() => cluster.raft(1).restore(meta)).toThrow("in the midst of applying");
  });
});

describe("item 28: beginning from a snapshot while standing for election", () => {
  const meta = { index: 9, term: 1, membership: VOTERS };
  const GRANT = { rejected: false, commit: 0, commitTerm: 0 } as const;

  it.each(["pre-candidate", "candidate"] as const)(
    "a %s has shown a log that it no longer has: it follows, and is not elected by it",
    (role) => {
      const cluster = lone();
      const grant = { ...GRANT, from: 2, to: 1, term: 2 } as const;
      cluster.act(1, (raft) => raft.campaign());
      cluster.persist(1);
      if (role === "candidate") cluster.step({ kind: "pre-vote-reply", ...grant });
      expect(cluster.raft(1).role).toBe(role);
      expect(cluster.act(1, (raft) => raft.restore(meta))).toBe(true);
      expect(cluster.raft(1)).toMatchObject({ role: "follower", leader: 0, lastIndex: 9 });
      const kind = role === "candidate" ? "vote-reply" : "pre-vote-reply";
      cluster.step({ kind, ...grant });
      cluster.persist(1);
      expect(cluster.raft(1).role).toBe("follower");
    },
  );

  it.each(["pre-candidate", "candidate"] as const)(
    "item 10: a %s whom it tells that a change is committed stops until it has applied it",
    (role) => {
      const entries = [conf(1, 1, { changes: THREE }), conf(1, 2, { changes: voters(4) })];
      const cluster = new TestCluster();
      cluster.add(1, diskOf({ term: 1, vote: 0, commit: 1 }, entries));
      const grant = { ...GRANT, from: 2, to: 1, term: 2 } as const;
      cluster.act(1, (raft) => raft.campaign());
      cluster.persist(1);
      if (role === "candidate") cluster.step({ kind: "pre-vote-reply", ...grant });
      cluster.node(1).holdsApply = true;
      const membership = { ...VOTERS, voters: [1, 2, 3, 4] };
      expect(cluster.act(1, (raft) => raft.restore({ index: 2, term: 1, membership }))).toBe(false);
      expect(cluster.raft(1)).toMatchObject({ commitIndex: 2, appliedIndex: 1 });
      const kind = role === "candidate" ? "vote-reply" : "pre-vote-reply";
      cluster.step({ kind, ...grant });
      cluster.persist(1);
      expect(cluster.raft(1).role).toBe("follower");
    },
  );
});

describe("item 27: a snapshot carries the membership", () => {
  it("in the midst of a joint change: its halves decide, and a new leader leaves it", () => {
    const joint = { voters: [1, 2, 4], outgoing: [1, 2, 3], learners: [], learnersNext: [3] };
    const cluster = new TestCluster();
    for (const id of [1, 2, 4]) {
      cluster.add(id, NEW_DISK);
      cluster.act(id, (raft) => raft.restore({ index: 10, term: 3, membership: joint }));
      cluster.snapshots.set(10, {
        meta: { index: 10, term: 3, membership: joint },
        applied: Array.from({ length: 10 }, (_, i) => normal(3, i + 1)),
      });
      cluster.persist(id);
      cluster.restart(id);
    }
    expect(cluster.raft(1).membership).toEqual(joint);
    cluster.elect(1, 1, 2);
    beat(cluster);
    expect(cluster.raft(1).membership).toMatchObject({ voters: [1, 2, 4], outgoing: [] });
    expect(cluster.raft(4).membership).toMatchObject({ learners: [3], learnersNext: [] });
  });

  it("a learner that is promoted in it may stand for election", () => {
    const cluster = lone([...voters(2, 3), ...learners(1)]);
    cluster.act(1, (raft) => raft.campaign());
    expect(cluster.raft(1)).toMatchObject({ role: "follower", isLearner: true });
    cluster.act(1, (raft) => raft.restore({ index: 9, term: 1, membership: VOTERS }));
    expect(cluster.raft(1).isLearner).toBe(false);
    cluster.act(1, (raft) => raft.campaign());
    expect(cluster.raft(1).role).toBe("pre-candidate");
  });

  it.each([
    ["demoted", { ...VOTERS, voters: [2, 3], learners: [1] }],
    ["removed", { ...VOTERS, voters: [2, 3] }],
  ])("who is %s in it does not stand", (_, membership) => {
    const cluster = lone();
    cluster.act(1, (raft) => raft.restore({ index: 9, term: 1, membership }));
    cluster.act(1, (raft) => raft.campaign());
    expect(cluster.raft(1).role).toBe("follower");
  });

  it("item 2: its term counts where the log that follows is empty", () => {
    const cluster = lone();
    cluster.act(1, (raft) => raft.restore({ index: 9, term: 3, membership: VOTERS }));
    const ask = { kind: "vote", from: 2, to: 1, transfer: false, lastIndex: 20 } as const;
    cluster.step({ ...ask, term: 8, lastTerm: 2 });
    cluster.persist(1);
    expect(cluster.drop(kinds("vote-reply"))).toMatchObject([{ rejected: true }]);
    cluster.step({ ...ask, term: 9, lastTerm: 3 });
    cluster.persist(1);
    expect(cluster.drop(kinds("vote-reply"))).toMatchObject([{ rejected: false }]);
  });

  it("its term is taken over when it is later than any heard of, so that the disk can be read again", () => {
    const cluster = lone();
    cluster.act(1, (raft) => raft.restore({ index: 9, term: 4, membership: VOTERS }));
    cluster.snapshots.set(9, { meta: { index: 9, term: 4, membership: VOTERS }, applied: [] });
    expect(cluster.raft(1)).toMatchObject({ term: 4, vote: 0, role: "follower" });
    cluster.persist(1);
    cluster.restart(1);
    expect(cluster.raft(1)).toMatchObject({ term: 4, lastIndex: 9, appliedIndex: 9 });
  });
});
