import type { Effect } from "./effect.ts";

/** For the operator's log: what a node does that has lost its lease, and when it has one again. */
export function leaseNote(isLacking: boolean): Extract<Effect, { kind: "note" }> {
  const text = isLacking
    ? "no lease, since no manager that a quorum follows is heard: tasks with partition at-most-one do not run here"
    : "a lease is held again: tasks with partition at-most-one run here";
  return { kind: "note", text };
}
