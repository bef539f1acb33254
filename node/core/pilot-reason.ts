import type { RaftId } from "../../consensus/message.ts";
import { listInWords } from "../../lib/words.ts";
import type { Leaver, PilotReason, PilotStep } from "./pilot-survey.ts";

/** A step as a sentence for operators; `nameOf` gives a node's name, also for an id that no node has any more. */
export function describeStep(step: PilotStep, nameOf: (id: RaftId) => string): string {
  const { reason } = step;
  const parts = reason.leaves.map((leaver) => leaving(leaver, reason, nameOf));
  if (step.kind === "transfer") return [...parts, `${nameOf(step.to)} leads`].join("; ");
  const names = listInWords(reason.joins.map(nameOf));
  const isOne = reason.joins.length === 1;
  if (isOne && reason.leaves.length === 1) parts.push(`${names} takes its place`);
  else if (isOne) parts.push(`${names} becomes a ${reason.tier}`);
  else if (reason.joins.length > 1) parts.push(`${names} become ${reason.tier}s`);
  if (reason.leaves.length === 0) parts.unshift(wanted(reason));
  return parts.join("; ");
}

function leaving(
  { id, cause }: Leaver,
  reason: PilotReason,
  nameOf: (id: RaftId) => string,
): string {
  const who = `${reason.tier} ${nameOf(id)}`;
  switch (cause.kind) {
    case "gone":
      return `${who} is no node of this cluster any more`;
    case "leaving":
      return `${who} leaves the cluster`;
    case "no-vote":
      return `${who} may not vote any more`;
    case "hidden":
      return `${who} cannot be dialled, and others of that kind could not reach it`;
    case "away":
      return `${who} has been away for ${Math.floor(cause.ms / 1000)} s`;
    case "surplus":
      return `${who} is more than needed: ${wanted(reason)}`;
    case "crowded":
      return `${who} makes way for another datacenter or zone`;
  }
}

function wanted({ tier, target }: PilotReason): string {
  return target === 1 ? `1 ${tier} is wanted` : `${target} ${tier}s are wanted`;
}
