import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Client } from "undici";
import { assert } from "../lib/assert.ts";
import { fault, OrchError } from "../lib/errors.ts";

export interface DevNodePlan {
  readonly name: string;
  /** Of the cluster: the node's own data directory and its log go into it. */
  readonly folder: string;
  /** host:port of libp2p. */
  readonly listen: string;
  /** host:port of the HTTP API. */
  readonly api: string;
  readonly publishAddress: string;
  /** `first-last` */
  readonly portRange: string;
  /** Null: what the machine offers. */
  readonly driver: "docker" | "process" | null;
}

const READY_MS = 30_000;
const LOOK_EVERY_MS = 50;
/** A node ends its tasks first: their own grace is 10 s. */
const END_MS = 15_000;
const HURRIED_END_MS = 3_000;
const KILLED_MS = 5_000;
const LOG_LINES = 20;

const PROGRAM = fileURLToPath(new URL("../bin/orch", import.meta.url));

/** One node process of a cluster on this machine. Its pid is the node's own: bin/orch turns into it. */
export class DevNode {
  readonly name: string;
  readonly dataDir: string;
  readonly socketPath: string;
  readonly logPath: string;
  /** host:port, for `orch node join`. */
  readonly listen: string;
  readonly #plan: DevNodePlan;
  #child: ChildProcess | null = null;
  /** How the last process ended; null while it runs or before the first. */
  #end: string | null = null;
  #expected = false;
  #onDeath: (how: string) => void = () => undefined;

  constructor(plan: DevNodePlan) {
    this.#plan = plan;
    this.name = plan.name;
    this.dataDir = join(plan.folder, plan.name);
    this.socketPath = join(this.dataDir, "orch.sock");
    this.logPath = join(plan.folder, `${plan.name}.log`);
    this.listen = plan.listen;
  }

