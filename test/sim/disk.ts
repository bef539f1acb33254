import type { SnapshotId, SnapshotMeta } from "../../consensus/snapshot.ts";
import { assert, present } from "../../lib/assert.ts";
import type { Prng } from "../../lib/prng.ts";
import { type DiskImage, type DiskWrite, EMPTY_DISK, afterWrite } from "../../node/storage.ts";
import { ClusterState } from "../../state/cluster.ts";
import { SnapshotReader } from "../../state/snapshot.ts";

export interface SimSnapshot {
  readonly meta: SnapshotMeta;
  readonly chunks: readonly Uint8Array[];
}

/**
 * A disk that keeps what was synced and may lose the rest: writes are atomic and durable in order, snapshots lie
 * beside them and count when a write names them.
 */
export class SimDisk {
  #durable: DiskImage = EMPTY_DISK;
  /** Handed over and not synced yet. */
  #pending: DiskWrite[] = [];
  readonly #snapshots: Map<string, SimSnapshot> = new Map();
  /** What has come of a snapshot that is being received: pieces of its chunks. */
  #part: { readonly key: string; held: number } | null = null;

  get durable(): DiskImage {
    return this.#durable;
  }

  submit(write: DiskWrite): void {
    this.#pending.push(write);
  }

  /** The oldest write reaches the platter. */
  sync(): void {
    const write = this.#pending.shift();
    if (write !== undefined) this.#commit(write);
  }

  #commit(write: DiskWrite): void {
    const { cut } = write;
    if (cut !== null)
      assert(this.find(cut.meta) !== null, "a snapshot is durable before it counts");
    this.#durable = afterWrite(this.#durable, write);
    checkWhole(this.#durable);
    if (cut === null) return;
    for (const [key, { meta }] of this.#snapshots) {
      if (meta.index < cut.meta.index) this.#snapshots.delete(key);
    }
  }

  /** A whole snapshot is durable from now on. */
  keep(snapshot: SimSnapshot): void {
    this.#snapshots.set(keyOf(snapshot.meta), snapshot);
    this.#part = null;
  }

  find(id: SnapshotId): SimSnapshot | null {
    return this.#snapshots.get(keyOf(id)) ?? null;
  }

  /** How many pieces of that snapshot are here. */
  held(id: SnapshotId): number {
    return this.#part?.key === keyOf(id) ? this.#part.held : 0;
  }

  hold(id: SnapshotId, pieces: number): void {
    this.#part = { key: keyOf(id), held: pieces };
  }

  /** Power is lost: of what was not synced, any number of the oldest writes made it all the same. */
  crash(prng: Prng): void {
    const kept = this.#pending.length === 0 ? 0 : prng.below(this.#pending.length + 1);
    for (const write of this.#pending.slice(0, kept)) this.#commit(write);
    this.#pending = [];
    if (this.#part !== null) this.#part.held = prng.below(this.#part.held + 1);
  }

  /** What a node that starts from here begins with. */
  readState(): ClusterState {
    const { snapshot } = this.#durable;
    if (snapshot === null) return new ClusterState();
    return restored(present(this.find(snapshot), "the snapshot that counts is there"));
  }
}

export function restored({ chunks }: SimSnapshot): ClusterState {
  const reader = new SnapshotReader();
  for (const chunk of chunks) reader.add(chunk);
  return reader.finish();
}

function keyOf({ index, term }: SnapshotId): string {
  return `${index}/${term}`;
}

/** What the real disk would refuse to open. */
function checkWhole({ snapshot, base, entries, hardState }: DiskImage): void {
  const last = base.index + entries.length;
  entries.forEach((entry, i) =>
    assert(entry.index === base.index + 1 + i, "the log on the disk has no gaps"),
  );
  assert(base.index <= (snapshot?.index ?? 0), "what is gone from the log is in the snapshot");
  assert(last >= (snapshot?.index ?? 0), "the log reaches the snapshot");
  assert(hardState.commit <= last, "what was committed is in the log");
}
