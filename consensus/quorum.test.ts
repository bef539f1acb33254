import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NO_MEMBERS } from "./membership.ts";
import { type VoteResult, committedIndex, voteResult } from "./quorum.ts";

const NONE_KNOWN = Number.MAX_SAFE_INTEGER;

/** Voters 1.. with what each has reached; outgoing ones follow on. */
function commit(incoming: readonly number[], outgoing: readonly number[] = []): number {
  const reached = [...incoming, ...outgoing];
  const ids = reached.map((_, i) => i + 1);
  const membership = {
    ...NO_MEMBERS,
    voters: ids.slice(0, incoming.length),
    outgoing: ids.slice(incoming.length),
  };
  return committedIndex(membership, (id) => reached[id - 1] ?? 0);
}

/** y: granted, n: refused, _: no answer. */
function vote(incoming: string, outgoing = ""): VoteResult {
  const answers = incoming + outgoing;
  const ids = Array.from({ length: answers.length }, (_, i) => i + 1);
  const membership = {
    ...NO_MEMBERS,
    voters: ids.slice(0, incoming.length),
    outgoing: ids.slice(incoming.length),
  };
  return voteResult(membership, (id) => {
    const answer = answers[id - 1];
    return answer === "_" ? undefined : answer === "y";
  });
}

describe("majority commit", () => {
  it.each([
    { reached: [], index: NONE_KNOWN },
    { reached: [12], index: 12 },
    { reached: [0], index: 0 },
    { reached: [5, 12], index: 5 },
    { reached: [0, 100], index: 0 },
    { reached: [2, 5, 12], index: 5 },
    { reached: [12, 2, 5], index: 5 },
    { reached: [0, 0, 12], index: 0 },
    { reached: [100, 101, 103, 104], index: 101 },
    { reached: [101, 103, 103, 104, 100], index: 103 },
  ])("$reached → $index", ({ reached, index }) => {
    expect(commit(reached)).toBe(index);
  });
});

describe("joint commit", () => {
  it.each([
    { incoming: [13], outgoing: [100], index: 13 },
    { incoming: [100], outgoing: [13], index: 13 },
    { incoming: [5, 6, 7], outgoing: [0, 0, 9], index: 0 },
    { incoming: [1, 2, 3], outgoing: [10, 20, 30], index: 2 },
    { incoming: [10, 20, 30], outgoing: [1, 2, 3], index: 2 },
    { incoming: [4, 4, 4], outgoing: [], index: 4 },
  ])("$incoming and $outgoing → $index", ({ incoming, outgoing, index }) => {
    expect(commit(incoming, outgoing)).toBe(index);
  });
});

describe("majority vote", () => {
  it.each([
    { votes: "", result: "won" },
    { votes: "_", result: "pending" },
    { votes: "y", result: "won" },
    { votes: "n", result: "lost" },
    { votes: "y_", result: "pending" },
    { votes: "yn", result: "lost" },
    { votes: "n_", result: "lost" },
    { votes: "yy", result: "won" },
    { votes: "y__", result: "pending" },
    { votes: "yn_", result: "pending" },
    { votes: "nn_", result: "lost" },
    { votes: "yyn", result: "won" },
    { votes: "yy__", result: "pending" },
    { votes: "yynn", result: "lost" },
    { votes: "yyy_", result: "won" },
    { votes: "yynn_", result: "pending" },
    { votes: "nnn__", result: "lost" },
  ])("$votes → $result", ({ votes, result }) => {
    expect(vote(votes)).toBe(result);
  });
});

describe("joint vote", () => {
  it.each([
    { incoming: "yy_", outgoing: "yy_", result: "won" },
    { incoming: "yyy", outgoing: "y__", result: "pending" },
    { incoming: "y__", outgoing: "yyy", result: "pending" },
    { incoming: "yyy", outgoing: "nn_", result: "lost" },
    { incoming: "nn_", outgoing: "yyy", result: "lost" },
    { incoming: "___", outgoing: "nnn", result: "lost" },
    { incoming: "y", outgoing: "", result: "won" },
  ])("$incoming and $outgoing → $result", ({ incoming, outgoing, result }) => {
    expect(vote(incoming, outgoing)).toBe(result);
  });
});

function holds(half: readonly number[], index: number): boolean {
  return half.length === 0 || 2 * half.filter((reached) => reached >= index).length > half.length;
}

function more(votes: string): boolean {
  return 2 * votes.replaceAll("n", "").length > votes.length;
}

function isMore(half: readonly number[], says: (id: number) => boolean): boolean {
  return half.length === 0 || 2 * half.filter(says).length > half.length;
}

describe("quorums by definition", () => {
  const indices = fc.array(fc.nat(20), { minLength: 1, maxLength: 7 });

  it("the committed index is the highest that more than half have reached, in both halves", () => {
    fc.assert(
      fc.property(indices, fc.array(fc.nat(20), { maxLength: 7 }), (incoming, outgoing) => {
        let best = 0;
        for (let index = 0; index <= 20; index++) {
          if (holds(incoming, index) && holds(outgoing, index)) best = index;
        }
        expect(commit(incoming, outgoing)).toBe(best);
      }),
    );
  });

  it("an election is won or lost exactly when no missing answer could turn it", () => {
    const answers = fc.array(fc.constantFrom("y", "n", "_"), { minLength: 1, maxLength: 7 });
    fc.assert(
      fc.property(answers, (list) => {
        const votes = list.join("");
        const best = more(votes.replaceAll("_", "y"));
        const worst = more(votes.replaceAll("_", "n"));
        expect(vote(votes)).toBe(worst ? "won" : best ? "pending" : "lost");
      }),
    );
  });

  it("of every configuration of four nodes, overlapping or not, and every set of answers", () => {
    const wrong: string[] = [];
    const ids = [1, 2, 3, 4];
    const halves = Array.from({ length: 16 }, (_, bits) =>
      ids.filter((id) => bits & (1 << (id - 1))),
    );
    for (const incoming of halves) {
      for (const outgoing of halves) {
        const membership = { ...NO_MEMBERS, voters: incoming, outgoing };
        for (let code = 0; code < 81; code++) {
          // A digit of base 3 for each node: no answer, refused, granted; or what it has reached.
          const digit = (id: number): number => Math.floor(code / 3 ** (id - 1)) % 3;
          const best = [incoming, outgoing].every((half) => isMore(half, (id) => digit(id) !== 1));
          const worst = [incoming, outgoing].every((half) => isMore(half, (id) => digit(id) === 2));
          const answers = [undefined, false, true];
          const told = voteResult(membership, (id) => answers[digit(id)]);
          if (told !== (worst ? "won" : best ? "pending" : "lost")) {
            wrong.push(`${incoming.join(" ")} & ${outgoing.join(" ")}, ${code}: ${told}`);
          }
          const reached = [2, 1, 0].find((index) =>
            [incoming, outgoing].every((half) => isMore(half, (id) => digit(id) >= index)),
          );
          if (incoming.length + outgoing.length === 0) continue;
          const index = committedIndex(membership, digit);
          if (index !== reached) wrong.push(`${code}: ${index} committed, not ${reached}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });
});
