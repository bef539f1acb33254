import type { Millis } from "../../state/ids.ts";
import {
  OBSERVERS_ENOUGH,
  SESSION_ALONE_MS,
  SESSION_BROKEN_MS,
  SESSION_GRACE_MS,
  SESSION_MISSED_MS,
  SESSION_SILENT_MS,
} from "./defaults.ts";

/** What a manager knows of a node that bears on whether it is there. */
export interface Evidence {
  readonly managesSinceMs: Millis;
  /** Null: it has opened none with this manager. */
  readonly session: {
    readonly lastHeardMs: Millis;
    /** Its stream broke then; null: it stands. */
    readonly brokenAtMs: Millis | null;
  } | null;
  /** It was admitted then, and has yet to start; null: it is no newcomer. */
  readonly expectedAtMs: Millis | null;
  /** Its stream to this node broke then, as far as known from before it managed. */
  readonly lostAtMs: Millis | null;
  /** The manager is one of its observers, and has been sure since then that it misses it; null: it is not. */
  readonly sureSinceMs: Millis | null;
  /** Observers that are there themselves. */
  readonly observers: number;
  /** Those of them that miss it. */
  readonly alerts: readonly { readonly sinceMs: Millis }[];
}

/** One that lives opens its session with a new manager within a few round trips. */
const OPENED_MS = SESSION_BROKEN_MS / 2;

/**
 * When a node is to be taken for down unless it is heard before. Its session alone is one link: how long the manager waits depends
 * on what those who watch it say. Enough of them: no longer than it takes to miss a beat. Some: three beats. Nobody: it lives, and only the
 * two cannot hear each other; then it has to be given up as well, since nobody can tell it what to do, but not in a hurry.
 * While its session stands it is not down, whatever others say.
 */
export function downAtMs(evidence: Evidence): Millis {
  const { session, managesSinceMs, expectedAtMs, lostAtMs } = evidence;
  const agreed = agreement(evidence);
  if (session !== null && session.brokenAtMs !== null) {
    return session.brokenAtMs + (agreed === "nobody" ? SESSION_ALONE_MS : SESSION_BROKEN_MS);
  }
  if (session !== null) return session.lastHeardMs + SILENT_MS[agreed];
  if (expectedAtMs !== null) return expectedAtMs + SESSION_GRACE_MS;
  if (agreed === "nobody") return managesSinceMs + SESSION_ALONE_MS;
  // Others have to agree: of few observers one may be enough, and that be the manager.
  const isAgreed = agreed === "enough" && evidence.alerts.length > 1;
  const soonest = isAgreed ? soonestDownAtMs(evidence) : managesSinceMs + OPENED_MS;
  if (lostAtMs !== null) return Math.max(lostAtMs + SESSION_BROKEN_MS, soonest);
  if (agreed === "some") return managesSinceMs + SESSION_GRACE_MS;
  const missedSinceMs = Math.min(...evidence.alerts.map(({ sinceMs }) => sinceMs));
  return Math.max(missedSinceMs + SESSION_BROKEN_MS, soonest);
}

/** Not before this, whatever those who watch it say: until then they need not be asked. */
export function soonestDownAtMs({
  session,
  managesSinceMs,
  expectedAtMs,
  sureSinceMs,
}: Pick<Evidence, "session" | "managesSinceMs" | "expectedAtMs" | "sureSinceMs">): Millis {
  if (session !== null && session.brokenAtMs !== null)
    return session.brokenAtMs + SESSION_BROKEN_MS;
  if (session !== null) return session.lastHeardMs + SESSION_MISSED_MS;
  if (expectedAtMs !== null) return expectedAtMs + SESSION_GRACE_MS;
  // One that this node has looked for in vain since before it managed has had some of that time already.
  return Math.max(
    managesSinceMs,
    Math.min(managesSinceMs, sureSinceMs ?? managesSinceMs) + OPENED_MS,
  );
}

type Agreement = "enough" | "some" | "nobody";

const SILENT_MS: Readonly<Record<Agreement, number>> = {
  enough: SESSION_MISSED_MS,
  some: SESSION_SILENT_MS,
  nobody: SESSION_ALONE_MS,
};

/** A node that nobody could watch is judged as if one agreed. */
function agreement({ observers, alerts }: Evidence): Agreement {
  if (observers === 0) return "some";
  if (alerts.length === 0) return "nobody";
  const enough = Math.min(OBSERVERS_ENOUGH, Math.floor(observers / 2) + 1);
  return alerts.length >= enough ? "enough" : "some";
}
