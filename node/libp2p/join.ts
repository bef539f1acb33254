import { randomBytes } from "node:crypto";
import type { Connection, Libp2p, PrivateKey } from "@libp2p/interface";
import { multiaddr } from "@multiformats/multiaddr";
import { fault, OrchError } from "../../lib/errors.ts";
import { nodeId, type NodeId } from "../../state/ids.ts";
import { parsePeer } from "./address.ts";
import { decodeFault, encodeJson } from "./fault-wire.ts";
import { FrameInbox } from "./frame-inbox.ts";
import { FrameStream, StreamLostError } from "./frame-stream.ts";
import { createJoiner, startHost } from "./host.ts";
import { joinProof, NONCE_BYTES, PROOF_BYTES, sameProof } from "./join-proof.ts";
import { LIMITS, type Limits } from "./limits.ts";
import { JOIN_FRAME, JOIN_PROTOCOL } from "./protocols.ts";
import type { JoinToken } from "./token.ts";

export interface JoinRequest {
  readonly key: PrivateKey;
  /** `host[:port]`, or a multiaddr. */
  readonly peer: string;
  readonly token: JoinToken;
  readonly hello: Uint8Array;
  readonly signal: AbortSignal;
}

export interface JoinAnswer {
  readonly server: NodeId;
  /** Where it was found, as a multiaddr: the name, if one was given. */
  readonly address: string;
  readonly answer: Uint8Array;
}

/**
 * Asks the node at `peer` to admit the holder of `key`, before it has a network of its own. Both ends prove the
 * secret. Throws usage (address), unreachable, wrong-cluster, token-refused, or what the cluster answers.
 */
export async function requestJoin(
  request: JoinRequest,
  limits: Limits = LIMITS,
): Promise<JoinAnswer> {
  const address = parsePeer(request.peer);
  if (address === null) {
    throw new OrchError(
      fault(
        "usage",
        `"${request.peer}" is not an address of a node`,
        "Give host, host:port (7400 is the default) or a multiaddr.",
      ),
    );
  }
  if (request.hello.byteLength > limits.joinHelloBytes) {
    throw new OrchError(
      fault(
        "too-large",
        "the node says too much of itself to join",
        "Give it fewer or shorter labels.",
      ),
    );
  }
  request.signal.throwIfAborted();
  const node = await createJoiner(request.key, limits);
  await startHost(node, []);
  try {
    const connection = await dial(node, address, request, limits);
    return { address, ...(await converse(node, connection, request, limits)) };
  } finally {
    for (const connection of node.getConnections())
      connection.abort(new StreamLostError("the join is over"));
    await node.stop();
  }
}

async function dial(
  node: Libp2p,
  address: string,
  request: JoinRequest,
  limits: Limits,
): Promise<Connection> {
  try {
    return await node.dial(multiaddr(address), {
      signal: AbortSignal.any([request.signal, AbortSignal.timeout(limits.dialMs)]),
    });
  } catch (error) {
    request.signal.throwIfAborted();
    const why = error instanceof Error ? error.message : String(error);
    if (why.includes("dial self")) {
      throw new OrchError(
        fault(
          "usage",
          `${request.peer} is this node itself`,
          "Name another node, one of the cluster to join.",
        ),
        error,
      );
    }
    throw unreachable(request.peer, why, error);
  }
}

async function converse(
  node: Libp2p,
  connection: Connection,
  request: JoinRequest,
  limits: Limits,
): Promise<Omit<JoinAnswer, "address">> {
  const { token } = request;
  const inbox = new FrameInbox();
  const joinerNonce = randomBytes(NONCE_BYTES);
  const server = nodeId(connection.remotePeer.toString());
  try {
    const inTime = AbortSignal.any([request.signal, AbortSignal.timeout(limits.joinHandshakeMs)]);
    const stream = await connection.newStream(JOIN_PROTOCOL, { signal: inTime });
    const frames = new FrameStream(stream, limits.joinAnswerBytes + 1, {
      onFrame: inbox.push,
      onClosed: inbox.fail,
    });
    await frames.write(
      JOIN_FRAME.offer,
      encodeJson({ clusterId: token.clusterId, nonce: joinerNonce.toString("base64url") }),
    );
    const first = await inbox.next(inTime);
    if (first.type === JOIN_FRAME.fault) throw new OrchError(decodeFault(first.payload));
    const serverNonce = first.payload.subarray(0, NONCE_BYTES);
    const of = {
      clusterId: token.clusterId,
      joinerNonce,
      serverNonce,
      joiner: nodeId(node.peerId.toString()),
      server,
    };
    const proved =
      first.type === JOIN_FRAME.serverProof &&
      first.payload.byteLength === NONCE_BYTES + PROOF_BYTES &&
      sameProof(first.payload.subarray(NONCE_BYTES), joinProof(token.secret, "server", of));
    if (!proved) throw notOfTheCluster(request.peer);
    await frames.write(
      JOIN_FRAME.joinerProof,
      Buffer.concat([joinProof(token.secret, "joiner", of), request.hello]),
    );
    const patience = AbortSignal.any([
      request.signal,
      AbortSignal.timeout(limits.joinAnswerMs + limits.joinHandshakeMs),
    ]);
    const last = await inbox.next(patience);
    if (last.type === JOIN_FRAME.fault) throw new OrchError(decodeFault(last.payload));
    if (last.type !== JOIN_FRAME.answer) throw new StreamLostError("it answered something else");
    return { server, answer: last.payload };
  } catch (error) {
    request.signal.throwIfAborted();
    if (error instanceof OrchError) throw error;
    throw unreachable(request.peer, error instanceof Error ? error.message : String(error), error);
  }
}

function notOfTheCluster(peer: string): OrchError {
  return new OrchError(
    fault(
      "token-refused",
      "that node could not prove that it belongs to the cluster",
      "Check the address, and copy the present token from `orch node token` on a node that you trust.",
      { peer },
    ),
  );
}

function unreachable(peer: string, why: string, cause: unknown): OrchError {
  return new OrchError(
    fault(
      "unreachable",
      `cannot reach a node at ${peer}: ${why}`,
      "Check that a node of the cluster runs there and that its port (7400/tcp unless --listen says otherwise) is open.",
      { peer },
    ),
    cause,
  );
}
