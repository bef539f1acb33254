import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NO_MEMBERS } from "../../consensus/membership.ts";
import { idOf, TestCluster } from "../../test/fixtures/cluster.ts";
import { FULL_MESH_NODES, RINGS } from "./defaults.ts";
import { connectList, membersOf } from "./members.ts";
import type { Member } from "./message.ts";
import { neighboursOf } from "./rings.ts";

/** Members 00, 01, … in ring order; the first `holders` hold the log. */
function ring(count: number, holders = 0): Member[] {
  return Array.from({ length: count }, (_, i) => ({
    id: idOf(String(i).padStart(3, "0")),
    raftId: i + 1,
    name: `n${i}`,
    addresses: [],
    holdsLog: i < holders,
  }));
}

function at(members: readonly Member[], index: number): Member {
  const member = members[index];
  if (member === undefined) throw new Error(`no member ${index}`);
  return member;
}

describe("the members", () => {
  it("are those of the state, by id, with who holds the log", () => {
    const cluster = new TestCluster();
    cluster.admit("c", "a", "d", "b");
    const membership = { ...NO_MEMBERS, voters: [1], outgoing: [1, 3], learners: [4] };
    expect(membersOf(cluster.state, membership)).toMatchObject([
      { id: "id-a", raftId: 2, name: "a", holdsLog: false, addresses: ["/ip4/10.0.0.1/tcp/7400"] },
      { id: "id-b", raftId: 4, name: "b", holdsLog: true },
      { id: "id-c", raftId: 1, name: "c", holdsLog: true },
      { id: "id-d", raftId: 3, name: "d", holdsLog: true },
    ]);
  });

  it("have their newest raft id: a readmitted node holds no log under its old one", () => {
    const cluster = new TestCluster();
    cluster.admit("a", "b", "b");
    const members = membersOf(cluster.state, { ...NO_MEMBERS, voters: [1, 2] });
    expect(members.map(({ raftId, holdsLog }) => [raftId, holdsLog])).toEqual([
      [1, true],
      [3, false],
    ]);
  });
});

describe("whom a node stays connected with", () => {
  it("all others while they are few", () => {
    const few = ring(FULL_MESH_NODES);
    for (const { id } of few) {
      const connected = connectList(id, few).map((member) => member.id);
      expect(connected).toEqual(few.map((member) => member.id).filter((other) => other !== id));
    }
  });

  it("those that it watches and that watch it when they are many, and every log holder", () => {
    const many = ring(40, 3);
    const ids = many.map(({ id }) => id);
    for (const { id } of many) {
      const { subjects, observers } = neighboursOf(id, ids);
      const holders = ids.slice(0, 3).filter((holder) => holder !== id);
      expect(new Set(connectList(id, many).map((member) => member.id))).toEqual(
        new Set([...subjects, ...observers, ...holders]),
      );
    }
  });

  it("is few, never itself, and mutual among those that hold no log", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100 }),
        fc.integer({ min: 0, max: 7 }),
        (count, holders) => {
          const members = ring(count, holders);
          const lists = new Map(members.map(({ id }) => [id, connectList(id, members)]));
          for (const member of members) {
            const list = lists.get(member.id) ?? [];
            expect(list).not.toContain(member);
            expect(list.length).toBeLessThanOrEqual(
              Math.max(FULL_MESH_NODES - 1, 2 * RINGS + holders),
            );
            expect(new Set(list).size).toBe(list.length);
            const others = list.filter(({ holdsLog }) => !holdsLog);
            expect(others.every(({ id }) => lists.get(id)?.includes(member))).toBe(true);
          }
        },
      ),
    );
  });

  it("is a way from each node to each other", () => {
    const many = ring(100, 0);
    const reached = new Set([at(many, 0)]);
    for (const member of reached) {
      for (const next of connectList(member.id, many)) reached.add(next);
    }
    expect(reached.size).toBe(100);
  });
});
