import type { Usage } from "../../runtime/engine.ts";
import type { Millis, NodeId } from "../../state/ids.ts";
import { GOSSIP_MAX_MS, GOSSIP_MIN_MS, GOSSIP_PER_SECOND } from "./defaults.ts";
import type { Digest } from "./effect.ts";

/** What a node said of its usage, and when that came, on this node's clock. */
export interface Measured {
  readonly usage: Usage;
  readonly atMs: Millis;
}

/** What nodes gossip of themselves: when it is this one's turn, and the newest of every other. */
export class Digests {
  readonly #known: Map<NodeId, { usage: Usage; atMs: Millis; count: number }> = new Map();
  #publishedAtMs: Millis = 0;
  #count = 0;

  /** The digest that is due now; null: none yet. The rarer the more nodes there are. */
  due(nodes: number, facts: Omit<Digest, "count">, now: Millis): Digest | null {
    const spread = (nodes * 1000) / GOSSIP_PER_SECOND;
    const everyMs = Math.min(Math.max(spread, GOSSIP_MIN_MS), GOSSIP_MAX_MS);
    if (now - this.#publishedAtMs < everyMs) return null;
    this.#publishedAtMs = now;
    // Above all that an earlier process of this node gave.
    this.#count = Math.max(this.#count + 1, now);
    return { ...facts, count: this.#count };
  }

  /** Takes over a digest unless a newer one came before. */
  heard(from: NodeId, { usage, count }: Digest, now: Millis): void {
    const known = this.#known.get(from);
    if (usage === null || (known !== undefined && known.count >= count)) return;
    this.#known.set(from, { usage, atMs: now, count });
  }

  usage(node: NodeId): Measured | null {
    return this.#known.get(node) ?? null;
  }
}
