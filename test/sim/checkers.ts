import type { Event } from "../../node/core/effect.ts";
import type { NodeId } from "../../state/ids.ts";
import type { Host } from "./host.ts";

/** What must hold after every step; a broken one ends the run with its seed. */
export class Violation extends Error {
  override name = "Violation";
  readonly invariant: string;
  constructor(invariant: string, message: string) {
    super(`${invariant}: ${message}`);
    this.invariant = invariant;
  }
}

interface Canon {
  readonly term: number;
  readonly by: NodeId;
}

export class Checkers {
  readonly #hosts: ReadonlyMap<NodeId, Host>;
  readonly #leaders: Map<number, NodeId> = new Map();
  /** By log index: what the first node that applied it saw. */
  readonly #applied: Map<number, Canon> = new Map();
  readonly #hashes: Map<number, string> = new Map();
  readonly #seenApplied: Map<NodeId, number> = new Map();
  /** Per host: the durable term, vote and the applied index, which never fall within a life (applied) or at all. */
  readonly #durable: Map<NodeId, { term: number; vote: number }> = new Map();
  steps = 0;

  constructor(hosts: ReadonlyMap<NodeId, Host>) {
    this.#hosts = hosts;
  }

  /** A node lost its memory: what it had applied is applied again. */
  crashed(host: Host): void {
    this.#seenApplied.delete(host.id);
  }

  handled(host: Host, event: Event): void {
    this.steps += 1;
    const { node } = host;
    if (node === null) return;
    this.#election(host);
    this.#applying(host);
    this.#order(host);
    if (event.kind === "persisted") this.#hardState(host);
    if (this.steps % 400 === 0) this.logsMatch();
  }

  #election(host: Host): void {
    const raft = host.node?.replica.raft;
    if (raft === undefined || raft.role !== "leader") return;
    const known = this.#leaders.get(raft.term);
    if (known !== undefined && known !== host.id) {
      throw new Violation("election safety", `${known} and ${host.id} both lead term ${raft.term}`);
    }
    this.#leaders.set(raft.term, host.id);
    if (raft.isLearner) throw new Violation("learners", `learner ${host.id} leads`);
  }

  #applying(host: Host): void {
    const replica = host.node?.replica;
    if (replica === undefined) return;
    const { raft, state } = replica;
    const before = this.#seenApplied.get(host.id) ?? 0;
    if (raft.appliedIndex < before) {
      throw new Violation("monotonic", `${host.id} applied ${before}, then ${raft.appliedIndex}`);
    }
    if (raft.appliedIndex === before) return;
    for (let index = before + 1; index <= raft.appliedIndex; index++) {
      const term = raft.termAt(index) ?? 0;
      const canon = this.#applied.get(index);
      if (canon === undefined) {
        this.#applied.set(index, { term, by: host.id });
        this.#onQuorum(host, index, term);
      } else if (canon.term !== term) {
        const text = `index ${index}: ${canon.by} applied term ${canon.term}, ${host.id} term ${term}`;
        throw new Violation("state machine safety", text);
      }
    }
    this.#seenApplied.set(host.id, raft.appliedIndex);
    const hash = state.hash();
    const known = this.#hashes.get(raft.appliedIndex);
    if (known !== undefined && known !== hash) {
      throw new Violation("determinism", `${host.id} has another state at ${raft.appliedIndex}`);
    }
    this.#hashes.set(raft.appliedIndex, hash);
  }

  /** What is applied must be durable on a quorum of the voters: counting only what was synced. */
  #onQuorum(host: Host, index: number, term: number): void {
    const voters = host.node?.replica.membership.voters ?? [];
    if (voters.length === 0) return;
    let holding = 0;
    for (const other of this.#hosts.values()) {
      const { identity, entries } = other.disk.durable;
      if (identity === null || !voters.includes(identity.raftId)) continue;
      if (entries[index - 1]?.term === term) holding += 1;
    }
    // The membership may have changed within the entries applied by this very step: the smaller bound holds.
    const needed = Math.floor(Math.max(1, voters.length - 2) / 2) + 1;
    if (holding < needed) {
      const text = `index ${index} of term ${term} is durable on ${holding} of voters ${voters.join(",")}`;
      throw new Violation("committed is durable", text);
    }
  }

  #order(host: Host): void {
    const raft = host.node?.replica.raft;
    if (raft === undefined) return;
    const { appliedIndex, commitIndex, lastIndex, stableIndex } = raft;
    if (appliedIndex > commitIndex || commitIndex > lastIndex || stableIndex > lastIndex) {
      const text = `${host.id}: applied ${appliedIndex}, commit ${commitIndex}, last ${lastIndex}`;
      throw new Violation("order of indices", text);
    }
    const durable = host.disk.durable.entries;
    if (
      durable.length < stableIndex ||
      durable[stableIndex - 1]?.term !== (stableIndex === 0 ? undefined : raft.termAt(stableIndex))
    ) {
      throw new Violation("stable is durable", `${host.id} believes ${stableIndex} durable`);
    }
  }

  #hardState(host: Host): void {
    const { term, vote } = host.disk.durable.hardState;
    const before = this.#durable.get(host.id);
    if (before !== undefined) {
      const changedVote = term === before.term && before.vote !== 0 && vote !== before.vote;
      if (term < before.term || changedVote) {
        const text = `${host.id} had term ${before.term} vote ${before.vote}, now ${term}/${vote}`;
        throw new Violation("votes are kept", text);
      }
    }
    this.#durable.set(host.id, { term, vote });
  }

  /** A promise leaves only when it is durable: votes with their term, acknowledgements with their entries. */
  sending(host: Host, kind: string, term: number, index: number | null): void {
    const { hardState, entries } = host.disk.durable;
    if ((kind === "vote-reply" || kind === "vote") && hardState.term < term) {
      throw new Violation(
        "durable before sent",
        `${host.id} sends a ${kind} of ${term}, its disk says ${hardState.term}`,
      );
    }
    if (index !== null && entries.length < index) {
      const text = `${host.id} sends ${kind} of ${index}, its disk holds ${entries.length}`;
      throw new Violation("durable before sent", text);
    }
  }

  /** Two logs that agree at an index agree before it. */
  logsMatch(): void {
    const rafts = [...this.#hosts.values()].flatMap(({ node }) =>
      node === null ? [] : [node.replica.raft],
    );
    rafts.forEach((a, i) => {
      for (const b of rafts.slice(i + 1)) {
        let agreed = false;
        for (let index = Math.min(a.lastIndex, b.lastIndex); index > 0; index--) {
          const same = a.termAt(index) === b.termAt(index);
          if (agreed && !same) {
            throw new Violation("log matching", `raft ${a.leader}/${b.leader} differ at ${index}`);
          }
          agreed ||= same;
        }
      }
    });
  }

  get appliedLast(): number {
    return Math.max(0, ...this.#applied.keys());
  }
}
