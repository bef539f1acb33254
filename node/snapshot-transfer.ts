import { z } from "zod";
import type { SnapshotId, SnapshotMeta } from "../consensus/snapshot.ts";
import { fault, OrchError } from "../lib/errors.ts";
import type { ClusterState } from "../state/cluster.ts";
import type { NodeId } from "../state/ids.ts";
import { SnapshotReader } from "../state/snapshot.ts";
import type { Network } from "./network.ts";
import type { Disk, SnapshotSum } from "./storage.ts";

/**
 * A snapshot's way from one node to another: a bulk stream of its own, beside the one with the heartbeats. The
 * receiver asks, from the chunk on that it lacks, so that a broken stream loses nothing; what it gets is a
 * head (what it is, and its sum), then the chunks.
 */

/** A source that sends nothing for this long is given up; the leader's next offer begins again. */
const SILENCE_MS = 10_000;

const count = z.int().min(0);
const ids = z.array(z.int().min(1));

const Head = z.object({
  meta: z.object({
    index: count,
    term: count,
    membership: z.object({ voters: ids, outgoing: ids, learners: ids, learnersNext: ids }),
  }),
  sum: z.object({ chunks: count, crc: count }),
}) satisfies z.ZodType<{ meta: SnapshotMeta; sum: SnapshotSum }>;

export const SnapshotRequest = z.object({
  kind: z.literal("snapshot"),
  index: count,
  term: count,
  from: count,
});

const text = new TextEncoder();
const utf8 = new TextDecoder();

/** What another node asked for. Throws OrchError not-found when it is not here any more. */
export async function* serveSnapshot(
  disk: Disk,
  { index, term, from }: z.infer<typeof SnapshotRequest>,
): AsyncGenerator<Uint8Array> {
  const found = await disk.findSnapshot({ index, term });
  if (found === null) {
    const message = `no snapshot of index ${index} and term ${term} here`;
    throw new OrchError(fault("not-found", message, "The leader offers a newer one."));
  }
  yield text.encode(JSON.stringify(found));
  yield* disk.readSnapshot({ index, term }, from);
}

/**
 * Gets a snapshot from another node, makes it durable beside the log, and reads it. Resolves with what is to
 * become the node's state. Throws OrchError; what came of it before is kept on the disk for the next time.
 */
export async function fetchSnapshot(
  disk: Disk,
  network: Network,
  source: NodeId,
  id: SnapshotId,
  signal: AbortSignal,
): Promise<{ meta: SnapshotMeta; state: ClusterState }> {
  const known = await disk.findSnapshot(id);
  if (known !== null) return { meta: known.meta, state: await readState(disk, id) };
  const { meta, sum } = await fetchHead(network, source, id, signal);
  const inbox = await disk.receiveSnapshot(id, sum);
  try {
    for await (const chunk of chunksFrom(network, source, id, inbox.held, signal)) {
      await inbox.add(chunk);
    }
    await inbox.finish(meta, sum);
  } finally {
    await inbox.close();
  }
  return { meta, state: await readState(disk, id) };
}

/** The head alone: how much is held already can be known only with the sum. */
async function fetchHead(
  network: Network,
  source: NodeId,
  id: SnapshotId,
  signal: AbortSignal,
): Promise<z.infer<typeof Head>> {
  const nothing = Number.MAX_SAFE_INTEGER;
  for await (const chunk of requested(network, source, id, nothing, signal)) {
    const head = Head.parse(JSON.parse(utf8.decode(chunk)));
    if (head.meta.index !== id.index || head.meta.term !== id.term) break;
    return head;
  }
  const hint = "Install the same orch everywhere.";
  throw new OrchError(fault("invalid", `node ${source} sent another snapshot than asked`, hint));
}

async function* chunksFrom(
  network: Network,
  source: NodeId,
  id: SnapshotId,
  from: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let isHead = true;
  for await (const chunk of requested(network, source, id, from, signal)) {
    if (!isHead) yield chunk;
    isHead = false;
  }
}

async function* requested(
  network: Network,
  source: NodeId,
  { index, term }: SnapshotId,
  from: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const request: z.infer<typeof SnapshotRequest> = { kind: "snapshot", index, term, from };
  const silence = new AbortController();
  const hint = "The leader offers it again.";
  const reason = new OrchError(
    fault("unreachable", `node ${source} sends no more of its snapshot`, hint),
  );
  let timer = setTimeout(() => silence.abort(reason), SILENCE_MS);
  try {
    const bytes = text.encode(JSON.stringify(request));
    for await (const chunk of network.bulk(
      source,
      bytes,
      AbortSignal.any([signal, silence.signal]),
    )) {
      clearTimeout(timer);
      yield chunk;
      timer = setTimeout(() => silence.abort(reason), SILENCE_MS);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** The state that a saved snapshot holds. Throws OrchError, or SnapshotError when it cannot be read. */
export async function readState(disk: Disk, id: SnapshotId): Promise<ClusterState> {
  const reader = new SnapshotReader();
  for await (const chunk of disk.readSnapshot(id, 0)) reader.add(chunk);
  return reader.finish();
}
