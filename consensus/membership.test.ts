import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type ChangeOutcome,
  type MemberChange,
  type Membership,
  NO_MEMBERS,
  applyChange,
  decodeChange,
  encodeChange,
  isJoint,
  isLearner,
  isVoter,
  memberIds,
} from "./membership.ts";

const OPS = { v: "add-voter", l: "add-learner", r: "remove" } as const;

/** "v1 l2 r3": add voter 1, add learner 2, remove 3. */
function changes(text: string): MemberChange[] {
  return text.split(" ").flatMap((word) => {
    const op = word[0];
    if (op !== "v" && op !== "l" && op !== "r") return [];
    return [{ op: OPS[op], id: Number(word.slice(1)) }];
  });
}

/** "1 2 & 3 | 4 | 5": voters & outgoing | learners | learners next. */
function show({ voters, outgoing, learners, learnersNext }: Membership): string {
  const halves =
    outgoing.length > 0 ? `${voters.join(" ")} & ${outgoing.join(" ")}` : voters.join(" ");
  return [halves, learners.join(" "), learnersNext.join(" ")].join(" | ").replace(/( \| )+$/, "");
}

function outcome(result: ChangeOutcome): string {
  return result.kind === "refused" ? `refused: ${result.reason}` : show(result.membership);
}

/** Applies changes one after the other; "leave" leaves a joint configuration. */
function after(...steps: readonly string[]): string {
  let membership = NO_MEMBERS;
  for (const step of steps) {
    const result = applyChange(membership, { changes: changes(step === "leave" ? "" : step) });
    if (result.kind === "refused") return outcome(result);
    membership = result.membership;
  }
  return show(membership);
}

const JOINT = "refused: a joint configuration must be left first";
const EMPTY = "refused: it would leave no voter";

describe("simple changes", () => {
  it.each([
    { name: "the first voter", steps: ["v1"], result: "1" },
    { name: "founding by several", steps: ["v1 v2 v3"], result: "1 2 3" },
    { name: "a voter, sorted", steps: ["v2", "v1"], result: "1 2" },
    { name: "ids sort as numbers", steps: ["v1 v2", "v10", "v9"], result: "1 2 9 10" },
    { name: "a learner", steps: ["v1", "l2"], result: "1 | 2" },
    { name: "several learners and one voter", steps: ["v1", "l2 l3 v4"], result: "1 4 | 2 3" },
    { name: "idempotent add", steps: ["v1", "v1"], result: "1" },
    { name: "idempotent within a change", steps: ["v1", "l2 l2"], result: "1 | 2" },
    { name: "the last word counts", steps: ["v1", "v2 r2"], result: "1" },
    { name: "removing a stranger", steps: ["v1", "r7"], result: "1" },
    { name: "promotion", steps: ["v1 v2", "l3", "v3"], result: "1 2 3" },
    { name: "demotion of one is at once", steps: ["v1 v2 v3", "l3"], result: "1 2 | 3" },
    { name: "demotion and back", steps: ["v1 v2", "l2", "v2"], result: "1 2" },
    { name: "demotion and back within a change", steps: ["v1 v2", "l2 v2"], result: "1 2" },
    { name: "promotion and back within a change", steps: ["v1", "l2", "v2 l2"], result: "1 | 2" },
    { name: "demotion and another's learning", steps: ["v1 v2", "l2 l3"], result: "1 | 2 3" },
    { name: "removal and a learner's", steps: ["v1 v2", "l3", "r2 r3"], result: "1" },
    { name: "an odd voter and back", steps: ["v1 v2 v3", "v4", "r4"], result: "1 2 3" },
    { name: "removing a learner", steps: ["v1", "l2", "r2"], result: "1" },
    { name: "removing a voter", steps: ["v1 v2", "r1"], result: "2" },
  ])("$name: $steps", ({ steps, result }) => {
    expect(after(...steps)).toBe(result);
  });
});

