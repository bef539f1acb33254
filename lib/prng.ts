import { assert, present } from "./assert.ts";

/**
 * A seeded source of chance (xoshiro128**): the core's only one, so that a run is repeated by its seed.
 * The state is advanced by every call; two streams that must not disturb each other are two Prngs.
 */
export class Prng {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: number) {
    assert(Number.isSafeInteger(seed) && seed >= 0, "a seed is a non-negative integer");
    // splitmix32 spreads nearby seeds over the whole state.
    let s = (seed ^ Math.floor(seed / 0x1_0000_0000)) >>> 0;
    const next = (): number => {
      s = (s + 0x9e3779b9) >>> 0;
      let z = s;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return (z ^ (z >>> 15)) >>> 0;
    };
    this.#a = next();
    this.#b = next();
    this.#c = next();
    this.#d = next() | 1;
  }

  /** A 32-bit unsigned integer. */
  uint32(): number {
    const result = Math.imul(rotl(Math.imul(this.#b, 5), 7), 9) >>> 0;
    const t = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= t;
    this.#d = rotl(this.#d, 11);
    return result;
  }

  /** An integer in [0, bound). */
  below(bound: number): number {
    assert(Number.isSafeInteger(bound) && bound > 0, "a bound is a positive integer");
    return Math.floor((this.uint32() / 0x1_0000_0000) * bound);
  }

  /** An integer in [low, high]. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True `perMille` times in 1,000. */
  chance(perMille: number): boolean {
    return this.below(1000) < perMille;
  }

  /** One element of a non-empty list. */
  pick<T>(list: readonly T[]): T {
    assert(list.length > 0, "pick needs a non-empty list");
    return list.at(this.below(list.length)) ?? present(list[0], "the list is not empty");
  }

  /** A shuffled copy (each order as likely as any other; lists are short). */
  shuffle<T>(list: readonly T[]): T[] {
    const copy = [...list];
    for (let i = copy.length - 1; i > 0; i--) {
      const [moved] = copy.splice(this.below(i + 1), 1);
      if (moved !== undefined) copy.push(moved);
    }
    return copy;
  }

  /** A new stream that depends on this one's seed but whose draws do not disturb it further. */
  fork(): Prng {
    return new Prng(this.uint32());
  }
}

function rotl(x: number, k: number): number {
  return (x << k) | (x >>> (32 - k));
}
