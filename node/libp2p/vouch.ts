import { randomBytes } from "node:crypto";
import { performance } from "node:perf_hooks";
import type { Connection, Stream } from "@libp2p/interface";
import { nodeId, type NodeId } from "../../state/ids.ts";
import type { JoinSecret, NetworkEvents } from "../network.ts";
import type { Counters } from "./counters.ts";
import { decodeJson, encodeJson } from "./fault-wire.ts";
import { FrameInbox } from "./frame-inbox.ts";
import { BadFrameError, FrameStream, StreamLostError } from "./frame-stream.ts";
import { NONCE_BYTES, PROOF_BYTES, sameProof } from "./join-proof.ts";
import type { Limits } from "./limits.ts";
import { VOUCH_FRAME, VOUCH_PROTOCOL } from "./protocols.ts";
import { vouchProof } from "./vouch-proof.ts";

export interface VouchingInit {
  readonly self: NodeId;
  readonly secret: () => JoinSecret | null;
  readonly limits: Limits;
  readonly counters: Counters;
  readonly onVouch: NetworkEvents["onVouch"];
  readonly onVouched: NetworkEvents["onVouched"];
}

/**
 * Both sides of vouching. A node that was away while all that it knew were replaced takes its own cluster for
 * strangers: those that connect are asked to prove that they have the join secret, and who the members are.
 */
export class Vouching {
  readonly #init: VouchingInit;
  #isSeeking = false;
  /** The questions under way, and when each stranger was asked last. */
  readonly #asked = new Map<Connection, Promise<void>>();
  readonly #askedAtMs = new Map<NodeId, number>();

  constructor(init: VouchingInit) {
    this.#init = init;
  }

  seek(on: boolean): void {
    this.#isSeeking = on;
    this.#askedAtMs.clear();
  }

  /** Asks the stranger that opened the connection. Returns when that is over; null: it is not asked. Never rejects. */
  ask(connection: Connection): Promise<void> | null {
    const underWay = this.#asked.get(connection);
    if (underWay !== undefined) return underWay;
    const secret = this.#init.secret();
    if (!this.#isSeeking || secret === null) return null;
    const stranger = nodeId(connection.remotePeer.toString());
    const nowMs = performance.now();
    for (const [id, atMs] of this.#askedAtMs) {
      if (nowMs - atMs >= this.#init.limits.vouchEveryMs) this.#askedAtMs.delete(id);
    }
    if (this.#askedAtMs.has(stranger)) return null;
    this.#askedAtMs.set(stranger, nowMs);
    const asked = this.#converse(connection, stranger, secret).finally(() =>
      this.#asked.delete(connection),
    );
    this.#asked.set(connection, asked);
    return asked;
  }

  async #converse(connection: Connection, voucher: NodeId, secret: JoinSecret): Promise<void> {
    const { self, limits, counters, onVouched } = this.#init;
    const inTime = AbortSignal.timeout(limits.helloMs);
    let stream: Stream;
    try {
      stream = await connection.newStream(VOUCH_PROTOCOL, { signal: inTime });
    } catch {
      // It does not speak of this, as one that wants to join, or is gone.
      return;
    }
    const inbox = new FrameInbox();
    const frames = new FrameStream(stream, limits.vouchAnswerBytes + PROOF_BYTES + 1, {
      onFrame: inbox.push,
      onClosed: inbox.fail,
    });
    try {
      const { clusterId } = secret;
      const nonce = randomBytes(NONCE_BYTES);
      const question = encodeJson({ clusterId, nonce: nonce.toString("base64url") });
      await frames.write(VOUCH_FRAME.question, question);
      const { type, payload } = await inbox.next(inTime);
      const list = payload.subarray(PROOF_BYTES);
      const proof = vouchProof(secret.secret, { clusterId, nonce, asker: self, voucher, list });
      if (type !== VOUCH_FRAME.answer || !sameProof(payload.subarray(0, PROOF_BYTES), proof))
        throw new BadFrameError("it does not prove the join secret");
      onVouched(voucher, list);
      // As every connection that began as a stranger's; it comes again, as a member.
      connection.abort(new StreamLostError("connect again"));
    } catch (error) {
      if (error instanceof BadFrameError) counters.strangersRefused++;
      frames.abort(new StreamLostError("it does not vouch for itself"));
    }
  }

  /** Answers a member that asks. Never rejects. */
  async serve(stream: Stream, connection: Connection): Promise<void> {
    const { self, limits, counters, onVouch } = this.#init;
    const inbox = new FrameInbox();
    const ended = Promise.withResolvers<void>();
    const frames = new FrameStream(stream, limits.vouchQuestionBytes, {
      onFrame: inbox.push,
      onClosed: (reason) => {
        inbox.fail(reason);
        ended.resolve();
      },
    });
    const inTime = AbortSignal.timeout(limits.helloMs);
    inTime.addEventListener("abort", () => ended.resolve());
    try {
      const { clusterId, nonce } = questionOf(await inbox.next(inTime));
      const asker = nodeId(connection.remotePeer.toString());
      const secret = this.#init.secret();
      const list = secret?.clusterId === clusterId ? onVouch(asker) : null;
      if (secret === null || list === null || list.byteLength > limits.vouchAnswerBytes)
        throw new StreamLostError("it is not vouched for");
      const proof = vouchProof(secret.secret, { clusterId, nonce, asker, voucher: self, list });
      await frames.write(VOUCH_FRAME.answer, Buffer.concat([proof, list]));
      // The asker ends the stream when it has read that.
      await ended.promise;
    } catch (error) {
      if (error instanceof BadFrameError) counters.badFrames++;
    }
    frames.abort(new StreamLostError("the question is over"));
  }
}

interface Question {
  readonly clusterId: string;
  readonly nonce: Uint8Array;
}

/** Throws BadFrameError. */
function questionOf({ type, payload }: { type: number; payload: Uint8Array }): Question {
  const said = type === VOUCH_FRAME.question ? decodeJson(payload) : null;
  const clusterId = said?.["clusterId"];
  const text = said?.["nonce"];
  const nonce = Buffer.from(typeof text === "string" ? text : "", "base64url");
  if (typeof clusterId !== "string" || nonce.byteLength !== NONCE_BYTES)
    throw new BadFrameError("not a question to vouch");
  return { clusterId, nonce };
}
