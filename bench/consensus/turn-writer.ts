import type { Socket } from "node:net";

/** Gathers what one turn of the event loop says on a socket into one write: the load generator and the doors share it. */
export class TurnWriter {
  readonly #socket: Socket;
  #parts: Buffer[] = [];

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  add(bytes: Buffer): void {
    this.#parts.push(bytes);
    // After all promises of this turn: whatever they add leaves with it.
    if (this.#parts.length === 1) process.nextTick(() => this.#flush());
  }

  #flush(): void {
    const [only] = this.#parts;
    const bytes =
      this.#parts.length === 1 && only !== undefined ? only : Buffer.concat(this.#parts);
    this.#parts = [];
    if (!this.#socket.destroyed) this.#socket.write(bytes);
  }
}

/** Cuts a stream of bytes into messages; `take` returns the bytes that the first one has, or 0 when it is not whole. */
export class Cutter {
  readonly #take: (bytes: Buffer) => number;
  #rest: Buffer = Buffer.alloc(0);

  constructor(take: (bytes: Buffer) => number) {
    this.#take = take;
  }

  push(chunk: Buffer): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (bytes.length > 0) {
      const taken = this.#take(bytes);
      if (taken === 0) break;
      bytes = bytes.subarray(taken);
    }
    this.#rest = bytes;
  }
}
