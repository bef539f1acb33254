/**
 * Stops the process when a fact that the code relies on does not hold. On in production: a node that
 * has lost its footing must die and be restarted, not go on and damage what others acknowledged.
 */
export function assert(condition: boolean, why: string): asserts condition {
  if (!condition) throw new AssertionError(why);
}

/** Marks a place that the types say cannot be reached, such as the default of an exhaustive switch. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${JSON.stringify(value)}`);
}

/** The value, or the process's end when it is absent: for look-ups whose key is known to be there. */
export function present<T>(value: T | undefined | null, why: string): T {
  if (value === undefined || value === null) throw new AssertionError(why);
  return value;
}

/** A bug in orch itself, never a user's mistake and never a fault of the outside. */
export class AssertionError extends Error {
  override name = "AssertionError";
}
