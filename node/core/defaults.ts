import type { RaftConfig } from "../../consensus/raft-state.ts";

/** Every duration and bound that the core uses, each with its reason. Milliseconds unless named otherwise. */

/** One tick of the core's clock: the grain of every timer below. */
export const TICK_MS = 100;

/** A leader speaks this often: ten times within the shortest election timeout. */
export const HEARTBEAT_TICKS = 1;

/** A follower campaigns after [1, 2) times this silence: above the p99 of a sync on a busy disk (30 ms) by far. */
export const ELECTION_TICKS = 10;

/** A worker session says that it lives this often. */
export const SESSION_BEAT_MS = 1_000;

/** A silent session's node is down after this if one observer misses it too: three missed beats and a margin for a busy machine. */
export const SESSION_SILENT_MS = 4_000;

/** … after this if enough observers do, who have missed it for three probes themselves: one missed beat. */
export const SESSION_MISSED_MS = 2_000;

/** … and after this if none does: it lives, and is of no use to a manager that it cannot hear. */
export const SESSION_ALONE_MS = 8_000;

/** A node whose stream broke gets this long to come back before it is down: a restart of orch takes less. */
export const SESSION_BROKEN_MS = 1_500;

/** Sessions are told of other members this often at most, unless they are told something else. */
export const MEMBERS_MS = 100;

/** Changes of the member list that a manager can tell one by one; whoever missed more is told all. */
export const MEMBER_CHANGES_KEPT = 1_000;

/**
 * Members that whole lists name in one turn, all lists together: some milliseconds' work. Where hundreds are to be told all at once, the
 * others wait for the next turns.
 */
export const MEMBERS_PER_TURN = 8_000;

/**
 * A node that went down so many times lately is ready again after its session has stood this long, the last for more: each time its tasks are
 * started elsewhere, and one that comes and goes would have them started all day.
 */
export const FLAP_HOLD_MS: readonly number[] = [0, 0, 0, 5_000, 15_000, 60_000];

/** A new manager waits this long for sessions before it misses any. */
export const SESSION_GRACE_MS = 4_000;

/** What Raft has at once on its way, waiting and in one call. */
export const RAFT_BOUNDS: Omit<RaftConfig, "id" | "electionTicks" | "heartbeatTicks"> = {
  /** One append: far below the largest frame, large enough to fill a sync. */
  maxMessageBytes: 1 << 20,
  maxInflight: 256,
  maxInflightBytes: 8 << 20,
  /** Ten times what is in flight: more means that the quorum is gone. */
  maxUncommittedBytes: 64 << 20,
  /** Applied in one call: a few milliseconds' worth. */
  maxApply: 200,
  maxApplyBytes: 4 << 20,
  /** More than a burst, less than what takes seconds to apply. */
  maxApplyLag: 5_000,
};

/**
 * A node makes a snapshot whenever it has applied this many entries since the last, and keeps the newest
 * `keepEntries` of the log beside it, so that a follower that was away for a moment needs no snapshot.
 */
export const LOG_BOUNDS: {
  readonly snapshotEntries: number;
  readonly keepEntries: number;
  readonly raft: typeof RAFT_BOUNDS;
} = {
  snapshotEntries: 10_000,
  keepEntries: 5_000,
  raft: RAFT_BOUNDS,
};

/** A snapshot is due, too, after this much: the log is in memory, and a config alone may have half a MiB. */
export const SNAPSHOT_BYTES: number = 64 << 20;

/** So many times the bytes of the last snapshot are applied before the next: what snapshots cost stays a share of that. */
export const SNAPSHOT_RATIO = 4;

/** … and at the latest after this many times `snapshotEntries`: a start applies them all again, half a second's work. */
export const SNAPSHOT_LATEST = 5;

/** Of the entries beside a snapshot no more than this is kept. */
export const KEEP_BYTES: number = 16 << 20;

/** A disk that has not done a write for this long is given up with its node: it counts as alive, and does nothing. */
export const DISK_HUNG_MS = 30_000;

