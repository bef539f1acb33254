import type { Connection, Stream } from "@libp2p/interface";
import type { NodeId } from "../../state/ids.ts";
import type { Counters } from "./counters.ts";
import { decodeJson, encodeJson } from "./fault-wire.ts";
import { BadFrameError, FrameStream } from "./frame-stream.ts";
import type { Limits } from "./limits.ts";
import { RPC_FRAME } from "./protocols.ts";

export interface SessionHandlers {
  /** The peer's hello is here: its process and what it wants are known. */
  readonly onHello: (session: Session) => void;
  /** The peer, who decides, takes this stream. */
  readonly onAccept: (session: Session) => void;
  readonly onData: (session: Session, payload: Uint8Array) => void;
  readonly onClosed: (session: Session, reason: Error) => void;
}

export interface SessionInit {
  readonly peer: NodeId;
  readonly stream: Stream;
  readonly connection: Connection;
  readonly dialledByUs: boolean;
  /** Names this process, so that the peer can tell a restart from a second stream. */
  readonly incarnation: string;
  readonly desired: boolean;
  readonly nowMs: number;
  readonly clock: () => number;
}

/** One stream to a peer, from its hello to its end. */
export class Session {
  readonly peer: NodeId;
  readonly connection: Connection;
  readonly dialledByUs: boolean;
  readonly openedAtMs: number;
  /** Resolves when the stream is in use, or will never be. */
  readonly settled: Promise<void>;
  /** The peer's process; empty before its hello. */
  incarnation = "";
  /** Whether the peer wants to stay connected. */
  wanted = true;
  accepted = false;
  heardAtMs: number;
  sentAtMs: number;
  readonly #frames: FrameStream;
  readonly #handlers: SessionHandlers;
  readonly #limits: Limits;
  readonly #counters: Counters;
  readonly #clock: () => number;
  readonly #settle: () => void;

  constructor(init: SessionInit, limits: Limits, counters: Counters, handlers: SessionHandlers) {
    this.peer = init.peer;
    this.connection = init.connection;
    this.dialledByUs = init.dialledByUs;
    this.openedAtMs = init.nowMs;
    this.heardAtMs = init.nowMs;
    this.sentAtMs = init.nowMs;
    this.#handlers = handlers;
    this.#limits = limits;
    this.#counters = counters;
    this.#clock = init.clock;
    const settled = Promise.withResolvers<void>();
    this.settled = settled.promise;
    this.#settle = settled.resolve;
    this.#frames = new FrameStream(init.stream, limits.maxFrameBytes, {
      onFrame: (type, payload) => this.#onFrame(type, payload),
      onBytes: (count) => {
        this.heardAtMs = this.#clock();
        counters.bytesIn += count;
      },
      onClosed: (reason) => {
        if (reason instanceof BadFrameError) counters.badFrames++;
        this.#settle();
        handlers.onClosed(this, reason);
      },
    });
    this.#control(
      RPC_FRAME.hello,
      encodeJson({ incarnation: init.incarnation, wanted: init.desired }),
    );
  }

  /** Takes this stream into use; the peer is told when it is we who decide. */
  take(tellPeer: boolean): void {
    this.accepted = true;
    if (tellPeer) this.#control(RPC_FRAME.accept, new Uint8Array());
    this.#settle();
  }

  /** Best effort, in order; false when it was dropped. */
  send(payload: Uint8Array): boolean {
    if (!this.#frames.offer(RPC_FRAME.data, payload, this.#limits.maxQueueBytes)) return false;
    this.sentAtMs = this.#clock();
    this.#counters.bytesOut += payload.byteLength;
    return true;
  }

  tellWanted(wanted: boolean): void {
    this.#control(RPC_FRAME.want, Uint8Array.of(wanted ? 1 : 0));
  }

  /** Lets the peer know that we live, unless other bytes do. */
  keepAlive(nowMs: number): void {
    if (this.#frames.queuedBytes > 0 || nowMs - this.sentAtMs < this.#limits.keepaliveMs) return;
    this.#control(RPC_FRAME.keepalive, new Uint8Array());
  }

  get idle(): boolean {
    return this.#frames.queuedBytes === 0;
  }

  /** Ends the stream only: its connection carries another one that is in use. */
  abortStream(reason: Error): void {
    this.#frames.abort(reason);
  }

  abort(reason: Error): void {
    this.#frames.abort(reason);
    this.connection.abort(reason);
  }

  #control(type: number, payload: Uint8Array): void {
    // Above the queue's bound: the few bytes of a hello or a want must not be lost behind data.
    this.#frames.offer(type, payload, Number.MAX_SAFE_INTEGER);
    this.sentAtMs = this.#clock();
  }

  #onFrame(type: number, payload: Uint8Array): void {
    switch (type) {
      case RPC_FRAME.data:
        if (this.accepted) this.#handlers.onData(this, payload);
        return;
      case RPC_FRAME.keepalive:
        return;
      case RPC_FRAME.want:
        this.wanted = payload[0] === 1;
        return;
      case RPC_FRAME.hello: {
        const hello = decodeJson(payload);
        const incarnation = hello?.["incarnation"];
        if (
          typeof incarnation === "string" &&
          incarnation !== "" &&
          incarnation.length <= 64 &&
          this.incarnation === ""
        ) {
          this.incarnation = incarnation;
          this.wanted = hello?.["wanted"] === true;
          this.#handlers.onHello(this);
          return;
        }
        break;
      }
      case RPC_FRAME.accept:
        if (this.incarnation !== "" && !this.accepted) {
          this.#handlers.onAccept(this);
          return;
        }
        break;
    }
    this.abort(new BadFrameError(`an unexpected frame of type ${type}`));
  }
}
