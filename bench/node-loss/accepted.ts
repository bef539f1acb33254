/** How often it is tried: a time is up to that and one write's time too long. */
const EVERY_MS = 100;
const LIMIT_MS = 120_000;
/** Of each writer. */
const OUTSTANDING = 50;

/**
 * Milliseconds from `sinceMs` to the first acknowledged one of those writes that are sent from now on, by every writer each EVERY_MS,
 * whatever became of the ones before. A write says whether it was acknowledged, and does not throw.
 */
export async function firstAccepted(
  writers: readonly (() => Promise<boolean>)[],
  sinceMs: number,
): Promise<number> {
  const done = Promise.withResolvers<number>();
  const outstanding = writers.map(() => 0);
  const send = (): void => {
    for (const [at, write] of writers.entries()) {
      const count = outstanding[at] ?? 0;
      if (count >= OUTSTANDING) continue;
      outstanding[at] = count + 1;
      void write().then((isAccepted) => {
        outstanding[at] = (outstanding[at] ?? 0) - 1;
        if (isAccepted) done.resolve(performance.now());
      });
    }
  };
  const limit = setTimeout(() => {
    done.reject(new Error(`no write was accepted for ${LIMIT_MS} ms`));
  }, LIMIT_MS);
  const sending = setInterval(send, EVERY_MS);
  send();
  try {
    return (await done.promise) - sinceMs;
  } finally {
    clearTimeout(limit);
    clearInterval(sending);
  }
}
