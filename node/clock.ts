import { uptime } from "node:os";
import { performance } from "node:perf_hooks";
import { assert } from "../lib/assert.ts";
import type { Millis } from "../state/ids.ts";

/** What a clock is made of, in milliseconds each. */
export interface ClockSources {
  /** Never runs backwards, and stands still while the machine sleeps. */
  readonly monotonicMs: () => number;
  /** Is set forwards and backwards, and is read in no time. */
  readonly wallMs: () => number;
  /** Since the machine's start, also while it slept; reading it costs a system call or three. */
  readonly uptimeMs: () => number;
}

/** Both clocks are read one after the other: so much is no sleep. */
const NOISE_MS = 250;

/**
 * Epoch milliseconds that never run backwards, whatever is done to the machine's clock, and that count the time for which the machine
 * slept: a lease does not wait for it. That it slept is looked for when the wall clock has left the monotonic one.
 */
export function makeClock({ monotonicMs, wallMs, uptimeMs }: ClockSources): () => Millis {
  const originMs = Math.floor(wallMs() - monotonicMs());
  const awakeMs = uptimeMs() - monotonicMs();
  let skewMs = wallMs() - monotonicMs();
  let asleepMs = 0;
  let latestMs = 0;
  return () => {
    const monotonic = monotonicMs();
    const skew = wallMs() - monotonic;
    if (Math.abs(skew - skewMs) > NOISE_MS) {
      skewMs = skew;
      const slept = Math.floor(uptimeMs() - monotonic - awakeMs);
      if (slept > asleepMs + NOISE_MS) asleepMs = slept;
    }
    const now = originMs + Math.floor(monotonic) + asleepMs;
    assert(now >= latestMs, "a monotonic clock does not run backwards");
    latestMs = now;
    return now;
  };
}

/** Milliseconds since the machine started: the same for all processes, and it counts on while the machine sleeps. */
export function machineUptimeMs(): number {
  return Math.floor(uptime() * 1000);
}

/** The node's clock. */
export const epochMs: () => Millis = makeClock({
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  uptimeMs: machineUptimeMs,
});
