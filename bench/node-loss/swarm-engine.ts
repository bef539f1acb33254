import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { present } from "../../lib/assert.ts";
import { until } from "../../test/fixtures/node-process.ts";
import type { Place } from "../../test/fixtures/process-cluster.ts";
import type { Member } from "./contender.ts";
import { SwarmApi } from "./swarm-api.ts";

const START_MS = 60_000;
const END_MS = 20_000;

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
}

/** A dockerd with a containerd, a network namespace, a mount namespace and folders of its own. */
export class SwarmEngine implements Member {
  readonly name: string;
  readonly host: string;
  readonly api: SwarmApi;
  readonly namespace: string;
  readonly #dir: string;
  #child: ChildProcess | null = null;
  #id = "";

  constructor(name: string, folder: string, place: Place) {
    this.name = name;
    this.host = place.host;
    this.namespace = present(place.namespace, "each engine has one");
    this.#dir = join(folder, name);
    mkdirSync(this.#dir, { mode: 0o700 });
    this.api = new SwarmApi(join(this.#dir, "sock"));
  }

  /** The node's id in the swarm. */
  get id(): string {
    return this.#id;
  }

  async joined(): Promise<void> {
    this.#id = await this.api.nodeId();
  }

  start(): void {
    rmSync(join(this.#dir, "pid"), { force: true });
    const namespace = present(this.namespace, "an engine has a network of its own");
    const inside = ["unshare", "--mount", "--propagation", "private"];
    const bounded = ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--"];
    const flags = {
      "data-root": join(this.#dir, "data"),
      "exec-root": join(this.#dir, "exec"),
      pidfile: join(this.#dir, "pid"),
      host: `unix://${join(this.#dir, "sock")}`,
      iptables: "false",
      bridge: "none",
      "storage-driver": "overlay2",
    };
    const words = [
      `--net=/run/netns/${namespace}`,
      ...inside,
      ...bounded,
      "dockerd",
      ...Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`),
    ];
    const log = openSync(join(this.#dir, "log"), "a", 0o600);
    this.#child = spawn("nsenter", words, { stdio: ["ignore", log, log], detached: true });
    closeSync(log);
    this.#child.on("error", () => undefined);
  }

  async ready(): Promise<void> {
    await until(
      () => `${this.name} does not answer, see ${this.#dir}/log`,
      async () => ((await this.api.version().catch(() => null)) === null ? null : true),
      START_MS,
      50,
    );
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#child?.kill(signal);
  }

  /** dockerd first, that it tells nobody of the rest: containerd, the shims and the containers. */
  kill(): void {
    this.#child?.kill("SIGKILL");
    const all = everyProcess();
    const own = all.filter(({ command }) => command.includes(`${this.#dir}/`));
    const pids = new Set(own.map(({ pid }) => pid));
    for (const { pid, parent } of all) if (pids.has(parent)) pids.add(pid);
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It went with another.
      }
    }
  }

  async gone(): Promise<void> {
    await until(
      () => `${this.name} does not die`,
      () => {
        const isThere = everyProcess().some(({ command }) => command.includes(`${this.#dir}/`));
        return isThere ? null : true;
      },
      END_MS,
    );
  }
}

function everyProcess(): Process[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 1 && pid !== process.pid)
    .flatMap((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, "latin1");
        // After the name, which is in brackets and may hold anything: the state, then the parent.
        const parent = readFileSync(`/proc/${pid}/stat`, "latin1")
          .split(") ")
          .at(-1)
          ?.split(" ")[1];
        return [{ pid, parent: Number(parent), command }];
      } catch {
        return [];
      }
    });
}
