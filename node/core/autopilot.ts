import { isJoint } from "../../consensus/membership.ts";
import { stepStandbys } from "./pilot-standbys.ts";
import { type PilotInput, type PilotStep, survey } from "./pilot-survey.ts";
import { stepVoters } from "./pilot-voters.ts";

/**
 * Who takes part in Raft, chosen by rule: a pure function from what is known to at most one step, or null
 * when all is as it should be or nothing can be done now. Ask again once the step has taken effect.
 *
 * Three tiers: few voters, an odd number by the cluster's size; standbys, which hold the log and do not
 * vote; all others hold no log. The rules, the most urgent first:
 *
 * - Whoever leaves, is gone or may not vote any more gives up its seat to a standby. A leader that has to
 *   go hands over first.
 * - The number of voters follows the number of nodes, over odd numbers.
 * - A voter that is away for too long is replaced by a standby.
 * - In calm a voter makes way for a standby in a failure domain that the voters lack.
 * - The standby tier is kept full.
 *
 * Every change of voters is one joint change, and is made only if a quorum of the voters before and of those
 * after it is alive. Nothing is wanted while a joint configuration is active. O(candidates).
 */
export function autopilot(input: PilotInput): PilotStep | null {
  if (isJoint(input.membership)) return null;
  const view = survey(input);
  return stepVoters(view) ?? stepStandbys(view);
}
