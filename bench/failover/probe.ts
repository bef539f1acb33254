/** Who asks, how often, for how long at most. */
export const PROBE_EVERY_MS = 10;
const LIMIT_MS = 60_000;
const OUTSTANDING = 200;

/** A member of a cluster that can lose its leader. */
export interface Member {
  readonly name: string;
  /** One write of its own through this member; false: it was not acknowledged. Does not throw. */
  write(): Promise<boolean>;
  /** What this member says of itself just now, for people. */
  state(): Promise<string>;
}

export interface Contender {
  readonly name: string;
  /** All members are there and caught up; who leads, and the others. */
  whole(): Promise<{ readonly leader: Member; readonly others: readonly Member[] }>;
  /** kill -9; resolves once it is gone. */
  kill(member: Member): Promise<void>;
  restart(member: Member): void;
  /** SIGSTOP and SIGCONT. */
  pause(member: Member): void;
  resume(member: Member): void;
  end(): void;
}

export interface Failover {
  readonly tookMs: number;
  /** What the others said meanwhile. */
  readonly timeline: readonly string[];
}

/**
 * Milliseconds from `sinceMs` to the first acknowledged write of those sent from now on: one to every member each
 * PROBE_EVERY_MS, whatever became of the ones before. So it is seen at most that much and one write's time late.
 */
export async function firstWrite(members: readonly Member[], sinceMs: number): Promise<Failover> {
  const done = Promise.withResolvers<number>();
  const timeline: string[] = [];
  let outstanding = 0;
  const send = (): void => {
    for (const member of members) {
      if (outstanding >= OUTSTANDING) return;
      outstanding += 1;
      void member.write().then((ok) => {
        outstanding -= 1;
        if (ok) done.resolve(performance.now());
      });
    }
  };
  const last = new Map<string, string>();
  const look = (): void => {
    for (const member of members) {
      void member.state().then((state) => {
        if (last.get(member.name) === state) return;
        last.set(member.name, state);
        timeline.push(`${(performance.now() - sinceMs).toFixed(0)} ms ${member.name}: ${state}`);
      });
    }
  };
  const limit = setTimeout(() => {
    done.reject(new Error(`no write for ${LIMIT_MS} ms:\n${timeline.join("\n")}`));
  }, LIMIT_MS);
  const sending = setInterval(send, PROBE_EVERY_MS);
  const looking = setInterval(look, 50);
  send();
  try {
    return { tookMs: (await done.promise) - sinceMs, timeline };
  } finally {
    clearTimeout(limit);
    clearInterval(sending);
    clearInterval(looking);
  }
}
