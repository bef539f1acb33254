/** How many attempts to join are looked at, so that strangers cannot spend our CPU or the manager's log. */
export interface JoinRates {
  readonly perAddressBurst: number;
  readonly perAddressPerSecond: number;
  readonly globalBurst: number;
  readonly globalPerSecond: number;
  /** Failed proofs from one address before it must wait; each further one doubles the wait. */
  readonly freeFailures: number;
  readonly firstWaitMs: number;
  readonly lastWaitMs: number;
  readonly maxAddresses: number;
}

/** Generous to a rack behind one address, far below what hurts: a proof costs microseconds, a handshake 10 ms. */
export const JOIN_RATES: JoinRates = {
  perAddressBurst: 64,
  perAddressPerSecond: 8,
  globalBurst: 256,
  globalPerSecond: 32,
  freeFailures: 5,
  firstWaitMs: 1_000,
  lastWaitMs: 60_000,
  maxAddresses: 4_096,
};

interface Bucket {
  tokens: number;
  atMs: number;
}

interface Remote extends Bucket {
  failures: number;
  waitUntilMs: number;
}

/** Token buckets per remote address and over all of them, with a growing wait after failed proofs. Pure. */
export class JoinLimiter {
  readonly #rates: JoinRates;
  readonly #global: Bucket;
  /** In order of last use: the first is forgotten first. */
  readonly #remotes = new Map<string, Remote>();

  constructor(rates: JoinRates, nowMs: number) {
    this.#rates = rates;
    this.#global = { tokens: rates.globalBurst, atMs: nowMs };
  }

  /** Whether an attempt from `address` may go on; it is counted either way. */
  allow(address: string, nowMs: number): boolean {
    const rates = this.#rates;
    const remote = this.#remote(address, nowMs);
    if (nowMs < remote.waitUntilMs) return false;
    if (!take(remote, rates.perAddressBurst, rates.perAddressPerSecond, nowMs)) return false;
    return take(this.#global, rates.globalBurst, rates.globalPerSecond, nowMs);
  }

  /** The remote could not prove the secret. */
  failed(address: string, nowMs: number): void {
    const rates = this.#rates;
    const remote = this.#remote(address, nowMs);
    remote.failures++;
    const over = remote.failures - rates.freeFailures;
    if (over <= 0) return;
    remote.waitUntilMs =
      nowMs + Math.min(rates.lastWaitMs, rates.firstWaitMs * 2 ** Math.min(over - 1, 20));
  }

  succeeded(address: string, nowMs: number): void {
    this.#remote(address, nowMs).failures = 0;
  }

  #remote(address: string, nowMs: number): Remote {
    const known = this.#remotes.get(address);
    const remote = known ?? {
      tokens: this.#rates.perAddressBurst,
      atMs: nowMs,
      failures: 0,
      waitUntilMs: 0,
    };
    this.#remotes.delete(address);
    this.#remotes.set(address, remote);
    if (this.#remotes.size > this.#rates.maxAddresses) {
      for (const oldest of this.#remotes.keys()) {
        this.#remotes.delete(oldest);
        break;
      }
    }
    return remote;
  }
}

function take(bucket: Bucket, burst: number, perSecond: number, nowMs: number): boolean {
  bucket.tokens = Math.min(
    burst,
    bucket.tokens + (Math.max(0, nowMs - bucket.atMs) / 1000) * perSecond,
  );
  bucket.atMs = nowMs;
  if (bucket.tokens < 1) return false;
  bucket.tokens -= 1;
  return true;
}