describe("item 20: more than one voter changes through a joint configuration", () => {
  it.each([
    { name: "replacing one", steps: ["v1 v2 v3", "v4 r3"], result: "1 2 4 & 1 2 3" },
    { name: "two more", steps: ["v1", "v2 v3"], result: "1 2 3 & 1" },
    { name: "left", steps: ["v1 v2 v3", "v4 r3", "leave"], result: "1 2 4" },
    { name: "a learner beside", steps: ["v1", "v2 v3 l4"], result: "1 2 3 & 1 | 4" },
    { name: "demotion waits", steps: ["v1 v2 v3", "l3 v4"], result: "1 2 4 & 1 2 3 |  | 3" },
    { name: "demotion happens", steps: ["v1 v2 v3", "l3 v4", "leave"], result: "1 2 4 | 3" },
    { name: "promotion in a swap", steps: ["v1 v2", "l3", "v3 l2"], result: "1 3 & 1 2 |  | 2" },
    {
      name: "swap back",
      steps: ["v1 v2", "l3", "v3 l2", "leave", "v2 l3", "leave"],
      result: "1 2 | 3",
    },
    {
      name: "everything several times, the last word counts",
      steps: ["v1", "r1 r2 r9 v2 v3 v4 v2 v3 v4 l2 l2 r4 r4 l1 l1"],
      result: "3 & 1 | 2 | 1",
    },
    {
      name: "several times, left",
      steps: ["v1", "r1 r2 r9 v2 v3 v4 v2 v3 v4 l2 l2 r4 r4 l1 l1", "leave"],
      result: "3 | 1 2",
    },
    { name: "two demotions", steps: ["v1 v2 v3", "l2 l3"], result: "1 & 1 2 3 |  | 2 3" },
    { name: "two demotions, left", steps: ["v1 v2 v3", "l2 l3", "leave"], result: "1 | 2 3" },
    {
      name: "a demoted voter is removed afterwards",
      steps: ["v1 v2 v3", "l3 v4", "leave", "r3"],
      result: "1 2 4",
    },
    {
      name: "other voters altogether",
      steps: ["v1 v2 v3", "r1 r2 r3 v4 v5 v6"],
      result: "4 5 6 & 1 2 3",
    },
    { name: "idempotent", steps: ["v1", "v2 v2 v3 v3", "leave"], result: "1 2 3" },
  ])("$name: $steps", ({ steps, result }) => {
    expect(after(...steps)).toBe(result);
  });

  it.each([
    { name: "no change within", steps: ["v1", "v2 v3", "v4"], result: JOINT },
    { name: "no joint within", steps: ["v1", "v2 v3", "v4 v5"], result: JOINT },
    { name: "no learner within", steps: ["v1", "v2 v3", "l4"], result: JOINT },
    {
      name: "nothing to leave",
      steps: ["v1", "leave"],
      result: "refused: there is no joint configuration to leave",
    },
    {
      name: "left twice",
      steps: ["v1", "v2 v3", "leave", "leave"],
      result: "refused: there is no joint configuration to leave",
    },
    { name: "no voter left", steps: ["v1", "r1"], result: EMPTY },
    { name: "only learners left", steps: ["v1 v2", "l1 l2"], result: EMPTY },
    { name: "all voters removed, joint", steps: ["v1 v2", "r1 r2"], result: EMPTY },
    { name: "all replaced by a learner", steps: ["v1", "r1 l2"], result: EMPTY },
    { name: "no removal within", steps: ["v1", "v2 v3", "r9"], result: JOINT },
    { name: "a negative node", steps: ["v1", "v-1"], result: "refused: -1 is not a raft id" },
    { name: "node 0", steps: ["v1", "v0"], result: "refused: 0 is not a raft id" },
    { name: "half a node", steps: ["v1", "v1.5"], result: "refused: 1.5 is not a raft id" },
  ])("refuses: $name", ({ steps, result }) => {
    expect(after(...steps)).toBe(result);
  });
});

function sameIds(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((id, i) => id === b[i]);
}

describe("membership by random changes", () => {
  const change = fc.record({
    op: fc.constantFrom("add-voter" as const, "add-learner" as const, "remove" as const),
    id: fc.integer({ min: 1, max: 6 }),
  });

  it("keeps its halves apart, and what is left at once equals what a joint change comes to", () => {
    fc.assert(
      fc.property(fc.array(fc.array(change, { minLength: 1, maxLength: 4 })), (steps) => {
        let membership = NO_MEMBERS;
        for (const step of steps) {
          const before = membership;
          const result = applyChange(before, { changes: step });
          if (result.kind === "refused") continue;
          membership = result.membership;
          if (isJoint(membership)) {
            if (!sameIds(membership.outgoing, before.voters)) return false;
            const left = applyChange(membership, { changes: [] });
            if (left.kind !== "changed") throw new Error("a joint configuration can be left");
            membership = left.membership;
          } else {
            const gone = before.voters.filter((id) => !membership.voters.includes(id));
            const come = membership.voters.filter((id) => !before.voters.includes(id));
            if (before.voters.length > 0 && gone.length + come.length > 1) return false;
          }
          expect(memberIds(membership).length).toBe(
            membership.voters.length + membership.learners.length,
          );
          for (const { op, id } of step.filter(
            ({ id: a }, i) => step.findLastIndex((c) => c.id === a) === i,
          )) {
            expect(isVoter(membership, id)).toBe(op === "add-voter");
            expect(isLearner(membership, id)).toBe(op === "add-learner");
          }
        }
        return true;
      }),
    );
  });

  it("an outgoing voter is a voter, and no learner, until the joint configuration is left", () => {
    const joint = { voters: [1, 2], outgoing: [1, 3], learners: [], learnersNext: [3] };
    expect(isVoter(joint, 3)).toBe(true);
    expect(isLearner(joint, 3)).toBe(false);
    expect(memberIds(joint)).toEqual([1, 2, 3]);
  });

  it("is read back from bytes as it was written", () => {
    const any = fc.record({
      op: fc.constantFrom("add-voter" as const, "add-learner" as const, "remove" as const),
      id: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    });
    fc.assert(
      fc.property(fc.array(any), fc.nat(5), (list, offset) => {
        const encoded = encodeChange({ changes: list });
        // Entries are views into larger buffers.
        const frame = new Uint8Array(encoded.length + offset);
        frame.set(encoded, offset);
        expect(decodeChange(frame.subarray(offset))).toEqual({ changes: list });
      }),
    );
  });

  it("refuses bytes that are no change", () => {
    expect(() => decodeChange(new Uint8Array(8))).toThrow("whole changes");
    expect(() => decodeChange(new Uint8Array(9).fill(9))).toThrow("known changes");
  });
});
