import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { idOf } from "../../test/fixtures/cluster.ts";
import type { NodeId } from "../../state/ids.ts";
import { MEMBER_CHANGES_KEPT } from "./defaults.ts";
import { MemberHash } from "./member-hash.ts";
import type { Member, MemberChange } from "./message.ts";
import { Roster } from "./roster.ts";

function roster(): Roster {
  return new Roster({ clusterId: "c1", node: idOf("a"), raftId: 1, peers: [], joinSecret: "s" });
}

function member(name: string, version = 0): Member {
  const addresses = [`/sim/${name}/${version}`];
  return { id: idOf(name), raftId: 1, name, addresses, holdsLog: false };
}

/** As a session's other side does it. */
function apply(list: readonly Member[], { whole, upsert, gone }: MemberChange): Member[] {
  const known = new Map<NodeId, Member>(whole ? [] : list.map((each) => [each.id, each]));
  for (const id of gone) known.delete(id);
  for (const each of upsert) known.set(each.id, each);
  return [...known.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

describe("what changed on the list of members", () => {
  it("makes the list of now of any list that it had", () => {
    const lists = fc.array(
      fc.uniqueArray(fc.tuple(fc.constantFrom("a", "b", "c", "d", "e"), fc.nat(2)), {
        selector: ([name]) => name,
      }),
      { minLength: 1, maxLength: 12 },
    );
    fc.assert(
      fc.property(lists, (drawn) => {
        const known = roster();
        const seen: { stamp: number; list: readonly Member[] }[] = [];
        for (const [index, names] of drawn.entries()) {
          const list = names.map(([name, version]) => member(name, version));
          known.learn(apply([], { whole: true, upsert: list, gone: [] }), "s", index, 0);
          seen.push({ stamp: known.stamp, list: known.members });
        }
        for (const { stamp, list } of seen) {
          const change = known.changesSince(stamp);
          if (change === null) throw new Error("so few lists are kept");
          expect(apply(list, change)).toEqual(known.members);
          // Asked again by the next session, it says the same.
          expect(known.changesSince(stamp)).toEqual(change);
        }
      }),
    );
  });

  it("says nothing of who is as before", () => {
    const known = roster();
    known.learn([member("a"), member("b")], "s", 1, 0);
    const { stamp } = known;
    known.learn([member("a"), member("b"), member("c")], "t", 2, 0);
    expect(known.changesSince(stamp)).toEqual({ whole: false, upsert: [member("c")], gone: [] });
    expect(known.changesSince(known.stamp)).toEqual({ whole: false, upsert: [], gone: [] });
  });

  it("is nothing when a list says nothing new: no other stamp, but a later index", () => {
    const known = roster();
    expect(known.learn([member("a"), member("b")], "s", 1, 0)).toBe("new");
    const { stamp } = known;
    expect(known.learn([member("b"), member("a")], "s", 2, 0)).toBe("same");
    expect(known.stamp).toBe(stamp);
    expect(known.learn([member("a")], "s", 1, 0)).toBe("old");
    expect(known.learn([member("a"), member("b")], "t", 2, 0)).toBe("new");
    expect(known.joinSecret).toBe("t");
  });

  it("is not known of a list of long ago, nor of one that never was", () => {
    const known = roster();
    known.learn([member("a")], "s", 0, 0);
    const { stamp } = known;
    for (let i = 1; i <= MEMBER_CHANGES_KEPT; i++) known.learn([member("a", i)], "s", i, 0);
    expect(known.changesSince(stamp)).toMatchObject({ upsert: [member("a", MEMBER_CHANGES_KEPT)] });
    known.learn([], "s", MEMBER_CHANGES_KEPT + 1, 0);
    expect(known.changesSince(stamp)).toBeNull();
    expect(known.changesSince(-1)).toBeNull();
    expect(known.changesSince(known.stamp + 1)).toBeNull();
  });
});

function hashWith(change: Partial<Member>): string {
  const hash = new MemberHash();
  hash.add({ ...member("a"), ...change });
  return hash.text;
}

describe("a list that somebody else has", () => {
  it("is found by its hash as long as its changes are known, whichever way it came about", () => {
    const known = roster();
    const theirs = new MemberHash();
    for (const name of ["c", "a"]) theirs.add(member(name));
    theirs.add(member("b"));
    theirs.remove(member("c"));
    expect(known.stampOf(theirs.text)).toBe(-1);
    known.learn([member("a"), member("b")], "s", 0, 0);
    expect(known.stampOf(theirs.text)).toBe(1);
    for (let i = 1; i < MEMBER_CHANGES_KEPT; i++) known.learn([member("a", i)], "s", i, 0);
    expect(known.stampOf(theirs.text)).toBe(1);
    known.learn([member("c")], "s", MEMBER_CHANGES_KEPT, 0);
    expect(known.stampOf(theirs.text)).toBe(-1);
    known.learn([member("a"), member("b")], "s", MEMBER_CHANGES_KEPT + 1, 0);
    expect(known.changesSince(known.stampOf(theirs.text))).toMatchObject({ upsert: [], gone: [] });
  });

  it("is another when anything of a member is", () => {
    const digests = [
      {},
      { id: idOf("b") },
      { raftId: 2 },
      { name: "b" },
      { addresses: [] },
      { holdsLog: true },
    ].map(hashWith);
    expect(new Set(digests).size).toBe(digests.length);
  });
});
