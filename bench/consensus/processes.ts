import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Everything that the bench starts and keeps, so that all of it goes with the bench, however it ends. */

const TMPFS = 0x01021994;
/** Of /proc/<pid>/stat: Linux says all times in hundredths. */
const CLOCK_TICK_MICROS = 10_000;
const STAT_UTIME = 11;
const STAT_STIME = 12;

export class Processes {
  readonly folder: string;
  readonly #children: Set<ChildProcess> = new Set();
  readonly #deadline: NodeJS.Timeout;
  #ending = false;

  /** `parent`: a folder on the disk to be measured; null: the system's for temporary files. */
  constructor(parent: string | null, limitSeconds: number) {
    this.folder = mkdtempSync(join(parent ?? onDisk(), "bench-consensus-"));
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
      process.on(signal, () => process.exit(1));
    process.on("exit", () => this.end());
    this.#deadline = setTimeout(() => {
      process.stderr.write(`not done after ${limitSeconds} s: given up\n`);
      process.exit(1);
    }, limitSeconds * 1000);
  }

  /** A module of the bench in a process of its own, once it has said its first message. */
  async fork<First>(module: string, words: readonly string[], log: string): Promise<Forked<First>> {
    const fd = openSync(join(this.folder, log), "a");
    const child = fork(join(import.meta.dirname, module), words, {
      stdio: ["ignore", fd, fd, "ipc"],
    });
    closeSync(fd);
    this.#keep(child, log);
    const forked = new Child(child, log);
    return { child: forked, pid: child.pid ?? 0, first: await forked.next<First>() };
  }

  /** A program; what it prints goes to a file. Returns its pid. */
  spawn(program: string, words: readonly string[], log: string): number {
    const fd = openSync(join(this.folder, log), "a");
    // A pipe that nobody writes to: an orch node ends with whoever holds it.
    const child = spawn(program, words, { stdio: ["pipe", fd, fd] });
    closeSync(fd);
    child.stdin?.on("error", () => undefined);
    this.#keep(child, log);
    return child.pid ?? 0;
  }

  end(): void {
    this.#ending = true;
    clearTimeout(this.#deadline);
    for (const child of this.#children) child.kill("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }

  #keep(child: ChildProcess, log: string): void {
    this.#children.add(child);
    const gone = (why: string): void => {
      if (this.#ending) return;
      const said = readFileSync(join(this.folder, log), "utf8").slice(-2_000);
      process.stderr.write(`${log.replace(".log", "")} ended (${why}):\n${said}\n`);
      process.exit(1);
    };
    child.on("error", (error) => gone(error.message));
    child.on("exit", (code, signal) => gone(String(code ?? signal)));
  }
}

export interface Forked<First> {
  readonly child: Child;
  readonly pid: number;
  readonly first: First;
}

/** One question at a time. */
export class Child {
  readonly #process: ChildProcess;
  readonly #name: string;

  constructor(child: ChildProcess, name: string) {
    this.#process = child;
    this.#name = name;
  }

  async next<Answer>(timeoutMs = 60_000): Promise<Answer> {
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      const [message]: Answer[] = await once(this.#process, "message", { signal });
      if (message === undefined) throw new Error("an empty message");
      return message;
    } catch (error) {
      throw new Error(`${this.#name}: no answer within ${timeoutMs} ms`, { cause: error });
    }
  }

  async ask<Answer>(message: object, timeoutMs?: number): Promise<Answer> {
    const answer = this.next<Answer>(timeoutMs);
    this.#process.send(message);
    return answer;
  }
}

/** User and system time of the processes so far, in microseconds. */
export function cpuMicros(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field is a name in brackets that may hold anything.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    ticks += Number(fields[STAT_UTIME]) + Number(fields[STAT_STIME]);
  }
  return ticks * CLOCK_TICK_MICROS;
}

/** Memory that the processes hold, in MiB. */
export function residentMib(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const kib = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1];
    return sum + Number(kib ?? 0) / 1024;
  }, 0);
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  await new Promise((resolve) => {
    server.close(resolve);
  });
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** Looks again and again until there is something; throws after `limitMs`. */
export async function until<T>(
  what: string,
  look: () => Promise<T | null>,
  limitMs = 30_000,
): Promise<T> {
  const endMs = performance.now() + limitMs;
  let last: unknown;
  for (;;) {
    try {
      const found = await look();
      if (found !== null) return found;
    } catch (error) {
      last = error;
    }
    if (performance.now() > endMs)
      throw new Error(`${what}: not within ${limitMs} ms`, { cause: last });
    await new Promise((resolve) => {
      setTimeout(resolve, 100);
    });
  }
}

/** Memory would make every sync free. */
export function onDisk(): string {
  const found = [tmpdir(), "/var/tmp", process.cwd()].find(
    (each) => statfsSync(each).type !== TMPFS,
  );
  if (found === undefined) throw new Error("no folder on a disk: name one with --folder");
  return found;
}
