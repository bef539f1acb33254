import { randomBytes } from "node:crypto";
import { performance } from "node:perf_hooks";
import type { Connection, Stream } from "@libp2p/interface";
import { fault, faultOf, OrchError, type Fault } from "../../lib/errors.ts";
import { nodeId, type NodeId } from "../../state/ids.ts";
import type { JoinSecret, NetworkEvents } from "../network.ts";
import type { Counters } from "./counters.ts";
import { decodeJson, encodeFault } from "./fault-wire.ts";
import { FrameInbox } from "./frame-inbox.ts";
import { BadFrameError, FrameStream, StreamLostError } from "./frame-stream.ts";
import type { JoinLimiter } from "./join-limiter.ts";
import { joinProof, NONCE_BYTES, PROOF_BYTES, sameProof } from "./join-proof.ts";
import type { Limits } from "./limits.ts";
import { JOIN_FRAME } from "./protocols.ts";

export interface JoinServer {
  readonly self: NodeId;
  readonly secret: () => JoinSecret | null;
  readonly limiter: JoinLimiter;
  readonly limits: Limits;
  readonly counters: Counters;
  readonly onJoin: NetworkEvents["onJoin"];
}

/**
 * Answers one stranger that wants to join, then ends its connection: a connection that began as a stranger's never
 * carries gossip. Never rejects.
 */
export async function serveJoin(
  stream: Stream,
  connection: Connection,
  server: JoinServer,
): Promise<void> {
  const { limits, counters } = server;
  const inbox = new FrameInbox();
  const ended = Promise.withResolvers<void>();
  const frames = new FrameStream(stream, limits.joinHelloBytes + PROOF_BYTES + 1, {
    onFrame: inbox.push,
    onClosed: (reason) => {
      inbox.fail(reason);
      ended.resolve();
    },
  });
  const reply = (type: number, payload: Uint8Array): void =>
    void frames.write(type, payload).catch(() => {});
  try {
    reply(JOIN_FRAME.answer, await converse(frames, inbox, connection, server));
  } catch (error) {
    if (error instanceof OrchError) reply(JOIN_FRAME.fault, encodeFault(error.fault));
    else {
      counters.strangersRefused++;
      frames.abort(new StreamLostError("not a join"));
    }
  }
  // The joiner takes the answer and hangs up; one that does neither is not waited for.
  const timer = setTimeout(ended.resolve, limits.joinHandshakeMs);
  await ended.promise;
  clearTimeout(timer);
  connection.abort(new StreamLostError("the join is over"));
}

async function converse(
  frames: FrameStream,
  inbox: FrameInbox,
  connection: Connection,
  server: JoinServer,
): Promise<Uint8Array> {
  const { limits, limiter, counters } = server;
  const remote = remoteHost(connection);
  const refuse = (reason: Fault): OrchError => {
    counters.strangersRefused++;
    return new OrchError(reason);
  };
  const inTime = AbortSignal.timeout(limits.joinHandshakeMs);
  const offer = await inbox.next(inTime);
  const wanted = offer.type === JOIN_FRAME.offer ? decodeJson(offer.payload) : null;
  const nonceText = wanted?.["nonce"];
  const clusterId = wanted?.["clusterId"];
  if (typeof nonceText !== "string" || typeof clusterId !== "string")
    throw new BadFrameError("not an offer to join");
  const joinerNonce = Buffer.from(nonceText, "base64url");
  if (joinerNonce.byteLength !== NONCE_BYTES) throw new BadFrameError("not an offer to join");
  if (!limiter.allow(remote, performance.now())) {
    throw refuse(
      fault("overloaded", "too many nodes ask to join from that address", "Try again in a minute."),
    );
  }
  const secret = server.secret();
  if (secret === null) {
    throw refuse(
      fault(
        "not-initialized",
        "that node is not part of a cluster",
        "Name a node that is, or begin a cluster with `orch node init`.",
      ),
    );
  }
  if (clusterId !== secret.clusterId) {
    throw refuse(
      fault(
        "wrong-cluster",
        "the token is for another cluster than that node's",
        "Copy the token from `orch node token` on a node of the cluster to join.",
      ),
    );
  }
  const joiner = nodeId(connection.remotePeer.toString());
  const serverNonce = randomBytes(NONCE_BYTES);
  const of = { clusterId, joinerNonce, serverNonce, joiner, server: server.self };
  await frames.write(
    JOIN_FRAME.serverProof,
    Buffer.concat([serverNonce, joinProof(secret.secret, "server", of)]),
  );
  const proof = await inbox.next(inTime);
  if (
    proof.type !== JOIN_FRAME.joinerProof ||
    !sameProof(proof.payload.subarray(0, PROOF_BYTES), joinProof(secret.secret, "joiner", of))
  ) {
    limiter.failed(remote, performance.now());
    throw refuse(tokenRefused());
  }
  limiter.succeeded(remote, performance.now());
  return admit(server, joiner, proof.payload.subarray(PROOF_BYTES));
}

/** The core's answer. What it throws goes back as a fault, and so does an answer that takes too long. */
async function admit(
  { onJoin, limits }: JoinServer,
  joiner: NodeId,
  hello: Uint8Array,
): Promise<Uint8Array> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(
      new OrchError(
        fault(
          "unknown",
          "the cluster did not answer the join in time",
          "Try again: to join twice does no harm.",
        ),
      ),
    );
  }, limits.joinAnswerMs);
  try {
    const answer = await Promise.race([onJoin(joiner, hello), late.promise]);
    if (answer.byteLength > limits.joinAnswerBytes) {
      throw new OrchError(
        fault(
          "too-large",
          "the answer to a join is too large",
          "This is a bug in orch: please report it.",
        ),
      );
    }
    return answer;
  } catch (error) {
    throw new OrchError(faultOf(error), error);
  } finally {
    clearTimeout(timer);
  }
}

function tokenRefused(): Fault {
  return fault(
    "token-refused",
    "that node refused the token: it is not valid any more",
    "Copy the present one from `orch node token`.",
  );
}

function remoteHost(connection: Connection): string {
  return connection.remoteAddr.getComponents()[0]?.value ?? "";
}
