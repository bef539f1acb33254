import type { Stream } from "@libp2p/interface";
import { Uint8ArrayList } from "uint8arraylist";
import { rareWindowUpdates } from "./few-writes.ts";

/** Above it a writer waits and a reader stops the sender; below LOW both go on. */
const HIGH_BYTES = 1 << 20;
const LOW_BYTES = 256 << 10;
/** One write to the muxer. */
const WRITE_BYTES = 256 << 10;
/** u32-BE length of what follows, then one byte: the frame's type. */
const HEAD_BYTES = 5;

export class StreamLostError extends Error {
  override name = "StreamLostError";
}

/** The other end broke the framing. */
export class BadFrameError extends Error {
  override name = "BadFrameError";
}

export interface FrameHandlers {
  /** A whole frame in a buffer of its own. A promise holds the sender back while too many bytes wait for theirs. */
  readonly onFrame: (type: number, payload: Uint8Array) => void | Promise<void>;
  /** Once; the stream is of no more use. */
  readonly onClosed: (reason: Error) => void;
  /** Any bytes came: the other end lives. */
  readonly onBytes?: (count: number) => void;
}

/**
 * Typed, length-prefixed frames over one libp2p stream, with back pressure both ways. All frames of one turn of
 * the event loop leave in one write. Payloads given to it must not be changed afterwards.
 */
export class FrameStream {
  readonly #stream: Stream;
  readonly #handlers: FrameHandlers;
  readonly #maxFrameBytes: number;
  readonly #in = new Uint8ArrayList();
  readonly #out = new Uint8ArrayList();
  #need = -1;
  /** Bytes in handlers that have not settled. */
  #busy = 0;
  #flushing = false;
  #dead: Error | undefined;
  #room: PromiseWithResolvers<void> | undefined;

  constructor(stream: Stream, maxFrameBytes: number, handlers: FrameHandlers) {
    rareWindowUpdates(stream);
    this.#stream = stream;
    this.#handlers = handlers;
    this.#maxFrameBytes = maxFrameBytes;
    // `close` has no error when the remote process dies: nobody half-closes here, so any end is a loss.
    stream.addEventListener("close", (event) =>
      this.#end(event.error ?? new StreamLostError("stream closed")),
    );
    stream.addEventListener("remoteCloseWrite", () =>
      this.abort(new StreamLostError("half closed")),
    );
    stream.addEventListener("message", (event) => this.#read(event.data));
    // It may have died before anyone listened; the owner must not be called while it still constructs us.
    if (stream.status !== "open")
      queueMicrotask(() => this.#end(new StreamLostError(`stream is ${stream.status}`)));
  }

  get queuedBytes(): number {
    return this.#out.byteLength;
  }

  /** Queues a frame if less than `maxQueueBytes` wait with it; false: dropped. One frame always fits. */
  offer(type: number, payload: Uint8Array, maxQueueBytes: number): boolean {
    if (this.#dead !== undefined || payload.byteLength + 1 > this.#maxFrameBytes) return false;
    const queued = this.#out.byteLength;
    if (queued > 0 && queued + HEAD_BYTES + payload.byteLength > maxQueueBytes) return false;
    this.#append(type, payload);
    return true;
  }

  /** Queues a frame and resolves when another one may follow; rejects when the stream is lost. */
  async write(type: number, payload: Uint8Array): Promise<void> {
    if (this.#dead !== undefined) throw this.#dead;
    this.#append(type, payload);
    if (this.#out.byteLength <= HIGH_BYTES) return;
    this.#room ??= Promise.withResolvers<void>();
    await this.#room.promise;
  }

  abort(reason: Error): void {
    this.#end(reason);
    this.#stream.abort(reason);
  }

  #append(type: number, payload: Uint8Array): void {
    const head = new Uint8Array(HEAD_BYTES);
    new DataView(head.buffer).setUint32(0, payload.byteLength + 1);
    head[4] = type;
    this.#out.append(head);
    if (payload.byteLength > 0) this.#out.append(payload);
    if (this.#flushing) return;
    this.#flushing = true;
    process.nextTick(() => void this.#flush());
  }

  async #flush(): Promise<void> {
    try {
      while (this.#out.byteLength > 0 && this.#dead === undefined) {
        const piece = this.#out.sublist(0, Math.min(this.#out.byteLength, WRITE_BYTES));
        this.#out.consume(piece.byteLength);
        // Flattened: noise encrypts and writes every piece of a list alone, which costs three times the CPU.
        if (!this.#stream.send(piece.subarray())) await drained(this.#stream);
        if (this.#out.byteLength < LOW_BYTES) {
          this.#room?.resolve();
          this.#room = undefined;
        }
      }
    } catch (error) {
      this.abort(error instanceof Error ? error : new StreamLostError(String(error)));
    } finally {
      this.#flushing = false;
    }
  }

  #read(data: Uint8Array | Uint8ArrayList): void {
    this.#handlers.onBytes?.(data.byteLength);
    this.#in.append(data);
    while (this.#dead === undefined) {
      if (this.#need < 0) {
        if (this.#in.byteLength < 4) return;
        this.#need = this.#in.getUint32(0);
        this.#in.consume(4);
        if (this.#need < 1 || this.#need > this.#maxFrameBytes) {
          this.abort(new BadFrameError(`a frame of ${this.#need} bytes`));
          return;
        }
      }
      if (this.#in.byteLength < this.#need) return;
      // Always a copy: a view would keep the socket's whole chunk alive for as long as the frame is kept.
      const frame = this.#in.slice(0, this.#need);
      this.#in.consume(this.#need);
      this.#need = -1;
      const handled = this.#handlers.onFrame(frame[0] ?? 0, frame.subarray(1));
      if (handled !== undefined) this.#track(handled, frame.byteLength);
    }
  }

  #track(handled: Promise<void>, bytes: number): void {
    this.#busy += bytes;
    // In a microtask: resume() dispatches what was buffered and only then tells the muxer, so a pause() inside
    // that dispatch is lost and the stream dies at its read limit.
    if (this.#busy > HIGH_BYTES) {
      queueMicrotask(() => {
        if (this.#busy > HIGH_BYTES && this.#stream.readStatus === "readable") this.#stream.pause();
      });
    }
    const settled = (): void => {
      this.#busy -= bytes;
      if (this.#busy < LOW_BYTES && this.#stream.readStatus === "paused") this.#stream.resume();
    };
    handled.then(settled, settled);
  }

  #end(reason: Error): void {
    if (this.#dead !== undefined) return;
    this.#dead = reason;
    this.#room?.promise.catch(() => {});
    this.#room?.reject(reason);
    this.#out.consume(this.#out.byteLength);
    this.#in.consume(this.#in.byteLength);
    this.#handlers.onClosed(reason);
  }
}

/** Instead of `stream.onDrain()`, whose promise is never renewed: it works once per stream. */
async function drained(stream: Stream): Promise<void> {
  while (stream.writableNeedsDrain) {
    await new Promise<void>((resolve, reject) => {
      const off = (): void => {
        stream.removeEventListener("drain", onDrain);
        stream.removeEventListener("close", onClose);
      };
      const onDrain = (): void => {
        off();
        resolve();
      };
      const onClose = (): void => {
        off();
        reject(new StreamLostError("closed while draining"));
      };
      stream.addEventListener("drain", onDrain);
      stream.addEventListener("close", onClose);
      if (stream.status !== "open") onClose();
    });
    // The stream tries its own queue again in a microtask after `drain`.
    await Promise.resolve();
  }
}
