import type { Socket } from "node:net";
import { encodeRequest, FRAME, takeFrame } from "./frames.ts";
import { type Done, type Lane, openSocket, type Target, VALUE_BYTES } from "./lane.ts";
import { Cutter, TurnWriter } from "./turn-writer.ts";

const NOTHING = Buffer.alloc(0);

interface Waiting {
  readonly done: Done;
  readonly leastBytes: number;
}

/** To a bench node: length-prefixed frames, as little as there can be between a client and the consensus. */
export async function openFrameLane(target: Target): Promise<Lane> {
  return new FrameLane(await openSocket(target));
}

class FrameLane implements Lane {
  readonly #socket: Socket;
  readonly #writer: TurnWriter;
  readonly #waiting: Map<number, Waiting> = new Map();
  #ids = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#writer = new TurnWriter(socket);
    const cutter = new Cutter((bytes) =>
      takeFrame(bytes, (id, kind, body) => this.#answered(id, kind, body)),
    );
    socket.on("data", (chunk: Buffer) => cutter.push(chunk));
    socket.on("error", () => undefined);
    socket.on("close", () => {
      for (const { done } of this.#waiting.values()) done(false);
      this.#waiting.clear();
    });
  }

  write(key: string, value: Buffer, done: Done): void {
    this.#ask(FRAME.write, key, value, { done, leastBytes: 0 });
  }

  read(key: string, done: Done): void {
    this.#ask(FRAME.read, key, NOTHING, { done, leastBytes: VALUE_BYTES });
  }

  close(): void {
    this.#socket.destroy();
  }

  #ask(kind: number, key: string, value: Buffer, waiting: Waiting): void {
    this.#ids = (this.#ids + 1) >>> 0;
    this.#waiting.set(this.#ids, waiting);
    this.#writer.add(encodeRequest(this.#ids, kind, key, value));
  }

  #answered(id: number, kind: number, body: Buffer): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.done(kind === FRAME.ok && body.length >= waiting.leastBytes);
  }
}
