import type { RestartPolicy } from "../state/spec.ts";

/** How an attempt ended: what the restart policy is asked about. */
export interface AttemptEnd {
  /** Null: not known, as when its container was removed or could not be started. Never a success. */
  readonly exitCode: number | null;
  /** Consecutive restarts before this attempt. */
  readonly restarts: number;
  readonly ranMs: number;
  /** It ended while nobody looked (the machine rebooted, the node was down): not held against the task. */
  readonly missed: boolean;
}

export type Verdict =
  | { readonly kind: "complete" }
  /** `attempts`: how many in a row came to nothing. */
  | { readonly kind: "failed"; readonly attempts: number }
  /** `restarts`: the consecutive restarts with this one. */
  | { readonly kind: "restart"; readonly delayMs: number; readonly restarts: number };

/** No wait is doubled beyond this. */
export const MAX_RESTART_DELAY_MS = 60_000;

/** Even `delay: 0` waits this long: a task that ends at once must not occupy the machine with its starts. */
export const MIN_RESTART_DELAY_MS = 100;

/**
 * What becomes of a task whose attempt has ended. An attempt of at least `windowMs` sets the count of
 * restarts and the wait back to the beginning; more than `maxAttempts` restarts in a row fail the task.
 * A missed end restarts at once and counts for nothing, but never against the policy's condition.
 */
export function verdict(policy: RestartPolicy, end: AttemptEnd): Verdict {
  const success = end.exitCode === 0;
  if (success && policy.condition !== "any") return { kind: "complete" };
  if (policy.condition === "none") return { kind: "failed", attempts: 1 };
  if (end.missed) return { kind: "restart", delayMs: 0, restarts: end.restarts };
  const before = end.ranMs >= policy.windowMs ? 0 : end.restarts;
  if (policy.maxAttempts !== null && before >= policy.maxAttempts) {
    return { kind: "failed", attempts: before + 1 };
  }
  return { kind: "restart", delayMs: restartDelayMs(policy.delayMs, before), restarts: before + 1 };
}

/** The wait before the next restart, doubled by each of those `before`; a longer first wait is not cut short. */
function restartDelayMs(firstMs: number, before: number): number {
  const longest = Math.max(MAX_RESTART_DELAY_MS, firstMs);
  return doubled(Math.max(firstMs, MIN_RESTART_DELAY_MS), before, longest);
}

/** `firstMs` doubled `times` times, at most `longestMs`. */
export function doubled(firstMs: number, times: number, longestMs: number): number {
  let delayMs = firstMs;
  for (let i = 0; i < times && delayMs < longestMs; i++) delayMs *= 2;
  return Math.min(delayMs, longestMs);
}
