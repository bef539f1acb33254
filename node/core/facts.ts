import type { NodeFacts } from "../../state/node-record.ts";

/** Whether a node says the same of itself as the record does. */
export function sameFacts(record: NodeFacts, facts: NodeFacts): boolean {
  return (Object.keys(facts) as (keyof NodeFacts)[]).every((key) =>
    // The cluster may have changed the name to keep names unique.
    key === "name" ? sameName(record.name, facts.name) : same(record[key], facts[key]),
  );
}

function sameName(given: string, asked: string): boolean {
  return given === asked || given.startsWith(`${asked}-`);
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
