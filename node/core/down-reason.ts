import { listInWords } from "../../lib/words.ts";
import type { Millis } from "../../state/ids.ts";
import type { Evidence } from "./verdict.ts";

const NAMED_MAX = 3;

/** What a verdict of *down* rests on, for operators: what its own session said, and who misses it. `missing`: their names. */
export function describeDown(evidence: Evidence, missing: readonly string[], now: Millis): string {
  return `${bySession(evidence, now)}; ${byObservers(evidence.observers, missing)}`;
}

function bySession(evidence: Evidence, now: Millis): string {
  const { session, expectedAtMs, managesSinceMs, lostAtMs, alerts } = evidence;
  if (session !== null && session.brokenAtMs !== null) {
    return `its connection to the manager broke ${seconds(now - session.brokenAtMs)} ago`;
  }
  if (session !== null) {
    return `the manager has heard nothing of it for ${seconds(now - session.lastHeardMs)}`;
  }
  if (expectedAtMs !== null) {
    return `it was let in ${seconds(now - expectedAtMs)} ago and has not started`;
  }
  const absent = `it has not come to this manager, who has been one for ${seconds(now - managesSinceMs)}`;
  if (lostAtMs !== null) {
    return `${absent}, and its connection here broke ${seconds(now - lostAtMs)} ago`;
  }
  if (alerts.length === 0) return absent;
  const missedSinceMs = Math.min(...alerts.map(({ sinceMs }) => sinceMs));
  return `${absent}, and has been missed for ${seconds(now - missedSinceMs)}`;
}

function byObservers(observers: number, missing: readonly string[]): string {
  if (observers === 0) return "no node that is up watches it";
  const share = `${missing.length} of ${observers} that watch it`;
  if (missing.length === 0) return `missed by no other (${share})`;
  const named = missing.toSorted().slice(0, NAMED_MAX);
  const more = missing.length - named.length;
  const who = more === 0 ? named : [...named, `${more} more`];
  return `missed by ${listInWords(who)} (${share})`;
}

function seconds(ms: Millis): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
