import { setTimeout as delay } from "node:timers/promises";
import type { LocalView } from "../../node/core/view-types.ts";
import type { Answer, NodeProcess } from "../fixtures/node-process.ts";
import { killTasks, taskProcesses } from "../fixtures/orch-process.ts";
import type { Ground } from "./ground.ts";
import type { MemberFault } from "./plan.ts";

/** So many nodes there are at least and at most. */
const LEAST = 4;
const MOST = 8;
/** For one change, once all other harm is undone: as long as a quorum is away nothing comes of it. */
const CHANGE_MS = 180_000;
const ASK_MS = 4_000;
const AGAIN_MS = 250;

/** Nodes join and leave, or are gone for good and removed: one after the other, as a person would. */
export class Members {
  readonly #ground: Ground;
  #isBusy = false;
  #asked = 0;

  constructor(ground: Ground) {
    this.#ground = ground;
  }

  /** Does nothing while another change is under way. */
  async change({ change, target }: MemberFault): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    try {
      const { length } = this.#ground.cluster.nodes;
      if (length <= LEAST || (change === "join" && length < MOST)) await this.#join();
      else await this.#part(change === "lose" ? "lose" : "leave", target);
    } finally {
      this.#isBusy = false;
    }
  }

  async #join(): Promise<void> {
    const { cluster, namespaces } = this.#ground;
    const node = await cluster.add(namespaces?.add() ?? null);
    await this.#ground.holding([node], () =>
      this.#ground.lasting("join", `${node.name} at ${node.listen}`, async () => {
        // Whom it asks may be killed meanwhile, or have no manager: then it ends, and is started again.
        node.mayEnd(true);
        await this.#within(
          () => `${node.name} cannot join:\n${endOf(node)}`,
          async () => {
            if (node.state === "down") await this.#knock(node);
            const view = await node.raft();
            return view?.ready === true ? true : null;
          },
        );
        node.mayEnd(false);
        this.#ground.say(`${node.name} has joined`);
      }),
    );
  }

  /** Starts it with a token, through any node that is up. */
  async #knock(node: NodeProcess): Promise<void> {
    // It was let in before, and ended before anybody could see so.
    if (endOf(node).includes("already holds node")) {
      node.start("start");
      return;
    }
    const door = this.#others(node);
    if (door === null) return;
    try {
      const { token } = await door.get<{ token: string }>("/v1/nodes/token", ASK_MS);
      node.start("join", door.listen, "--token", token);
    } catch {
      // Somebody else is asked next time.
    }
  }

  async #part(how: "leave" | "lose", target: MemberFault["target"]): Promise<void> {
    const taken = await this.#ground.take(target);
    const view = (await taken?.node.raft()) ?? null;
    // Another fault may have got it meanwhile, which would start it again.
    if (taken === null || view === null || this.#ground.isHeld(taken.node)) return;
    const { node, who } = taken;
    if (how === "leave") {
      await this.#ground.lasting("leave", who, () => this.#leave(node));
    } else {
      await this.#ground.holding([node], () =>
        this.#ground.lasting("killed for good", who, () => this.#lose(node)),
      );
    }
    await this.#within(`${who} still has a part in Raft`, () => this.#isForgotten(view));
    this.#ground.say(`${who} is no member any more`);
    this.#ground.cluster.retire(node);
    if (node.plan.namespace !== null) this.#ground.namespaces?.remove(node.plan.namespace);
  }

  /** Other faults go on meanwhile, to the node that leaves as well. */
  async #leave(node: NodeProcess): Promise<void> {
    node.mayEnd(true);
    const path = `/v1/nodes/${node.id}`;
    await this.#done(node, "POST", `${path}/leave`);
    await this.#within(`${node.name} leaves and leaves`, async () => {
      const answer = await this.#ask(node, "GET", path, {});
      return answer?.status === 404 ? true : null;
    });
    await this.#within(`${node.name} has left, but its process has not ended`, () =>
      node.state === "down" && !this.#ground.isHeld(node) ? true : null,
    );
    const left = taskProcesses(new Set([node.id])).map(({ task, pid }) => `${task} (pid ${pid})`);
    if (left.length > 0) {
      const what = `${node.name} has left, and still runs ${left.join(", ")}:\n${endOf(node)}`;
      this.#ground.problems.push(what);
    }
  }

  /** A machine without power, for ever: what ran on it is gone as well. */
  async #lose(node: NodeProcess): Promise<void> {
    node.signal("SIGKILL");
    await this.#ground.gone(node);
    killTasks(new Set([node.id]));
    await this.#ground.crates?.destroy(new Set([node.id]));
    await this.#done(node, "DELETE", `/v1/nodes/${node.id}`);
  }

  /** Asks again and again: under one key, until that is refused, such as the removal of a node that is not down yet. */
  async #done(node: NodeProcess, method: "POST" | "DELETE", path: string): Promise<void> {
    let key = this.#key();
    let last = "no answer";
    await this.#within(
      () => `${method} ${path} (${node.name}): ${last}`,
      async () => {
        const answer = await this.#ask(node, method, path, { "idempotency-key": key });
        if (answer === null) return null;
        last = `${answer.status} ${answer.text}`;
        if (answer.status === 409) key = this.#key();
        return answer.status === 200 || answer.status === 404 ? true : null;
      },
    );
  }

  /** Whether the manager's Raft does without it: only then another one may be lost for good. */
  async #isForgotten({ raftId, id }: LocalView): Promise<true | null> {
    const manager = await this.#ground.cluster.manager();
    const view = (await manager?.raft()) ?? null;
    if (view === null || view.id === id || view.role !== "leader") return null;
    return [...view.voters, ...view.learners].includes(raftId) ? null : true;
  }

  /** Null: no answer. */
  async #ask(
    about: NodeProcess,
    method: "GET" | "POST" | "DELETE",
    path: string,
    key: Readonly<Record<string, string>>,
  ): Promise<Answer | null> {
    try {
      const headers = { "orch-timeout": String(ASK_MS), ...key };
      const timeoutMs = ASK_MS + 1_000;
      return (await this.#others(about)?.ask({ method, path, headers, timeoutMs })) ?? null;
    } catch {
      return null;
    }
  }

  #others(node: NodeProcess): NodeProcess | null {
    const { cluster, prng } = this.#ground;
    const up = cluster.nodes.filter((each) => each !== node && each.state === "up");
    return up.length === 0 ? null : prng.pick(up);
  }

  #key(): string {
    this.#asked += 1;
    return `member-${this.#asked}`;
  }

  async #within(
    what: string | (() => string),
    look: () => Promise<true | null> | true | null,
  ): Promise<void> {
    for (let endMs = Number.POSITIVE_INFINITY; (await look()) === null;) {
      const nowMs = performance.now();
      if (this.#ground.isEnding) endMs = Math.min(endMs, nowMs + CHANGE_MS);
      if (nowMs > endMs) {
        const said = typeof what === "string" ? what : what();
        throw new Error(`${said}\n(not within ${CHANGE_MS} ms after all other harm was undone)`);
      }
      await delay(AGAIN_MS);
    }
  }
}

/** The end of its log; empty before its first start. */
function endOf(node: NodeProcess): string {
  try {
    return node.logEnd();
  } catch {
    return "";
  }
}
