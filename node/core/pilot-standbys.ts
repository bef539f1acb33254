import type { MemberChange } from "../../consensus/membership.ts";
import type { RaftId } from "../../consensus/message.ts";
import { STANDBYS } from "./defaults.ts";
import {
  awayMs,
  byAge,
  type Candidate,
  isStable,
  type Leaver,
  margin,
  type PilotStep,
  type Survey,
} from "./pilot-survey.ts";
import { byAges, isWhole } from "./pilot-voters.ts";
import { bestExchange, compareCrowding, crowding, firstPerDomain, pickSpread } from "./spread.ts";

/**
 * The rules for learners: as many as are wanted, alive, in the failure domains where they help most. A dead
 * one keeps its seat as long as a dead voter does (its log may be one entry short of whole), and longer
 * while nobody else is there to be taught.
 */
export function stepStandbys(view: Survey): PilotStep | null {
  if (margin(view, view.input.membership.voters) < 0) return null;
  return staff(view) ?? exchangeStandby(view);
}

/** Fills the tier and drops who may not be or is not needed, all in one change: no vote depends on it. */
function staff(view: Survey): PilotStep | null {
  const { nowMs, config } = view.input;
  const wanted = wantedStandbys(view);
  const isAway = (node: Candidate): boolean => awayMs(node, nowMs) >= config.replaceAfterMs;
  const kept = view.learners.filter((node) => !isAway(node));
  const away = view.learners.filter(isAway).toSorted(byAge);
  const joins = pickSpread(view.members, [...view.stay, ...kept], wanted - kept.length, byAge);
  const room = Math.max(0, wanted - kept.length - joins.length);
  const dropped = away.slice(0, Math.max(0, away.length - room));
  const surplus = isNeedy(view) ? [] : worst(view, kept, kept.length - wanted);
  const leaves: Leaver[] = [
    ...view.unfitLearners,
    ...dropped.map(({ raftId, sinceMs }) => {
      return { id: raftId, cause: { kind: "away", ms: nowMs - sinceMs } } as const;
    }),
    ...surplus.map(({ raftId }) => ({ id: raftId, cause: { kind: "surplus" } }) as const),
  ];
  return toStandbys(
    view,
    joins.map(({ raftId }) => raftId),
    leaves,
  );
}

/** Some seat of a voter is open, or held by one that has to go. */
function isNeedy({ stay, outs, leaderOut, away, target }: Survey): boolean {
  return stay.length < target || outs.length > 0 || leaderOut !== null || away.length > 0;
}

/** The standbys and one for each open seat; more when those that there are had their time and did not catch up. */
function wantedStandbys(view: Survey): number {
  const open = Math.max(0, view.target - view.input.membership.voters.length);
  const isTaught = view.learners.some(({ alive }) => alive);
  const isStuck = isNeedy(view) && isTaught && view.fit.length === 0 && view.calm;
  return STANDBYS + open + (isStuck ? STANDBYS : 0);
}

/** A standby makes way for a node that can take the voters to a failure domain that they lack. */
function exchangeStandby(view: Survey): PilotStep | null {
  if (!view.calm || !isWhole(view)) return null;
  const { leader, nowMs } = view.input;
  const outs = view.stay.filter(({ raftId }) => raftId !== leader);
  // One that can do so already is about to.
  if (bestExchange(view.stay, outs, view.learners, byAges) !== null) return null;
  const stable = view.members.filter((node) => isStable(node, nowMs));
  const found = bestExchange(view.stay, outs, firstPerDomain(stable, byAge), byAges);
  const [out] = worst(view, view.learners, 1);
  if (found === null || out === undefined) return null;
  return toStandbys(view, [found.in.raftId], [{ id: out.raftId, cause: { kind: "crowded" } }]);
}

/** The `count` learners that help least. */
function worst({ stay }: Survey, learners: readonly Candidate[], count: number): Candidate[] {
  const left = [...learners];
  const found: Candidate[] = [];
  while (found.length < count) {
    const around = [...stay, ...left];
    const next = left.toSorted(
      (a, b) =>
        Number(a.alive) - Number(b.alive) ||
        Number(a.caughtUp) - Number(b.caughtUp) ||
        compareCrowding(crowding(b, around), crowding(a, around)) ||
        byAge(b, a),
    )[0];
    if (next === undefined) break;
    left.splice(left.indexOf(next), 1);
    found.push(next);
  }
  return found;
}

function toStandbys(
  view: Survey,
  joins: readonly RaftId[],
  leaves: readonly Leaver[],
): PilotStep | null {
  if (joins.length + leaves.length === 0) return null;
  const changes: MemberChange[] = [
    ...leaves.map(({ id }) => ({ op: "remove", id }) as const),
    ...joins.map((id) => ({ op: "add-learner", id }) as const),
  ];
  const reason = { tier: "standby", leaves, joins, target: STANDBYS } as const;
  return { kind: "change", change: { changes }, reason };
}
