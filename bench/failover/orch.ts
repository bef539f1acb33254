import { randomUUID } from "node:crypto";
import { type NodeProcess, until } from "../../test/fixtures/node-process.ts";
import { ProcessCluster } from "../../test/fixtures/process-cluster.ts";
import type { Contender, Member } from "./probe.ts";

const NODES = 3;
const WHOLE_MS = 60_000;
const END_MS = 10_000;
export const WRITE_MS = 10_000;

/** Whole orch nodes, asked over the public HTTP API. */
export class OrchContender implements Contender {
  readonly name = "orch";
  readonly cluster: ProcessCluster;
  readonly #members: ReadonlyMap<Member, NodeProcess>;

  static async start(parent: string | null): Promise<OrchContender> {
    const flags = ["--no-worker"];
    const options = { nodes: NODES, flags, parent, places: null, docker: null };
    return new OrchContender(await ProcessCluster.start(options));
  }

  private constructor(cluster: ProcessCluster) {
    this.cluster = cluster;
    this.#members = new Map(cluster.nodes.map((node) => [memberOf(node), node]));
  }

  async whole(): Promise<{ leader: Member; others: Member[] }> {
    // Whoever was away is back as a voter that has applied all that is committed by now.
    const [least] = (await Promise.all(this.cluster.nodes.map((node) => node.raft())))
      .map((view) => view?.commitIndex ?? 0)
      .toSorted((a, b) => b - a);
    const views = await this.cluster.views(
      "three caught-up voters and a leader",
      (all) =>
        all.every(
          (view) => view.ready && view.voters.length === NODES && view.appliedIndex >= (least ?? 0),
        ) &&
        new Set(all.map(({ leader }) => leader)).size === 1 &&
        all.filter(({ role }) => role === "leader").length === 1,
      WHOLE_MS,
    );
    const id = views.find(({ role }) => role === "leader")?.id;
    const all = [...this.#members];
    const leader = all.find(([, node]) => node.id === id)?.[0];
    if (leader === undefined) throw new Error("the leader is one of the three");
    return { leader, others: all.map(([member]) => member).filter((each) => each !== leader) };
  }

  async kill(member: Member): Promise<void> {
    this.node(member).signal("SIGKILL");
    await until(
      () => `${member.name} does not die`,
      () => (this.node(member).state === "down" ? true : null),
      END_MS,
      1,
    );
  }

  restart(member: Member): void {
    this.node(member).start("start");
  }

  pause(member: Member): void {
    this.node(member).signal("SIGSTOP");
  }

  resume(member: Member): void {
    this.node(member).signal("SIGCONT");
  }

  end(): void {
    this.cluster.destroy();
  }

  node(member: Member): NodeProcess {
    const node = this.#members.get(member);
    if (node === undefined) throw new Error(`${member.name} is one of the three`);
    return node;
  }
}

function memberOf(node: NodeProcess): Member {
  return {
    name: node.name,
    write: async () => (await writeTo(node)) === null,
    state: async () => {
      const view = await node.raft();
      if (view === null) return "no answer";
      const { role, term, vote, leader, manager } = view;
      return `${role} term ${term} vote ${vote} leader ${leader} manager ${manager === null ? "none" : "known"}`;
    },
  };
}

/** Null: it was acknowledged; else why not. */
export async function writeTo(node: NodeProcess): Promise<string | null> {
  try {
    const { status, text } = await node.ask({
      method: "PUT",
      path: `/v1/configs/k${Math.floor(Math.random() * 100)}`,
      headers: {
        "content-type": "application/octet-stream",
        "orch-timeout": String(WRITE_MS),
        "idempotency-key": randomUUID(),
      },
      body: "x".repeat(256),
      timeoutMs: WRITE_MS + 2_000,
    });
    return status === 200 ? null : `${status} ${text}`;
  } catch (error) {
    return error instanceof Error ? error.message : "no answer";
  }
}
