import { describe, expect, it } from "vitest";
import { applyChange, type Membership } from "../../consensus/membership.ts";
import { autopilot } from "./autopilot.ts";
import { type Candidate, voterTarget } from "./pilot-survey.ts";
import { away, decides, here, input, members, nodes, NOW_MS } from "../../test/fixtures/pilot.ts";

/** Changes, and leaves joint configurations as the leader does, until nothing is wanted any more. */
function settle(start: Membership, candidates: readonly Candidate[]): Membership {
  let membership = start;
  for (let nowMs = NOW_MS; nowMs < NOW_MS + 1_000_000; nowMs += 60_000) {
    const step = autopilot(input(membership, candidates, { nowMs }));
    if (step === null) return membership;
    if (step.kind !== "change") throw new Error("it hands over");
    let outcome = applyChange(membership, step.change);
    if (outcome.kind === "changed" && outcome.membership.outgoing.length > 0) {
      outcome = applyChange(outcome.membership, { changes: [] });
    }
    if (outcome.kind === "refused") throw new Error(outcome.reason);
    membership = outcome.membership;
  }
  throw new Error("the membership does not come to rest");
}

describe("the number of voters", () => {
  it.each([
    [0, 5, 1],
    [1, 5, 1],
    [2, 5, 1],
    [3, 5, 3],
    [6, 5, 3],
    [7, 5, 5],
    [8, 5, 5],
    [1000, 5, 5],
    [8, 7, 5],
    [9, 7, 7],
    [1000, 7, 7],
    [1000, 3, 3],
    [1000, 1, 1],
  ])("of %i nodes, at most %i: %i", (count, most, target) => {
    expect(voterTarget(count, most)).toBe(target);
  });

  it.each([
    { count: 1, voters: [1], learners: [] },
    { count: 2, voters: [1], learners: [2] },
    { count: 3, voters: [1, 2, 3], learners: [] },
    { count: 6, voters: [1, 2, 3], learners: [4, 5] },
    { count: 7, voters: [1, 2, 3, 4, 5], learners: [6, 7] },
    { count: 30, voters: [1, 2, 3, 4, 5], learners: [6, 7] },
  ])("of $count live nodes grows from the first one to $voters", ({ count, voters, learners }) => {
    expect(settle(members([1]), nodes(count))).toEqual(members(voters, learners));
  });
});

describe("growth", () => {
  decides([
    { why: "a lone node is enough", now: members([1]), known: nodes(1), wanted: "nothing" },
    {
      why: "a second node is a standby",
      now: members([1]),
      known: nodes(2),
      wanted: "add-learner 2",
    },
    {
      why: "the first nodes hold the log before they vote",
      now: members([1]),
      known: nodes(3),
      wanted: "add-learner 2, add-learner 3",
    },
    {
      why: "two learners vote at once, so that the number stays odd",
      now: members([1], [2, 3]),
      known: nodes(3),
      wanted: "add-voter 2, add-voter 3",
    },
    {
      why: "from one to three first, though five are wanted",
      now: members([1], [2, 3, 4, 5, 6, 7]),
      known: nodes(7),
      wanted: "add-voter 2, add-voter 3",
    },
    {
      why: "in a young cluster at once, however new they are",
      now: members([1], [2, 3]),
      known: nodes(3, { 2: here(100), 3: here(100) }),
      wanted: "add-voter 2, add-voter 3",
    },
    {
      why: "beyond three, only who has been here for a while",
      now: members([1, 2, 3], [4, 5, 6, 7]),
      known: nodes(7, { 4: here(9_000), 5: here(9_000), 6: here(9_000) }),
      wanted: "nothing",
    },
    {
      why: "but at once where the leader is new and cannot know",
      now: members([1, 2, 3], [4, 5, 6, 7]),
      known: nodes(7, { 4: here(9_000), 5: here(9_000), 6: here(9_000) }),
      given: { leaderSinceMs: NOW_MS - 9_000 },
      wanted: "add-voter 7, add-voter 4",
    },
    {
      why: "from an even number one makes it odd",
      now: members([1, 2], [3]),
      known: nodes(3),
      wanted: "add-voter 3",
    },
    {
      why: "an even number stays while another learns: five are wanted",
      now: members([1, 2, 3, 4], [5]),
      known: nodes(7, { 5: { caughtUp: false } }),
      wanted: "add-learner 6, add-learner 7",
    },
    {
      why: "an even number that nobody can make odd loses one",
      now: members([1, 2, 3, 4], [5]),
      known: nodes(7, { 5: away(1_000), 6: away(1_000), 7: away(1_000) }),
      wanted: "add-learner 4",
    },
    {
      why: "each open seat of a voter has a learner, beside the standbys",
      now: members([1, 2, 3]),
      known: nodes(9),
      wanted: "add-learner 4, add-learner 5, add-learner 6, add-learner 7",
    },
    {
      why: "one fit learner alone is not promoted from an odd number",
      now: members([1], [2, 3]),
      known: nodes(3, { 3: away(1_000) }),
      wanted: "nothing",
    },
    {
      why: "a learner that is not caught up does not vote yet",
      now: members([1], [2, 3]),
      known: nodes(3, { 2: { caughtUp: false } }),
      wanted: "nothing",
    },
    {
      why: "a dead learner does not keep live ones from voting",
      now: members([1], [2, 3, 4]),
      known: nodes(4, { 2: away(1_000) }),
      wanted: "add-voter 3, add-voter 4",
    },
    {
      why: "a node that may not vote is no standby, nor counted",
      now: members([1], [2]),
      known: nodes(
        9,
        Object.fromEntries([3, 4, 5, 6, 7, 8, 9].map((i) => [i, { mayVote: false }])),
      ),
      wanted: "nothing",
    },
    {
      why: "seven at most where the operator says so",
      now: members([1, 2, 3, 4, 5], [6, 7, 8, 9]),
      known: nodes(9),
      given: { config: { replaceAfterMs: 30_000, maxVoters: 7 } },
      wanted: "add-voter 6, add-voter 7",
    },
  ]);
});

