import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { extname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { fault, OrchError } from "../../lib/errors.ts";
import { signalGroup } from "../../runtime/process-shim.ts";
import type { LeaseGuard } from "../../runtime/worker-lease.ts";
import type { Millis, TaskId } from "../../state/ids.ts";
import { LEASE_START_MS } from "../../state/lease.ts";
import { machineUptimeMs } from "../clock.ts";
import { type LeaseNote, readKeeper, readNote, writeNote } from "./file.ts";

/** How long a keeper may take to start; a busy machine needs a second or two. What waits for it is then tried again. */
const START_MS = 5_000;
const LOOK_MS = 20;

/** V8 starts with little memory, and stays at it: a keeper waits. */
const KEEPER_FLAGS: readonly string[] = ["--max-semi-space-size=1"];

export interface KeepingOptions {
  /** Of the node's runtime, in its data folder. */
  readonly folder: string;
  readonly docker: LeaseNote["docker"];
  /** The node's own clock. */
  readonly now: () => Millis;
  readonly log: (line: string) => void;
}

/**
 * The node's side of its keeper: notes the lease and what runs under it, and has a keeper run while there is anything. A keeper is a
 * process of its own (main.ts), since only such a one can end tasks when the node's own process is killed or stopped. An earlier process of the node
 * may have left one: it is taken over.
 */
export class Keeping {
  readonly #options: KeepingOptions;
  #guard: LeaseGuard = { untilMs: 0, tasks: [] };
  #written: Promise<void> = Promise.resolve();
  #isWriting = false;
  #starting: Promise<void> | null = null;

  constructor(options: KeepingOptions) {
    this.#options = options;
  }

  /** The end of the lease that an earlier process of the node noted, on this one's clock; 0: it held none. */
  leaseUntilMs(): Millis {
    const note = readNote(this.#options.folder);
    if (note === null) return 0;
    return Math.max(0, this.#options.now() + note.untilMs - machineUptimeMs());
  }

  /** The lease or what runs under it has changed. */
  hold(guard: LeaseGuard): void {
    this.#guard = guard;
    if (!this.#isWriting) {
      this.#isWriting = true;
      this.#written = this.#write().finally(() => (this.#isWriting = false));
      this.#written.catch((error: unknown) => this.#failed(error));
    }
    if (guard.tasks.length > 0) void this.#run().catch((error: unknown) => this.#failed(error));
  }

  /** Whether the task has to end with the lease. */
  guards(task: TaskId): boolean {
    return this.#guard.tasks.some((leased) => leased.task === task);
  }

  /**
   * Resolves when a keeper runs that knows all that `hold` was told before, while the lease is good: this process may have stood still
   * since it was decided to start something. Throws OrchError engine-unavailable.
   */
  async ready(): Promise<void> {
    try {
      await this.#written;
      // Afterwards: a keeper that is about to end looks at the note once more.
      await this.#run();
    } catch (error) {
      throw unavailable(textOf(error), error);
    }
    const leftMs = this.#guard.untilMs - this.#options.now();
    if (leftMs < LEASE_START_MS / 2) throw unavailable("the lease is over, or about to be", null);
  }

  /** Nothing is to be kept any more, and the folder may go. */
  end(): void {
    const leader = readKeeper(this.#options.folder);
    if (leader !== null) signalGroup(leader, "SIGKILL");
  }

  /** Goes on until what is noted is the newest. */
  async #write(): Promise<void> {
    let guard: LeaseGuard | null = null;
    while (guard !== this.#guard) {
      guard = this.#guard;
      const { folder, docker, now } = this.#options;
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const aheadMs = machineUptimeMs() - now();
      const tasks = guard.tasks.map((leased) => ({ ...leased, untilMs: leased.untilMs + aheadMs }));
      await writeNote(folder, { untilMs: guard.untilMs + aheadMs, tasks, docker });
    }
  }

  #failed(error: unknown): void {
    this.#options.log(`the keeper of leased tasks: ${textOf(error)}`);
  }

  #run(): Promise<void> {
    this.#starting ??= this.#start().finally(() => (this.#starting = null));
    return this.#starting;
  }

  async #start(): Promise<void> {
    if (readKeeper(this.#options.folder) !== null) return;
    const program = fileURLToPath(new URL(`main${extname(import.meta.filename)}`, import.meta.url));
    const child = spawn(process.execPath, [...KEEPER_FLAGS, program, this.#options.folder], {
      detached: true,
      stdio: "ignore",
      cwd: "/",
    });
    child.unref();
    let failure: unknown = null;
    child.on("error", (error) => (failure = error));
    const untilMs = performance.now() + START_MS;
    while (readKeeper(this.#options.folder) === null) {
      if (failure !== null) throw failure;
      if (child.exitCode !== null) throw new Error(`it ended with code ${child.exitCode}`);
      if (performance.now() > untilMs) throw new Error(`it has not started after ${START_MS} ms`);
      await delay(LOOK_MS);
    }
  }
}

function unavailable(reason: string, cause: unknown): OrchError {
  const message = `This node cannot see to it that the task ends with its lease: ${reason}.`;
  const hint = "Look for a full or read-only disk, and at the machine's load; orch tries again.";
  return new OrchError(fault("engine-unavailable", message, hint), cause);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
