import { performance } from "node:perf_hooks";
import type { NodeId } from "../../state/ids.ts";
import type { Limits } from "./limits.ts";
import type { Session } from "./session.ts";

export interface DialBackInit {
  readonly limits: Limits;
  /** The stream in use; null: none is. */
  readonly sessionWith: (peer: NodeId) => Session | null;
  /** Opens one connection more, and closes it. Rejects when that cannot be done. */
  readonly dial: (peer: NodeId, signal: AbortSignal) => Promise<void>;
  readonly onDialable: (peer: NodeId, dialable: boolean) => void;
}

interface Trial {
  readonly session: Session;
  failures: number;
  nextAtMs: number;
}

/**
 * Finds out who can be dialled: a peer that has dialled us itself is tried at the addresses that it gives, while its own stream
 * stands. One that fails again and again is behind NAT or a firewall, and is tried ever after: somebody may open a port.
 */
export class DialBack {
  readonly #init: DialBackInit;
  #asked: ReadonlySet<NodeId> = new Set();
  readonly #hidden: Set<NodeId> = new Set();
  readonly #trials: Map<NodeId, Trial> = new Map();
  readonly #closing = new AbortController();
  readonly #ticker: NodeJS.Timeout;

  constructor(init: DialBackInit) {
    this.#init = init;
    this.#ticker = setInterval(() => this.#tick(), init.limits.tickMs);
  }

  /** Of these it is to be known. */
  ask(peers: readonly NodeId[]): void {
    this.#asked = new Set(peers);
  }

  /** Whoever is no member is forgotten. */
  membersChanged(isMember: (peer: NodeId) => boolean): void {
    for (const peer of this.#hidden) if (!isMember(peer)) this.#hidden.delete(peer);
  }

  close(): void {
    clearInterval(this.#ticker);
    this.#closing.abort();
  }

  #tick(): void {
    for (const peer of new Set([...this.#asked, ...this.#hidden])) {
      const trial = this.#trialOf(peer);
      if (trial === null || performance.now() < trial.nextAtMs) continue;
      trial.nextAtMs = Number.POSITIVE_INFINITY;
      if (trial.session.dialledByUs) this.#tell(peer, true);
      else void this.#try(peer, trial);
    }
    for (const peer of this.#trials.keys()) {
      if (this.#init.sessionWith(peer) === null) this.#trials.delete(peer);
    }
  }

  /** Null: it is not connected, so that a failure would say nothing. */
  #trialOf(peer: NodeId): Trial | null {
    const session = this.#init.sessionWith(peer);
    if (session === null) return null;
    const known = this.#trials.get(peer);
    if (known?.session === session) return known;
    const trial = { session, failures: 0, nextAtMs: performance.now() };
    this.#trials.set(peer, trial);
    return trial;
  }

  async #try(peer: NodeId, trial: Trial): Promise<void> {
    const { limits, dial, sessionWith } = this.#init;
    let dialable = true;
    try {
      const late = AbortSignal.timeout(limits.dialMs);
      await dial(peer, AbortSignal.any([late, this.#closing.signal]));
    } catch {
      dialable = false;
    }
    // Of one that fell silent meanwhile nothing is learned.
    if (this.#closing.signal.aborted || sessionWith(peer) !== trial.session) return;
    if (dialable) {
      this.#tell(peer, true);
      return;
    }
    trial.failures += 1;
    const isHidden = trial.failures >= limits.dialBackTries;
    if (isHidden) this.#tell(peer, false);
    const waitMs = isHidden ? limits.dialBackLastMs : limits.dialBackFirstMs;
    trial.nextAtMs = performance.now() + waitMs;
  }

  #tell(peer: NodeId, dialable: boolean): void {
    if (dialable !== this.#hidden.has(peer)) return;
    if (dialable) this.#hidden.delete(peer);
    else this.#hidden.add(peer);
    this.#init.onDialable(peer, dialable);
  }
}
