import type { Socket } from "node:net";
import { apiPath } from "./operations.ts";
import { type Done, type Lane, openSocket, type Target, VALUE_BYTES } from "./lane.ts";
import { Cutter } from "./turn-writer.ts";

interface Waiting {
  readonly done: Done;
  readonly leastBytes: number;
}

/**
 * To the public HTTP API over TCP. HTTP/1.1 has one request under way on a connection, so this lane opens as many
 * as are needed at once, and keeps them.
 */
export async function openHttpLane(target: Target, sockets: number): Promise<Lane> {
  const opened = await Promise.all(Array.from({ length: sockets }, () => openSocket(target)));
  return new HttpLane(target, opened);
}

class HttpLane implements Lane {
  readonly #head: string;
  readonly #free: Socket[];
  readonly #all: readonly Socket[];
  readonly #waiting: Map<Socket, Waiting> = new Map();

  constructor(target: Target, sockets: readonly Socket[]) {
    this.#head = `HTTP/1.1\r\nhost: ${target.host}:${target.port}\r\nauthorization: Bearer ${target.token}\r\n`;
    this.#all = sockets;
    this.#free = [...sockets];
    for (const socket of sockets) {
      const cutter = new Cutter((bytes) => this.#take(socket, bytes));
      socket.on("data", (chunk: Buffer) => cutter.push(chunk));
      socket.on("error", () => undefined);
      socket.on("close", () => this.#done(socket, false, 0));
    }
  }

  write(key: string, value: Buffer, done: Done): void {
    const head = `PUT ${apiPath(key)} ${this.#head}content-type: application/octet-stream\r\ncontent-length: ${value.length}\r\n\r\n`;
    const bytes = Buffer.concat([Buffer.from(head, "latin1"), value]);
    this.#send(bytes, { done, leastBytes: 0 });
  }

  read(key: string, done: Done): void {
    const head = `GET ${apiPath(key)} ${this.#head}\r\n`;
    this.#send(Buffer.from(head, "latin1"), { done, leastBytes: VALUE_BYTES });
  }

  close(): void {
    for (const socket of this.#all) socket.destroy();
  }

  #send(bytes: Buffer, waiting: Waiting): void {
    const socket = this.#free.pop();
    if (socket === undefined || socket.destroyed) {
      process.nextTick(() => waiting.done(false));
      return;
    }
    this.#waiting.set(socket, waiting);
    socket.write(bytes);
  }

  #take(socket: Socket, bytes: Buffer): number {
    const end = bytes.indexOf("\r\n\r\n");
    if (end < 0) return 0;
    const head = bytes.toString("latin1", 0, end);
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
    if (bytes.length < end + 4 + length) return 0;
    this.#free.push(socket);
    this.#done(socket, head.startsWith("HTTP/1.1 2"), length);
    return end + 4 + length;
  }

  #done(socket: Socket, ok: boolean, bytes: number): void {
    const waiting = this.#waiting.get(socket);
    this.#waiting.delete(socket);
    waiting?.done(ok && bytes >= waiting.leastBytes);
  }
}
