import { describe, expect, it } from "vitest";
import type { Message } from "../../consensus/message.ts";
import { Prng } from "../../lib/prng.ts";
import { ClusterState } from "../../state/cluster.ts";
import type { Command } from "../../state/command.ts";
import { idOf, nodeFacts } from "../../test/fixtures/cluster.ts";
import { afterWrite, EMPTY_DISK } from "../storage.ts";
import { bootstrap } from "./bootstrap.ts";
import { LOG_BOUNDS, REPLACE_AFTER_MS, TICK_MS } from "./defaults.ts";
import { Pilot } from "./pilot.ts";
import { Replica } from "./replica.ts";

const STEP_MS = 10;

/** The only voter, whose own disk is done at once, and two nodes whose answers take `lagMs` each. */
class Growing {
  readonly replica: Replica;
  readonly pilot: Pilot;
  readonly #lagMs: number;
  readonly #answers: { readonly atMs: number; readonly message: Message }[] = [];
  #now = 0;

  constructor(lagMs: number) {
    this.#lagMs = lagMs;
    const image = afterWrite(EMPTY_DISK, bootstrap("c", "c2VjcmV0", idOf("a"), nodeFacts("a"), 0));
    this.replica = new Replica(1, image, new ClusterState(), new Prng(1), LOG_BOUNDS);
    this.#settle();
    this.replica.raft.campaign();
    this.#settle();
    for (const name of ["b", "c"])
      this.write({ kind: "node-admit", node: idOf(name), facts: nodeFacts(name) });
    this.pilot = new Pilot(
      {
        self: idOf("a"),
        replica: this.replica,
        replaceAfterMs: REPLACE_AFTER_MS,
        hears: () => true,
        isHidden: () => false,
        propose: (command) => this.write(command),
        note: () => {},
      },
      0,
    );
  }

  write(command: Command): void {
    this.replica.propose({ command, timeMs: this.#now, key: null, since: null });
    this.#settle();
  }

  /** A write every 10 ms and the node's ticks, for so long or until there are three voters. */
  run(forMs: number): void {
    const endMs = this.#now + forMs;
    while (this.#now < endMs && this.replica.membership.voters.length < 3) {
      this.#now += STEP_MS;
      for (const { message } of this.#answers.filter(({ atMs }) => atMs === this.#now))
        this.replica.raft.step(message);
      this.write({ kind: "config-put", name: "x", data: "", ifVersion: null });
      if (this.#now % TICK_MS === 0) {
        this.replica.tick();
        this.pilot.tick(this.#now);
      }
      this.#settle();
    }
  }

  #settle(): void {
    let released: Message[] = [];
    for (;;) {
      const { persist, messages, applied } = this.replica.take(released);
      released = [];
      for (const message of messages) this.#answer(message);
      if (persist !== null) this.replica.persisted(persist.write, released);
      else if (applied.length === 0) return;
    }
  }

  #answer(message: Message): void {
    const { from, to, term } = message;
    const atMs = this.#now + this.#lagMs;
    if (message.kind === "append") {
      const index = message.prevIndex + message.entries.length;
      const reply = { kind: "append-reply", from: to, to: from, term, index } as const;
      this.#answers.push({ atMs, message: { ...reply, rejected: false } });
    } else if (message.kind === "heartbeat") {
      const reply = { kind: "heartbeat-reply", from: to, to: from, term } as const;
      this.#answers.push({ atMs, message: { ...reply, context: message.context } });
    }
  }
}

describe("a cluster that is written to all the time grows from one voter to three", () => {
  it.each([20, 90, 110, 150, 300])("when the others hold what is new after %i ms", (lagMs) => {
    const cluster = new Growing(lagMs);
    cluster.run(60_000);
    expect(cluster.replica.membership.voters).toEqual([1, 2, 3]);
  });
});
