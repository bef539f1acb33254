import type { NetworkCounters } from "../network.ts";

export type Counters = { -readonly [Name in keyof NetworkCounters]: NetworkCounters[Name] };

export function newCounters(): Counters {
  return {
    strangersRefused: 0,
    badFrames: 0,
    framesIn: 0,
    framesOut: 0,
    framesDropped: 0,
    bytesIn: 0,
    bytesOut: 0,
  };
}
