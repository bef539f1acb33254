import type { Usage } from "../../runtime/engine.ts";
import type { Millis, NodeId } from "../../state/ids.ts";
import { DIGEST_LATE_MS, GOSSIP_MAX_MS, GOSSIP_MIN_MS, GOSSIP_PER_SECOND } from "./defaults.ts";
import type { Digest } from "./effect.ts";
import type { Member } from "./message.ts";
import { shareOf } from "./rings.ts";

/** What a node said of its usage, and when that came, on this node's clock. */
export interface Measured {
  readonly usage: Usage;
  readonly atMs: Millis;
}

interface Heard {
  readonly digest: Digest;
  readonly atMs: Millis;
}

/** What nodes gossip of themselves: when it is this one's turn, and the newest of each. */
export class Digests {
  readonly #self: NodeId;
  readonly #orchVersion: string;
  readonly #known: Map<NodeId, Heard> = new Map();
  #publishedAtMs: Millis = 0;
  #count = 0;
  /** Where in an interval its time is, from 0 to 1. */
  readonly #share: number;

  constructor(self: NodeId, orchVersion: string) {
    this.#self = self;
    this.#share = shareOf(self);
    this.#orchVersion = orchVersion;
  }

  /** This node was measured: it knows of itself at once, the others when it is its turn. `tasks`: see `Digest`. */
  measured(usage: Usage, tasks: number, now: Millis): void {
    const digest = { usage, tasks, orchVersion: this.#orchVersion, count: this.#count };
    this.#known.set(this.#self, { digest, atMs: now });
  }

  /** The digest that is due now; null: none yet. The rarer the more members there are; what others said is forgotten with them. */
  due(members: readonly Pick<Member, "id">[], now: Millis): Digest | null {
    const spread = (members.length * 1000) / GOSSIP_PER_SECOND;
    const everyMs = Math.min(Math.max(spread, GOSSIP_MIN_MS), GOSSIP_MAX_MS);
    if (!this.#isTurn(everyMs, now)) return null;
    const own = this.#known.get(this.#self);
    if (own === undefined) return null;
    this.#publishedAtMs = now;
    const there = new Set([...members.map(({ id }) => id), this.#self]);
    for (const id of this.#known.keys()) if (!there.has(id)) this.#known.delete(id);
    // Above all that an earlier process of this node gave.
    this.#count = Math.max(this.#count + 1, now);
    return { ...own.digest, count: this.#count };
  }

  /** Each node has a time of its own within the interval, so that a cluster which began at once does not speak at once. */
  #isTurn(everyMs: number, now: Millis): boolean {
    if (this.#publishedAtMs === 0) return true;
    const turn = (atMs: Millis): number => Math.floor(atMs / everyMs + this.#share);
    return turn(now) > turn(this.#publishedAtMs + everyMs / 2);
  }

  /** Takes over a digest unless a newer one came before; after a while, a lower count is a node whose clock was set back. */
  heard(from: NodeId, digest: Digest, now: Millis): void {
    const known = this.#known.get(from);
    const isOld = known !== undefined && known.digest.count >= digest.count;
    if (isOld && now - known.atMs < DIGEST_LATE_MS) return;
    this.#known.set(from, { digest, atMs: now });
  }

  /** What that node said last of its tasks and version; null: nothing yet. */
  of(node: NodeId): Pick<Digest, "tasks" | "orchVersion"> | null {
    return this.#known.get(node)?.digest ?? null;
  }

  usageOf(node: NodeId): Usage | null {
    return this.#known.get(node)?.digest.usage ?? null;
  }

  usage(node: NodeId): Measured | null {
    const known = this.#known.get(node);
    return known === undefined ? null : { usage: known.digest.usage, atMs: known.atMs };
  }
}
