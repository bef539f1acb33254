import { describe } from "vitest";
import {
  allBehind,
  away,
  decides,
  here,
  members,
  nodes,
  NOW_MS,
  places,
  THREE,
} from "../../test/fixtures/pilot.ts";

describe("standbys", () => {
  decides([
    {
      why: "are kept beside the voters",
      now: members([1, 2, 3], [4]),
      known: nodes(6),
      wanted: "add-learner 5",
    },
    {
      why: "are two",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6),
      wanted: "nothing",
    },
    {
      why: "are two: more are dropped, who helps least first",
      now: members([1, 2, 3], [4, 5, 6]),
      known: nodes(6, { 4: { caughtUp: false } }),
      wanted: "remove 4",
    },
    {
      why: "are not dropped while a seat is open",
      now: members([1, 2, 3], [4, 5, 6]),
      known: nodes(6, { 2: away(40_000), ...allBehind([4, 5, 6]) }),
      given: { lastChangeMs: NOW_MS - 1_000 },
      wanted: "nothing",
    },
    {
      why: "that are away for a moment are waited for",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 4: away(29_000) }),
      wanted: "nothing",
    },
    {
      why: "that are away are replaced",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 4: away(30_000) }),
      wanted: "remove 4, add-learner 6",
    },
    {
      why: "that are away stay while there is nobody else",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 4: away(40_000), 6: away(40_000) }),
      wanted: "nothing",
    },
    {
      why: "that leave do so at once",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(7, { 4: { leaving: true }, 5: { leaving: true } }),
      wanted: "remove 4, remove 5, add-learner 6, add-learner 7",
    },
    {
      why: "are those that have been here longest",
      now: members([1, 2, 3], [4]),
      known: nodes(7, { 5: here(20_000), 6: here(30_000), 7: here(10_000) }),
      given: THREE,
      wanted: "add-learner 6",
    },
    {
      why: "are not changed without a quorum",
      now: members([1, 2, 3], [4]),
      known: nodes(6, { 2: away(1_000), 3: away(1_000) }),
      wanted: "nothing",
    },
    {
      why: "that do not catch up get company when they are needed",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(9, { 2: away(40_000), ...allBehind([4, 5]) }),
      given: THREE,
      wanted: "add-learner 6, add-learner 7",
    },
    {
      why: "get their time to catch up first",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(9, { 2: away(40_000), ...allBehind([4, 5]) }),
      given: { ...THREE, lastChangeMs: NOW_MS - 29_000 },
      wanted: "nothing",
    },
  ]);
});

describe("failure domains", () => {
  decides([
    {
      why: "new voters are spread over datacenters",
      now: members([1], [2, 3, 4]),
      known: places("a", "a", "b", "c"),
      wanted: "add-voter 3, add-voter 4",
    },
    {
      why: "then over zones",
      now: members([1], [2, 3, 4]),
      known: places("a1", "a1", "a2", "a3"),
      wanted: "add-voter 3, add-voter 4",
    },
    {
      why: "a zone of another datacenter is another zone, but datacenters count more",
      now: members([1], [2, 3, 4]),
      known: places("a1", "a2", "b1", "b1"),
      wanted: "add-voter 3, add-voter 2",
    },
    {
      why: "the standby in the right place takes the seat of a lost voter",
      now: members([1, 2, 3], [4, 5]),
      known: places("a", "b", "c", "a", "b").map((node) =>
        node.raftId === 2 ? { ...node, ...away(40_000) } : node,
      ),
      wanted: "add-voter 5, remove 2",
    },
    {
      why: "standbys are where the voters are not",
      now: members([1, 2, 3]),
      known: places("a", "a", "a", "a", "a", "b", "c"),
      given: THREE,
      wanted: "add-learner 6, add-learner 7",
    },
    {
      why: "a healthy voter makes way for a missing datacenter, and the leader does not",
      now: members([1, 2, 3], [4, 5]),
      known: places("a", "a", "b", "a", "c"),
      wanted: "add-voter 5, add-learner 2",
    },
    {
      why: "a healthy voter makes way for a missing zone",
      now: members([1, 2, 3], [4, 5]),
      known: places("a1", "a1", "a2", "a2", "a3"),
      wanted: "add-voter 5, add-learner 2",
    },
    {
      why: "five in two datacenters are three and two",
      now: members([1, 2, 3, 4, 5], [6, 7]),
      known: places("a", "a", "a", "a", "b", "b", "b"),
      wanted: "add-voter 6, add-learner 4",
    },
    {
      why: "not for less",
      now: members([1, 2, 3], [4, 5]),
      known: places("a1", "b1", "c1", "c2", "b2"),
      wanted: "nothing",
    },
    {
      why: "not soon after another change",
      now: members([1, 2, 3], [4, 5]),
      known: places("a", "a", "b", "a", "c"),
      given: { lastChangeMs: NOW_MS - 29_999 },
      wanted: "nothing",
    },
    {
      why: "not under a new leader",
      now: members([1, 2, 3], [4, 5]),
      known: places("a", "a", "b", "a", "c"),
      given: { leaderSinceMs: NOW_MS - 9_999 },
      wanted: "nothing",
    },
    {
      why: "not while another voter is away",
      now: members([1, 2, 3], [4, 5]),
      known: places("a", "a", "b", "a", "c").map((node) =>
        node.raftId === 3 ? { ...node, ...away(1_000) } : node,
      ),
      wanted: "nothing",
    },
    {
      why: "a node in a missing datacenter is taught first, in place of the standby that helps least",
      now: members([1, 2, 3], [4, 5]),
      known: places("a", "a", "b", "a", "b", "c"),
      wanted: "remove 4, add-learner 6",
    },
    {
      why: "but not one that came just now",
      now: members([1, 2, 3], [4, 5]),
      known: places("a", "a", "b", "a", "b", "c").map((node) =>
        node.raftId === 6 ? { ...node, ...here(9_999) } : node,
      ),
      wanted: "nothing",
    },
    {
      why: "nor another while the first is being taught",
      now: members([1, 2, 3], [4, 5]),
      known: places("a", "a", "b", "a", "c", "d").map((node) =>
        node.raftId === 5 ? { ...node, caughtUp: false } : node,
      ),
      wanted: "nothing",
    },
  ]);
});
