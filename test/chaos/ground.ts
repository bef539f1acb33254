import { setTimeout as delay } from "node:timers/promises";
import type { Prng } from "../../lib/prng.ts";
import type { NodeProcess } from "../fixtures/node-process.ts";
import type { ProcessCluster } from "../fixtures/process-cluster.ts";
import type { Crates } from "./crates.ts";
import type { Namespaces } from "./namespaces.ts";
import type { Target } from "./plan.ts";

/** A node that was asked to end is gone by then. */
const END_MS = 20_000;
const READY_PER_MILLE = 700;
/** Without a quorum nobody gets ready. */
const START_MS = 15_000;
const LOOK_MS = 100;

/** A fault that was done, from when to when. */
export interface Done {
  readonly kind: string;
  readonly text: string;
  readonly fromMs: number;
  toMs: number;
}

/** What all faults share: the nodes, whom of them some fault has its hand on, and what was done. */
export class Ground {
  readonly cluster: ProcessCluster;
  /** Null: all nodes are on loopback. */
  readonly namespaces: Namespaces | null;
  /** Null: there is no Docker engine. */
  readonly crates: Crates | null;
  readonly prng: Prng;
  readonly say: (text: string) => void;
  readonly #held: Set<NodeProcess> = new Set();
  readonly #ending: AbortController = new AbortController();
  readonly done: Done[] = [];
  /** What must not be, such as a node that does not end when asked to. */
  readonly problems: string[] = [];

  constructor(
    { cluster, namespaces, crates }: Pick<Ground, "cluster" | "namespaces" | "crates">,
    prng: Prng,
    say: (text: string) => void,
  ) {
    this.cluster = cluster;
    this.namespaces = namespaces;
    this.crates = crates;
    this.prng = prng;
    this.say = say;
  }

  /** All that is under way is to be undone. */
  end(): void {
    this.#ending.abort();
  }

  get isEnding(): boolean {
    return this.#ending.signal.aborted;
  }

  /** Does `work` to the nodes, which no other fault gets meanwhile. */
  async holding(nodes: readonly NodeProcess[], work: () => Promise<void>): Promise<void> {
    for (const node of nodes) this.#held.add(node);
    try {
      await work();
    } finally {
      for (const node of nodes) this.#held.delete(node);
    }
  }

  isHeld(node: NodeProcess): boolean {
    return this.#held.has(node);
  }

  /** Says and notes what is done, and how long it takes. */
  async lasting(kind: string, text: string, work: () => Promise<void>): Promise<void> {
    const done: Done = { kind, text, fromMs: performance.now(), toMs: Number.POSITIVE_INFINITY };
    this.done.push(done);
    this.say(`${kind} ${text}`);
    await work();
    done.toMs = performance.now();
  }

  /** The node that is meant, or another if that one is harmed already, and how to call it; null: all are. */
  async take(target: Target): Promise<{ node: NodeProcess; who: string } | null> {
    const { nodes } = this.cluster;
    const meant =
      target === "manager" ? await this.cluster.manager() : nodes[target % nodes.length];
    const free = this.free();
    if (free.length === 0) return null;
    const node = free.find((each) => each === meant) ?? this.prng.pick(free);
    const isManager = target === "manager" && node === meant;
    return { node, who: `${node.name}${isManager ? " (manager)" : ""}` };
  }

  /** Up, and in no other fault's hands. */
  free(): NodeProcess[] {
    return this.cluster.nodes.filter((node) => node.state === "up" && !this.#held.has(node));
  }

  /** Waits until its process is gone; a node that takes too long is a problem, and killed. */
  async gone(node: NodeProcess): Promise<void> {
    if (await node.gone(END_MS)) return;
    this.problems.push(`${node.name} has not ended ${END_MS} ms after it was asked to`);
    node.signal("SIGKILL");
    await node.gone(END_MS);
  }

  /** Starts these anew. Most of them are then spared until they are ready: a slow machine would never see them so. */
  async start(nodes: readonly NodeProcess[]): Promise<void> {
    for (const node of nodes) node.start("start");
    if (!this.prng.chance(READY_PER_MILLE)) return;
    const endMs = performance.now() + START_MS;
    while (!this.isEnding && performance.now() < endMs) {
      if ((await Promise.all(nodes.map(isReady))).every(Boolean)) return;
      await this.rest(LOOK_MS);
    }
  }

  /** Waits, unless all is to be undone. */
  rest(waitMs: number): Promise<void> {
    return delay(waitMs, undefined, { signal: this.#ending.signal }).catch(() => undefined);
  }
}

/** One that has left or was removed ends instead. */
async function isReady(node: NodeProcess): Promise<boolean> {
  return node.state === "down" || (await node.raft())?.ready === true;
}
