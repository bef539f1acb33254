import type { Connection, Stream } from "@libp2p/interface";
import { fault, faultOf, OrchError } from "../../lib/errors.ts";
import type { NodeId } from "../../state/ids.ts";
import type { NetworkEvents } from "../network.ts";
import type { Counters } from "./counters.ts";
import { decodeFault, encodeFault } from "./fault-wire.ts";
import { FrameInbox } from "./frame-inbox.ts";
import { BadFrameError, FrameStream, StreamLostError } from "./frame-stream.ts";
import type { Limits } from "./limits.ts";
import { BULK_FRAME, BULK_PROTOCOL } from "./protocols.ts";

/** Answers one bulk request; never rejects. `closing` aborts when this node goes. */
export async function serveBulk(
  stream: Stream,
  from: NodeId,
  onBulk: NetworkEvents["onBulk"],
  closing: AbortSignal,
  limits: Limits,
  counters: Counters,
): Promise<void> {
  const gone = new AbortController();
  const inbox = new FrameInbox();
  const frames = new FrameStream(stream, limits.bulkRequestBytes + 1, {
    onFrame: inbox.push,
    onClosed: (reason) => {
      if (reason instanceof BadFrameError) counters.badFrames++;
      inbox.fail(reason);
      gone.abort(reason);
    },
    onBytes: (count) => {
      counters.bytesIn += count;
    },
  });
  const onClosing = (): void => frames.abort(new StreamLostError("this node is going down"));
  closing.addEventListener("abort", onClosing, { once: true });
  try {
    const request = await inbox.next(AbortSignal.timeout(limits.helloMs));
    if (request.type !== BULK_FRAME.request)
      throw new BadFrameError("a bulk stream begins with a request");
    for await (const chunk of onBulk(from, request.payload, gone.signal)) {
      gone.signal.throwIfAborted();
      for (let at = 0; at < chunk.byteLength; at += limits.bulkChunkBytes) {
        const piece = chunk.subarray(at, at + limits.bulkChunkBytes);
        counters.bytesOut += piece.byteLength;
        await frames.write(BULK_FRAME.chunk, piece);
      }
    }
    await frames.write(BULK_FRAME.end, new Uint8Array());
  } catch (error) {
    if (error instanceof BadFrameError) frames.abort(error);
    else await frames.write(BULK_FRAME.fault, encodeFault(faultOf(error))).catch(() => {});
  } finally {
    closing.removeEventListener("abort", onClosing);
  }
  // The reader ends the stream when it has seen the last frame: to end it here would throw away what is under way.
}

/** How many bulk answers of each peer are being read. */
export type BulkCounts = Map<NodeId, number>;

/**
 * The chunks of one bulk answer. Leaving the loop early, or aborting `signal`, ends the stream at both ends. Throws
 * what the handler threw, unreachable, or overloaded when too many are read from that peer already.
 */
export async function* readBulk(
  to: NodeId,
  connect: (signal: AbortSignal) => Promise<Connection>,
  request: Uint8Array,
  signal: AbortSignal,
  counts: BulkCounts,
  limits: Limits,
  counters: Counters,
): AsyncGenerator<Uint8Array> {
  signal.throwIfAborted();
  const running = counts.get(to) ?? 0;
  // Counted here: the other end's limit would reset a stream that has seemed to open, and say nothing.
  if (running >= limits.bulkStreamsPerPeer) {
    throw new OrchError(
      fault(
        "overloaded",
        `too many transfers from node ${to} run at once`,
        "Try again when one of them has ended.",
        { node: to },
      ),
    );
  }
  counts.set(to, running + 1);
  try {
    yield* readStream(
      to,
      await openBulk(to, connect, signal, limits),
      request,
      signal,
      limits,
      counters,
    );
  } finally {
    const left = (counts.get(to) ?? 1) - 1;
    if (left > 0) counts.set(to, left);
    else counts.delete(to);
  }
}

async function* readStream(
  to: NodeId,
  stream: Stream,
  request: Uint8Array,
  signal: AbortSignal,
  limits: Limits,
  counters: Counters,
): AsyncGenerator<Uint8Array> {
  const inbox = new FrameInbox();
  const frames = new FrameStream(stream, Math.max(limits.bulkChunkBytes + 1, 64 << 10), {
    onFrame: inbox.push,
    onClosed: (reason) => {
      if (reason instanceof BadFrameError) counters.badFrames++;
      inbox.fail(reason);
    },
    onBytes: (count) => {
      counters.bytesIn += count;
    },
  });
  const onAbort = (): void => frames.abort(new StreamLostError("no longer wanted"));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    counters.bytesOut += request.byteLength;
    await frames.write(BULK_FRAME.request, request);
    for (;;) {
      const { type, payload } = await inbox.next(signal);
      if (type === BULK_FRAME.end) return;
      if (type === BULK_FRAME.fault) throw new OrchError(decodeFault(payload));
      if (type !== BULK_FRAME.chunk) throw new BadFrameError(`an unexpected frame of type ${type}`);
      yield payload;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof OrchError ? error : lost(to, error);
  } finally {
    signal.removeEventListener("abort", onAbort);
    frames.abort(new StreamLostError("done"));
  }
}

async function openBulk(
  to: NodeId,
  connect: (signal: AbortSignal) => Promise<Connection>,
  signal: AbortSignal,
  limits: Limits,
): Promise<Stream> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(limits.dialMs)]);
  try {
    const connection = await connect(bounded);
    return await connection.newStream(BULK_PROTOCOL, {
      signal: bounded,
      maxOutboundStreams: 2 * limits.bulkStreamsPerPeer,
    });
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof OrchError ? error : lost(to, error);
  }
}

function lost(to: NodeId, cause: unknown): OrchError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new OrchError(
    fault(
      "unreachable",
      `the transfer from node ${to} broke off: ${why}`,
      "Try again; `orch node ls` tells whether the node is up.",
      {
        node: to,
      },
    ),
    cause,
  );
}
