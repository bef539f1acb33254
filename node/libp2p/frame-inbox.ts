import { StreamLostError } from "./frame-stream.ts";

export interface Frame {
  readonly type: number;
  readonly payload: Uint8Array;
}

interface Waiting extends Frame {
  readonly taken: () => void;
}

/** Frames that a reader takes one by one. What came before the stream's end can still be read after it. */
export class FrameInbox {
  readonly #frames: Waiting[] = [];
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  /** Resolves when the frame has been taken, so that a slow reader holds the sender back. */
  readonly push = (type: number, payload: Uint8Array): Promise<void> =>
    new Promise((taken) => {
      this.#frames.push({ type, payload, taken });
      this.#wake?.();
    });

  readonly fail = (reason: Error): void => {
    this.#failure ??= reason;
    this.#wake?.();
  };

  /** The next frame. Rejects with the stream's end, or with `signal`'s reason. One reader at a time. */
  async next(signal: AbortSignal): Promise<Frame> {
    for (;;) {
      signal.throwIfAborted();
      const frame = this.#frames.shift();
      if (frame !== undefined) {
        frame.taken();
        return frame;
      }
      if (this.#failure !== undefined) throw this.#failure;
      await this.#changed(signal);
    }
  }

  #changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const off = (): void => {
        this.#wake = undefined;
        signal.removeEventListener("abort", onAbort);
      };
      const onAbort = (): void => {
        off();
        reject(
          signal.reason instanceof Error
            ? signal.reason
            : new StreamLostError(String(signal.reason)),
        );
      };
      this.#wake = () => {
        off();
        resolve();
      };
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }
}
