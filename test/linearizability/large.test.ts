import { describe, expect, it } from "vitest";
import { Prng } from "../../lib/prng.ts";
import { checkLinearizable } from "./checker.ts";
import type { Operation } from "./history.ts";
import type { Workload } from "./simulated-register.ts";
import { randomHistory } from "./simulated-register.ts";

/** Histories as long as those of the chaos tests, on one key; what they cost is counted in steps. */

const CHAOS: Workload = {
  operations: 10_000,
  clients: 40,
  unknownPerMille: 80,
  values: null,
  versions: true,
  removePerMille: 0,
  fault: null,
  faultPerMille: 1,
};

function lines(explanation: string): number {
  return explanation.split("\n").length;
}

describe("10,000 operations of 40 clients, hundreds of outcomes unknown", () => {
  const good = randomHistory(new Prng(1), CHAOS);

  it("versions leave the search nothing to choose", () => {
    const unknown = good.filter(({ input, output }) => input.kind !== "get" && output === null);
    expect(unknown.length).toBeGreaterThan(300);
    const { kind, steps } = checkLinearizable(good);
    expect(kind).toBe("linearizable");
    expect(steps).toBeLessThan(2 * CHAOS.operations);
  });

  it("without versions, or with removes, it takes more", () => {
    for (const other of [{ versions: false }, { removePerMille: 20 }]) {
      const history = randomHistory(new Prng(1), { ...CHAOS, ...other, unknownPerMille: 30 });
      expect(checkLinearizable(history)).toMatchObject({ kind: "linearizable" });
    }
  });

  it("one stale read in the midst is found, and explained in a few lines", () => {
    const stale = good.findLast(({ output, calledAt }) => {
      return output?.kind === "found" && calledAt < 15_000;
    });
    const before = good.findLast(
      ({ output, returnedAt }) =>
        output?.kind === "written" && (returnedAt ?? Infinity) < (stale?.calledAt ?? 0) - 300,
    );
    const old = oldRead(before);
    const history = good.map((each) => (each === stale ? { ...each, output: old } : each));
    const verdict = checkLinearizable(history);
    expect(verdict.kind).toBe("violated");
    expect(lines(verdict.kind === "violated" ? verdict.explanation : "")).toBeLessThan(8);
  });

  it.each(["stale read", "lost write", "write made twice"] as const)("found: %s", (fault) => {
    const broken = { ...CHAOS, fault, faultPerMille: 300 };
    const verdict = checkLinearizable(randomHistory(new Prng(1), broken));
    expect(verdict.kind).toBe("violated");
    expect(lines(verdict.kind === "violated" ? verdict.explanation : "")).toBeLessThan(8);
  });
});

function oldRead(write: Operation | undefined): Operation["output"] {
  if (write?.input.kind === "get" || write?.input.kind === "remove") return null;
  if (write?.output?.kind !== "written") return null;
  return { kind: "found", value: write.input.value, version: write.output.version };
}
