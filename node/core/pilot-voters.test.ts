import { describe } from "vitest";
import { away, decides, here, members, nodes, NOW_MS } from "../../test/fixtures/pilot.ts";

describe("a voter that is away", () => {
  decides([
    {
      why: "is waited for",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 2: away(29_999) }),
      wanted: "nothing",
    },
    {
      why: "is replaced in one change",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 2: away(30_000) }),
      wanted: "add-voter 4, remove 2",
    },
    {
      why: "is replaced as late as the operator says",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 2: away(30_000) }),
      given: { config: { replaceAfterMs: 60_000, maxVoters: 5 } },
      wanted: "nothing",
    },
    {
      why: "is replaced however lately something else changed",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 2: away(30_000) }),
      given: { lastChangeMs: NOW_MS - 500, leaderSinceMs: NOW_MS - 31_000 },
      wanted: "add-voter 4, remove 2",
    },
    {
      why: "is not replaced by a standby that came just now",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 2: away(30_000), 4: here(9_999), 5: here(10_000) }),
      wanted: "add-voter 5, remove 2",
    },
    {
      why: "keeps its seat when nobody can take it",
      now: members([1, 2, 3]),
      known: nodes(3, { 2: away(900_000) }),
      wanted: "nothing",
    },
    {
      why: "keeps its seat until a standby has caught up",
      now: members([1, 2, 3], [4]),
      known: nodes(4, { 2: away(900_000), 4: { caughtUp: false } }),
      wanted: "nothing",
    },
    {
      why: "is counted in the size of the cluster: three of seven away leave five voters",
      now: members([1, 2, 3, 4, 5], []),
      known: nodes(7, { 5: away(40_000), 6: away(40_000), 7: away(40_000) }),
      wanted: "nothing",
    },
    {
      why: "and another: both are replaced at once where one more loss would be the end",
      now: members([1, 2, 3, 4, 5], [6, 7]),
      known: nodes(9, { 2: away(40_000), 3: away(30_000) }),
      wanted: "add-voter 6, add-voter 7, remove 2, remove 3",
    },
    {
      why: "and another that left a moment ago: the first is replaced",
      now: members([1, 2, 3, 4, 5], [6, 7]),
      known: nodes(9, { 2: away(40_000), 3: away(1_000) }),
      wanted: "add-voter 6, remove 2",
    },
    {
      why: "and so many that no quorum is left: nothing can be done",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 2: away(40_000), 3: away(1_000) }),
      wanted: "nothing",
    },
  ]);

  const seven = { config: { replaceAfterMs: 30_000, maxVoters: 7 } };
  decides([
    {
      why: "of seven voters, the one away longest is replaced first",
      now: members([1, 2, 3, 4, 5, 6, 7], [8, 9]),
      known: nodes(12, { 2: away(40_000), 3: away(41_000) }),
      given: seven,
      wanted: "add-voter 8, remove 3",
    },
    {
      why: "then the standby tier is filled",
      now: members([1, 2, 4, 5, 6, 7, 8], [9]),
      known: nodes(12, { 2: away(40_500), 3: away(41_500) }),
      given: { ...seven, lastChangeMs: NOW_MS - 500 },
      wanted: "add-learner 10",
    },
    {
      why: "and stable",
      now: members([1, 2, 4, 5, 6, 7, 8], [9, 10]),
      known: nodes(12, { 2: away(42_000), 3: away(43_000), 10: here(9_000) }),
      given: { ...seven, lastChangeMs: NOW_MS - 1_000 },
      wanted: "nothing",
    },
    {
      why: "before the next",
      now: members([1, 2, 4, 5, 6, 7, 8], [9, 10]),
      known: nodes(12, { 2: away(42_000), 3: away(43_000) }),
      given: { ...seven, lastChangeMs: NOW_MS - 1_000 },
      wanted: "add-voter 9, remove 2",
    },
  ]);
});

