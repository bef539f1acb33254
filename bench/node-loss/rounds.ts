import { setTimeout as delay } from "node:timers/promises";
import { present } from "../../lib/assert.ts";
import type { Contender, Fault, Loss } from "./contender.ts";

export const VICTIMS = ["a node", "the manager's node"] as const;
export type Victim = (typeof VICTIMS)[number];

/** The second of two goes while the others are still making up their minds about the first. */
const SECOND_AFTER_MS = 3_000;
/** So long before that it is asked whether it manages; who does not say so in time does not. */
const ASK_MS = 300;

interface One {
  readonly loss: Loss;
  /** From the fault to the next write that was accepted; null: the manager was not lost. */
  readonly acceptedMs: number | null;
}

/** One node is lost and comes back. */
export async function loseOne(contender: Contender, fault: Fault, victim: Victim): Promise<One> {
  const round = await contender.round();
  const { manager, others } = round;
  const isManager = victim === "the manager's node";
  const member = isManager ? manager : present(others[0], "somebody else has tasks");
  const lost = [member];
  const sinceMs = round.harm(fault, member);
  const [loss, acceptedMs] = await Promise.all([
    round.replaced(member, sinceMs, lost),
    isManager ? round.accepted(sinceMs, lost) : null,
  ]);
  await round.end(fault, lost);
  return { loss, acceptedMs };
}

export interface Two {
  /** How many of the two managed when they were lost. */
  readonly managers: number;
  readonly losses: readonly [Loss, Loss];
}

/** Two of those that vote lose their power one after the other; in every other round one of them manages, first or second by turns. */
export async function loseTwo(contender: Contender, at: number): Promise<Two> {
  const round = await contender.round();
  const [other, another] = round.others;
  const pair = [at % 2 === 0 ? round.manager : another, other];
  const [first, second] = (at % 4 === 0 ? pair : pair.toReversed()).map((member) =>
    present(member, "two of the others have tasks"),
  );
  const lost = [present(first, "one of two"), present(second, "one of two")] as const;
  const sinceMs = round.harm("power loss", lost[0]);
  const watching = round.replaced(lost[0], sinceMs, lost);
  const later = async (): Promise<{ succeeded: boolean; loss: Loss }> => {
    await delay(SECOND_AFTER_MS - ASK_MS);
    const asked = [round.manages(lost[1]), delay(ASK_MS, false)];
    const [, succeeded] = await Promise.all([delay(ASK_MS), Promise.race(asked)]);
    const secondMs = round.harm("power loss", lost[1]);
    return { succeeded, loss: await round.replaced(lost[1], secondMs, lost) };
  };
  const [firstLoss, { succeeded, loss }] = await Promise.all([watching, later()]);
  await round.end("power loss", lost);
  const managers = Number(lost[0] === round.manager) + Number(succeeded);
  return { managers, losses: [firstLoss, loss] };
}
