import type { Prng } from "../../lib/prng.ts";
import type { Input, Operation, Output } from "./history.ts";
import { Recorder } from "./history.ts";

/** A register that is linearizable by construction (unless it has a fault), and random clients' histories of it. */

/** Where a broken register differs from a good one. */
export type Fault =
  /** A read is answered from the state before the last write. */
  | "stale read"
  /** A write is acknowledged and not made. */
  | "lost write"
  /** A write whose client heard nothing is made, and later once more. */
  | "write made twice";

export interface Workload {
  readonly operations: number;
  readonly clients: number;
  /** Of 1,000 operations, how many clients never hear of again (they may still take effect, late). */
  readonly unknownPerMille: number;
  /** How many values are written; null: each write its own. */
  readonly values: number | null;
  /** Whether the server tells versions and clients use them; else swaps compare values. */
  readonly versions: boolean;
  readonly removePerMille: number;
  /** What is broken, and how often it shows in 1,000 operations that could. */
  readonly fault: Fault | null;
  readonly faultPerMille: number;
}

interface Call {
  readonly handle: number;
  readonly input: Input;
  readonly lost: boolean;
  output: Output | null;
}

/** A history of one key. */
export function randomHistory(prng: Prng, workload: Workload): readonly Operation[] {
  const register = new SimulatedRegister(prng, workload);
  const recorder = new Recorder();
  const calls = new Map<string, Call>();
  const stray: Call[] = [];
  let called = 0;
  while (called < workload.operations || calls.size > 0) {
    const late = prng.chance(50) ? stray.shift() : undefined;
    if (late !== undefined) register.perform(late.input);
    const client = `c${prng.below(workload.clients)}`;
    const call = calls.get(client);
    if (call === undefined) {
      if (called === workload.operations) continue;
      called += 1;
      const input = randomInput(prng, workload, register, called);
      const handle = recorder.called(client, "k", input);
      calls.set(client, {
        handle,
        input,
        lost: prng.chance(workload.unknownPerMille),
        output: null,
      });
    } else if (call.lost) {
      calls.delete(client);
      const fate = prng.pick(["done", "done late", "never done"] as const);
      if (fate === "done") register.perform(call.input);
      if (fate === "done late" || register.fails("write made twice")) stray.push(call);
    } else if (call.output === null) {
      call.output = register.perform(call.input);
    } else {
      calls.delete(client);
      recorder.returned(call.handle, call.output);
    }
  }
  return recorder.history;
}

function randomInput(
  prng: Prng,
  workload: Workload,
  register: SimulatedRegister,
  serial: number,
): Input {
  const value = `v${workload.values === null ? serial : prng.below(workload.values)}`;
  if (prng.chance(workload.removePerMille)) return { kind: "remove" };
  const roll = prng.below(100);
  if (roll < 50) return { kind: "get" };
  if (roll < 80) return { kind: "put", value };
  if (!workload.versions) return { kind: "swap", value, ifValue: register.value };
  return { kind: "put-if", value, ifVersion: Math.max(0, register.version - prng.below(2)) };
}

class SimulatedRegister {
  value: string | null = null;
  version = 0;
  #before: { readonly value: string | null; readonly version: number } = {
    value: null,
    version: 0,
  };
  readonly #prng: Prng;
  readonly #workload: Workload;

  constructor(prng: Prng, workload: Workload) {
    this.#prng = prng;
    this.#workload = workload;
  }

  fails(fault: Fault): boolean {
    return this.#workload.fault === fault && this.#prng.chance(this.#workload.faultPerMille);
  }

  perform(input: Input): Output {
    switch (input.kind) {
      case "get": {
        const { value, version } = this.fails("stale read") ? this.#before : this;
        if (value === null) return { kind: "absent" };
        return { kind: "found", value, version: this.#told(version) };
      }
      case "remove":
        if (this.value === null) return { kind: "absent" };
        this.#become(null, 0);
        return { kind: "removed" };
      case "put":
        return this.#write(input.value);
      case "put-if":
        return input.ifVersion === this.version ? this.#write(input.value) : { kind: "refused" };
      case "swap":
        return input.ifValue === this.value ? this.#write(input.value) : { kind: "refused" };
    }
  }

  #write(value: string): Output {
    const version = this.version + 1;
    this.#become(value, version);
    return { kind: "written", version: this.#told(version) };
  }

  #become(value: string | null, version: number): void {
    if (this.fails("lost write")) return;
    this.#before = { value: this.value, version: this.version };
    this.value = value;
    this.version = version;
  }

  #told(version: number): number | null {
    return this.#workload.versions ? version : null;
  }
}
