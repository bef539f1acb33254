import { Prng } from "../../lib/prng.ts";
import { LOG_BOUNDS, RAFT_BOUNDS, REPLACE_AFTER_MS } from "../../node/core/defaults.ts";

/** What one run is made of, all of it drawn from the seed: each seed switches a random part of the faults off. */
export interface SimOptions {
  readonly seed: number;
  readonly nodes: number;
  /** Virtual time with faults, then at most this long to converge without. */
  readonly safetyMs: number;
  readonly livenessMs: number;
  /** Mean times between faults of each kind; null: switched off. */
  readonly crashEveryMs: number | null;
  readonly pauseEveryMs: number | null;
  readonly cutEveryMs: number | null;
  readonly stallEveryMs: number | null;
  readonly containerCrashEveryMs: number | null;
  readonly breakEveryMs: number | null;
  readonly syncErrorEveryMs: number | null;
  readonly wipeEveryMs: number | null;
  readonly churnEveryMs: number | null;
  readonly transferEveryMs: number | null;
  /** Whatever befalls whoever leads just then: many elections, and logs that differ. */
  readonly leaderEveryMs: number | null;
  /** Some nodes are of an older feature level, and are upgraded at a restart. */
  readonly mixedLevels: boolean;
  readonly replaceAfterMs: number;
  /** When snapshots are made, and what of the log stays: small, so that much is fetched. */
  readonly logBounds: typeof LOG_BOUNDS;
  /** The next part of what is committed is applied up to this much later. */
  readonly applyMs: number;
  /** What befalls the cluster once it has converged; null: nothing more. */
  readonly drill: Drill | null;
  /** Messages in a thousand that are lost, sent twice, or overtaken. */
  readonly lossPerMille: number;
  readonly repeatPerMille: number;
  readonly reorderPerMille: number;
  readonly delayMs: { readonly low: number; readonly high: number };
  readonly syncMs: { readonly low: number; readonly high: number };
  /** Thousandths by which a node's clock may run fast or slow. */
  readonly clockDriftPerMille: number;
  /** Engine steps in a thousand that fail, and would succeed when repeated. */
  readonly engineFaultPerMille: number;
  readonly requestEveryMs: number;
  /**
   * A snapshot that was fetched takes up to so much longer to be read, and some nodes keep more of their log than
   * others: the one may still send what another has only a snapshot of.
   */
  readonly fetchMs: number;
  /** A job among the users' whose tasks must never run twice. */
  readonly hasOnce: boolean;
  /** Moments that chance brings about too seldom: `rare-faults.ts`. */
  readonly rareEveryMs: number | null;
}

/** One thing that goes wrong in a cluster that is well, and what must follow from it: `drills.ts`. */
export const DRILLS = [
  "the manager's disk stands still",
  "the manager is deaf",
  "the manager is mute",
  "the manager is down",
  "the manager stands still",
  "a voter does not hear the manager",
  "a voter and the manager are apart",
  "the manager hands over to a voter that is away",
  "the manager hands over to a voter that is mute",
  "power loss",
  "the manager falls with entries that one slow disk alone has",
  "a node falls",
  "a node falls silent",
  "the manager's node falls silent",
  "a node and the manager are apart for a while",
  "most nodes fall",
  "a node with leased tasks is cut off",
  "a node with leased tasks stands still",
  "a node with leased tasks falls",
  "a node is cut off and comes back",
] as const;

/** Messages that take this long or longer are far from a network that orch is made for. */
export const FAR_MS = 100;

export type Drill = (typeof DRILLS)[number];

/** So many that not all watch all, nor are connected with all. */
const CROWD = 20;

const SNAPSHOTS = [
  LOG_BOUNDS,
  { snapshotEntries: 5, keepEntries: 0 },
  { snapshotEntries: 25, keepEntries: 3 },
  { snapshotEntries: 100, keepEntries: 20 },
] as const;

/** Small ones are met often. */
function drawBounds(prng: Prng): typeof LOG_BOUNDS {
  const { snapshotEntries, keepEntries } = prng.pick(SNAPSHOTS);
  const raft = {
    maxMessageBytes: prng.pick([1, 500, 10_000]),
    maxInflight: prng.pick([3, 5, 20]),
    maxInflightBytes: prng.pick([1_000, 10_000, 1 << 20]),
    maxUncommittedBytes: prng.pick([1_000, 10_000, 1 << 20]),
    maxApply: prng.pick([1, 3, 20, 200]),
    maxApplyBytes: prng.pick([1, 5_000, 1 << 20]),
    maxApplyLag: prng.pick([20, 5_000]),
  };
  return { snapshotEntries, keepEntries, raft: prng.chance(500) ? raft : RAFT_BOUNDS };
}

