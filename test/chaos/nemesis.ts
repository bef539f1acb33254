import { setTimeout as delay } from "node:timers/promises";
import type { Prng } from "../../lib/prng.ts";
import type { NodeProcess } from "../fixtures/node-process.ts";
import type { ProcessCluster } from "../fixtures/process-cluster.ts";
import type { Namespaces } from "./namespaces.ts";
import { type Fault, plannedFaults, type Target } from "./plan.ts";

/** A node that was asked to end is gone by then. */
const END_MS = 20_000;
const TRANSFER_MS = 10_000;

/** A fault that was done, from when to when. */
export interface Done {
  readonly kind: string;
  readonly text: string;
  readonly fromMs: number;
  toMs: number;
}

/** Does the planned harm, and undoes it. */
export class Nemesis {
  readonly #cluster: ProcessCluster;
  readonly #namespaces: Namespaces | null;
  readonly #prng: Prng;
  readonly #say: (text: string) => void;
  readonly #underWay: Set<Promise<void>> = new Set();
  readonly #ending: AbortController = new AbortController();
  /** Nodes that some fault has its hand on. */
  readonly #held: Set<NodeProcess> = new Set();
  readonly done: Done[] = [];
  /** What must not be, such as a node that does not end when asked to. */
  readonly problems: string[] = [];

  constructor(
    cluster: ProcessCluster,
    namespaces: Namespaces | null,
    prng: Prng,
    say: (text: string) => void,
  ) {
    this.#cluster = cluster;
    this.#namespaces = namespaces;
    this.#prng = prng;
    this.#say = say;
  }

