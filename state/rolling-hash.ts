const ENCODER = new TextEncoder();
const BYTES = new Uint8Array(8192);
const WORDS = new DataView(BYTES.buffer);

/**
 * A hash over a sequence of texts: two replicas that were fed the same texts in the same order agree, and a
 * single differing character shows (halves of surrogate pairs apart). Not for secrets: it is fast, not hard to forge.
 */
export class RollingHash {
  #a = 0x811c9dc5 | 0;
  #b = 0x9e3779b9 | 0;

  add(text: string): void {
    let a = this.#a;
    let b = this.#b;
    // This runs for every change: words of its bytes are several times faster than its characters.
    for (let rest = text; rest.length > 0;) {
      const { read, written } = ENCODER.encodeInto(rest, BYTES);
      BYTES.fill(0, written, (written + 3) & ~3);
      for (let at = 0; at < written; at += 4) {
        const word = WORDS.getInt32(at, true);
        a = Math.imul(a ^ word, 0x01000193);
        b = Math.imul((b << 5) ^ (b >>> 27) ^ word, 0x85ebca6b);
      }
      rest = read < rest.length ? rest.slice(read) : "";
    }
    // The length separates "ab","c" from "a","bc".
    this.#a = Math.imul(a ^ text.length, 0xc2b2ae35 | 0) ^ (a >>> 15);
    this.#b = Math.imul(b ^ text.length, 0x27d4eb2f) ^ (b >>> 13);
  }

  /** 53 bits of it: to tell one text from another. */
  number(): number {
    return (this.#a >>> 0) * 0x200000 + (this.#b >>> 11);
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
