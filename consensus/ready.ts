import type { Entry, HardState, Message, RaftId } from "./message.ts";
import type { LogCut, SnapshotId } from "./snapshot.ts";

/** All that Raft wants done since the last call; nothing of it is repeated. */
export interface Ready {
  /** To be made durable, together with `entries`; null when unchanged. */
  readonly hardState: HardState | null;
  /** To be made durable before `entries`: the log begins after another entry. Null: as before. */
  readonly cut: LogCut | null;
  /** To be made durable: they replace everything from the first one's index on. */
  readonly entries: readonly Entry[];
  /** Hand it to `persisted` once this and every earlier Ready is durable. */
  readonly write: WriteMark;
  /** May leave at once, also before this Ready is durable. */
  readonly messages: readonly Message[];
  /** May leave only once this and every earlier Ready is durable; those to this node are stepped then. */
  readonly durableMessages: readonly Message[];
  /** To be fetched from that node and handed to `restore`; said again as long as the leader says it. */
  readonly wanted: { readonly from: RaftId; readonly id: SnapshotId } | null;
  /** To be applied in order; `applied` must follow before the next ones come. */
  readonly committed: readonly Entry[];
  /** Reads that may be answered once everything up to `index` is applied. */
  readonly reads: readonly { readonly id: number; readonly index: number }[];
}

export interface WriteMark {
  readonly lastIndex: number;
  readonly generation: number;
}
