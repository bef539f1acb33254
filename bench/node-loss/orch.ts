import { present } from "../../lib/assert.ts";
import type { NodeView, TaskView } from "../../node/core/view-types.ts";
import type { Namespaces } from "../../test/chaos/namespaces.ts";
import { type NodeProcess, until } from "../../test/fixtures/node-process.ts";
import { killTasks } from "../../test/fixtures/orch-process.ts";
import { ProcessCluster } from "../../test/fixtures/process-cluster.ts";
import { writeTo } from "../failover/orch.ts";
import { firstAccepted } from "./accepted.ts";
import { type Contender, type Fault, type Member, REPLICAS, type Round } from "./contender.ts";
import { Events } from "./events.ts";
import { replaced } from "./replaced.ts";

const END_MS = 60_000;
const WHOLE_MS = 120_000;
const ASK_MS = 20_000;

/** So often a node may go down within minutes before it has to stay for a while to be ready again. */
const DOWNS_FREE = 2;

/** A cluster, and how often each of its nodes went down. */
interface Arena {
  readonly cluster: ProcessCluster;
  readonly events: Events;
  readonly downs: Map<NodeProcess, number>;
}

/** Whole nodes as processes, each in a network namespace. */
export class OrchContender implements Contender {
  readonly name = "orch";
  readonly #namespaces: Namespaces;
  readonly #nodes: number;
  readonly #who: "any" | "voters";
  readonly #parent: string | null;
  #arena: Arena | null = null;
  #rounds = 0;

  /** `who` may be lost: any node, or only one that votes. */
  constructor(namespaces: Namespaces, nodes: number, who: "any" | "voters", parent: string | null) {
    this.#namespaces = namespaces;
    this.#nodes = nodes;
    this.#who = who;
    this.#parent = parent;
  }

  async round(): Promise<Round> {
    const arena = await this.#fresh();
    const { cluster, events, downs } = arena;
    await whole(cluster);
    this.#rounds += 1;
    const job = `loss${this.#rounds}`;
    await submit(cluster, job);
    const manager = await until(
      () => "nobody manages",
      () => cluster.manager(),
      WHOLE_MS,
    );
    const tasks = await manager.get<readonly TaskView[]>(`/v1/tasks?job=${job}`);
    const voters = (await manager.raft())?.log.voters ?? [];
    const slotsOf = ({ id }: NodeProcess): string[] =>
      tasks.filter(({ node }) => node === id).map(({ slot }) => slot);
    const mayGo = ({ name }: NodeProcess): boolean => this.#who === "any" || voters.includes(name);
    const others = cluster.nodes
      .filter((node) => node !== manager && mayGo(node) && slotsOf(node).length > 0)
      .toSorted((a, b) => (downs.get(a) ?? 0) - (downs.get(b) ?? 0));
    const from = events.heard.length;
    const nodeOf = (member: Member): NodeProcess =>
      present(
        cluster.nodes.find((node) => node === member),
        `${member.name} is a node of the cluster`,
      );
    return {
      manager,
      others,
      manages: async (member) => (await nodeOf(member).raft())?.role === "leader",
      harm: (fault, member) => this.#harm(arena, fault, nodeOf(member)),
      replaced: (member, sinceMs, lost) => {
        const node = nodeOf(member);
        const gone = new Set(lost.map((each) => nodeOf(each).id));
        const { id, name } = node;
        return replaced(events, from, { id, name, slots: slotsOf(node) }, sinceMs, gone);
      },
      accepted: (sinceMs, lost) => {
        const left = cluster.nodes.filter((node) => !lost.includes(node));
        const writers = left.map((node) => async () => (await writeTo(node)) === null);
        return firstAccepted(writers, sinceMs);
      },
      end: async (fault, lost) => {
        for (const member of lost) await this.#undo(fault, nodeOf(member));
        await whole(cluster);
        await cluster.nodes[0]?.ask({
          method: "POST",
          path: `/v1/jobs/${job}/stop`,
          timeoutMs: ASK_MS,
        });
      },
    };
  }

  end(): void {
    this.#arena?.events.end();
    this.#arena?.cluster.destroy();
    this.#arena = null;
  }

  /** A node that goes down once more is kept waiting when it is back: that is not what is measured. */
  async #fresh(): Promise<Arena> {
    if (Math.max(0, ...(this.#arena?.downs.values() ?? [])) >= DOWNS_FREE) this.end();
    if (this.#arena !== null) return this.#arena;
    const cluster = await ProcessCluster.start({
      nodes: this.#nodes,
      flags: [],
      parent: this.#parent,
      places: this.#namespaces.places.slice(0, this.#nodes),
      docker: null,
    });
    this.#arena = { cluster, events: new Events(cluster.nodes), downs: new Map() };
    return this.#arena;
  }

  #harm({ downs }: Arena, fault: Fault, node: NodeProcess): number {
    downs.set(node, (downs.get(node) ?? 0) + 1);
    const sinceMs = performance.now();
    // Without power it is silent first: else its streams would be reset when it dies.
    if (fault === "silent cut" || fault === "power loss")
      this.#namespaces.cut(namespaceOf(node), "isolated", "");
    if (fault === "SIGSTOP") node.signal("SIGSTOP");
    if (fault === "kill -9" || fault === "power loss") node.signal("SIGKILL");
    if (fault === "power loss") killTasks(new Set([node.id]));
    return sinceMs;
  }

  async #undo(fault: Fault, node: NodeProcess): Promise<void> {
    if (fault === "silent cut" || fault === "power loss") this.#namespaces.heal(namespaceOf(node));
    if (fault === "SIGSTOP") node.signal("SIGCONT");
    if (fault !== "kill -9" && fault !== "power loss") return;
    if (!(await node.gone(END_MS))) throw new Error(`${node.name} does not die`);
    node.start("start");
  }
}

async function submit(cluster: ProcessCluster, job: string): Promise<void> {
  const compose = [
    "services:",
    "  web:",
    "    command: [sh, -c, 'exec sleep 600']",
    "    stop_grace_period: 1s",
    `    deploy: {replicas: ${REPLICAS}, resources: {reservations: {cpus: "0.01", memory: 8m}}}`,
  ].join("\n");
  const [node] = cluster.nodes;
  const response = await node?.ask({
    method: "PUT",
    path: `/v1/jobs/${job}`,
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ compose }),
    timeoutMs: ASK_MS,
  });
  if (response?.status !== 200) throw new Error(`job ${job}: ${response?.text}`);
  await until(
    () => `${job} does not run`,
    async () => {
      const tasks = await node?.get<readonly TaskView[]>(`/v1/tasks?job=${job}`);
      const running = tasks?.filter(({ state }) => state === "running").length;
      return running === REPLICAS ? true : null;
    },
    WHOLE_MS,
  );
}

/** All nodes are ready and agree on a manager. */
async function whole(cluster: ProcessCluster): Promise<void> {
  await until(
    () => "not all nodes are ready",
    async () => {
      try {
        const manager = await cluster.manager();
        const nodes = await manager?.get<readonly NodeView[]>("/v1/nodes", 2_000);
        return nodes?.every(({ status }) => status === "ready") === true ? true : null;
      } catch {
        return null;
      }
    },
    WHOLE_MS,
    100,
  );
  await cluster.voting();
}

function namespaceOf({ plan }: NodeProcess): string {
  return present(plan.namespace, "each node has one");
}
