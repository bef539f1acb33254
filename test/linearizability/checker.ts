import type { Operation } from "./history.ts";
import { describeOperation, operationsByKey, valueWritten } from "./history.ts";
import { problemOf } from "./register.ts";
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

/** How much work a short explanation may be: placements and operations looked at, in all its searches. */
const MAX_WORK = 2_000_000;
const MAX_LINES = 40;

/**
 * The answers that already contradict each other, as few as the allowed work finds. It weakens what the
 * operations claim for as long as they still cannot be ordered: whatever comes late is left out, a read
 * is forgotten, a write may have been made or not. All that allows more orders than before, so that what
 * is left is a violation of the history itself.
 */
function contradiction(operations: readonly Operation[], steps: number): ReadonlySet<Operation> {
  let work = 0;
  const isImpossible = (claims: readonly Operation[]): boolean => {
    const found = search(problemOf(claims), Math.min(2 * (steps + claims.length), MAX_WORK));
    work += found.steps + claims.length;
    return found.kind === "none";
  };
  const early = earlyPart(operations, isImpossible);
  let claims = early;
  const claimed = new Set(early.filter(({ output }) => output !== null));
  // First all reads, because it takes the known writes to make the search short.
  const passes = [early.filter((each) => !isWrite(each)), early.filter(isWrite)];
  for (const pass of passes) {
    for (const chunk of chunks(pass)) {
      const weak = new Set(chunk.filter((each) => claimed.has(each)));
      if (weak.size === 0) continue;
      if (work > MAX_WORK) return claimed;
      const weaker = claims.flatMap((each) => (weak.has(each) ? weakened(each) : [each]));
      if (!isImpossible(weaker)) continue;
      claims = weaker;
      for (const each of weak) claimed.delete(each);
    }
  }
  return claimed;
}

/** What was known when the contradiction was complete: the answers so far, and the writes under way. */
function earlyPart(
  operations: readonly Operation[],
  isImpossible: (claims: readonly Operation[]) => boolean,
): readonly Operation[] {
  const times = operations.flatMap(({ returnedAt }) => returnedAt ?? []).toSorted((a, b) => a - b);
  const until = (time: number): Operation[] =>
    operations.flatMap((each) => {
      if (each.calledAt > time) return [];
      return each.returnedAt !== null && each.returnedAt > time ? weakened(each) : [each];
    });
  let possible = -1;
  let impossible = times.length - 1;
  while (impossible - possible > 1) {
    const middle = (possible + impossible) >> 1;
    if (isImpossible(until(times[middle] ?? 0))) impossible = middle;
    else possible = middle;
  }
  return until(times[impossible] ?? 0);
}

/** The list in halves, then in quarters, and so on down to single ones. */
function* chunks<T>(list: readonly T[]): Generator<readonly T[]> {
  for (
    let size = Math.ceil(list.length / 2);
    size > 0;
    size = size === 1 ? 0 : Math.ceil(size / 2)
  ) {
    for (let from = 0; from < list.length; from += size) yield list.slice(from, from + size);
  }
}

function isWrite({ output }: Operation): boolean {
  return output?.kind === "written" || output?.kind === "removed";
}

/** A write that may or may not have been made has no condition either: the fewer kinds, the faster the search. */
function weakened(operation: Operation): Operation[] {
  if (!isWrite(operation)) return [];
  const value = valueWritten(operation);
  const input = value === null ? operation.input : ({ kind: "put", value } as const);
  return [{ ...operation, input, returnedAt: null, output: null }];
}

function explain(key: string, operations: readonly Operation[], steps: number): string {
  const shown = relevant(operations, contradiction(operations, steps));
  const hidden = Math.max(0, shown.length - MAX_LINES);
  return [
    `key ${key}: no order of its operations explains all of these answers:`,
    ...(hidden > 0 ? [`  (${hidden} earlier ones) and`] : []),
    ...shown.slice(hidden).map((each) => `  ${describeOperation(each)}`),
  ].join("\n");
}

/** What is claimed, and of the other writes those that may have made the values that were seen. */
function relevant(all: readonly Operation[], claimed: ReadonlySet<Operation>): Operation[] {
  const seen = new Set([...claimed].flatMap(valuesNamed));
  const end = [...claimed].reduce((last, each) => Math.max(last, each.returnedAt ?? 0), 0);
  return all.filter((each) => {
    if (claimed.has(each)) return true;
    if (each.calledAt > end || each.output?.kind === "refused") return false;
    return seen.has(valueWritten(each) ?? "");
  });
}

function valuesNamed({ input, output }: Operation): string[] {
  const asked = input.kind === "swap" && input.ifValue !== null ? [input.ifValue] : [];
  return output?.kind === "found" ? [...asked, output.value] : asked;
}
