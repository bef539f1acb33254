import type { Operation } from "./history.ts";
import { valueWritten, versionTold } from "./history.ts";

/**
 * One key's operations made ready for the search: values as numbers, and every operation as one guarded
 * step of the register, whatever its kind.
 */

/** No demand on the value or version; and, as an effect, no change. */
export const ANY = -1;
/** A demand that no register meets: the answer contradicts its own question. */
const NEVER = -2;
export const ABSENT = 0;
/** Every value that nobody ever saw or asked for: which of them it is makes no difference. */
const UNSEEN = 1;

export interface Step {
  readonly operation: Operation;
  readonly calledAt: number;
  readonly returnedAt: number;
  /** What the register must hold and be at, and what not, for this step to be possible; ANY: no demand. */
  readonly holds: number;
  readonly holdsNot: number;
  readonly atVersion: number;
  readonly notAtVersion: number;
  /** What the register holds afterwards; ANY: as before. */
  readonly becomes: number;
}

export interface Problem {
  /** Operations that took effect or had none, in the order of their calls. */
  readonly known: readonly Step[];
  /** Those that may have taken effect, in classes of alike ones, each in the order of its calls. */
  readonly unknown: readonly (readonly Step[])[];
  /** What each number stands for; null: absent. */
  readonly values: readonly (string | null)[];
  /** Whether any operation names a version: a register without needs no count of its writes. */
  readonly versioned: boolean;
  /** Whether nothing can remove the key, so that its version never falls. */
  readonly grows: boolean;
}

/** Prepares the operations of one key (of `operationsByKey`). */
export function problemOf(operations: readonly Operation[]): Problem {
  const settled = settle(operations);
  const numbers = numbersOf(settled);
  const steps = settled.map((operation) => stepOf(operation, numbers));
  const classes = new Map<string, Step[]>();
  for (const step of steps) {
    if (step.operation.output !== null) continue;
    const name = [step.holds, step.holdsNot, step.atVersion, step.becomes].join();
    classes.set(name, [...(classes.get(name) ?? []), step]);
  }
  return {
    known: steps.filter(({ operation }) => operation.output !== null),
    unknown: [...classes.values()],
    values: [null, "(a value nobody saw)", ...[...numbers.keys()].slice(1)],
    versioned: settled.some((each) => each.input.kind === "put-if" || versionTold(each) !== null),
    grows: settled.every(({ input }) => input.kind !== "remove"),
  };
}

/**
 * A write of unknown outcome whose value was seen did take effect, before the first who saw it had the
 * answer: nearly as good as an acknowledgement. It must be the only one that writes the value.
 */
function settle(operations: readonly Operation[]): Operation[] {
  const writers = new Map<string, number>();
  const seen = new Map<string, { returnedAt: number; version: number | null }>();
  for (const operation of operations) {
    const value = valueWritten(operation);
    if (value !== null) writers.set(value, (writers.get(value) ?? 0) + 1);
    const found = valueSeen(operation);
    if (found === null || operation.returnedAt === null) continue;
    const before = seen.get(found.value);
    seen.set(found.value, {
      returnedAt: Math.min(before?.returnedAt ?? operation.returnedAt, operation.returnedAt),
      version: before?.version ?? found.version,
    });
  }
  return operations.map((operation) => {
    const value = valueWritten(operation);
    if (operation.output !== null || value === null || writers.get(value) !== 1) return operation;
    const proof = seen.get(value);
    if (proof === undefined || proof.returnedAt < operation.calledAt) return operation;
    const output = { kind: "written", version: proof.version } as const;
    return { ...operation, returnedAt: proof.returnedAt, output };
  });
}

/** The value that the register surely held when the operation took effect. */
function valueSeen({ input, output }: Operation): { value: string; version: number | null } | null {
  if (output?.kind === "found") return output;
  if (output?.kind !== "written" || input.kind !== "swap" || input.ifValue === null) return null;
  return { value: input.ifValue, version: null };
}

/** A number for every value that some operation saw or asked for. */
function numbersOf(operations: readonly Operation[]): Map<string | null, number> {
  const numbers = new Map<string | null, number>([[null, ABSENT]]);
  for (const { input, output } of operations) {
    const values = [
      ...(output?.kind === "found" ? [output.value] : []),
      ...(input.kind === "swap" ? [input.ifValue] : []),
    ];
    for (const value of values) {
      if (!numbers.has(value)) numbers.set(value, numbers.size + UNSEEN);
    }
  }
  return numbers;
}

/** An operation of unknown outcome is a step that is possible exactly where it would have an effect. */
function stepOf(operation: Operation, numbers: ReadonlyMap<string | null, number>): Step {
  const { input, output, calledAt } = operation;
  const number = (value: string | null): number => numbers.get(value) ?? UNSEEN;
  const step = {
    operation,
    calledAt,
    returnedAt: operation.returnedAt ?? Infinity,
    holds: ANY,
    holdsNot: ANY,
    atVersion: ANY,
    notAtVersion: ANY,
    becomes: ANY,
  };
  if (output?.kind === "absent") return { ...step, holds: ABSENT };
  if (output?.kind === "found") {
    return { ...step, holds: number(output.value), atVersion: output.version ?? ANY };
  }
  const told = output?.kind === "written" ? output.version : null;
  const before = told === null ? ANY : told < 1 ? NEVER : told - 1;
  switch (input.kind) {
    case "get":
      return step;
    case "remove":
      return { ...step, holdsNot: ABSENT, becomes: ABSENT };
    case "put":
      return { ...step, atVersion: before, becomes: number(input.value) };
    case "put-if": {
      const { ifVersion } = input;
      if (output?.kind === "refused") return { ...step, notAtVersion: ifVersion };
      const atVersion = told === null || before === ifVersion ? ifVersion : NEVER;
      return { ...step, atVersion, becomes: number(input.value) };
    }
    case "swap": {
      const ifValue = number(input.ifValue);
      if (output?.kind === "refused") return { ...step, holdsNot: ifValue };
      return { ...step, atVersion: before, holds: ifValue, becomes: number(input.value) };
    }
  }
}
