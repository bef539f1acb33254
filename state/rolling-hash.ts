/**
 * A hash over a sequence of texts: two replicas that were fed the same texts in the same order agree, and a
 * single differing character shows. Not for secrets: it is fast, not hard to forge.
 */
export class RollingHash {
  #a = 0x811c9dc5 | 0;
  #b = 0x9e3779b9 | 0;

  add(text: string): void {
    let a = this.#a;
    let b = this.#b;
    for (let i = 0; i < text.length; i++) {
      // Prettier to iterate code points, several times slower: this runs for every change.
      const unit = text.charCodeAt(i);
      a = Math.imul(a ^ unit, 0x01000193);
      b = Math.imul((b << 5) ^ (b >>> 27) ^ unit, 0x85ebca6b);
    }
    // The length separates "ab","c" from "a","bc".
    this.#a = Math.imul(a ^ text.length, 0xc2b2ae35 | 0) ^ (a >>> 15);
    this.#b = Math.imul(b ^ text.length, 0x27d4eb2f) ^ (b >>> 13);
  }

  /** Goes on after the texts that gave this digest. */
  restore(digest: string): void {
    this.#a = Number.parseInt(digest.slice(0, 8), 16) | 0;
    this.#b = Number.parseInt(digest.slice(8), 16) | 0;
  }

  /** 16 hexadecimal digits: all that it remembers. */
  digest(): string {
    return hex(this.#a) + hex(this.#b);
  }
}

function hex(lane: number): string {
  return (lane >>> 0).toString(16).padStart(8, "0");
}