describe("a voter that leaves", () => {
  const leaving = { leaving: true };
  decides([
    {
      why: "gives its seat to a standby in one change, at any time",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 2: leaving }),
      given: { lastChangeMs: NOW_MS - 500, leaderSinceMs: NOW_MS - 500 },
      wanted: "add-voter 4, remove 2",
    },
    {
      why: "waits while its successor is being taught",
      now: members([1, 2, 3], [4]),
      known: nodes(4, { 2: leaving, 4: { caughtUp: false } }),
      wanted: "nothing",
    },
    {
      why: "waits for a node to be taught",
      now: members([1, 2, 3]),
      known: nodes(4, { 2: leaving }),
      wanted: "add-learner 4",
    },
    {
      why: "goes with another in the same change",
      now: members([1, 2, 3, 4, 5], [6, 7]),
      known: nodes(9, { 2: leaving, 3: leaving }),
      wanted: "add-voter 6, add-voter 7, remove 2, remove 3",
    },
    {
      why: "goes as standbys are there, the dead ones first",
      now: members([1, 2, 3, 4, 5], [6, 7]),
      known: nodes(9, { 2: leaving, 3: { ...away(1_000), ...leaving }, 6: { caughtUp: false } }),
      wanted: "add-voter 7, remove 3",
    },
    {
      why: "leads: it hands over to the oldest voter that has the log",
      now: members([1, 2, 3, 4, 5], [6, 7]),
      known: nodes(9, {
        1: leaving,
        2: { caughtUp: false },
        3: here(5_000),
        4: here(50_000),
        5: { mayVote: false },
      }),
      wanted: "transfer 4",
    },
    {
      why: "leads, and the oldest did not take over: it hands over to another",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 1: leaving, 2: here(90_000), 3: here(80_000) }),
      given: { failedHeirs: [2] },
      wanted: "transfer 3",
    },
    {
      why: "leads, and nobody took over: it begins again with the first",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 1: leaving, 2: here(90_000), 3: here(80_000) }),
      given: { failedHeirs: [2, 3] },
      wanted: "transfer 2",
    },
    {
      why: "leads, and another leaves: it hands over first",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 1: leaving, 2: leaving }),
      wanted: "transfer 3",
    },
    {
      why: "leads while the others are being taught: it waits",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 1: leaving, 2: { caughtUp: false }, 3: { caughtUp: false } }),
      wanted: "nothing",
    },
    {
      why: "leads, and all others leave: a successor comes first",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(8, { 1: leaving, 2: leaving, 3: leaving }),
      wanted: "add-voter 4, remove 2",
    },
    {
      why: "leads alone: three vote before it hands over",
      now: members([1], [2, 3]),
      known: nodes(3, { 1: leaving }),
      wanted: "add-voter 2, add-voter 3",
    },
    {
      why: "leads alone with one other: two vote for a moment",
      now: members([1], [2]),
      known: nodes(2, { 1: leaving }),
      wanted: "add-voter 2",
    },
    {
      why: "and the other leads then: it removes the first",
      now: members([1, 2]),
      known: nodes(2, { 1: leaving }),
      given: { leader: 2 },
      wanted: "remove 1",
    },
    {
      why: "is alone: it stays",
      now: members([1]),
      known: nodes(1, { 1: leaving }),
      wanted: "nothing",
    },
    {
      why: "with nobody to take its place leaves two, rather than one copy of the log",
      now: members([1, 2, 3]),
      known: nodes(4, { 3: leaving, 4: away(40_000) }),
      wanted: "remove 3",
    },
    {
      why: "with nobody to take its place makes five three",
      now: members([1, 2, 3, 4, 5]),
      known: nodes(8, { 2: leaving, 6: away(40_000), 7: away(40_000), 8: away(40_000) }),
      wanted: "remove 2, add-learner 5",
    },
    {
      why: "stays where the rest would have no quorum",
      now: members([1, 2, 3]),
      known: nodes(4, { 2: away(1_000), 3: leaving, 4: away(40_000) }),
      wanted: "nothing",
    },
  ]);
});