/** While a follower fetches a snapshot no new one is made, up to this many times `snapshotEntries`: else it would never end. */
export const SNAPSHOT_PATIENCE = 10;

/** Two scheduling passes are at least this far apart, so that a burst of changes shares one. */
export const PASS_MS = 20;

/** Steps of one plan: bounds the size of its entry and the time of one pass. */
export const PLAN_STEPS = 500;

/** The voters are reconsidered this often. */
export const AUTOPILOT_MS = 500;

/** A manager that is to leave, and to which no voter answers, tries again this often: meanwhile it takes writes. */
export const HAND_OVER_EVERY_MS = 10_000;

/** Voters at most: each one more makes every write wait for more disks, and five outlive two losses. */
export const VOTERS_MAX = 5;

/** Learners kept beside the voters: one to take a lost voter's seat, one while the next is being taught. */
export const STANDBYS = 2;

/** A voter or standby away this long loses its seat: a machine restarts in less, and most partitions heal. */
export const REPLACE_AFTER_MS = 30_000;

/**
 * When more than this share of the nodes goes down at once, their tasks wait: it is a network or power that failed
 * rather than nodes, and the few that are left would drown in the work of all. 100: never.
 */
export const BRAKE_PERCENT = 50;

/** A learner has been here this long before it votes: one that comes and goes would take the quorum with it. */
export const STABLE_MS = 10_000;

/** A new leader leaves healthy voters alone this long: it has not heard everyone yet. */
export const LEADER_CALM_MS = 10_000;

/** Healthy voters and standbys are exchanged this far apart: a new one has caught up and shown itself by then. */
export const EXCHANGE_MS = 30_000;

/** A node away this long is not counted in the cluster's size: no repair at night takes longer, a scale-down does. */
export const GONE_AFTER_MS = 3_600_000;

/** A node that was removed is let in for this long, to be told so: some round trips, also over a slow link. */
export const DEPARTING_MS = 10_000;

/** A node that was removed stops its containers first, but ends after this: the longest usual grace and a margin. */
export const REMOVED_STOP_MS = 30_000;

/** Replicas note their state's hash whenever they have applied this many entries, and keep this many notes. */
export const AUDIT_ENTRIES = 128;
export const AUDIT_MARKS = 64;

/** The newest note is told to the manager this often at most. */
export const AUDIT_MS = 1_000;

/** A tick this late means that this process stood still, not that the others were silent. */
export const STALL_MS = 500;

/** An opened session that is not answered is opened again, possibly elsewhere. */
export const SESSION_OPEN_MS = 500;

/**
 * A node without a session for this long has lost its cluster: a new manager is elected and heard in less. All that
 * it knew may have been replaced, so from then on it asks strangers that connect whether they belong to the cluster.
 */
export const LOST_MS = 10_000;

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

/** A digest that comes later than this after a newer one is none that was held up on its way. */
export const DIGEST_LATE_MS = 60_000;

/** Up to this many nodes all stay connected; beyond, everyone keeps to the log holders and its neighbours on the rings. */
export const FULL_MESH_NODES = 16;

/** Nodes watch each other on this many rings: enough that some observers outlive what their subject dies of. */
export const RINGS = 8;

/** Observers that have to miss a node before it is down in a hurry; a majority where it has fewer than five. */
export const OBSERVERS_ENOUGH = 3;

/** An observer asks each of its subjects this often whether it is there: the grain of what silence can be noticed. */
export const PROBE_MS = 1_000;

/** Silent for this long, a subject is looked for with others' help: three probes lost, and what TCP sends again. */
export const PROBE_SILENT_MS = 3_000;

/** Others that are asked to look for a silent subject, and how long they have. */
export const HELPERS = 2;
export const HELP_MS = 700;

/** An alert is repeated as long as it holds, this often at first, and seldom once it is old … */
export const ALERT_MS = 1_000;
export const ALERT_MAX_MS = 30_000;

/** … and counts for so many times that: one repetition may be lost. */
export const ALERT_VALID = 3;
