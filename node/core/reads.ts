import type { NodeId } from "../../state/ids.ts";
import type { Query } from "./request.ts";

/** What a quorum has to confirm before it may be answered. A lease is a read, too: of whether its node is ready. */
export type Read =
  | { readonly kind: "query"; readonly from: NodeId; readonly id: number; readonly query: Query }
  | { readonly kind: "leases"; readonly asks: readonly LeaseAsk[] };

/** A node asks for a lease, in its session, under a number of its own. */
export interface LeaseAsk {
  readonly from: NodeId;
  readonly session: number;
  readonly lease: number;
}

export interface ReadsContext {
  /** Has a quorum confirm that this node leads, under that number; false: it cannot be asked now. */
  readonly readIndex: (id: number) => boolean;
  readonly appliedIndex: () => number;
  /** From the state as it is now. */
  readonly answer: (read: Read) => void;
  readonly tryAgain: (read: Read) => void;
}

/** Reads on their way: first until a quorum confirms them, then until their index is applied. */
export class Reads {
  readonly #context: ReadsContext;
  readonly #unconfirmed: Map<number, Read> = new Map();
  #confirmed: { readonly read: Read; readonly index: number }[] = [];
  #count = 0;

  constructor(context: ReadsContext) {
    this.#context = context;
  }

  ask(read: Read): void {
    this.#count += 1;
    if (this.#context.readIndex(this.#count)) this.#unconfirmed.set(this.#count, read);
    else this.#context.tryAgain(read);
  }

  /** A quorum confirmed these. */
  confirmed(reads: readonly { readonly id: number; readonly index: number }[]): void {
    for (const { id, index } of reads) {
      const read = this.#unconfirmed.get(id);
      if (read === undefined) continue;
      this.#unconfirmed.delete(id);
      this.#confirmed.push({ read, index });
    }
    this.applied();
  }

  /** More was applied: answers what waited for that. */
  applied(): void {
    if (this.#confirmed.length === 0) return;
    const applied = this.#context.appliedIndex();
    const due = this.#confirmed.filter(({ index }) => index <= applied);
    if (due.length === 0) return;
    this.#confirmed = this.#confirmed.filter(({ index }) => index > applied);
    for (const { read } of due) this.#context.answer(read);
  }

  /** This node leads no longer. */
  resign(): void {
    for (const read of this.#unconfirmed.values()) this.#context.tryAgain(read);
    for (const { read } of this.#confirmed) this.#context.tryAgain(read);
  }
}
