import type { Socket } from "node:net";
import { type Done, type Lane, openSocket, type Target, VALUE_BYTES } from "./lane.ts";
import { Cutter, TurnWriter } from "./turn-writer.ts";

/**
 * To etcd: etcdserverpb.KV over gRPC, as much of HTTP/2 as one unary call takes. node:http2 costs several times the
 * CPU of our own frames; on a machine that the generator shares with the servers that would count against etcd.
 */
export async function openGrpcLane(target: Target): Promise<Lane> {
  return new GrpcLane(await openSocket(target));
}

const TYPE = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
} as const;
const END_STREAM = 0x1;
const ACK = 0x1;
const END_HEADERS = 0x4;
const HEAD_BYTES = 9;
const LARGEST_WINDOW = 2 ** 31 - 1;
const FIRST_WINDOW = 65_535;
/** Told again when half of it is used. */
const OWN_WINDOW = 2 ** 30;
const GRPC_HEAD_BYTES = 5;

const PUT = requestHeaders("/etcdserverpb.KV/Put");
const RANGE = requestHeaders("/etcdserverpb.KV/Range");

interface Call {
  readonly done: Done;
  readonly leastBytes: number;
  /** Of the answer so far. */
  bytes: number;
}

class GrpcLane implements Lane {
  readonly #socket: Socket;
  readonly #writer: TurnWriter;
  readonly #calls: Map<number, Call> = new Map();
  #lastStream = -1;
  /** How much the server takes on this connection. */
  #window = FIRST_WINDOW;
  #received = 0;
  readonly #held: { readonly stream: number; readonly message: Buffer }[] = [];

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#writer = new TurnWriter(socket);
    const cutter = new Cutter((bytes) => this.#take(bytes));
    socket.on("data", (chunk: Buffer) => cutter.push(chunk));
    socket.on("error", () => undefined);
    socket.on("close", () => this.#end());
    const settings = Buffer.alloc(6);
    settings.writeUInt16BE(4, 0);
    settings.writeUInt32BE(LARGEST_WINDOW, 2);
    this.#writer.add(Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1"));
    this.#writer.add(frame(TYPE.settings, 0, 0, settings));
    this.#writer.add(frame(TYPE.windowUpdate, 0, 0, u32(OWN_WINDOW)));
  }

  write(key: string, value: Buffer, done: Done): void {
    const message = Buffer.concat([field(1, Buffer.from(key, "latin1")), field(2, value)]);
    this.#call(PUT, message, { done, leastBytes: 0, bytes: 0 });
  }

  /** Without `serializable` a range is linearizable. */
  read(key: string, done: Done): void {
    const message = field(1, Buffer.from(key, "latin1"));
    this.#call(RANGE, message, { done, leastBytes: VALUE_BYTES, bytes: 0 });
  }

  close(): void {
    this.#socket.destroy();
  }

  #end(): void {
    for (const { done } of this.#calls.values()) done(false);
    this.#calls.clear();
  }

  #call(headers: Buffer, message: Buffer, call: Call): void {
    this.#lastStream += 2;
    const stream = this.#lastStream;
    this.#calls.set(stream, call);
    this.#writer.add(frame(TYPE.headers, END_HEADERS, stream, headers));
    const body = Buffer.concat([Buffer.alloc(1), u32(message.length), message]);
    this.#held.push({ stream, message: body });
    this.#sendHeld();
  }

  /** A request is far smaller than a stream's own window: only the connection's can hold it up. */
  #sendHeld(): void {
    for (;;) {
      const [next] = this.#held;
      if (next === undefined || next.message.length > this.#window) return;
      this.#held.shift();
      this.#window -= next.message.length;
      this.#writer.add(frame(TYPE.data, END_STREAM, next.stream, next.message));
    }
  }

  #take(bytes: Buffer): number {
    if (bytes.length < HEAD_BYTES) return 0;
    const length = bytes.readUIntBE(0, 3);
    if (bytes.length < HEAD_BYTES + length) return 0;
    const stream = bytes.readUInt32BE(5);
    const payload = bytes.subarray(HEAD_BYTES, HEAD_BYTES + length);
    this.#frame(bytes[3] ?? 0, bytes[4] ?? 0, stream, payload);
    return HEAD_BYTES + length;
  }

  #frame(type: number, flags: number, stream: number, payload: Buffer): void {
    switch (type) {
      case TYPE.data: {
        const call = this.#calls.get(stream);
        if (call !== undefined) call.bytes += payload.length;
        this.#count(payload.length);
        return;
      }
      case TYPE.headers:
        // A call that fails has no message: its first headers are its last.
        if ((flags & END_STREAM) !== 0) this.#done(stream);
        return;
      case TYPE.reset:
        this.#done(stream);
        return;
      case TYPE.settings:
        if ((flags & ACK) === 0) this.#writer.add(frame(TYPE.settings, ACK, 0, Buffer.alloc(0)));
        return;
      case TYPE.ping:
        if ((flags & ACK) === 0) this.#writer.add(frame(TYPE.ping, ACK, 0, payload));
        return;
      case TYPE.windowUpdate:
        if (stream === 0) this.#window += payload.readUInt32BE(0);
        this.#sendHeld();
        return;
      case TYPE.goAway:
        this.#socket.destroy();
        return;
    }
  }

  #done(stream: number): void {
    const call = this.#calls.get(stream);
    this.#calls.delete(stream);
    if (call === undefined) return;
    call.done(call.bytes >= Math.max(GRPC_HEAD_BYTES, call.leastBytes));
  }

  #count(bytes: number): void {
    this.#received += bytes;
    if (this.#received < OWN_WINDOW / 2) return;
    this.#writer.add(frame(TYPE.windowUpdate, 0, 0, u32(this.#received)));
    this.#received = 0;
  }
}

function u32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value, 0);
  return bytes;
}

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(stream, 5);
  payload.copy(bytes, HEAD_BYTES);
  return bytes;
}

/** A field of bytes in protobuf; below 16 KiB. */
function field(number: number, value: Buffer): Buffer {
  const { length } = value;
  const head = length < 128 ? [length] : [(length & 0x7f) | 0x80, length >> 7];
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...head]), value]);
}

function text(word: string): Buffer {
  return Buffer.concat([Buffer.from([word.length]), Buffer.from(word, "latin1")]);
}

/** HPACK without its tables' memory: POST and http by number, all else as text. */
function requestHeaders(path: string): Buffer {
  return Buffer.concat([
    Buffer.from([0x83, 0x86, 0x04]),
    text(path),
    Buffer.from([0x01]),
    text("bench"),
    Buffer.from([0x0f, 0x10]),
    text("application/grpc"),
    Buffer.from([0x00]),
    text("te"),
    text("trailers"),
  ]);
}
