/** Every duration and bound that the core uses, each with its reason. Milliseconds unless named otherwise. */

/** One tick of the core's clock: the grain of every timer below. */
export const TICK_MS = 100;

/** A leader speaks this often: ten times within the shortest election timeout. */
export const HEARTBEAT_TICKS = 1;

/** A follower campaigns after [1, 2) times this silence: above the p99 of a sync on a busy disk (30 ms) by far. */
export const ELECTION_TICKS = 10;

/** A worker session says that it lives this often. */
export const SESSION_BEAT_MS = 1_000;

/** A silent session's node is down after this: three missed beats and a margin for a busy machine. */
export const SESSION_SILENT_MS = 4_000;

/** A node whose stream broke gets this long to come back before it is down: a restart of orch takes less. */
export const SESSION_BROKEN_MS = 1_500;

/** A new manager waits this long for sessions before it misses any. */
export const SESSION_GRACE_MS = 4_000;

/**
 * A node makes a snapshot whenever it has applied this many entries since the last, and keeps the newest
 * `keepEntries` of the log beside it, so that a follower that was away for a moment needs no snapshot.
 */
export const LOG_BOUNDS: { readonly snapshotEntries: number; readonly keepEntries: number } = {
  snapshotEntries: 10_000,
  keepEntries: 5_000,
};

/** While a follower fetches a snapshot no new one is made, up to this many times `snapshotEntries`: else it would never end. */
export const SNAPSHOT_PATIENCE = 10;

/** Two scheduling passes are at least this far apart, so that a burst of changes shares one. */
export const PASS_MS = 20;

/** Steps of one plan: bounds the size of its entry and the time of one pass. */
export const PLAN_STEPS = 500;

/** The voters are reconsidered this often. */
export const AUTOPILOT_MS = 500;

/** A learner this close to the commit index is fit to vote. */
export const CAUGHT_UP_ENTRIES = 100;

/** A tick this late means that this process stood still, not that the others were silent. */
export const STALL_MS = 500;

/** An opened session that is not answered is opened again, possibly elsewhere. */
export const SESSION_OPEN_MS = 500;

/** Reports that are not acknowledged are sent again. */
export const REPORTS_RETRY_MS = 3_000;

/** A forwarded request that is not answered is sent again under the same key. */
export const FORWARD_RETRY_MS = 2_000;

/** Requests that may wait at one node; more are refused. */
export const REQUESTS_MAX = 10_000;

/** Events kept in memory for those who ask for older ones. */
export const EVENTS_KEPT = 10_000;

/** The whole cluster gossips about this many digests a second, whatever its size. */
export const GOSSIP_PER_SECOND = 20;
export const GOSSIP_MIN_MS = 2_000;
export const GOSSIP_MAX_MS = 300_000;

/** Up to this many nodes all stay connected; beyond, everyone keeps to the log holders and its neighbours. */
export const FULL_MESH_NODES = 16;
/** Neighbours on each side of the ring of all nodes. */
export const RING_NEIGHBOURS = 4;
