import type { Operation } from "./history.ts";
import { describeOperation, operationsByKey, valueWritten, versionTold } from "./history.ts";

/**
 * Checks that cost next to nothing and whose accusations are exact: two or three operations that cannot
 * all be. They find most of what the search of checker.ts would, say it in fewer words, and never end
 * undecided. What they pass may still be no linearizable history.
 */

/** The first violation as a sentence or a few lines; null: none was found. */
export function cheapViolation(history: readonly Operation[]): string | null {
  for (const [key, operations] of operationsByKey(history)) {
    const problem = phantom(operations) ?? (counts(operations) ? disorder(operations) : null);
    if (problem !== null) return `key ${key}: ${problem}`;
  }
  return null;
}

/** Whether versions only grow, and each is made once: unless the key is ever removed. */
function counts(operations: readonly Operation[]): boolean {
  return operations.every(({ input }) => input.kind !== "remove");
}

/** A value was seen that nobody had asked to write by then. */
function phantom(operations: readonly Operation[]): string | null {
  const firstWrites = new Map<string, Operation>();
  for (const operation of operations) {
    const value = valueWritten(operation);
    if (value !== null && !firstWrites.has(value)) firstWrites.set(value, operation);
  }
  for (const operation of operations) {
    const { output, returnedAt } = operation;
    if (output?.kind !== "found") continue;
    const write = firstWrites.get(output.value);
    if (write === undefined) return said("a value that nobody wrote was read", [operation]);
    if (returnedAt !== null && returnedAt < write.calledAt) {
      return said("a value was read before it was written", [operation, write]);
    }
  }
  return null;
}

function disorder(operations: readonly Operation[]): string | null {
  return twoValues(operations) ?? backwards(operations);
}

/** A version was made twice, or is not the same for all who saw it. */
function twoValues(operations: readonly Operation[]): string | null {
  const known = new Map<number, { write: Operation | null; read: Operation | null }>();
  for (const operation of operations) {
    const version = versionTold(operation);
    if (version === null) continue;
    const { write, read } = known.get(version) ?? { write: null, read: null };
    const isWrite = operation.output?.kind === "written";
    if (isWrite && write !== null) {
      return said(`version ${version} was acknowledged twice`, [write, operation]);
    }
    const other = write ?? read;
    if (other !== null && valueAt(other) !== valueAt(operation)) {
      return said(`version ${version} has two values`, [other, operation]);
    }
    known.set(version, isWrite ? { write: operation, read } : { write, read: read ?? operation });
  }
  return null;
}

function valueAt(operation: Operation): string | null {
  return operation.output?.kind === "found" ? operation.output.value : valueWritten(operation);
}

/**
 * Time went back: whatever is called after somebody was told of a version must be told of that one or a
 * later one, and of a later one if it writes. Holds for one client (monotonic reads, reads of its own
 * writes) as for two.
 */
function backwards(operations: readonly Operation[]): string | null {
  const returned = operations
    .filter((each) => each.returnedAt !== null && versionTold(each) !== null)
    .toSorted((a, b) => (a.returnedAt ?? 0) - (b.returnedAt ?? 0));
  let floor: Operation | null = null;
  let next = 0;
  for (const operation of operations) {
    for (let seen = returned[next]; seen !== undefined; seen = returned[next]) {
      if ((seen.returnedAt ?? 0) >= operation.calledAt) break;
      if ((versionTold(seen) ?? 0) > (floor === null ? 0 : (versionTold(floor) ?? 0))) floor = seen;
      next += 1;
    }
    if (floor === null) continue;
    const least = (versionTold(floor) ?? 0) + (operation.output?.kind === "written" ? 1 : 0);
    const told = operation.output?.kind === "absent" ? 0 : versionTold(operation);
    if (told !== null && told < least) return said("a version went back", [floor, operation]);
  }
  return null;
}

/** What a key is found to be once all is quiet: `version` 0: absent. */
export interface FinalState {
  readonly version: number;
  /** The values of versions 1, 2, … up to the last; null where the server keeps no such list. */
  readonly values: readonly string[] | null;
}

/**
 * Whether every acknowledged write is kept, as a sentence or a few lines; null: all are. `finalOf` is
 * asked for each key that was ever written and never removed, after the last return.
 */
export function lossViolation(
  history: readonly Operation[],
  finalOf: (key: string) => FinalState,
): string | null {
  for (const [key, operations] of operationsByKey(history)) {
    if (!counts(operations)) continue;
    const problem = loss(operations, finalOf(key));
    if (problem !== null) return `key ${key}: ${problem}`;
  }
  return null;
}

function loss(operations: readonly Operation[], { version, values }: FinalState): string | null {
  for (const operation of operations) {
    const told = versionTold(operation) ?? 0;
    if (told > version) return said(`the last version is ${version}`, [operation]);
    if (values === null || told === 0) continue;
    const kept = values[told - 1];
    if (kept !== valueAt(operation)) {
      return said(`version ${told} is now "${kept ?? "nothing"}"`, [operation]);
    }
  }
  return values === null ? null : repeated(operations, values);
}

/** Every version was asked for, and no write was made more often than it was asked for. */
function repeated(operations: readonly Operation[], values: readonly string[]): string | null {
  const asked = new Map<string | null, Operation[]>();
  for (const operation of operations) {
    if (operation.output?.kind === "refused") continue;
    const value = valueWritten(operation);
    asked.set(value, [...(asked.get(value) ?? []), operation]);
  }
  const made = new Map<string, number[]>();
  for (const [at, value] of values.entries()) {
    made.set(value, [...(made.get(value) ?? []), at + 1]);
  }
  for (const [value, versions] of made) {
    const writes = asked.get(value) ?? [];
    if (versions.length > writes.length) {
      const all = versions.join(", ");
      return said(`"${value}" was made more often than asked for, at version ${all}`, writes);
    }
  }
  return missing(asked, made);
}

/** A write that was acknowledged without a version must be among those made. */
function missing(
  asked: ReadonlyMap<string | null, readonly Operation[]>,
  made: ReadonlyMap<string, readonly number[]>,
): string | null {
  for (const [value, writes] of asked) {
    if (value === null) continue;
    const acknowledged = writes.filter(({ output }) => output?.kind === "written");
    if (acknowledged.length > (made.get(value)?.length ?? 0)) {
      return said("an acknowledged write is not among the versions", acknowledged);
    }
  }
  return null;
}

function said(problem: string, operations: readonly Operation[]): string {
  return [problem, ...operations.map((each) => `  ${describeOperation(each)}`)].join("\n");
}