describe("a raft id that no node has any more", () => {
  decides([
    {
      why: "leaves as a learner",
      now: members([1], [2, 3, 4]),
      known: nodes(4, { 2: null, 3: { caughtUp: false } }),
      wanted: "remove 2",
    },
    {
      why: "leaves as a voter, and a standby takes its seat",
      now: members([1, 2, 3], [4]),
      known: nodes(4, { 3: null }),
      wanted: "add-voter 4, remove 3",
    },
    {
      why: "keeps its seat while another is taught: it harms nobody",
      now: members([1, 2, 3]),
      known: nodes(4, { 3: null }),
      wanted: "add-learner 4",
    },
    {
      why: "leaves two nodes, of which one votes",
      now: members([1, 2, 3]),
      known: nodes(3, { 3: null }),
      wanted: "add-learner 2, remove 3",
    },
    {
      why: "stays while those that are left would have no quorum",
      now: members([1, 2, 3]),
      known: nodes(3, { 2: away(1_000), 3: null }),
      wanted: "nothing",
    },
    {
      why: "leads: it hands over",
      now: members([1, 2, 3]),
      known: nodes(4, { 1: null }),
      wanted: "transfer 2",
    },
  ]);
});

describe("a node that may not vote any more", () => {
  const noVote = { mayVote: false };
  decides([
    {
      why: "gives its seat to a standby",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 2: noVote }),
      wanted: "add-voter 4, remove 2",
    },
    {
      why: "does not hurry: not just after another change",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 2: noVote }),
      given: { lastChangeMs: NOW_MS - 29_999 },
      wanted: "nothing",
    },
    {
      why: "does not hurry: not under a new leader",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 2: noVote }),
      given: { leaderSinceMs: NOW_MS - 9_999 },
      wanted: "nothing",
    },
    {
      why: "leads: it hands over",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 1: noVote }),
      wanted: "transfer 2",
    },
    {
      why: "is no standby either",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6, { 4: noVote }),
      wanted: "remove 4, add-learner 6",
    },
    {
      why: "does not keep a dead voter from being replaced",
      now: members([1, 2, 3, 4, 5], [6, 7]),
      known: nodes(9, { 2: noVote, 3: away(40_000) }),
      given: { lastChangeMs: NOW_MS - 1_000 },
      wanted: "add-voter 6, remove 3",
    },
  ]);
});

describe("nodes that nobody can dial", () => {
  const hidden = { isHidden: true };
  decides([
    {
      why: "give up their votes, all at once, to those that can be dialled",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(5, { 2: hidden, 3: hidden }),
      wanted: "add-voter 4, add-voter 5, remove 2, remove 3",
    },
    {
      why: "hand over first where they lead",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(5, { 1: hidden, 2: hidden }),
      wanted: "transfer 3",
    },
    {
      why: "lead on where no three others are",
      now: members([1, 2, 3]),
      known: nodes(3, { 1: hidden }),
      wanted: "nothing",
    },
    {
      why: "keep them until others hold the log",
      now: members([1, 2, 3]),
      known: nodes(5, { 2: hidden, 3: hidden }),
      wanted: "add-learner 4, add-learner 5",
    },
    {
      why: "keep them until it is calm",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(5, { 2: hidden, 3: hidden }),
      given: { lastChangeMs: NOW_MS - 29_999 },
      wanted: "nothing",
    },
    {
      why: "are no standbys",
      now: members([1, 2, 3], [4]),
      known: nodes(5, { 4: hidden, 5: hidden }),
      wanted: "remove 4",
    },
    {
      why: "do not count in the size of the cluster",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(8, { 6: hidden, 7: hidden, 8: hidden }),
      wanted: "nothing",
    },
    {
      why: "vote where two others can be dialled: one, since two could not hear each other",
      now: members([1], [2, 3, 4]),
      known: nodes(4, { 3: hidden, 4: hidden }),
      wanted: "add-voter 2, add-voter 3",
    },
    {
      why: "vote, one of them, where a third that can be dialled is away for long",
      now: members([1, 2, 3], [4]),
      known: nodes(4, { 3: away(30_000), 4: hidden }),
      wanted: "add-voter 4, remove 3",
    },
  ]);
});
