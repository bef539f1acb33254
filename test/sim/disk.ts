import type { Entry } from "../../consensus/message.ts";
import type { Prng } from "../../lib/prng.ts";
import { type DiskImage, type DiskWrite, EMPTY_DISK } from "../../node/storage.ts";

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
    if (write !== undefined) this.#durable = merge(this.#durable, write);
  }

  /** Power is lost: of what was not synced, any number of the oldest writes made it all the same. */
  crash(prng: Prng): void {
    const kept = this.#pending.length === 0 ? 0 : prng.below(this.#pending.length + 1);
    for (const write of this.#pending.slice(0, kept)) this.#durable = merge(this.#durable, write);
    this.#pending = [];
  }
}

function merge(image: DiskImage, write: DiskWrite): DiskImage {
  const [first] = write.entries;
  return {
    identity: write.identity ?? image.identity,
    hardState: write.hardState ?? image.hardState,
    entries: first === undefined ? image.entries : replaceFrom(image.entries, write.entries, first),
    worker: write.worker ?? image.worker,
  };
}

function replaceFrom(log: readonly Entry[], entries: readonly Entry[], first: Entry): Entry[] {
  return [...log.slice(0, first.index - 1), ...entries];
}
