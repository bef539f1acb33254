import { describe, expect, it } from "vitest";
import { Prng } from "../../lib/prng.ts";
import { linearizableByBruteForce } from "./brute-force.ts";
import { checkLinearizable } from "./checker.ts";
import type { Input, Operation, Output } from "./history.ts";
import { describeOperation, versionTold } from "./history.ts";
import { cheapViolation } from "./oracle.ts";
import type { Workload } from "./simulated-register.ts";
import { randomHistory } from "./simulated-register.ts";

const SMALL: Workload = {
  operations: 6,
  clients: 3,
  unknownPerMille: 200,
  values: null,
  versions: true,
  removePerMille: 0,
  fault: null,
  faultPerMille: 0,
};

const FAULTS = ["stale read", "lost write", "write made twice"] as const;

const WORKLOADS: Readonly<Record<string, Workload>> = {
  "unique values, versions": SMALL,
  "few values, versions": { ...SMALL, values: 2 },
  "unique values, versions, removes": { ...SMALL, removePerMille: 200 },
  "few values, versions, removes": { ...SMALL, values: 2, removePerMille: 200 },
  "unique values, plain": { ...SMALL, versions: false },
  "few values, plain, removes": { ...SMALL, versions: false, values: 2, removePerMille: 100 },
};

/** The checker's word and the definition's must be one; and the cheap checks may not accuse the innocent. */
function compare(history: readonly Operation[], from: string): boolean {
  const expected = linearizableByBruteForce(history);
  const { kind } = checkLinearizable(history);
  const cheap = cheapViolation(history);
  if (kind !== (expected ? "linearizable" : "violated") || (expected && cheap !== null)) {
    const lines = history.map(describeOperation).join("\n");
    throw new Error(`${from}: ${kind}, ${cheap ?? "no cheap violation"}, of\n${lines}`);
  }
  return expected;
}

describe.each(Object.entries(WORKLOADS))("tiny histories: %s", (name, workload) => {
  it("what a linearizable register does is linearizable", () => {
    for (let seed = 0; seed < 1_000; seed += 1) {
      expect(compare(randomHistory(new Prng(seed), workload), `${name}, ${seed}`)).toBe(true);
    }
  });

  it.each(FAULTS)("a register with a fault is judged as by brute force: %s", (fault) => {
    const judged = { good: 0, bad: 0 };
    const broken = { ...workload, fault, faultPerMille: 300, unknownPerMille: 300 };
    for (let seed = 0; seed < 1_500; seed += 1) {
      const history = randomHistory(new Prng(seed), broken);
      judged[compare(history, `${name}, ${fault}, ${seed}`) ? "good" : "bad"] += 1;
    }
    expect(judged.good).toBeGreaterThan(100);
    // Few of six operations show that a write was made twice: classic.test.ts has those that do.
    expect(judged.bad).toBeGreaterThanOrEqual(fault === "write made twice" ? 0 : 51);
  });

  it("every mutant is judged as by brute force", () => {
    const judged = { good: 0, bad: 0 };
    for (let seed = 0; seed < 1_500; seed += 1) {
      const prng = new Prng(seed);
      const mutant = mutate(prng, randomHistory(prng, workload));
      judged[compare(mutant, `${name}, ${seed}`) ? "good" : "bad"] += 1;
    }
    expect(Math.min(judged.good, judged.bad)).toBeGreaterThan(100);
  });

  it("what was made up altogether is judged as by brute force", () => {
    const judged = { good: 0, bad: 0 };
    for (let seed = 0; seed < 3_000; seed += 1) {
      const history = fiction(new Prng(seed), workload);
      judged[compare(history, `${name}, ${seed}`) ? "good" : "bad"] += 1;
    }
    expect(Math.min(judged.good, judged.bad)).toBeGreaterThan(100);
  });
});

/** A wrong answer somewhere: another client's, or one that was made up. */
function mutate(prng: Prng, history: readonly Operation[]): readonly Operation[] {
  const operation = prng.pick(history.filter(({ output }) => output !== null));
  const { input, output } = operation;
  const alike = history.filter((o) => o.input.kind === input.kind && o.output !== null);
  const other = prng.pick(alike);
  if (other !== operation && prng.chance(600)) {
    return history.map((each) => {
      if (each === operation) return { ...each, output: other.output };
      return each === other ? { ...each, output } : each;
    });
  }
  const versions = versionTold(operation) !== null;
  const wrong = fictitiousOutput(prng, input, versions);
  return history.map((each) => (each === operation ? { ...each, output: wrong } : each));
}

function found(prng: Prng, version: number | null): Output {
  return { kind: "found", value: `v${prng.between(0, 2)}`, version };
}

/** Questions, answers and times by chance; times are often equal. */
function fiction(prng: Prng, { versions, values, removePerMille }: Workload): Operation[] {
  const count = prng.between(2, 6);
  return Array.from({ length: count }, (_, serial): Operation => {
    const calledAt = prng.below(6);
    const value = `v${values === null ? serial : prng.below(values)}`;
    const input = fictitiousInput(prng, value, versions, removePerMille);
    const isUnknown = input.kind !== "get" && prng.chance(200);
    return {
      client: `c${serial}`,
      key: "k",
      calledAt,
      returnedAt: isUnknown ? null : calledAt + prng.below(4),
      input,
      output: isUnknown ? null : fictitiousOutput(prng, input, versions),
    };
  });
}

function fictitiousInput(
  prng: Prng,
  value: string,
  versions: boolean,
  removePerMille: number,
): Input {
  if (prng.chance(removePerMille)) return { kind: "remove" };
  const roll = prng.below(10);
  if (roll < 4) return { kind: "get" };
  if (roll < 8) return { kind: "put", value };
  if (versions && prng.chance(700)) return { kind: "put-if", value, ifVersion: prng.below(3) };
  return { kind: "swap", value, ifValue: prng.chance(300) ? null : `v${prng.below(3)}` };
}

function fictitiousOutput(prng: Prng, input: Input, versions: boolean): Output {
  const version = versions && prng.chance(800) ? prng.between(1, 3) : null;
  switch (input.kind) {
    case "get":
      return prng.chance(200) ? { kind: "absent" } : found(prng, version);
    case "remove":
      return prng.chance(500) ? { kind: "absent" } : { kind: "removed" };
    case "put":
      return { kind: "written", version };
    case "put-if":
    case "swap":
      return prng.chance(300) ? { kind: "refused" } : { kind: "written", version };
  }
}
