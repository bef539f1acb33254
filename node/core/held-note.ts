import type { NodeRecord } from "../../state/node-record.ts";

/** For the operator's log: why a node that is back is not ready, and what becomes of its tasks. */
export function heldNote({ name, downs }: NodeRecord, holdMs: number): string {
  return `${name} is back, and went down ${downs} times lately: it gets tasks again when it has stayed for ${holdMs / 1_000} s; those that it had are given up`;
}
