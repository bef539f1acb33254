import { assert, present } from "../../lib/assert.ts";

/**
 * What clients asked of registers, and what they were told: the input of the linearizability checker.
 *
 * A register is a key. It is absent at first. Every write that takes effect makes its next version: 1 for
 * an absent key, one more than before otherwise, as jobs are counted (state/apply-jobs.ts). A removed key
 * is absent, at version 0, and starts at 1 again.
 */

export type Input =
  | { readonly kind: "put"; readonly value: string }
  /** Writes only if the register is at this version now; 0: only if the key is absent. */
  | { readonly kind: "put-if"; readonly value: string; readonly ifVersion: number }
  /** Writes only if the register holds this value now (null: absent): compare-and-set without versions. */
  | { readonly kind: "swap"; readonly value: string; readonly ifValue: string | null }
  | { readonly kind: "get" }
  | { readonly kind: "remove" };

export type Output =
  /** `version`: the one that the write made; null where the server does not tell. */
  | { readonly kind: "written"; readonly version: number | null }
  /** The condition of a put-if or swap did not hold. */
  | { readonly kind: "refused" }
  | { readonly kind: "found"; readonly value: string; readonly version: number | null }
  /** The key did not exist: the answer to a get, or to a remove that had nothing to remove. */
  | { readonly kind: "absent" }
  | { readonly kind: "removed" };

/**
 * One call of one client. The times are any numbers that never fall. A call at the instant of another
 * operation's return counts as concurrent with it, also if both are one client's: a recorder that
 * numbers its events (`Recorder`) lets the checker see the most.
 *
 * `returnedAt` and `output` are both null if the outcome is unknown: the operation took effect at any
 * time after its call, or never. What surely did not happen (a connection refused) is no operation.
 */
export interface Operation {
  readonly client: string;
  readonly key: string;
  readonly calledAt: number;
  readonly returnedAt: number | null;
  readonly input: Input;
  readonly output: Output | null;
}

const ANSWERS: Readonly<Record<Input["kind"], readonly Output["kind"][]>> = {
  put: ["written"],
  "put-if": ["written", "refused"],
  swap: ["written", "refused"],
  get: ["found", "absent"],
  remove: ["removed", "absent"],
};

/** Stops the test if an operation cannot be what a recorder saw: then the recorder is wrong, not the server. */
function assertWellFormed(operation: Operation): void {
  const { calledAt, returnedAt, input, output } = operation;
  const what = describeOperation(operation);
  assert((returnedAt === null) === (output === null), `an answer has a time: ${what}`);
  assert(returnedAt === null || returnedAt >= calledAt, `a return follows its call: ${what}`);
  if (output === null) return;
  assert(ANSWERS[input.kind].includes(output.kind), `an answer fits its question: ${what}`);
}

/**
 * The operations of each key, in the order of their calls: linearizability holds for all keys together
 * exactly if it holds for each. Reads of unknown outcome say nothing and are left out.
 */
export function operationsByKey(history: readonly Operation[]): Map<string, Operation[]> {
  const keys = new Map<string, Operation[]>();
  for (const operation of history.toSorted((a, b) => a.calledAt - b.calledAt)) {
    assertWellFormed(operation);
    if (operation.input.kind === "get" && operation.output === null) continue;
    const known = keys.get(operation.key);
    if (known === undefined) keys.set(operation.key, [operation]);
    else known.push(operation);
  }
  return keys;
}

/** The value that the operation writes if it takes effect. */
export function valueWritten({ input }: Operation): string | null {
  return input.kind === "get" || input.kind === "remove" ? null : input.value;
}

/** The version that a client was told of: the one it made or the one it read. */
export function versionTold({ output }: Operation): number | null {
  return output?.kind === "written" || output?.kind === "found" ? output.version : null;
}

/** One line for people, such as `c1 put "a" → version 3   [10, 12]`. */
export function describeOperation(operation: Operation): string {
  const { client, input, output, calledAt, returnedAt } = operation;
  const answer = output === null ? "unknown" : describeOutput(output);
  return `${client} ${describeInput(input)} → ${answer}   [${calledAt}, ${returnedAt ?? "…"}]`;
}

function describeInput(input: Input): string {
  switch (input.kind) {
    case "put":
      return `put "${input.value}"`;
    case "put-if":
      return `put "${input.value}" if at version ${input.ifVersion}`;
    case "swap":
      return `put "${input.value}" if ${input.ifValue === null ? "absent" : `"${input.ifValue}"`}`;
    case "get":
    case "remove":
      return input.kind;
  }
}

function describeOutput(output: Output): string {
  switch (output.kind) {
    case "written":
      return output.version === null ? "written" : `version ${output.version}`;
    case "found":
      return `"${output.value}"${output.version === null ? "" : ` at version ${output.version}`}`;
    case "refused":
    case "absent":
    case "removed":
      return output.kind;
  }
}

/** Writes a history down, with the numbers of its events as times, so that no two are equal. */
export class Recorder {
  readonly #operations: Operation[] = [];
  #events = 0;

  /** A client calls; returns the handle that `returned` takes. Never returned: its outcome is unknown. */
  called(client: string, key: string, input: Input): number {
    this.#events += 1;
    const calledAt = this.#events;
    return (
      this.#operations.push({ client, key, calledAt, returnedAt: null, input, output: null }) - 1
    );
  }

  /** The client has its answer. */
  returned(handle: number, output: Output): void {
    const operation = present(this.#operations[handle], "an operation returns after its call");
    assert(operation.returnedAt === null, "an operation returns once");
    this.#events += 1;
    this.#operations[handle] = { ...operation, returnedAt: this.#events, output };
  }

  get history(): readonly Operation[] {
    return this.#operations;
  }
}
