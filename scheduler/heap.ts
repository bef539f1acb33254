/** A binary heap: the least element by `compare` comes out first. O(log n) each way, O(n) to build. */
export class Heap<T extends object> {
  readonly #items: T[];
  readonly #compare: (a: T, b: T) => number;

  constructor(items: readonly T[], compare: (a: T, b: T) => number) {
    this.#items = [...items];
    this.#compare = compare;
    for (let i = (this.#items.length >> 1) - 1; i >= 0; i--) this.#sink(i);
  }

  push(item: T): void {
    const items = this.#items;
    let i = items.length;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = items[parent];
      if (above === undefined || this.#compare(item, above) >= 0) break;
      items[i] = above;
      i = parent;
    }
    items[i] = item;
  }

  pop(): T | undefined {
    const top = this.#items[0];
    const last = this.#items.pop();
    if (last !== undefined && this.#items.length > 0) {
      this.#items[0] = last;
      this.#sink(0);
    }
    return top;
  }

  #sink(start: number): void {
    const items = this.#items;
    const item = items[start];
    if (item === undefined) return;
    let i = start;
    for (;;) {
      let at = 2 * i + 1;
      let child = items[at];
      if (child === undefined) break;
      const right = items[at + 1];
      if (right !== undefined && this.#compare(right, child) < 0) {
        at += 1;
        child = right;
      }
      if (this.#compare(child, item) >= 0) break;
      items[i] = child;
      i = at;
    }
    items[i] = item;
  }
}