describe("a smaller cluster", () => {
  const leaving = { leaving: true };
  decides([
    {
      why: "goes from five voters to three in one change",
      now: members([1, 2, 3, 4, 5], [6, 7]),
      known: nodes(7, { 2: leaving }),
      wanted: "remove 2, remove 5",
    },
    {
      why: "makes a voter that it drops a standby where one is missing",
      now: members([1, 2, 3, 4, 5], [6]),
      known: nodes(6),
      wanted: "add-learner 4, remove 5",
    },
    {
      why: "drops the voter that is away",
      now: members([1, 2, 3, 4, 5], [6]),
      known: nodes(6, { 2: away(1_000) }),
      wanted: "add-learner 2, remove 5",
    },
    {
      why: "goes from three voters to one in one change, and that one leads",
      now: members([1, 2, 3]),
      known: nodes(3, { 1: leaving }),
      given: { leader: 3 },
      wanted: "remove 1, add-learner 2",
    },
    {
      why: "is not one whose nodes are away",
      now: members([1, 2, 3, 4, 5]),
      known: nodes(7, { 4: away(3_500_000), 5: away(3_500_000), 6: away(40_000), 7: away(40_000) }),
      wanted: "nothing",
    },
    {
      why: "is one whose nodes are away for hours: three that live outlive more than three of five",
      now: members([1, 2, 3, 4, 5]),
      known: nodes(7, { 4: away(3_600_000), 5: away(3_600_000), 6: away(40_000), 7: away(40_000) }),
      wanted: "remove 4, remove 5",
    },
    {
      why: "keeps three voters, however long one is away",
      now: members([1, 2, 3]),
      known: nodes(3, { 3: away(90_000_000) }),
      wanted: "nothing",
    },
  ]);
});

describe("nothing is wanted", () => {
  it("while a joint configuration is active", () => {
    const joint: Membership = { ...members([1, 2, 4], [5]), outgoing: [1, 2, 3] };
    const dead = nodes(6, { 2: away(40_000) });
    expect(autopilot(input(joint, dead))).toBeNull();
    expect(autopilot(input({ ...joint, outgoing: [] }, dead))).not.toBeNull();
  });

  it("of a leader whose own record says that it is down", () => {
    const known = nodes(6, { 1: away(40_000) });
    expect(autopilot(input(members([1, 2, 3], [4, 5]), known))).toBeNull();
  });
});
