import type { Prng } from "../../lib/prng.ts";
import type { Request, Response } from "../../node/core/request.ts";
import { checkLinearizable } from "../linearizability/checker.ts";
import { type Input, type Output, Recorder } from "../linearizability/history.ts";
import { cheapViolation, lossViolation } from "../linearizability/oracle.ts";
import { Violation } from "./violation.ts";
import type { Ask } from "./workload.ts";

const NAMES = ["reg-1", "reg-2", "reg-3"] as const;

/** A write whose outcome its client has not learned: it is asked again under its key, and is the same operation. */
interface Unsettled {
  readonly handle: number;
  readonly name: string;
  readonly request: Extract<Request, { kind: "write" }>;
  readonly isFirst: boolean;
}

/** Clients that read and write configs as registers; what they were told must be linearizable. */
export class Registers {
  readonly #prng: Prng;
  readonly #recorder: Recorder = new Recorder();
  /** A version that some client knows of, by name: for compare-and-set. */
  readonly #known: Map<string, number> = new Map();
  readonly #unsettled: Unsettled[] = [];
  /** Keys of writes that were refused as surely not done, and not asked again since. */
  readonly #failed: Set<string> = new Set();
  readonly #isExact: boolean;
  #writes = 0;
  acknowledged = 0;
  unknown = 0;
  reads = 0;

  /** `isExact`: no message comes twice, so that what was refused stays so. */
  constructor(prng: Prng, isExact: boolean) {
    this.#prng = prng;
    this.#isExact = isExact;
  }

  /** Whether each of them has a version already. */
  get areMade(): boolean {
    return this.#known.size === NAMES.length;
  }

  next(): Ask {
    const prng = this.#prng;
    const again = prng.chance(300) ? this.#unsettled.shift() : undefined;
    if (again !== undefined) {
      this.#failed.delete(again.request.key);
      return this.#ask({ ...again, isFirst: false });
    }
    const name = prng.pick(NAMES);
    if (prng.chance(450)) return this.#read(name);
    this.#writes += 1;
    const value = `w${String(this.#writes).padStart(7, "0")}`;
    const ifVersion = prng.chance(400) ? (this.#known.get(name) ?? 0) : null;
    const input: Input =
      ifVersion === null ? { kind: "put", value } : { kind: "put-if", value, ifVersion };
    const command = { kind: "config-put", name, data: value, ifVersion } as const;
    const handle = this.#recorder.called(this.#client(), name, input);
    const request = { kind: "write", key: `set-${value}`, command } as const;
    return this.#ask({ handle, name, request, isFirst: true });
  }

  #client(): string {
    return `client-${this.#prng.below(1_000_000_000)}`;
  }

  #ask(write: Unsettled): Ask {
    return { request: write.request, done: (response) => this.#wrote(write, response) };
  }

  #wrote(write: Unsettled, response: Response): void {
    if (response.kind === "ok") {
      const version = numberOf(response.body, "version");
      this.acknowledged += 1;
      this.#known.set(write.name, version);
      this.#recorder.returned(write.handle, { kind: "written", version });
    } else if (response.fault.code === "version-mismatch") {
      this.#recorder.returned(write.handle, { kind: "refused" });
    } else {
      // Also one that was surely not done this time may have been the time before.
      this.unknown += 1;
      if (response.fault.code === "no-manager" && write.isFirst && this.#isExact) {
        this.#failed.add(write.request.key);
      }
      this.#unsettled.push(write);
    }
  }

  #read(name: string): Ask {
    const handle = this.#recorder.called(this.#client(), name, { kind: "get" });
    const request: Request = {
      kind: "read",
      query: { kind: "config", config: name },
      stale: false,
    };
    return {
      request,
      done: (response) => {
        const output = readOutput(response);
        if (output === null) return;
        this.reads += 1;
        if (output.kind === "found") this.#known.set(name, output.version ?? 0);
        this.#recorder.returned(handle, output);
      },
    };
  }

  /** `values`: what each register held at versions 1, 2, … by the log; `keys`: of all writes in it. */
  check(values: ReadonlyMap<string, readonly string[]>, keys: ReadonlySet<string>): void {
    const done = [...this.#failed].find((key) => keys.has(key));
    if (done !== undefined) throw new Violation("answers", `${done} failed for sure, and was done`);
    const { history } = this.#recorder;
    const cheap =
      cheapViolation(history) ??
      lossViolation(history, (name) => {
        const held = values.get(name) ?? [];
        return { version: held.length, values: held };
      });
    if (cheap !== null) throw new Violation("linearizable", cheap);
    const verdict = checkLinearizable(history);
    if (verdict.kind === "violated") {
      throw new Violation("linearizable", `${verdict.key}:\n${verdict.explanation}`);
    }
    if (verdict.kind === "undecided") throw new Violation("linearizable", "it cannot be decided");
  }
}

function readOutput(response: Response): Output | null {
  if (response.kind === "refused") {
    return response.fault.code === "not-found" ? { kind: "absent" } : null;
  }
  const data: unknown = Reflect.get(Object(response.body), "data");
  if (typeof data !== "string") throw new Violation("answers", "a config without data");
  return { kind: "found", value: data, version: numberOf(response.body, "version") };
}

function numberOf(body: unknown, name: string): number {
  const value: unknown = Reflect.get(Object(body), name);
  if (typeof value !== "number") throw new Violation("answers", `no ${name} in an answer`);
  return value;
}
