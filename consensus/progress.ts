import { assert } from "../lib/assert.ts";

/**
 * What a leader knows of one follower's log. Invariant: match < next.
 * probe: one message at a time until the logs meet; replicate: a window of messages in flight;
 * snapshot: what it lacks is gone from the log, it fetches a snapshot and is sent nothing meanwhile.
 */
export class Progress {
  match = 0;
  next: number;
  state: "probe" | "replicate" | "snapshot" = "probe";
  /** In probe: a message is out, or in replicate: the window is full; lifted by any answer. */
  paused = false;
  /** Heard from since the last check for a quorum. */
  recentlyActive = false;
  /** Heard from before that check, since the one before it. */
  wasActive = false;
  /** The highest ReadIndex context that it has echoed. */
  context = 0;
  #inflight: { last: number; bytes: number }[] = [];
  #inflightBytes = 0;
  readonly #maxMessages: number;
  readonly #maxBytes: number;

  constructor(next: number, maxMessages: number, maxBytes: number) {
    this.next = next;
    this.#maxMessages = maxMessages;
    this.#maxBytes = maxBytes;
  }

  /** Heard from within one or two election timeouts: true also just after a check. */
  get isActive(): boolean {
    return this.recentlyActive || this.wasActive;
  }

  /** Whether nothing more may be sent until it answers. */
  get isPaused(): boolean {
    if (this.state === "snapshot") return true;
    return this.state === "probe" ? this.paused : this.#full;
  }

  get #full(): boolean {
    return this.#inflight.length >= this.#maxMessages || this.#inflightBytes >= this.#maxBytes;
  }

  get inflight(): number {
    return this.#inflight.length;
  }

  becomeProbe(): void {
    this.state = "probe";
    this.next = this.match + 1;
    this.#clear();
  }

  becomeReplicate(): void {
    this.state = "replicate";
    this.next = this.match + 1;
    this.#clear();
  }

  becomeSnapshot(index: number): void {
    this.state = "snapshot";
    this.next = index + 1;
    this.#clear();
  }

  #clear(): void {
    this.paused = false;
    this.#inflight = [];
    this.#inflightBytes = 0;
  }

  /** Accounts for a message with `count` entries (0 for an empty one) that is about to leave. */
  sent(count: number, bytes: number): void {
    if (this.state === "probe") {
      this.paused = true;
      return;
    }
    if (count === 0) return;
    this.next += count;
    this.#inflight.push({ last: this.next - 1, bytes });
    this.#inflightBytes += bytes;
  }

  /** It holds everything up to `index`. Returns whether that is news. */
  acknowledged(index: number): boolean {
    const news = index > this.match;
    if (news) this.match = index;
    this.next = Math.max(this.next, this.match + 1);
    this.#freeTo(index);
    assert(this.match < this.next, "what matches has been sent");
    return news;
  }

  #freeTo(index: number): void {
    let done = 0;
    while (done < this.#inflight.length) {
      const head = this.#inflight[done];
      if (head === undefined || head.last > index) break;
      this.#inflightBytes -= head.bytes;
      done += 1;
    }
    if (done > 0) this.#inflight = this.#inflight.slice(done);
  }

  /** It rejected `rejected`; `hint` is where the logs may meet. Returns false for a stale rejection. */
  rejected(rejected: number, hint: number): boolean {
    if (this.state === "snapshot") return false;
    if (this.state === "replicate") {
      if (rejected <= this.match) return false;
      this.becomeProbe();
      return true;
    }
    if (this.next - 1 !== rejected) return false;
    this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1);
    this.paused = false;
    return true;
  }
}
