import { setTimeout as delay } from "node:timers/promises";
import { present } from "../../lib/assert.ts";
import type { Contender, Fault, Loss, Member, Round } from "./contender.ts";

export const VICTIMS = ["a node", "the manager's node"] as const;
export type Victim = (typeof VICTIMS)[number];

/** The second of two goes while the others are still making up their minds about the first. */
const SECOND_AFTER_MS = 3_000;
/** So long before that it is asked whether it manages; who does not say so in time does not. */
const ASK_MS = 300;

export interface One {
  readonly loss: Loss;
  /** From the fault to the next write that was accepted; null: the manager was not lost. */
  readonly acceptedMs: number | null;
}

/** One node is lost and comes back. */
export async function loseOne(contender: Contender, fault: Fault, victim: Victim): Promise<One> {
  const round = await contender.round();
  const isManager = victim === "the manager's node";
  const member = isManager ? round.manager : present(round.others[0], "somebody else has tasks");
  const one = await lose(round, fault, member, [member], isManager);
  await round.end(fault, [member]);
  return one;
}

export interface Two {
  /** How many of the two managed when they were lost. */
  readonly managers: number;
  /** The first and the second. */
  readonly ones: readonly [One, One];
}

/** Two of those that vote lose their power one after the other; in every other round one of them manages, first or second by turns. */
export async function loseTwo(contender: Contender, at: number): Promise<Two> {
  const round = await contender.round();
  const [other, another] = round.others;
  const pair = [at % 2 === 0 ? round.manager : another, other];
  const members = (at % 4 === 0 ? pair : pair.toReversed()).map((member) =>
    present(member, "two of the others have tasks"),
  );
  const [first, second] = [present(members[0], "the first"), present(members[1], "the second")];
  const later = async (): Promise<One> => {
    await delay(SECOND_AFTER_MS - ASK_MS);
    const asked = [round.manages(second), delay(ASK_MS, false)];
    const [, isManager] = await Promise.all([delay(ASK_MS), Promise.race(asked)]);
    return lose(round, "power loss", second, members, isManager);
  };
  const isManager = first === round.manager;
  const ones = await Promise.all([lose(round, "power loss", first, members, isManager), later()]);
  await round.end("power loss", members);
  return { managers: ones.filter(({ acceptedMs }) => acceptedMs !== null).length, ones };
}

async function lose(
  round: Round,
  fault: Fault,
  member: Member,
  lost: readonly Member[],
  isManager: boolean,
): Promise<One> {
  const sinceMs = round.harm(fault, member);
  const [loss, acceptedMs] = await Promise.all([
    round.replaced(member, sinceMs, lost),
    isManager ? round.accepted(sinceMs, lost) : null,
  ]);
  return { loss, acceptedMs };
}
