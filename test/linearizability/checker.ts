import type { Operation } from "./history.ts";
import { describeOperation, operationsByKey, valueWritten } from "./history.ts";
import type { Problem } from "./register.ts";
import { ABSENT, problemOf } from "./register.ts";
import type { Configuration, Found } from "./search.ts";
import { search } from "./search.ts";

export type Verdict =
  | { readonly kind: "linearizable"; readonly steps: number }
  /** `explanation`: for people, the part of the history that cannot be, several lines. */
  | {
      readonly kind: "violated";
      readonly key: string;
      readonly explanation: string;
      readonly steps: number;
    }
  /** The bound was reached at this key (no other key is violated): neither is known. */
  | { readonly kind: "undecided"; readonly key: string; readonly steps: number };

/** Enough for 10,000 operations on one key with tens of clients; bounds the memory to some hundred MB. */
const MAX_STEPS = 1_000_000;

/**
 * Whether the history is linearizable: whether each operation can have taken effect at one instant
 * between its call and its return, so that all the answers are right. Exact, except for "undecided": after
 * `maxSteps` placements of an operation on one key. The same history always gets the same verdict.
 */
export function checkLinearizable(
  history: readonly Operation[],
  maxSteps: number = MAX_STEPS,
): Verdict {
  let steps = 0;
  let undecided: string | null = null;
  for (const [key, operations] of operationsByKey(history)) {
    const found = search(problemOf(operations), maxSteps);
    steps += found.steps;
    if (found.kind === "none") {
      return { kind: "violated", key, explanation: explain(key, operations, found.steps), steps };
    }
    if (found.kind === "undecided") undecided ??= key;
  }
  if (undecided !== null) return { kind: "undecided", key: undecided, steps };
  return { kind: "linearizable", steps };
}

/** How often the search is repeated, and how much longer than the first time, for a short explanation. */
const MAX_REPEATS = 400;
const PATIENCE = 4;

/**
 * Weakens what the operations claim for as long as they still cannot be ordered: a read is forgotten, a
 * write may have taken effect or not. Both allow more orders than before, so that what is left is a
 * violation of the history itself. What remains claimed is needed, all of it.
 */
function reduce(operations: readonly Operation[], maxSteps: number): readonly Operation[] {
  let claims = operations;
  const claimed = new Set(operations.filter(({ output }) => output !== null));
  let repeats = 0;
  for (let size = Math.ceil(operations.length / 2); ; size = Math.ceil(size / 2)) {
    for (let from = 0; from < operations.length; from += size) {
      const chunk = operations.slice(from, from + size).filter((each) => claimed.has(each));
      if (chunk.length === 0) continue;
      if (repeats === MAX_REPEATS) return claims;
      repeats += 1;
      const weak = new Set(chunk);
      const weaker = claims.flatMap((each) => (weak.has(each) ? weakened(each) : [each]));
      if (search(problemOf(weaker), maxSteps).kind !== "none") continue;
      claims = weaker;
      for (const each of chunk) claimed.delete(each);
    }
    if (size === 1) return claims;
  }
}

function weakened(operation: Operation): Operation[] {
  const { kind } = operation.output ?? {};
  if (kind !== "written" && kind !== "removed") return [];
  return [{ ...operation, returnedAt: null, output: null }];
}

function explain(key: string, operations: readonly Operation[], steps: number): string {
  const maxSteps = PATIENCE * (steps + operations.length);
  const claims = reduce(operations, maxSteps);
  const problem = problemOf(claims);
  const found: Found = search(problem, maxSteps);
  const lines = [`key ${key}: no order of its operations explains all of these answers:`];
  lines.push(...relevant(operations, claims).map((each) => `  ${describeOperation(each)}`));
  if (found.kind === "none") lines.push(...deadEnd(problem, found.farthest));
  return lines.join("\n");
}

/** What is claimed, and of the other writes those of the values and versions that are claimed. */
function relevant(all: readonly Operation[], claims: readonly Operation[]): Operation[] {
  const claimed = new Set(claims.filter(({ output }) => output !== null));
  const seen = new Set([...claimed].flatMap(valuesNamed));
  return all.filter((each) => claimed.has(each) || seen.has(valueWritten(each) ?? ""));
}

function valuesNamed({ input, output }: Operation): string[] {
  const asked = input.kind === "swap" && input.ifValue !== null ? [input.ifValue] : [];
  return output?.kind === "found" ? [...asked, output.value] : asked;
}

function deadEnd(problem: Problem, { order, value, version, open }: Configuration): string[] {
  const at = problem.versioned ? ` at version ${version}` : "";
  const held = problem.values[value];
  const holds = value === ABSENT ? "is absent" : `holds ${held === null ? "" : `"${held}"`}${at}`;
  return [
    "The longest order that was found ends with",
    ...(order.length === 0 ? ["  nothing at all"] : []),
    ...order.map((step) => `  ${describeOperation(step.operation)}`),
    `Then the register ${holds}, and these cannot follow:`,
    ...open.map((step) => `  ${describeOperation(step.operation)}`),
  ];
}
