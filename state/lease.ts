/**
 * Leases of nodes that run tasks of services with `partition: at-most-one`. docs/decisions/0026 has the proof; what it needs of these numbers: a
 * worker counts LEASE_MS from when it asked, a manager counts `fenceMs` from when it knew that the task is not seen any more, each
 * on its own clock that never jumps.
 */

/**
 * A lease is good for this long after it was asked for. Above the longest time that a cluster which is well takes for another manager
 * and the nodes' sessions with it; every second more is one that a lost task's slot stays empty.
 */
export const LEASE_MS = 10_000;

/** A task is started only with so much of the lease left: an engine may take its time over a start, and none runs on without a lease. */
export const LEASE_START_MS: number = LEASE_MS / 2;

/** For noticing the lease's end, and for steps that an engine refuses at first. */
const SLACK_MS = 4_000;

/** Clocks of two machines count the same time alike but for this share (1/8): quartz is a thousand times better, virtual machines are not. */
const DRIFT_SHARE = 8;

/** How long after it was seen last a leased task has ended for sure, `graceMs` being its stop grace. */
export function fenceMs(graceMs: number): number {
  const latestMs = LEASE_MS + graceMs;
  return latestMs + Math.ceil(latestMs / DRIFT_SHARE) + SLACK_MS;
}
