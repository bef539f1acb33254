import type { Prng } from "../../lib/prng.ts";
import { type DiskImage, type DiskWrite, EMPTY_DISK, afterWrite } from "../../node/storage.ts";

/** A disk that keeps what was synced and may lose the rest: writes are atomic and durable in order. */
export class SimDisk {
  #durable: DiskImage = EMPTY_DISK;
  /** Handed over and not synced yet. */
  #pending: DiskWrite[] = [];

  get durable(): DiskImage {
    return this.#durable;
  }

  submit(write: DiskWrite): void {
    this.#pending.push(write);
  }

  /** The oldest write reaches the platter. */
  sync(): void {
    const write = this.#pending.shift();
    if (write !== undefined) this.#durable = afterWrite(this.#durable, write);
  }

  /** Power is lost: of what was not synced, any number of the oldest writes made it all the same. */
  crash(prng: Prng): void {
    const kept = this.#pending.length === 0 ? 0 : prng.below(this.#pending.length + 1);
    for (const write of this.#pending.slice(0, kept))
      this.#durable = afterWrite(this.#durable, write);
    this.#pending = [];
  }
}
