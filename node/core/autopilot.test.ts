import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  applyChange,
  type ConfChange,
  isJoint,
  type Membership,
  memberIds,
  NO_MEMBERS,
} from "../../consensus/membership.ts";
import { autopilot, type Candidate, voterTarget } from "./autopilot.ts";

const STANDBYS = 2;

function candidate(raftId: number, changes: Partial<Candidate> = {}): Candidate {
  return { raftId, alive: true, mayVote: true, caughtUp: true, ...changes };
}

/** Candidates 1 to `count`, all well; `odd` are those that are not. */
function nodes(count: number, odd: Readonly<Record<number, Partial<Candidate>>> = {}): Candidate[] {
  return Array.from({ length: count }, (_, i) => candidate(i + 1, odd[i + 1]));
}

function members(voters: readonly number[], learners: readonly number[] = []): Membership {
  return { ...NO_MEMBERS, voters, learners };
}

function after(membership: Membership, change: ConfChange): Membership {
  const outcome = applyChange(membership, change);
  if (outcome.kind === "refused") throw new Error(outcome.reason);
  return outcome.membership;
}

function ops(change: ConfChange | null): string {
  return change?.changes.map(({ op, id }) => `${op} ${id}`).join(", ") ?? "nothing";
}

/** Changes, and leaves joint configurations as the leader does, until nothing is wanted any more. */
function settle(
  membership: Membership,
  candidates: readonly Candidate[],
  seen: (before: Membership, after: Membership) => void = () => {},
): { membership: Membership; rounds: number } {
  let current = membership;
  for (let rounds = 0; rounds <= 100; rounds++) {
    const change = isJoint(current) ? { changes: [] } : autopilot(current, candidates);
    if (change === null) return { membership: current, rounds };
    const next = after(current, change);
    seen(current, next);
    current = next;
  }
  throw new Error("the membership does not come to rest");
}

describe("the number of voters", () => {
  it.each([
    [1, 1],
    [2, 1],
    [3, 3],
    [6, 3],
    [7, 5],
    [1000, 5],
  ])("of %i nodes is %i", (count, target) => {
    expect(voterTarget(count)).toBe(target);
  });

  it.each([
    { count: 1, voters: [1], learners: [] },
    { count: 2, voters: [1], learners: [2] },
    { count: 3, voters: [1, 2, 3], learners: [] },
    { count: 6, voters: [1, 2, 3], learners: [4, 5] },
    { count: 7, voters: [1, 2, 3, 4, 5], learners: [6, 7] },
    { count: 30, voters: [1, 2, 3, 4, 5], learners: [6, 7] },
  ])("of $count live nodes grows from the first one to $voters", ({ count, voters, learners }) => {
    expect(settle(members([1]), nodes(count)).membership).toEqual(members(voters, learners));
  });
});

describe("one decision", () => {
  it.each<{ why: string; now: Membership; known: Candidate[]; wanted: string }>([
    { why: "a lone node is enough", now: members([1]), known: nodes(1), wanted: "nothing" },
    {
      why: "a second node is a standby",
      now: members([1]),
      known: nodes(2),
      wanted: "add-learner 2",
    },
    {
      why: "two learners vote at once, so that the number stays odd",
      now: members([1], [2, 3]),
      known: nodes(3),
      wanted: "add-voter 2, add-voter 3",
    },
    {
      why: "from an even number one makes it odd",
      now: members([1, 2], [3]),
      known: nodes(3),
      wanted: "add-voter 3",
    },
    {
      why: "one fit learner alone is not promoted from an odd number",
      now: members([1], [2, 3]),
      known: nodes(3, { 3: { alive: false } }),
      wanted: "nothing",
    },
    {
      why: "a learner that is not caught up does not vote yet",
      now: members([1], [2, 3]),
      known: nodes(3, { 2: { caughtUp: false } }),
      wanted: "nothing",
    },
    {
      why: "a learner that may not vote any more is passed over",
      now: members([1], [2, 3, 4]),
      known: nodes(4, { 2: { mayVote: false } }),
      wanted: "add-voter 3, add-voter 4",
    },
    {
      why: "a dead learner does not keep live ones from voting",
      now: members([1], [2, 3, 4]),
      known: nodes(4, { 2: { alive: false } }),
      wanted: "add-voter 3, add-voter 4",
    },
    {
      why: "a node that may not vote is no standby",
      now: members([1]),
      known: nodes(2, { 2: { mayVote: false } }),
      wanted: "nothing",
    },
    {
      why: "nodes that may not vote do not count towards the voters",
      now: members([1], [2]),
      known: nodes(
        9,
        Object.fromEntries([3, 4, 5, 6, 7, 8, 9].map((id) => [id, { mayVote: false }])),
      ),
      wanted: "nothing",
    },
    {
      why: "a dead node is no standby",
      now: members([1]),
      known: nodes(3, { 2: { alive: false } }),
      wanted: "add-learner 3",
    },
    {
      why: "standbys are kept beside the voters",
      now: members([1, 2, 3], [4]),
      known: nodes(6),
      wanted: "add-learner 5",
    },
    {
      why: "two standbys are enough",
      now: members([1, 2, 3], [4, 5]),
      known: nodes(6),
      wanted: "nothing",
    },
  ])("$why", ({ now, known, wanted }) => {
    expect(ops(autopilot(now, known))).toBe(wanted);
  });
});

