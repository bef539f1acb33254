import type { Entry, HardState, RaftId } from "../consensus/message.ts";
import {
  type LogBase,
  type LogCut,
  type SnapshotId,
  type SnapshotMeta,
  WHOLE_LOG,
} from "../consensus/snapshot.ts";
import type { WorkerMemory } from "../runtime/worker-memory.ts";
import type { NodeId } from "../state/ids.ts";

/** The disk port: what a node keeps through a crash, and how it writes it. */

/** Who this node is and of which cluster; written when it is admitted, and with every list of members that it hears. */
export interface Identity {
  readonly clusterId: string;
  readonly node: NodeId;
  readonly raftId: RaftId;
  /** Where others were last seen, so that a restarted node finds its cluster. Hints only. */
  readonly peers: readonly Peer[];
  /** Base64url of 32 bytes: by it a stranger proves to belong to this cluster, also when all peers are gone. */
  readonly joinSecret: string;
  /** The host name by which it found a member to join, and which one; a folder of before has none. Hint only. */
  readonly door?: Door;
}

/** A name that is resolved anew with each dial, so that it leads to its node wherever that is. */
export interface Door {
  readonly id: NodeId;
  /** A multiaddr: /dns, /dns4, /dns6 or /dnsaddr. */
  readonly address: string;
}

export interface Peer {
  readonly id: NodeId;
  readonly raftId: RaftId;
  readonly addresses: readonly string[];
}

/** All that was durable at the last start. */
export interface DiskImage {
  /** Null: a node that has not been admitted yet. */
  readonly identity: Identity | null;
  readonly hardState: HardState;
  /** The snapshot to begin from, whose chunks `readSnapshot` gives; null: none, and the log is whole. */
  readonly snapshot: SnapshotMeta | null;
  /** Never above the snapshot's index. */
  readonly base: LogBase;
  /** From `base.index + 1` without gaps. */
  readonly entries: readonly Entry[];
  readonly worker: WorkerMemory | null;
}

/**
 * One atomic write: all of it is durable, or none. Absent parts (null, empty) stay as they are. The cut is
 * done first; then `entries` replace everything from their first index on. What is stored afterwards must
 * fit together: base.index <= snapshot.index <= hardState.commit <= the last entry's index.
 */
export interface DiskWrite {
  readonly identity: Identity | null;
  readonly hardState: HardState | null;
  readonly cut: LogCut | null;
  readonly entries: readonly Entry[];
  readonly worker: WorkerMemory | null;
}

export const NO_WRITE: DiskWrite = {
  identity: null,
  hardState: null,
  cut: null,
  entries: [],
  worker: null,
};

export const EMPTY_DISK: DiskImage = {
  identity: null,
  hardState: { term: 0, vote: 0, commit: 0 },
  snapshot: null,
  base: WHOLE_LOG,
  entries: [],
  worker: null,
};

/** What a disk holds after a write: what every adapter does, in one place. */
export function afterWrite(image: DiskImage, write: DiskWrite): DiskImage {
  const { cut } = write;
  const base = cut?.base ?? image.base;
  const kept = cut?.dropLog === true ? [] : image.entries.slice(base.index - image.base.index);
  const [first] = write.entries;
  const entries =
    first === undefined ? kept : [...kept.slice(0, first.index - base.index - 1), ...write.entries];
  return {
    identity: write.identity ?? image.identity,
    hardState: write.hardState ?? image.hardState,
    snapshot: cut?.meta ?? image.snapshot,
    base,
    entries,
    worker: write.worker ?? image.worker,
  };
}

/** What tells a whole snapshot from a part or a damaged one. */
export interface SnapshotSum {
  readonly chunks: number;
  /** A CRC-32 over the CRC-32s of all chunks, in order, each as 4 big-endian bytes; 0 without chunks. */
  readonly crc: number;
}

/** A snapshot on its way from another node. What has come is kept through broken streams and restarts. */
export interface SnapshotInbox {
  /** The chunks that are held already: go on with this number. */
  readonly held: number;
  add(chunk: Uint8Array): Promise<void>;
  /** All has come: checks it, makes it durable. Throws OrchError data-damaged when it does not match; then nothing is held. */
  finish(meta: SnapshotMeta, sum: SnapshotSum): Promise<void>;
  /** The stream has ended, whole or not; what is held stays. */
  close(): Promise<void>;
}

/** The adapter is `node/disk.ts` (a write-ahead log); the simulator's twin loses what was not synced. */
export interface Disk {
  /** Resolves when the write is durable (synced). Rejects once, and then the process must end: never retried. */
  write(write: DiskWrite): Promise<void>;
  /**
   * Makes a snapshot durable beside the log; it counts once a write's cut names it. The chunks are taken one
   * by one, the event loop turning in between. Rejects as `write` does.
   */
  saveSnapshot(meta: SnapshotMeta, chunks: Iterable<Uint8Array>): Promise<void>;
  /** What a saved snapshot is made of; null: it is not here (any more). */
  findSnapshot(id: SnapshotId): Promise<{ meta: SnapshotMeta; sum: SnapshotSum } | null>;
  /** Its chunks from number `from` (0 is the first) on. Throws OrchError not-found or data-damaged. */
  readSnapshot(id: SnapshotId, from: number): AsyncIterable<Uint8Array>;
  /** Begins or goes on to receive a snapshot of that sum; one at a time, others that were begun are dropped. */
  receiveSnapshot(id: SnapshotId, sum: SnapshotSum): Promise<SnapshotInbox>;
  /** Resolves when every write is durable and the folder's lock is free. */
  close(): Promise<void>;
}
