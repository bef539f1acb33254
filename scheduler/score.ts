import type { Resources } from "../state/spec.ts";

/** What a task that reserves nothing of a dimension counts for: else all such tasks would go to one node. */
export const DEFAULT_ASK = { cpuMilli: 100, memoryMib: 64 } as const;

/**
 * How empty a node would be with the task on it, by what is reserved: 0 to 1000 for each of CPU, memory and disk,
 * added up; more is better. `used` counts unreserving tasks as DEFAULT_ASK; so does this for the task.
 */
export function spreadScore(capacity: Resources, used: Resources, ask: Resources): number {
  return (
    freeShare(capacity.cpuMilli, used.cpuMilli + (ask.cpuMilli || DEFAULT_ASK.cpuMilli)) +
    freeShare(capacity.memoryMib, used.memoryMib + (ask.memoryMib || DEFAULT_ASK.memoryMib)) +
    freeShare(capacity.diskMib, used.diskMib + ask.diskMib)
  );
}

/** In thousandths, rounded down; a dimension that the node has nothing of says nothing. */
function freeShare(capacity: number, used: number): number {
  if (capacity <= 0) return 0;
  return Math.max(0, Math.floor(((capacity - used) * 1000) / capacity));
}