  /** Harms until `untilMs` of performance.now(), then undoes all that is under way. */
  async run(seed: number, untilMs: number): Promise<void> {
    const { length } = this.#cluster.nodes;
    for (const { afterMs, fault } of plannedFaults(seed, length, this.#namespaces !== null)) {
      await this.#for(Math.max(0, Math.min(afterMs, untilMs - performance.now())));
      if (performance.now() >= untilMs || this.problems.length > 0) break;
      const work = this.#perform(fault);
      this.#underWay.add(work);
      void work.finally(() => this.#underWay.delete(work));
    }
    this.#ending.abort();
    await Promise.all(this.#underWay);
  }

  async #perform(fault: Fault): Promise<void> {
    try {
      if (fault.kind === "transfer") await this.#transfer();
      else if (fault.kind === "kill-many") await this.#killMany(fault);
      else await this.#one(fault);
    } catch (error) {
      this.problems.push(`${fault.kind}: ${error instanceof Error ? error.message : "?"}`);
    }
  }

  async #one(fault: Exclude<Fault, { kind: "transfer" | "kill-many" }>): Promise<void> {
    const node = await this.#take(fault.target);
    if (node === null) return;
    const who = `${node.name}${fault.target === "manager" ? " (manager)" : ""}`;
    this.#held.add(node);
    try {
      switch (fault.kind) {
        case "kill":
          await this.#lasting("kill -9", `${who}, back after ${fault.downMs} ms`, async () => {
            node.signal("SIGKILL");
            await this.#gone(node);
            await this.#for(fault.downMs);
            node.start("start");
          });
          return;
        case "restart":
          await this.#lasting("restart", `${who}, back after ${fault.downMs} ms`, async () => {
            node.signal("SIGTERM");
            await this.#gone(node);
            await this.#for(fault.downMs);
            node.start("start");
          });
          return;
        case "pause":
          await this.#lasting("pause", `${who} for ${fault.forMs} ms`, async () => {
            node.signal("SIGSTOP");
            await this.#for(fault.forMs);
            node.signal("SIGCONT");
          });
          return;
        case "cut":
        case "loss":
          await this.#network(fault, node, who);
          return;
      }
    } finally {
      this.#held.delete(node);
    }
  }

  async #network(
    fault: Extract<Fault, { kind: "cut" | "loss" }>,
    node: NodeProcess,
    who: string,
  ): Promise<void> {
    const namespaces = this.#namespaces;
    if (namespaces === null) return;
    const place = this.#cluster.nodes.indexOf(node);
    const others = this.#cluster.nodes.map((_, at) => at).filter((at) => at !== place);
    const peer = this.#prng.pick(others);
    const kind = fault.kind === "cut" ? `cut: ${fault.cut}` : "loss and delay";
    await this.#lasting(kind, `${who} for ${fault.forMs} ms`, async () => {
      if (fault.kind === "cut") namespaces.cut(place, fault.cut, peer);
      else namespaces.disturb(place);
      await this.#for(fault.forMs);
      namespaces.heal(place);
    });
  }

  async #killMany({ count, downMs }: Extract<Fault, { kind: "kill-many" }>): Promise<void> {
    const chosen = this.#prng.shuffle(this.#free()).slice(0, count);
    if (chosen.length === 0) return;
    const names = chosen.map(({ name }) => name).join(" ");
    for (const node of chosen) this.#held.add(node);
    await this.#lasting("kill -9 of several", `${names}, back after ${downMs} ms`, async () => {
      for (const node of chosen) node.signal("SIGKILL");
      await Promise.all(chosen.map((node) => this.#gone(node)));
      await this.#for(downMs);
      for (const node of chosen) {
        node.start("start");
        this.#held.delete(node);
      }
    });
  }

  async #transfer(): Promise<void> {
    const node = await this.#cluster.manager();
    if (node === null || this.#held.has(node)) return;
    await this.#lasting("transfer", `from ${node.name}`, async () => {
      const outcome = await transfer(node, TRANSFER_MS);
      // Whoever is asked may be killed meanwhile, or have nobody to hand over to.
      if (outcome === "no-route") await this.#handOver(node);
    });
  }

  /** Without the route: a node that ends in order hands over. */
  async #handOver(node: NodeProcess): Promise<void> {
    if (this.#held.has(node)) return;
    this.#held.add(node);
    node.signal("SIGTERM");
    await this.#gone(node);
    node.start("start");
    this.#held.delete(node);
  }

  async #lasting(kind: string, text: string, work: () => Promise<void>): Promise<void> {
    const done: Done = { kind, text, fromMs: performance.now(), toMs: Number.POSITIVE_INFINITY };
    this.done.push(done);
    this.#say(`${kind} ${text}`);
    await work();
    done.toMs = performance.now();
  }

  async #take(target: Target): Promise<NodeProcess | null> {
    const free = this.#free();
    const node = target === "manager" ? await this.#cluster.manager() : this.#cluster.nodes[target];
    // One that is harmed already is spared, and another takes its place.
    if (node !== undefined && node !== null && this.#free().includes(node)) return node;
    return free.length === 0 ? null : this.#prng.pick(this.#free());
  }

  #free(): NodeProcess[] {
    return this.#cluster.nodes.filter((node) => node.state === "up" && !this.#held.has(node));
  }

  async #gone(node: NodeProcess): Promise<void> {
    if (await node.gone(END_MS)) return;
    this.problems.push(`${node.name} has not ended ${END_MS} ms after it was asked to`);
    node.signal("SIGKILL");
    await node.gone(END_MS);
  }

  /** Waits, unless all is to be undone. */
  #for(waitMs: number): Promise<void> {
    return delay(waitMs, undefined, { signal: this.#ending.signal }).catch(() => undefined);
  }
}

/** Has another node manage. "no-route": this orch cannot be asked for it; "failed": it has come to nothing. */
export async function transfer(
  node: NodeProcess,
  timeoutMs: number,
): Promise<"done" | "failed" | "no-route"> {
  try {
    const { status } = await node.ask({
      method: "POST",
      path: "/v1/cluster/transfer",
      headers: { "content-type": "application/json" },
      body: "{}",
      timeoutMs,
    });
    if (status === 404 || status === 405) return "no-route";
    return status === 200 ? "done" : "failed";
  } catch {
    return "failed";
  }
}