  /** Null while it does not run. */
  get pid(): number | null {
    return this.isRunning ? (this.#child?.pid ?? null) : null;
  }

  get isRunning(): boolean {
    return this.#child !== null && this.#end === null;
  }

  /** Whether it never ran, or its last process ended by itself and left no data directory behind. */
  get endedGracefully(): boolean {
    return !this.isRunning && !existsSync(this.dataDir);
  }

  /** Hears when the process ends without having been asked to through this object. */
  onDeath(listener: (how: string) => void): void {
    this.#onDeath = listener;
  }

  /**
   * Starts `bin/orch node <words>` with this node's flags; its output goes to its log. `secrets`: variables
   * beside this process's own, since every user of the machine may read another process's arguments.
   */
  async spawn(
    words: readonly string[],
    secrets: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    assert(!this.isRunning, "a node that runs is not started again");
    const log = await open(this.logPath, "a", 0o600);
    try {
      // A group of its own: Ctrl-C in the terminal is for `orch dev`, which ends its nodes in order.
      // The pipe to its stdin closes when this process is gone, however it went: the node ends then.
      const child = spawn(PROGRAM, ["node", ...words, ...this.#flags()], {
        stdio: ["pipe", log.fd, log.fd],
        env: { ...process.env, ...secrets },
        detached: true,
      });
      this.#child = child;
      this.#end = null;
      this.#expected = false;
      child.stdin?.on("error", () => undefined);
      child.once("error", (error) => {
        this.#end ??= error.message;
      });
      child.once("exit", (code, signal) => {
        this.#end = signal === null ? `exit ${code ?? 0}` : `killed by ${signal}`;
        if (!this.#expected) this.#onDeath(this.#end);
      });
    } finally {
      await log.close();
    }
  }

  /** Waits until it has caught up with the cluster. Throws OrchError with the end of its log when it does not. */
  async ready(signal: AbortSignal): Promise<void> {
    if (await this.#answers("/readyz", READY_MS, signal)) return;
    signal.throwIfAborted();
    const why = this.#end === null ? `not ready after ${READY_MS / 1_000} s` : this.#end;
    throw new OrchError(
      fault(
        "unreachable",
        `node ${this.name} did not start: ${why}; the end of its log:\n${await this.logEnd()}`,
        "What went wrong stands in the lines above.",
      ),
    );
  }

  /** Sends a signal. A death by it is not reported to `onDeath`. False when it does not run. */
  kill(signal: NodeJS.Signals): boolean {
    if (!this.isRunning) return false;
    this.#expected = true;
    return this.#child?.kill(signal) ?? false;
  }

  /** Resolves once the process is gone. */
  async exited(): Promise<void> {
    if (this.isRunning && this.#child !== null) await once(this.#child, "exit");
  }

  /** Runs it again on its data directory, after it ended, and waits until it is ready. */
  async restart(): Promise<void> {
    await this.exited();
    await this.spawn(["start"]);
    await this.ready(new AbortController().signal);
  }

  /** Starts it again if it died and left data behind, so that `end` ends its tasks; waits until it answers at all. */
  async revive(
    hurry: AbortSignal | null,
    waitMs: number,
  ): Promise<"not-needed" | "revived" | "failed"> {
    if (this.isRunning || !existsSync(this.dataDir)) return "not-needed";
    if (hurry?.aborted === true) return "failed";
    try {
      await this.spawn(["start"]);
      this.#expected = true;
      return (await this.#answers("/healthz", waitMs, hurry)) ? "revived" : "failed";
    } catch {
      return "failed";
    }
  }

  /** Ends it and waits until it is gone: asks first, kills when it takes too long. */
  async end(hurry: AbortSignal | null): Promise<void> {
    if (!this.kill("SIGTERM")) return;
    if (await this.#goneWithin(END_MS, hurry)) return;
    this.kill("SIGKILL");
    await this.#goneWithin(KILLED_MS, null);
  }

  /** The last lines of its log. */
  async logEnd(): Promise<string> {
    const text = await readFile(this.logPath, "utf8").catch(() => "");
    return text.trimEnd().split("\n").slice(-LOG_LINES).join("\n");
  }

  async #goneWithin(boundMs: number, hurry: AbortSignal | null): Promise<boolean> {
    const deadlineMs = performance.now() + boundMs;
    let hurriedMs = Number.POSITIVE_INFINITY;
    while (this.isRunning) {
      const nowMs = performance.now();
      if (hurry?.aborted === true) hurriedMs = Math.min(hurriedMs, nowMs + HURRIED_END_MS);
      if (nowMs > deadlineMs || nowMs > hurriedMs) return false;
      await delay(LOOK_EVERY_MS / 2);
    }
    return true;
  }

  async #answers(path: string, boundMs: number, signal: AbortSignal | null): Promise<boolean> {
    const deadlineMs = performance.now() + boundMs;
    while (this.isRunning && performance.now() < deadlineMs) {
      if (signal?.aborted === true) return false;
      if ((await statusOf(this.socketPath, path)) === 200) return true;
      await delay(LOOK_EVERY_MS);
    }
    return false;
  }

  #flags(): string[] {
    const { name, listen, api, publishAddress, portRange, driver } = this.#plan;
    const values = {
      name,
      "data-dir": this.dataDir,
      listen,
      api,
      publish: publishAddress,
      "port-range": portRange,
      ...(driver === null ? {} : { driver }),
    };
    return [
      ...Object.entries(values).flatMap(([flag, value]) => [`--${flag}`, value]),
      "--ephemeral",
    ];
  }
}

/** The status of a GET over a unix socket; null when nobody answers within a second. */
async function statusOf(socketPath: string, path: string): Promise<number | null> {
  const client = new Client("http://localhost", { connect: { socketPath, timeout: 1_000 } });
  try {
    const response = await client.request({
      method: "GET",
      path,
      signal: AbortSignal.timeout(1_000),
    });
    await response.body.dump();
    return response.statusCode;
  } catch {
    return null;
  } finally {
    await client.destroy();
  }
}
