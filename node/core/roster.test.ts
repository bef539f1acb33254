import { expect, it } from "vitest";
import { idOf } from "../../test/fixtures/cluster.ts";
import type { Identity } from "../storage.ts";
import { Roster } from "./roster.ts";

const NAME = "/dns/first.example/tcp/7400";
const identity: Identity = {
  clusterId: "c1",
  node: idOf("b"),
  raftId: 2,
  peers: [{ id: idOf("a"), raftId: 1, addresses: ["/ip4/10.0.0.1/tcp/7400"] }],
  joinSecret: "c2VjcmV0",
  door: { id: idOf("a"), address: NAME },
};

/** Where the network is told to look for the others. */
function sought(roster: Roster): (readonly string[])[] {
  return roster.effect().connect.map(({ addresses }) => addresses);
}

it("a member that was found by a name is sought by it beside what its record says, whatever that is", () => {
  const roster = new Roster(identity);
  expect(sought(roster)).toEqual([["/ip4/10.0.0.1/tcp/7400", NAME]]);
  const member = { id: idOf("a"), raftId: 1, name: "a", holdsLog: true };
  const moved = ["/ip4/10.0.0.7/tcp/7400"];
  roster.learn([{ ...member, addresses: moved }], "c2VjcmV0", 5, 0);
  expect(sought(roster)).toEqual([[...moved, NAME]]);
  // What others are told of it is what it says itself.
  expect(roster.peers().map(({ addresses }) => addresses)).toEqual([moved]);
  expect(roster.members.map(({ addresses }) => addresses)).toEqual([moved]);
});

it("a name that the member tells itself is not tried twice, and no other member has it", () => {
  const roster = new Roster(identity);
  const a = { id: idOf("a"), raftId: 1, name: "a", holdsLog: true, addresses: [NAME] };
  const c = { id: idOf("c"), raftId: 3, name: "c", holdsLog: true, addresses: [] };
  roster.learn([a, c], "c2VjcmV0", 5, 0);
  expect(sought(roster)).toEqual([[NAME], []]);
});
