import { NONE } from "../../consensus/message.ts";
import { fault } from "../../lib/errors.ts";
import type { NodeId } from "../../state/ids.ts";
import type { Replica } from "./replica.ts";
import type { Response } from "./request.ts";

export interface TransfersContext {
  readonly self: NodeId;
  readonly replica: Replica;
  readonly answer: (from: NodeId, id: number, response: Response) => void;
}

/** Those who asked this manager to hand over: answered when another leads, or when it has come to nothing. */
export class Transfers {
  readonly #context: TransfersContext;
  #asked: { readonly from: NodeId; readonly id: number }[] = [];

  constructor(context: TransfersContext) {
    this.#context = context;
  }

  /** `wanted`: who is to manage, by id or name; null: the voter that is most up to date. */
  ask(from: NodeId, id: number, wanted: string | null): void {
    const { replica, self, answer } = this.#context;
    const node = wanted === null ? undefined : replica.state.findNode(wanted);
    if (wanted !== null && node === undefined) {
      const reason = fault("not-found", `no node ${wanted} in this cluster`, "See `orch node ls`.");
      answer(from, id, { kind: "refused", fault: reason });
      return;
    }
    if (node?.raftId === replica.raftId) {
      const index = replica.raft.appliedIndex;
      answer(from, id, { kind: "ok", index, manager: self, body: { from: self } });
      return;
    }
    const isBegun =
      node === undefined ? replica.handOver() : replica.raft.transfer(node.raftId).kind === "begun";
    if (isBegun) {
      this.#asked.push({ from, id });
      return;
    }
    const who =
      node === undefined ? "no other voter is here to take over" : `${node.name} does not vote`;
    const hint =
      "`orch cluster status` says who votes; a cluster of fewer than three nodes has one voter.";
    answer(from, id, { kind: "refused", fault: fault("conflict", who, hint) });
  }

  /** Says so when whoever was to take over has not, within an election timeout. */
  tick(): void {
    if (this.#asked.length === 0 || this.#context.replica.raft.transferee !== NONE) return;
    // No code that a client repeats by itself: every attempt holds writes up.
    const reason = fault(
      "conflict",
      "the other voter did not take over in time: this manager goes on",
      "See `orch node ls` for nodes that are away, or name another.",
    );
    this.#settle({ kind: "refused", fault: reason });
  }

  /** Another leads. */
  resign(): void {
    const { self, replica } = this.#context;
    const index = replica.raft.appliedIndex;
    this.#settle({ kind: "ok", index, manager: null, body: { from: self } });
  }

  #settle(response: Response): void {
    const asked = this.#asked;
    this.#asked = [];
    for (const { from, id } of asked) this.#context.answer(from, id, response);
  }
}
