/** How often something took how long: a few numbers, however often it happens. */
export interface HistogramView {
  /** Each with an upper bound in milliseconds, rising, and how many took at most so long. */
  readonly buckets: readonly { readonly atMostMs: number; readonly count: number }[];
  readonly count: number;
  readonly sumMs: number;
}

/** From a fast disk's sync to one that stalls for as long as an election takes. */
const BOUNDS_MS = [0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048] as const;

export class Histogram {
  readonly #counts: number[] = BOUNDS_MS.map(() => 0);
  #count = 0;
  #sumMs = 0;

  add(ms: number): void {
    this.#count += 1;
    this.#sumMs += ms;
    const at = BOUNDS_MS.findIndex((bound) => ms <= bound);
    if (at >= 0) this.#counts[at] = (this.#counts[at] ?? 0) + 1;
  }

  view(): HistogramView {
    let count = 0;
    const buckets = BOUNDS_MS.map((atMostMs, at) => {
      count += this.#counts[at] ?? 0;
      return { atMostMs, count };
    });
    return { buckets, count: this.#count, sumMs: this.#sumMs };
  }
}
