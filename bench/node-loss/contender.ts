/** What befalls a node, and within how long the replacements of its tasks shall be committed, p99. */
export const FAULTS = {
  "kill -9": { targetMs: 2_000 },
  SIGSTOP: { targetMs: 5_000 },
  "silent cut": { targetMs: 5_000 },
  "power loss": { targetMs: 5_000 },
} as const;
export type Fault = keyof typeof FAULTS;

/** Tasks of the one job that is there in each round. */
export const REPLICAS = 10;

/** A node of a cluster that is measured. */
export interface Member {
  readonly name: string;
}

/** Milliseconds from the fault of a node to what the others tell of it first. */
export interface Loss {
  /** It is committed that the node is down. */
  readonly downMs: number;
  /** Each of its tasks has a new one that is placed. */
  readonly committedMs: number;
  /** All of these run. */
  readonly runningMs: number;
}

/** A cluster that is whole and runs REPLICAS tasks, spread over its nodes. */
export interface Round {
  readonly manager: Member;
  /** Those that may be lost and have tasks, without the manager; those that were lost least often come first. */
  readonly others: readonly Member[];
  /** Whether this member manages now, as it says itself. Does not throw. */
  manages(member: Member): Promise<boolean>;
  /** Does the harm and returns when it began, as performance.now() tells it. */
  harm(fault: Fault, member: Member): number;
  /** Resolves when all tasks that this member had in the beginning run on members that are not lost. */
  replaced(member: Member, sinceMs: number, lost: readonly Member[]): Promise<Loss>;
  /** Milliseconds from `sinceMs` until those that are not lost have acknowledged a write. */
  accepted(sinceMs: number, lost: readonly Member[]): Promise<number>;
  /** Undoes the harm and ends the job; resolves when the cluster is whole again. */
  end(fault: Fault, lost: readonly Member[]): Promise<void>;
}

export interface Contender {
  readonly name: string;
  round(): Promise<Round>;
  end(): void;
}

export function isFault(word: string): word is Fault {
  return word in FAULTS;
}
