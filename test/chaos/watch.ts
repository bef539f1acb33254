import { setTimeout as delay } from "node:timers/promises";
import type { LocalView } from "../../node/core/view-types.ts";
import type { NodeProcess } from "../fixtures/node-process.ts";
import { viewLine } from "../fixtures/process-cluster.ts";

const EVERY_MS = 150;
const KEPT = 20_000;

/** Looks at /debug/raft of every node again and again, and holds what they say against each other. */
export class Watch {
  readonly #nodes: readonly NodeProcess[];
  readonly #hashes: Map<number, { readonly hash: string; readonly name: string }> = new Map();
  readonly #leaders: Map<number, string> = new Map();
  readonly #terms: Map<string, number> = new Map();
  readonly #seen: { readonly atMs: number; readonly view: LocalView }[] = [];
  readonly #ending: AbortController = new AbortController();
  #work: Promise<unknown> = Promise.resolve();
  readonly problems: string[] = [];

  constructor(nodes: readonly NodeProcess[]) {
    this.#nodes = nodes;
  }

  /** In how many terms somebody led, as far as it was seen. */
  get managers(): number {
    return this.#leaders.size;
  }

  get comparedStates(): number {
    return this.#hashes.size;
  }

  start(): void {
    this.#work = this.#lookAtAll();
  }

  async end(): Promise<void> {
    this.#ending.abort();
    await this.#work;
  }

  /** What was seen between the two times of performance.now(): a line for each change of who follows whom. */
  timeline(fromMs: number, toMs: number): string[] {
    const last = new Map<string, string>();
    return this.#seen
      .filter(({ atMs }) => atMs >= fromMs && atMs <= toMs)
      .flatMap(({ atMs, view }) => {
        const { id, role, term, leader, voters } = view;
        const face = [role, term, leader, ...voters].join();
        if (last.get(id) === face) return [];
        last.set(id, face);
        return `${((atMs - fromMs) / 1_000).toFixed(2)} s${viewLine(view)}`;
      });
  }

  /** Nodes come and go. */
  async #lookAtAll(): Promise<void> {
    const looks = new Map<NodeProcess, Promise<void>>();
    while (!this.#ending.signal.aborted) {
      for (const node of this.#nodes) {
        if (!looks.has(node)) looks.set(node, this.#look(node));
      }
      await delay(EVERY_MS);
    }
    await Promise.all(looks.values());
  }

  async #look(node: NodeProcess): Promise<void> {
    while (!this.#ending.signal.aborted && this.#nodes.includes(node)) {
      const view = node.state === "up" ? await node.raft() : null;
      if (view !== null) this.#hold(view);
      await delay(EVERY_MS);
    }
  }

  #hold(view: LocalView): void {
    this.#seen.push({ atMs: performance.now(), view });
    if (this.#seen.length > KEPT) this.#seen.splice(0, KEPT / 2);
    if (view.role === "none") return;
    const { name, appliedIndex, stateHash, term, id, commitIndex } = view;
    const known = this.#hashes.get(appliedIndex);
    if (known === undefined) this.#hashes.set(appliedIndex, { hash: stateHash, name });
    else if (known.hash !== stateHash) {
      this.problems.push(
        `at index ${appliedIndex} ${known.name} and ${name} hold different states`,
      );
    }
    if (view.role === "leader") {
      const leader = this.#leaders.get(term);
      if (leader === undefined) this.#leaders.set(term, id);
      else if (leader !== id) this.problems.push(`two nodes lead in term ${term}`);
    }
    const before = this.#terms.get(id) ?? 0;
    if (term < before) this.problems.push(`${name} went from term ${before} back to ${term}`);
    this.#terms.set(id, term);
    if (appliedIndex > commitIndex) {
      this.problems.push(`${name} applied ${appliedIndex}, committed ${commitIndex}`);
    }
  }
}
