import { RollingHash } from "../../state/rolling-hash.ts";
import type { Member } from "./message.ts";

/**
 * Tells one list of members from another, in whatever order they stand: two nodes compare what they know without
 * sending it. Each change of a list costs as much as what changed.
 */
export class MemberHash {
  #high = 0;
  #low = 0;

  add(member: Member): void {
    const [high, low] = lanesOf(member);
    this.#high = (this.#high + high) | 0;
    this.#low = (this.#low + low) | 0;
  }

  /** One that was added before. */
  remove(member: Member): void {
    const [high, low] = lanesOf(member);
    this.#high = (this.#high - high) | 0;
    this.#low = (this.#low - low) | 0;
  }

  /** 16 hexadecimal digits. */
  get text(): string {
    return [this.#high, this.#low]
      .map((lane) => (lane >>> 0).toString(16).padStart(8, "0"))
      .join("");
  }
}

function lanesOf({ id, raftId, name, addresses, holdsLog }: Member): readonly [number, number] {
  const hash = new RollingHash();
  hash.add(JSON.stringify([id, raftId, name, addresses, holdsLog]));
  const bits = hash.number();
  return [Math.floor(bits / 0x20_0000), bits % 0x20_0000];
}