export function drawOptions(seed: number): SimOptions {
  const prng = new Prng(seed);
  const maybe = (perMille: number, low: number, high: number): number | null => {
    const value = prng.between(low, high);
    return prng.chance(perMille) ? value : null;
  };
  const rate = (perMille: number, most: number): number => {
    const value = prng.between(1, most);
    return prng.chance(perMille) ? value : 0;
  };
  const delayHigh = prng.pick([2, 10, 50, 150]);
  const syncHigh = prng.pick([1, 5, 30, 200]);
  // Every message and every sync takes the same time: what is done in step stays in step.
  const isEven = prng.chance(250);
  const options: SimOptions = {
    seed,
    nodes: prng.chance(50) ? CROWD : prng.pick([1, 2, 3, 3, 3, 4, 5, 7, 9]),
    safetyMs: prng.between(10_000, 30_000),
    livenessMs: 240_000,
    crashEveryMs: maybe(700, 500, 8_000),
    pauseEveryMs: maybe(400, 1_000, 10_000),
    cutEveryMs: maybe(500, 1_000, 8_000),
    stallEveryMs: maybe(300, 2_000, 10_000),
    containerCrashEveryMs: maybe(500, 500, 5_000),
    breakEveryMs: maybe(300, 500, 5_000),
    syncErrorEveryMs: maybe(300, 2_000, 15_000),
    wipeEveryMs: maybe(250, 3_000, 15_000),
    churnEveryMs: maybe(350, 2_000, 10_000),
    transferEveryMs: maybe(350, 500, 8_000),
    mixedLevels: prng.chance(300),
    replaceAfterMs: prng.pick([2_000, 10_000, REPLACE_AFTER_MS]),
    logBounds: drawBounds(prng),
    applyMs: rate(400, 1_000),
    leaderEveryMs: maybe(500, 400, 3_000),
    drill: prng.chance(800) ? prng.pick(DRILLS) : null,
    lossPerMille: rate(400, 200),
    repeatPerMille: rate(400, 200),
    reorderPerMille: rate(400, 300),
    delayMs: { low: isEven ? delayHigh : 1, high: delayHigh },
    syncMs: { low: isEven ? syncHigh : 1, high: syncHigh },
    clockDriftPerMille: rate(400, 50),
    engineFaultPerMille: rate(300, 200),
    requestEveryMs: prng.pick([15, 60, 250, 1_000]),
    fetchMs: rate(150, 5_000),
    rareEveryMs: maybe(300, 1_000, 5_000),
    hasOnce: prng.chance(600),
  };
  return options.rareEveryMs === null ? options : slowDown(prng, options);
}

/** Some of what is rare needs a node that applies slowly, or one that takes its time over a snapshot. */
function slowDown(prng: Prng, options: SimOptions): SimOptions {
  const { logBounds } = options;
  const raft = { ...logBounds.raft, maxApply: 1 };
  const applying = {
    ...options,
    applyMs: prng.between(100, 1_000),
    logBounds: { ...logBounds, raft },
  };
  const fetching = { ...options, fetchMs: prng.between(1_000, 10_000) };
  return prng.pick([options, applying, fetching]);
}

/** The names of the faults that a run has switched on. */
export function faultsOf(options: SimOptions): string[] {
  const names: [string, boolean][] = [
    ["crash", options.crashEveryMs !== null],
    ["pause", options.pauseEveryMs !== null],
    ["cut", options.cutEveryMs !== null],
    ["disk stall", options.stallEveryMs !== null],
    ["container crash", options.containerCrashEveryMs !== null],
    ["broken stream", options.breakEveryMs !== null],
    ["sync error", options.syncErrorEveryMs !== null],
    ["wiped disk", options.wipeEveryMs !== null],
    ["join or leave", options.churnEveryMs !== null],
    ["transfer", options.transferEveryMs !== null],
    ["leader in trouble", options.leaderEveryMs !== null],
    ["stranded entries", options.rareEveryMs !== null],
    ["loss", options.lossPerMille > 0],
    ["repetition", options.repeatPerMille > 0],
    ["reordering", options.reorderPerMille > 0],
    ["clock drift", options.clockDriftPerMille > 0],
    ["engine fault", options.engineFaultPerMille > 0],
  ];
  return names.filter(([, on]) => on).map(([name]) => name);
}
