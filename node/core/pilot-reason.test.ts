import { describe, expect, it } from "vitest";
import { describeStep } from "./pilot-reason.ts";
import type { PilotReason, PilotStep } from "./pilot-survey.ts";

function change(reason: PilotReason): PilotStep {
  return { kind: "change", change: { changes: [] }, reason };
}

function voters(leaves: PilotReason["leaves"], joins: PilotReason["joins"]): PilotStep {
  return change({ tier: "voter", leaves, joins, target: 3 });
}

describe("a step in words", () => {
  it.each<{ step: PilotStep; wanted: string }>([
    {
      step: voters([{ id: 3, cause: { kind: "away", ms: 31_400 } }], [5]),
      wanted: "voter n3 has been away for 31 s; n5 takes its place",
    },
    {
      step: voters([], [4, 5]),
      wanted: "3 voters are wanted; n4 and n5 become voters",
    },
    {
      step: voters([{ id: 3, cause: { kind: "leaving" } }], []),
      wanted: "voter n3 leaves the cluster",
    },
    {
      step: voters(
        [
          { id: 2, cause: { kind: "gone" } },
          { id: 3, cause: { kind: "no-vote" } },
        ],
        [4, 5, 6],
      ),
      wanted:
        "voter n2 is no node of this cluster any more; voter n3 may not vote any more; n4, n5 and n6 become voters",
    },
    {
      step: voters([{ id: 3, cause: { kind: "hidden" } }], [5]),
      wanted:
        "voter n3 cannot be dialled, and others of that kind could not reach it; n5 takes its place",
    },
    {
      step: voters([{ id: 3, cause: { kind: "surplus" } }], []),
      wanted: "voter n3 is more than needed: 3 voters are wanted",
    },
    {
      step: voters([{ id: 3, cause: { kind: "crowded" } }], [4]),
      wanted: "voter n3 makes way for another datacenter or zone; n4 takes its place",
    },
    {
      step: change({ tier: "standby", leaves: [], joins: [4], target: 2 }),
      wanted: "2 standbys are wanted; n4 becomes a standby",
    },
    {
      step: {
        kind: "transfer",
        to: 2,
        reason: {
          tier: "voter",
          leaves: [{ id: 1, cause: { kind: "leaving" } }],
          joins: [],
          target: 3,
        },
      },
      wanted: "voter n1 leaves the cluster; n2 leads",
    },
  ])("$wanted", ({ step, wanted }) => {
    expect(describeStep(step, (id) => `n${id}`)).toBe(wanted);
  });
});
