import { type Membership, decodeChange } from "../../consensus/membership.ts";
import type { RaftId } from "../../consensus/message.ts";
import type { Raft } from "../../consensus/raft.ts";
import type { ClusterState } from "../../state/cluster.ts";
import type { DiskImage } from "../../node/storage.ts";
import { lastOnDisk } from "./durable.ts";
import type { Host } from "./host.ts";
import { Violation } from "./violation.ts";

/** More ticks than lie between two looks of the autopilot at who has caught up. */
const LOOK_TICKS = 8;

interface Before {
  readonly term: number;
  readonly role: string;
  readonly lastIndex: number;
  readonly membership: Membership;
  readonly transferee: RaftId;
}

/** What a leader may propose, and when. */
export class ChangeChecks {
  readonly #disks: () => Iterable<DiskImage>;
  /** By raft id: what it knew to be committed at its last ticks, the oldest first. */
  readonly #committed: Map<RaftId, number[]> = new Map();

  /** Changes of more than one voter, by index and term. */
  readonly #jointly: Set<string> = new Set();

  constructor(disks: () => Iterable<DiskImage>) {
    this.#disks = disks;
  }

  /** After every turn that applied something: two quorums of successive configurations must meet. */
  applied(host: Host, raft: Raft): void {
    const { appliedIndex, membership } = raft;
    if (!this.#jointly.has(`${appliedIndex}/${raft.termAt(appliedIndex)}`)) return;
    if (membership.outgoing.length > 0) return;
    const text = `${host.id} changed several voters at ${appliedIndex} without a joint configuration`;
    throw new Violation("joint changes", text);
  }

  ticked(raftId: RaftId, commit: number): void {
    const known = this.#committed.get(raftId) ?? [];
    known.push(commit);
    if (known.length > LOOK_TICKS) known.shift();
    this.#committed.set(raftId, known);
  }

  /** After every turn of a leader. `everCommitted`: the last index that any node knew to be committed. */
  led(
    host: Host,
    raft: Raft,
    raftId: RaftId,
    before: Before,
    ticked: boolean,
    everCommitted: number,
  ): void {
    if (before.role !== "leader" || before.term !== raft.term) return;
    if (raft.lastIndex <= before.lastIndex) return;
    const fresh = raft.entriesFrom(Math.max(before.lastIndex, raft.base.index) + 1);
    // What waits for the successor would be cut by it. After a tick the transfer may be another one.
    const handsOver = raft.transferee !== 0 && raft.transferee === before.transferee && !ticked;
    if (handsOver && fresh.some(({ kind }) => kind === "normal")) {
      throw new Violation("transfer", `${host.id} hands over and takes proposals all the same`);
    }
    for (const { kind, data, index, term } of fresh) {
      if (kind !== "conf") continue;
      // As it is before the change: a change counts when it is applied.
      const { voters } = before.membership;
      const moved = decodeChange(data).changes.filter(
        ({ op, id }) => voters.includes(id) !== (op === "add-voter"),
      );
      const isKnown = raft.appliedIndex < index && raft.membership === before.membership;
      if (isKnown && moved.length > 1) this.#jointly.add(`${index}/${term}`);
      this.#proposed(host, raft, raftId, data, everCommitted);
    }
  }

  #proposed(host: Host, raft: Raft, raftId: RaftId, data: Uint8Array, everCommitted: number): void {
    const open = raft
      .entriesFrom(Math.max(everCommitted, raft.base.index) + 1)
      .filter(({ kind }) => kind === "conf");
    if (open.length > 1) {
      const text = `${host.id} has changes ${open.map(({ index }) => index).join(", ")} under way`;
      throw new Violation("one change at a time", text);
    }
    const [committed = 0] = this.#committed.get(raftId) ?? [];
    for (const { op, id } of decodeChange(data).changes) {
      if (op !== "add-voter" || raft.membership.voters.includes(id)) continue;
      for (const image of this.#disks()) {
        if (image.identity?.raftId !== id || lastOnDisk(image) >= committed) continue;
        const text = `${host.id} makes ${id} a voter, which holds ${lastOnDisk(image)} of ${committed}`;
        throw new Violation("voters have caught up", text);
      }
    }
  }
}

/** No node is a member that could not read what the level allows. */
export function checkLevel(host: Host, { featureLevel, nodes }: ClusterState): void {
  for (const node of nodes.values()) {
    if (node.featureLevel >= featureLevel) continue;
    const text = `${host.id}: ${node.id} of level ${node.featureLevel} in a cluster of ${featureLevel}`;
    throw new Violation("feature level", text);
  }
}
