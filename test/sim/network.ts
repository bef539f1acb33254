import type { Prng } from "../../lib/prng.ts";
import type { SimOptions } from "./options.ts";

/** Which way between which hosts is cut, and what befalls a message on the others. */
export class SimNetwork {
  readonly #prng: Prng;
  readonly #options: SimOptions;
  /** Directed: `from>to`. */
  readonly #cut: Set<string> = new Set();
  /** When the last message of a pair arrives: later ones of an unharmed stream come after it. */
  readonly #lastArrivalMs: Map<string, number> = new Map();
  #healed = false;

  constructor(prng: Prng, options: SimOptions) {
    this.#prng = prng;
    this.#options = options;
  }

  isCut(from: string, to: string): boolean {
    return this.#cut.size > 0 && this.#cut.has(`${from}>${to}`);
  }

  cut(from: string, to: string): void {
    this.#cut.add(`${from}>${to}`);
  }

  /** Mends what was cut between the two. */
  join(a: string, b: string): void {
    this.#cut.delete(`${a}>${b}`);
    this.#cut.delete(`${b}>${a}`);
  }

  mend(): void {
    this.#cut.clear();
  }

  /** No more loss, repetition or reordering. */
  heal(): void {
    this.mend();
    this.#healed = true;
  }

  /** When a message sent now arrives: never, once, or twice. */
  arrivals(from: string, to: string, nowMs: number): number[] {
    const { lossPerMille, repeatPerMille, reorderPerMille, delayMs } = this.#options;
    const prng = this.#prng;
    const draw = (): number => nowMs + prng.between(delayMs.low, delayMs.high);
    if (this.isCut(from, to)) return [];
    const key = `${from}>${to}`;
    const inOrder = (): number => {
      const atMs = Math.max(draw(), this.#lastArrivalMs.get(key) ?? 0);
      this.#lastArrivalMs.set(key, atMs);
      return atMs;
    };
    if (this.#healed) return [inOrder()];
    if (prng.chance(lossPerMille)) return [];
    const first = prng.chance(reorderPerMille) ? draw() + prng.below(300) : inOrder();
    return prng.chance(repeatPerMille) ? [first, draw() + prng.below(500)] : [first];
  }
}
