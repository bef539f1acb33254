import { setTimeout as delay } from "node:timers/promises";
import type { Prng } from "../../lib/prng.ts";
import type { NodeProcess } from "../fixtures/node-process.ts";
import { sleepers, type WantedJob } from "./jobs.ts";

const JOBS = ["blog", "wiki"] as const;
const MOST_REPLICAS = 4;
const ASK_MS = 3_000;
const GRACE_MS = 1_000;
/** A change that has no answer by then, whatever harm is done meanwhile, never gets one. */
const SETTLE_MS = 240_000;

/** A job as it is after the changes that were acknowledged. */
interface State {
  readonly version: number;
  readonly change: number;
  readonly replicas: number;
  readonly isStopped: boolean;
}

interface Write {
  readonly method: "PUT" | "POST";
  readonly path: string;
  readonly body: string;
  readonly after: State;
}

const NONE: State = { version: 0, change: 0, replicas: 0, isStopped: false };

/**
 * Clients that change jobs again and again, one for each job, through a node at random every time: other replicas,
 * another environment, stopped and submitted again. A change without an answer is asked again under its key until it has one,
 * so that there is only one state that a job may have, and one version.
 */
export class JobChanges {
  readonly #nodes: readonly NodeProcess[];
  readonly #prng: Prng;
  readonly #lifeSeconds: number;
  readonly #states: Map<string, State> = new Map();
  readonly #ending: AbortController = new AbortController();
  #work: Promise<unknown> = Promise.resolve();
  readonly counts = { acked: 0, repeats: 0 };
  readonly problems: string[] = [];

  constructor(nodes: readonly NodeProcess[], prng: Prng, lifeSeconds: number) {
    this.#nodes = nodes;
    this.#prng = prng;
    this.#lifeSeconds = lifeSeconds;
  }

  start(): void {
    this.#work = Promise.all(JOBS.map((job) => this.#client(job)));
  }

  /** No new changes; waits until the last ones have their answers. */
  async end(): Promise<void> {
    this.#ending.abort();
    await this.#work;
  }

  /** What is to be there once all changes are done. */
  get wanted(): readonly WantedJob[] {
    return [...this.#states].map(([name, { version, change, replicas, isStopped }]) => ({
      name,
      version,
      change,
      replicas: isStopped ? 0 : replicas,
      word: null,
    }));
  }

  async #client(job: string): Promise<void> {
    const prng = this.#prng.fork();
    for (let n = 1; !this.#ending.signal.aborted; n += 1) {
      const write = this.#next(prng, job, this.#states.get(job) ?? NONE);
      if (!(await this.#change(prng, job, `${job}-${n}`, write))) return;
      await delay(prng.between(300, 4_000), undefined, { signal: this.#ending.signal }).catch(
        () => undefined,
      );
    }
  }

  #next(prng: Prng, job: string, before: State): Write {
    const path = `/v1/jobs/${job}`;
    if (before.version > 0 && !before.isStopped && prng.chance(200)) {
      return {
        method: "POST",
        path: `${path}/stop`,
        body: "{}",
        after: { ...before, isStopped: true },
      };
    }
    const change = before.version === 0 || prng.chance(600) ? before.change + 1 : before.change;
    const replicas = prng.between(1, MOST_REPLICAS);
    const isSame = !before.isStopped && change === before.change && replicas === before.replicas;
    const version = isSame ? before.version : before.version + 1;
    const compose = sleepers(this.#lifeSeconds, replicas, change);
    const after = { version, change, replicas, isStopped: false };
    return { method: "PUT", path, body: JSON.stringify({ compose }), after };
  }

  /** False: it makes no sense to go on. */
  async #change(prng: Prng, job: string, key: string, write: Write): Promise<boolean> {
    const { method, path, body, after } = write;
    const endMs = performance.now() + SETTLE_MS;
    for (;;) {
      const answer = await this.#ask(prng, key, write);
      if (answer?.status === 200) {
        const version: unknown = Reflect.get(Object(JSON.parse(answer.text)), "version");
        if (version !== after.version) {
          this.problems.push(
            `${method} ${path} (${key}) made version ${String(version)}, not ${after.version}: ${body}`,
          );
        }
        this.#states.set(job, after);
        this.counts.acked += 1;
        return true;
      }
      // 403: the node that was asked has left, and is about to end.
      const isOpen = answer === null || [403, 429, 503, 504].includes(answer.status);
      if (!isOpen || performance.now() > endMs) {
        const said = answer === null ? "no answer" : `${answer.status} ${answer.text}`;
        this.problems.push(`${method} ${path} (${key}): ${said}`);
        return false;
      }
      this.counts.repeats += 1;
      await delay(prng.between(20, 200));
    }
  }

  /** Null: nobody knows what became of it. */
  async #ask(
    prng: Prng,
    key: string,
    { method, path, body }: Write,
  ): Promise<{ readonly status: number; readonly text: string } | null> {
    try {
      return await prng.pick(this.#nodes).ask({
        method,
        path,
        headers: {
          "content-type": "application/json",
          "idempotency-key": key,
          "orch-timeout": String(ASK_MS),
        },
        body,
        timeoutMs: ASK_MS + GRACE_MS,
      });
    } catch {
      return null;
    }
  }
}
