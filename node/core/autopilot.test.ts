import { describe, expect, it } from "vitest";
import { applyChange, type Membership, NO_MEMBERS } from "../../consensus/membership.ts";
import { autopilot } from "./autopilot.ts";
import { type Candidate, type PilotInput, type PilotStep, voterTarget } from "./pilot-survey.ts";

/** All candidates are older than any rule asks for, unless told otherwise. */
const NOW_MS = 100_000_000;

type Change = Partial<Candidate> | null;

/** Nodes 1 to `count`, all well and alike; `odd` are those that are not, null one without a record. */
function nodes(count: number, odd: Readonly<Record<number, Change>> = {}): Candidate[] {
  return Array.from({ length: count }, (_, i) => i + 1).flatMap((raftId) => {
    const change = odd[raftId];
    if (change === null) return [];
    return [
      {
        raftId,
        alive: true,
        sinceMs: 0,
        mayVote: true,
        leaving: false,
        caughtUp: true,
        datacenter: "dc1",
        zone: "",
        ...change,
      },
    ];
  });
}

function away(ms: number): Partial<Candidate> {
  return { alive: false, caughtUp: false, sinceMs: NOW_MS - ms };
}

function here(ms: number): Partial<Candidate> {
  return { sinceMs: NOW_MS - ms };
}

const THREE = { config: { replaceAfterMs: 30_000, maxVoters: 3 } };

/** Datacenters by a letter for each node, as `a`, or with a zone, as `a1`. */
function places(...names: readonly string[]): Candidate[] {
  return nodes(
    names.length,
    Object.fromEntries(
      names.map((name, i) => [i + 1, { datacenter: name.slice(0, 1), zone: name.slice(1) }]),
    ),
  );
}

function members(voters: readonly number[], learners: readonly number[] = []): Membership {
  return { ...NO_MEMBERS, voters, learners };
}

function input(
  membership: Membership,
  candidates: readonly Candidate[],
  changes: Partial<PilotInput> = {},
): PilotInput {
  return {
    membership,
    candidates,
    leader: 1,
    leaderSinceMs: 0,
    lastChangeMs: null,
    config: { replaceAfterMs: 30_000, maxVoters: 5 },
    nowMs: NOW_MS,
    ...changes,
  };
}

function text(step: PilotStep | null): string {
  if (step === null) return "nothing";
  if (step.kind === "transfer") return `transfer ${step.to}`;
  return step.change.changes.map(({ op, id }) => `${op} ${id}`).join(", ");
}

interface Case {
  readonly why: string;
  readonly now: Membership;
  readonly known: readonly Candidate[];
  readonly given?: Partial<PilotInput>;
  readonly wanted: string;
}

function decides(cases: readonly Case[]): void {
  it.each(cases)("$why", ({ now, known, given, wanted }) => {
    expect(text(autopilot(input(now, known, given)))).toBe(wanted);
  });
}

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
  ])("of %i nodes, at most %i, is... %i", (count, most, target) => {
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

function allBehind(ids: readonly number[]): Record<number, Partial<Candidate>> {
  return Object.fromEntries(ids.map((id) => [id, { caughtUp: false }]));
}

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
