import type { NodeFacts } from "../../state/node-record.ts";

/** Whether a node says the same of itself as its record does. */
export function sameFacts(record: NodeFacts, facts: NodeFacts): boolean {
  return (
    outline({ ...record, name: "" }) === outline({ ...facts, name: "" }) &&
    sameName(record.name, facts.name)
  );
}

/** The cluster may have changed the name to keep names unique. */
function sameName(given: string, asked: string): boolean {
  return (
    given === asked ||
    (given.startsWith(`${asked}-`) && /^\d+$/.test(given.slice(asked.length + 1)))
  );
}

function outline(facts: NodeFacts): string {
  const labels = Object.entries(facts.labels).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([
    facts.addresses,
    facts.datacenter,
    labels,
    facts.os,
    facts.arch,
    facts.resources,
    facts.drivers,
    facts.publishAddress,
    facts.portRange,
    facts.orchVersion,
    facts.featureLevel,
    facts.mayVote,
    facts.mayWork,
  ]);
}
