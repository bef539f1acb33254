import type { Entry, HardState, RaftId } from "../consensus/message.ts";
import type { WorkerMemory } from "../runtime/worker-memory.ts";
import type { NodeId } from "../state/ids.ts";

/** The disk port: what a node keeps through a crash, and how it writes it. */

/** Who this node is and of which cluster; written when it is admitted, again only when admitted anew. */
export interface Identity {
  readonly clusterId: string;
  readonly node: NodeId;
  readonly raftId: RaftId;
  /** Where others were last seen, so that a restarted node finds its cluster. Hints only. */
  readonly peers: readonly Peer[];
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
  /** From index 1 without gaps. */
  readonly entries: readonly Entry[];
  readonly worker: WorkerMemory | null;
}

/**
 * One atomic write: all of it is durable, or none. Absent parts (null, empty) stay as they are.
 * `entries` replace everything from their first index on.
 */
export interface DiskWrite {
  readonly identity: Identity | null;
  readonly hardState: HardState | null;
  readonly entries: readonly Entry[];
  readonly worker: WorkerMemory | null;
}

export const EMPTY_DISK: DiskImage = {
  identity: null,
  hardState: { term: 0, vote: 0, commit: 0 },
  entries: [],
  worker: null,
};

/** The adapter is `node/disk.ts` (LMDB); the simulator's twin loses what was not synced. */
export interface Disk {
  /** Resolves when the write is durable (synced). Rejects once, and then the process must end: never retried. */
  write(write: DiskWrite): Promise<void>;
  /** Resolves when every write is durable and the folder's lock is free. */
  close(): Promise<void>;
}
