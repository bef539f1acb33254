import type { Prng } from "../../lib/prng.ts";
import type { Request, Response } from "../../node/core/request.ts";
import type { JobSpec } from "../../state/spec.ts";
import { Violation } from "./violation.ts";

/** What users do meanwhile, and what they were told: nothing acknowledged may be lost, no read may be stale. */

const JOBS = ["alpha", "beta", "gamma", "fixed"] as const;

/** Its tasks must never run twice. */
export const ONCE = "once";

export interface Ask {
  readonly request: Request;
  readonly done: (response: Response) => void;
}

interface Written {
  readonly key: string;
  readonly job: string;
  /** Null until acknowledged. */
  version: number | null;
}

export class Workload {
  readonly #prng: Prng;
  readonly #mayRemove: () => boolean;
  readonly #jobs: readonly string[];
  readonly #writes: Written[] = [];
  /** The highest version of each job that some user was told of. */
  readonly #floor: Map<string, number> = new Map();
  /** Writes whose outcome a user never learned: it repeats them under their key. */
  readonly #unsettled: { readonly request: Request; readonly written: Written }[] = [];
  #keys = 0;
  acknowledged = 0;
  unknown = 0;
  refused = 0;
  reads = 0;

  /** `mayRemove`: configs are numbered from above any that was removed; who counts from 1 comes first. */
  constructor(prng: Prng, mayRemove: () => boolean, hasOnce: boolean) {
    this.#prng = prng;
    this.#mayRemove = mayRemove;
    this.#jobs = hasOnce ? [...JOBS, ONCE] : JOBS;
  }

  /** The next thing a user does. */
  next(): Ask {
    const prng = this.#prng;
    const unsettled = prng.chance(300) ? this.#unsettled.shift() : undefined;
    if (unsettled !== undefined) return this.#ask(unsettled.request, unsettled.written);
    const roll = prng.below(100);
    const job = prng.pick(this.#jobs);
    if (roll < 40) return this.#read(job);
    if (roll < 45 && this.#mayRemove()) return this.#scratch();
    if (roll < 50) return this.#write(job, { kind: "job-stop", job, service: null });
    const spec = jobSpec(prng, job);
    return this.#write(job, { kind: "job-put", spec, ifVersion: null });
  }

  #read(job: string): Ask {
    const floor = this.#floor.get(job) ?? 0;
    return {
      request: { kind: "read", query: { kind: "job", job }, stale: false },
      done: (response) => {
        if (response.kind === "refused") {
          if (response.fault.code === "not-found" && floor > 0) {
            throw new Violation(
              "linearizable",
              `${job} was acknowledged at ${floor}, then not found`,
            );
          }
          return;
        }
        this.reads += 1;
        const version = numberAt(response.body, "version");
        if (version < floor) {
          throw new Violation("linearizable", `${job} read at ${version} after ${floor} was known`);
        }
        this.#know(job, version);
      },
    };
  }

  /** A config that comes and goes: what is left of it is in the state alone. */
  #scratch(): Ask {
    this.#keys += 1;
    const name = "scratch";
    const data = `${this.#keys}`;
    const command = this.#prng.chance(500)
      ? ({ kind: "config-put", name, data, ifVersion: null } as const)
      : ({ kind: "config-remove", name, ifVersion: null } as const);
    return { request: { kind: "write", key: `scratch-${data}`, command }, done: () => {} };
  }

  #write(job: string, command: Extract<Request, { kind: "write" }>["command"]): Ask {
    this.#keys += 1;
    const written: Written = { key: `key-${this.#keys}`, job, version: null };
    this.#writes.push(written);
    return this.#ask({ kind: "write", key: written.key, command }, written);
  }

  #ask(request: Request, written: Written): Ask {
    return { request, done: (response) => this.#wrote(request, written, response) };
  }

  #wrote(request: Request, written: Written, response: Response): void {
    if (response.kind === "refused") {
      if (response.fault.code === "unknown") {
        this.unknown += 1;
        this.#unsettled.push({ request, written });
      } else {
        this.refused += 1;
      }
      return;
    }
    this.acknowledged += 1;
    const version = numberAt(response.body, "version");
    if (written.version !== null && written.version !== version) {
      const text = `${written.key} was answered ${written.version}, then ${version}`;
      throw new Violation("done once", text);
    }
    written.version = version;
    this.#know(written.job, version);
  }

  #know(job: string, version: number): void {
    this.#floor.set(job, Math.max(this.#floor.get(job) ?? 0, version));
  }

  /** At the end: every acknowledged write is in the state. */
  check(versionOf: (job: string) => number): void {
    for (const { key, job, version } of this.#writes) {
      if (version !== null && versionOf(job) < version) {
        const text = `${key} made ${job} version ${version}; the cluster has ${versionOf(job)}`;
        throw new Violation("acknowledged is kept", text);
      }
    }
  }
}

function numberAt(body: unknown, name: string): number {
  const value = typeof body === "object" && body !== null ? Reflect.get(body, name) : undefined;
  if (typeof value !== "number") throw new Violation("answers", `no ${name} in an answer`);
  return value;
}

function jobSpec(prng: Prng, name: string): JobSpec {
  if (name === "fixed") return fixedPort(prng);
  if (name === ONCE) return once(prng);
  const crashing = prng.chance(200);
  return {
    name,
    services: [
      {
        name: "web",
        type: "service",
        image: prng.chance(50) ? "missing" : "sim",
        driver: null,
        entrypoint: null,
        command: crashing ? ["exit", "1", "after", "700"] : ["run"],
        environment: { STAMP: String(prng.uint32()) },
        workingDir: null,
        ports: prng.chance(300) ? [{ container: 80, host: null, protocol: "tcp" }] : [],
        volumes: [],
        replicas: prng.between(0, 5),
        reservations: { cpuMilli: 100, memoryMib: 64, diskMib: 0 },
        limits: { cpuMilli: null, memoryMib: null },
        restart: {
          condition: "any",
          delayMs: 500,
          maxAttempts: null,
          windowMs: 5_000,
        },
        constraints: [],
        stopGraceMs: 1_000,
        partition: "at-least-one",
      },
    ],
  };
}

/**
 * One task that ends only when it is killed and holds a port that no other may have: its replacement must
 * not be started where the old one still stands, or it fails for good.
 */
function fixedPort(prng: Prng): JobSpec {
  const { services } = jobSpec(prng, "other");
  return {
    name: "fixed",
    services: services.map((service) => ({
      ...service,
      image: "sim",
      command: ["stubborn"],
      ports: [{ container: 80, host: 8_080, protocol: "tcp" }],
      replicas: 1,
      restart: { ...service.restart, maxAttempts: 2 },
      stopGraceMs: 3_000,
    })),
  };
}

/** Some end as soon as they are told to, others when they are killed, and some by themselves. */
function once(prng: Prng): JobSpec {
  const { services } = jobSpec(prng, "other");
  const command = prng.pick([["run"], ["stubborn"], ["exit", "1", "after", "3000"]]);
  const stopGraceMs = prng.pick([0, 1_000, 3_000]);
  return {
    name: ONCE,
    services: services.map((service) => ({
      ...service,
      image: "sim",
      command,
      replicas: prng.between(0, 3),
      stopGraceMs,
      partition: "at-most-one",
    })),
  };
}
