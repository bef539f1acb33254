import { setTimeout as delay } from "node:timers/promises";
import type { Prng } from "../../lib/prng.ts";
import type { Answer, NodeProcess } from "../fixtures/node-process.ts";
import { type Input, type Output, Recorder } from "../linearizability/history.ts";

/** Registers that are written at a time; others take their place, so that none gets too long a history to check. */
const REGISTERS = 5;
const OPERATIONS_PER_REGISTER = 2_000;
/** What the cluster is given, and how much longer a client waits for the answer. */
const ASK_MS = 3_000;
const GRACE_MS = 1_000;
/** A write that has not been answered by then is left open. */
const SETTLE_MS = 60_000;

/** One acknowledged write. */
export interface Acked {
  readonly atMs: number;
  readonly tookMs: number;
}

/**
 * Clients, each with one operation under way, on configs as registers, through a node at random every time. A write
 * that was not answered is asked again under its key: one operation, from its first call to its last answer. Some
 * clients give up instead: then its outcome stays unknown.
 */
export class Clients {
  readonly #nodes: readonly NodeProcess[];
  readonly #prng: Prng;
  readonly #recorder: Recorder = new Recorder();
  /** A version that some client knows of, by register: for compare-and-set. */
  readonly #known: Map<string, number> = new Map();
  readonly #ending: AbortController = new AbortController();
  #work: Promise<unknown> = Promise.resolve();
  #started = 0;
  readonly acked: Acked[] = [];
  readonly counts = { writes: 0, refused: 0, reads: 0, unknown: 0, repeats: 0, lostReads: 0 };
  /** Answers that no client can make sense of. */
  readonly problems: string[] = [];

  constructor(nodes: readonly NodeProcess[], prng: Prng) {
    this.#nodes = nodes;
    this.#prng = prng;
  }

  get recorder(): Recorder {
    return this.#recorder;
  }

  start(count: number): void {
    this.#work = Promise.all(Array.from({ length: count }, (_, at) => this.#client(at)));
  }

  /** No new operations; waits until the last ones have their answers. */
  async end(): Promise<void> {
    this.#ending.abort();
    await this.#work;
  }

  /** Reads a register through this node, recorded as an operation. */
  async read(node: NodeProcess, register: string): Promise<Output | null> {
    const handle = this.#recorder.called("last", register, { kind: "get" });
    const output = readOutput(
      await node.ask({ method: "GET", path: pathOf(register), timeoutMs: 10_000 }),
    );
    if (output !== null) this.#recorder.returned(handle, output);
    return output;
  }

  async #client(at: number): Promise<void> {
    for (let life = 1; !this.#ending.signal.aborted;) {
      const name = `c${at + 1}.${life}`;
      const generation = Math.floor(this.#started / (OPERATIONS_PER_REGISTER * REGISTERS));
      const register = `r${generation}-${this.#prng.below(REGISTERS)}`;
      this.#started += 1;
      const isSettled = this.#prng.chance(400)
        ? await this.#get(name, register)
        : await this.#put(name, register);
      // A client that does not know what became of its last operation is another one from then on.
      if (isSettled) continue;
      life += 1;
      await delay(this.#pauseMs());
    }
  }

  async #get(client: string, register: string): Promise<boolean> {
    const handle = this.#recorder.called(client, register, { kind: "get" });
    const answer = await this.#ask("GET", register, {});
    const output = answer === null ? null : readOutput(answer);
    if (output === null) {
      this.counts.lostReads += 1;
      return false;
    }
    this.counts.reads += 1;
    this.#learn(register, output);
    this.#recorder.returned(handle, output);
    return true;
  }

  async #put(client: string, register: string): Promise<boolean> {
    this.counts.writes += 1;
    const value = `w${this.counts.writes}`;
    const ifVersion = this.#prng.chance(400) ? (this.#known.get(register) ?? 0) : null;
    const input: Input =
      ifVersion === null ? { kind: "put", value } : { kind: "put-if", value, ifVersion };
    const handle = this.#recorder.called(client, register, input);
    const headers = {
      "content-type": "application/octet-stream",
      "idempotency-key": `${register}-${value}`,
      "orch-timeout": String(ASK_MS),
      ...(ifVersion === null
        ? {}
        : ifVersion === 0
          ? { "if-none-match": "*" }
          : { "if-match": `"${ifVersion}"` }),
    };
    const calledMs = performance.now();
    for (;;) {
      const answer = await this.#ask("PUT", register, headers, value);
      const output = answer === null ? null : this.#writeOutput(answer, register);
      if (output !== null) {
        const nowMs = performance.now();
        this.#recorder.returned(handle, output);
        this.#learn(register, output);
        if (output.kind === "written") this.acked.push({ atMs: nowMs, tookMs: nowMs - calledMs });
        else this.counts.refused += 1;
        return true;
      }
      if (this.#prng.chance(80) || performance.now() - calledMs > SETTLE_MS) {
        this.counts.unknown += 1;
        return false;
      }
      this.counts.repeats += 1;
      await delay(this.#pauseMs());
    }
  }

  /** Null: nobody knows what became of it. */
  async #ask(
    method: "GET" | "PUT",
    register: string,
    headers: Readonly<Record<string, string>>,
    body?: string,
  ): Promise<Answer | null> {
    try {
      return await this.#prng.pick(this.#nodes).ask({
        method,
        path: pathOf(register),
        headers,
        timeoutMs: ASK_MS + GRACE_MS,
        ...(body === undefined ? {} : { body }),
      });
    } catch {
      return null;
    }
  }

  #writeOutput({ status, text }: Answer, register: string): Output | null {
    if (status === 412) return { kind: "refused" };
    if (status === 200) return { kind: "written", version: numberOf(text, "version") };
    // 403: the node that was asked has left, and is about to end.
    if (![403, 429, 503, 504].includes(status))
      this.problems.push(`PUT ${register}: ${status} ${text}`);
    return null;
  }

  #learn(register: string, output: Output): void {
    if (output.kind !== "written" && output.kind !== "found") return;
    const known = this.#known.get(register) ?? 0;
    this.#known.set(register, Math.max(known, output.version ?? 0));
  }

  /** A node that is down refuses at once: the client must not spin. */
  #pauseMs(): number {
    return this.#prng.between(5, 60);
  }
}

function pathOf(register: string): string {
  return `/v1/configs/${register}`;
}

/** Null: it was not answered. */
function readOutput({ status, text }: Answer): Output | null {
  if (status === 404) return { kind: "absent" };
  if (status !== 200) return null;
  const data: unknown = Reflect.get(Object(JSON.parse(text)), "data");
  if (typeof data !== "string") throw new Error(`a config without data: ${text}`);
  const value = Buffer.from(data, "base64").toString("utf8");
  return { kind: "found", value, version: numberOf(text, "version") };
}

function numberOf(text: string, name: string): number {
  const value: unknown = Reflect.get(Object(JSON.parse(text)), name);
  if (typeof value !== "number") throw new Error(`no ${name} in ${text}`);
  return value;
}