describe("a raft id that no node has any more", () => {
  it("leaves as a learner, before anything else", () => {
    const gone = nodes(4).filter(({ raftId }) => raftId !== 2);
    expect(ops(autopilot(members([1], [2, 3, 4]), gone))).toBe("remove 2");
  });

  it("leaves as a voter, and another takes its seat", () => {
    const known = [candidate(1), candidate(2), candidate(4)];
    expect(ops(autopilot(members([1, 2, 3]), known))).toBe("remove 3");
    expect(settle(members([1, 2, 3]), known).membership).toEqual(members([1, 2, 4]));
  });

  it("stays while those that are left would have no quorum", () => {
    const known = [candidate(1), candidate(2, { alive: false })];
    expect(ops(autopilot(members([1, 2, 3]), known))).toBe("nothing");
  });

  it("stays when it is the last voter", () => {
    expect(ops(autopilot(members([1]), [candidate(2, { alive: false })]))).toBe("nothing");
  });
});

describe("the voters stay as they are", () => {
  it("while a joint configuration is active", () => {
    const joint = after(
      members([1], [2, 3]),
      autopilot(members([1], [2, 3]), nodes(5)) ?? { changes: [] },
    );
    expect(isJoint(joint)).toBe(true);
    expect(autopilot(joint, nodes(5))).toBeNull();
  });

  it("when more of them would still be no quorum", () => {
    const dead = { alive: false };
    const known = nodes(8, { 2: dead, 3: dead, 4: dead, 5: dead });
    // Of five, one lives: with a sixth it would be two.
    expect(ops(autopilot(members([1, 2, 3, 4], [6, 7, 8]), known))).toBe("nothing");
    expect(ops(autopilot(members([1, 2, 3], [6, 7]), nodes(7, { 2: dead, 3: dead })))).toBe(
      "add-voter 6, add-voter 7",
    );
  });

  it("when one is dead: it keeps its seat", () => {
    const known = nodes(6, { 2: { alive: false } });
    expect(ops(autopilot(members([1, 2, 3], [4, 5]), known))).toBe("nothing");
  });
});

function lives(voters: readonly number[], candidates: readonly Candidate[]): boolean {
  const alive = voters.filter((id) => candidates.some((c) => c.raftId === id && c.alive));
  return alive.length > voters.length / 2;
}

describe("whatever befalls the nodes", () => {
  const anyCandidates = fc
    .array(
      fc.record({
        alive: fc.boolean(),
        mayVote: fc.boolean(),
        caughtUp: fc.boolean(),
        isGone: fc.boolean(),
      }),
      { maxLength: 12 },
    )
    .map((list) =>
      list.flatMap(({ isGone, ...rest }, i) => (isGone ? [] : [{ raftId: i + 1, ...rest }])),
    );
  const anyMembership = fc
    .array(fc.constantFrom("voter", "learner", "neither"), { minLength: 1, maxLength: 12 })
    .map((parts) => {
      const ids = (wanted: string): number[] =>
        parts.flatMap((part, i) => (part === wanted ? [i + 1] : []));
      return members(ids("voter"), ids("learner"));
    })
    .filter(({ voters }) => voters.length > 0);

  it("no change is refused, or leads to voters without a quorum", () => {
    fc.assert(
      fc.property(anyMembership, anyCandidates, (start, candidates) => {
        settle(start, candidates, (before, next) => {
          const isSame = String(next.voters) === String(before.voters);
          expect(isSame || lives(next.voters, candidates)).toBe(true);
        });
      }),
      { numRuns: 1000 },
    );
  });

  it("only who lives, may and has the log becomes a voter, and learners are bounded", () => {
    fc.assert(
      fc.property(anyMembership, anyCandidates, (start, candidates) => {
        settle(start, candidates, (before, next) => {
          for (const id of next.voters.filter((voter) => !before.voters.includes(voter))) {
            const fit = { alive: true, mayVote: true, caughtUp: true };
            expect(candidates.find(({ raftId }) => raftId === id)).toMatchObject(fit);
            expect(before.learners).toContain(id);
          }
          if (next.learners.length <= before.learners.length) return;
          const target = voterTarget(candidates.filter(({ mayVote }) => mayVote).length);
          const missing = Math.max(0, target - next.voters.length);
          expect(next.learners.length).toBeLessThanOrEqual(missing + STANDBYS);
        });
      }),
      { numRuns: 1000 },
    );
  });

  it("the voters come to rest within as many rounds as there are seats to change", () => {
    fc.assert(
      fc.property(anyMembership, anyCandidates, (start, candidates) => {
        const { rounds } = settle(start, candidates);
        expect(rounds).toBeLessThanOrEqual(memberIds(start).length + 5 + STANDBYS + 3);
      }),
      { numRuns: 1000 },
    );
  });

  it("voters that grew from the first node are odd, and as many as wanted once all are well", () => {
    const anyWeather = fc.array(fc.tuple(fc.boolean(), fc.boolean()), {
      minLength: 1,
      maxLength: 12,
    });
    fc.assert(
      fc.property(
        fc.array(anyWeather, { maxLength: 6 }),
        fc.integer({ min: 1, max: 12 }),
        (days, count) => {
          let membership = members([1]);
          for (const day of days) {
            const weather = nodes(count).map((node, i) => {
              const [alive = true, caughtUp = true] = day[i] ?? [];
              return { ...node, alive, caughtUp };
            });
            // Without a quorum there is no manager, and nobody to choose voters.
            if (!lives(membership.voters, weather)) continue;
            membership = settle(membership, weather).membership;
            expect(membership.voters.length % 2).toBe(1);
          }
          membership = settle(membership, nodes(count)).membership;
          expect(membership.voters).toHaveLength(voterTarget(count));
          const left = count - membership.voters.length;
          expect(membership.learners.length).toBeGreaterThanOrEqual(Math.min(left, STANDBYS));
        },
      ),
      { numRuns: 1000 },
    );
  });
});
