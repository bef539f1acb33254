import type { RaftId } from "../../consensus/message.ts";
import { STANDBYS } from "./defaults.ts";
import {
  byAge,
  type Candidate,
  margin,
  type PilotStep,
  type Survey,
  toVoters,
} from "./pilot-survey.ts";
import { bestExchange, compareCrowding, crowding, type Exchange, pickSpread } from "./spread.ts";

/** The rules for voters, the most urgent first. */
export function stepVoters(view: Survey): PilotStep | null {
  // Who leaves or is gone goes now; who only may not vote any more waits for a calm moment.
  const outs = view.leaderOut === null ? view.outs : [...view.outs, view.leaderOut];
  const mayWait = outs.every(({ cause }) => cause.kind === "no-vote" || cause.kind === "hidden");
  const held = outs.length > 0 && !view.calm && mayWait;
  let step: PilotStep | null = null;
  if (!held) step = view.leaderOut === null ? resize(view) : handOver(view);
  return step ?? replaceAway(view) ?? exchange(view);
}

/** The leader goes: it hands over first, and its successor removes it. A leader that removes itself is heard by no one. */
function handOver(view: Survey): PilotStep | null {
  const { membership, leader, failedHeirs } = view.input;
  const heirs = view.stay.filter(({ alive }) => alive);
  const failed = ({ raftId }: Candidate): number => failedHeirs.lastIndexOf(raftId);
  const to = heirs
    .filter(({ caughtUp }) => caughtUp)
    .toSorted((a, b) => failed(a) - failed(b) || byAge(a, b))[0];
  if (to !== undefined) {
    const leaves = view.leaderOut === null ? [] : [view.leaderOut];
    const reason = { tier: "voter", leaves, joins: [], target: view.target } as const;
    return { kind: "transfer", to: to.raftId, reason };
  }
  // Another voter will have caught up soon.
  if (heirs.length > 0) return null;
  const out = view.outs.toSorted((a, b) => Number(a.alive) - Number(b.alive))[0];
  const isOdd = membership.voters.length % 2 === 1;
  // With nobody else to give way the number becomes even for a moment, where only one node can follow.
  const wanted = out === undefined && isOdd ? 2 : 1;
  const joins = ids(pick(view, wanted, []));
  if (joins.length === 0) return null;
  const kept = membership.voters.filter((id) => id === leader || id !== out?.id);
  return toVoters(view, [...kept, ...joins], "surplus");
}

/** The wanted number of voters, of those that may be. */
function resize(view: Survey): PilotStep | null {
  const { stay, target } = view;
  if (stay.length >= target) return toVoters(view, ids(best(view, target)), "surplus");
  // From one to three and from three to five: no change makes a quorum of newcomers alone.
  const { length } = view.input.membership.voters;
  const missing = Math.min(target, length + 1 + (length % 2)) - stay.length;
  if (view.fit.length >= missing) return fill(view, missing);
  const someMayCome = view.members.length + aliveLearners(view) > view.fit.length;
  if (view.outs.length > view.fit.length && someMayCome) {
    // As many leave as there are others to take their seats; the rest keep theirs until there are.
    if (view.fit.length === 0) return null;
    const last = view.outs.toSorted((a, b) => Number(b.alive) - Number(a.alive));
    const kept = last.slice(0, view.outs.length - view.fit.length).map(({ id }) => id);
    return toVoters(view, [...fillIds(view, view.fit.length), ...kept], "surplus");
  }
  const odd = view.fit.length - (1 - ((stay.length + view.fit.length) % 2));
  if (odd >= 0) return fill(view, odd);
  // Even, and nobody to make it odd. Two copies of the log are still better than one.
  if (someMayCome) return null;
  return toVoters(
    view,
    ids(best(view, stay.length > 3 ? stay.length - 1 : stay.length)),
    "surplus",
  );
}

function fill(view: Survey, count: number): PilotStep | null {
  return toVoters(view, fillIds(view, count), "surplus");
}

function fillIds(view: Survey, count: number): RaftId[] {
  return ids([...view.stay, ...pick(view, count, view.stay)]);
}

/** Who stays when only `count` may: the leader, then who is here, then the best spread. */
function best({ stay, input, away }: Survey, count: number): Candidate[] {
  const left = [...stay];
  while (left.length > count) {
    const droppable = left.filter(({ raftId }) => raftId !== input.leader);
    const worst = droppable.toSorted(
      (a, b) =>
        Number(away.includes(b)) - Number(away.includes(a)) ||
        Number(a.alive) - Number(b.alive) ||
        compareCrowding(crowding(b, left), crowding(a, left)) ||
        byAge(b, a),
    )[0];
    if (worst === undefined) break;
    left.splice(left.indexOf(worst), 1);
  }
  return left;
}

/**
 * A standby votes in place of a voter that has been away for too long, in one change. With nobody to take
 * its seat the voter keeps it: fewer voters would not outlive more.
 */
function replaceAway(view: Survey): PilotStep | null {
  const { membership } = view.input;
  if (view.away.length === 0 || view.fit.length === 0) return null;
  const isLast = margin(view, membership.voters) <= 0;
  const someMayCome = view.members.length + aliveLearners(view) > view.fit.length;
  const isRefilled = view.fit.length >= STANDBYS || !someMayCome;
  // While more can be lost, one at a time: a standby tier that was used up is filled before the next.
  if (!isLast && !isRefilled && !view.calm) return null;
  const count = isLast ? Math.min(view.away.length, view.fit.length) : 1;
  const replaced = view.away.toSorted(byAge).slice(0, count);
  const kept = view.stay.filter((voter) => !replaced.includes(voter));
  const outs = view.input.membership.voters.filter(
    (id) => !view.stay.some(({ raftId }) => raftId === id),
  );
  const joins = pick(view, count, kept);
  return toVoters(view, [...ids(kept), ...outs, ...ids(joins)], "surplus");
}

/** A healthy voter gives way only to a standby in a failure domain that the voters lack, in calm. */
function exchange(view: Survey): PilotStep | null {
  const { stay, fit, input } = view;
  if (!view.calm || !isWhole(view)) return null;
  const outs = stay.filter(({ raftId }) => raftId !== input.leader);
  const found = bestExchange(stay, outs, fit, byAges);
  if (found === null) return null;
  const kept = stay.filter((voter) => voter !== found.out);
  return toVoters(view, ids([...kept, found.in]), "crowded");
}

/** Every seat is held by a voter that is here and may stay. */
export function isWhole({ stay, outs, leaderOut, target }: Survey): boolean {
  const isStaffed = outs.length === 0 && leaderOut === null && stay.length === target;
  return isStaffed && stay.every(({ alive }) => alive);
}

/** The younger voter goes, the older standby comes. */
export function byAges(
  a: Exchange<Candidate, Candidate>,
  b: Exchange<Candidate, Candidate>,
): number {
  return byAge(b.out, a.out) || byAge(a.in, b.in);
}

function pick(view: Survey, count: number, around: readonly Candidate[]): Candidate[] {
  return pickSpread(view.fit, around, count, byAge);
}

function aliveLearners({ learners }: Survey): number {
  return learners.filter(({ alive }) => alive).length;
}

function ids(candidates: readonly Candidate[]): RaftId[] {
  return candidates.map(({ raftId }) => raftId);
}
