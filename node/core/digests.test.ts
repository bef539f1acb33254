import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { idOf, USAGE } from "../../test/fixtures/cluster.ts";
import { DIGEST_LATE_MS, GOSSIP_MAX_MS, GOSSIP_MIN_MS, GOSSIP_PER_SECOND } from "./defaults.ts";
import { Digests } from "./digests.ts";
import type { Digest } from "./effect.ts";

const [A, B] = [idOf("a"), idOf("b")];
const START = 1_000_000;

function members(count: number): { readonly id: typeof A }[] {
  return Array.from({ length: count }, (_, i) => ({ id: idOf(`m${i}`) }));
}

function digest(count: number, changes: Partial<Digest> = {}): Digest {
  return { usage: USAGE, tasks: 1, orchVersion: "0.1.0", count, ...changes };
}

/** How many digests a node that looks ten times a second publishes in that time. */
function published(nodes: number, durationMs: number): number {
  const digests = new Digests(A, "0.1.0");
  digests.measured(USAGE, 0, START);
  const all = members(nodes);
  let count = 0;
  for (let now = START; now < START + durationMs; now += 100) {
    if (digests.due(all, now) !== null) count += 1;
  }
  return count;
}

describe("a node's own digest", () => {
  it("is none before the first measurement, then what was measured last, counted upwards", () => {
    const digests = new Digests(A, "0.1.0");
    expect(digests.due(members(3), START)).toBeNull();
    digests.measured(USAGE, 2, START);
    expect(digests.due(members(3), START + 100)).toEqual(digest(START + 100, { tasks: 2 }));
    const busier = { ...USAGE, cpuMilli: 900 };
    digests.measured(busier, 3, START + 1_000);
    expect(digests.due(members(3), START + 1_000)).toBeNull();
    expect(digests.due(members(3), START + 100 + 1.5 * GOSSIP_MIN_MS)).toMatchObject({
      usage: busier,
      tasks: 3,
    });
  });

  it("comes at a time of each node's own, also when all began at once", () => {
    const all = members(100);
    const nodes = all.map(({ id }) => new Digests(id, "0.1.0"));
    for (const node of nodes) node.measured(USAGE, 0, START);
    const everyMs = (1_000 * all.length) / GOSSIP_PER_SECOND;
    const bySecond = new Map<number, number>();
    for (let now = START; now < START + 10 * everyMs; now += 100) {
      const said = nodes.filter((node) => node.due(all, now) !== null).length;
      const second = Math.floor((now - START) / 1_000);
      bySecond.set(second, (bySecond.get(second) ?? 0) + said);
    }
    bySecond.delete(0);
    expect(Math.max(...bySecond.values())).toBeLessThan(2 * GOSSIP_PER_SECOND);
  });

  it("comes so seldom that all nodes together stay within the budget, and comes at last", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20_000 }), (nodes) => {
        const durationMs = 3 * GOSSIP_MAX_MS;
        const each = published(nodes, durationMs);
        expect(each).toBeGreaterThanOrEqual(3);
        const bound = Math.max(
          (GOSSIP_PER_SECOND * durationMs) / 1_000,
          (nodes * durationMs) / GOSSIP_MAX_MS,
        );
        // The first of each comes at once, and one more where its time in the last interval is early.
        expect((each - 2) * nodes).toBeLessThanOrEqual(bound);
      }),
      { numRuns: 20 },
    );
  });

  it("is known to the node itself at once", () => {
    const digests = new Digests(A, "0.1.0");
    expect([digests.usage(A), digests.usageOf(A), digests.of(A)]).toEqual([null, null, null]);
    digests.measured(USAGE, 2, START);
    expect(digests.usage(A)).toEqual({ usage: USAGE, atMs: START });
    expect(digests.of(A)).toMatchObject({ tasks: 2, orchVersion: "0.1.0" });
  });
});

describe("what others say", () => {
  it("is kept unless it was held up behind a newer one", () => {
    const digests = new Digests(A, "0.1.0");
    digests.heard(B, digest(7, { tasks: 7 }), START);
    digests.heard(B, digest(6, { tasks: 6 }), START + 1_000);
    digests.heard(B, digest(7, { tasks: 8 }), START + 1_000);
    expect(digests.of(B)?.tasks).toBe(7);
    expect(digests.usage(B)?.atMs).toBe(START);
    digests.heard(B, digest(8, { tasks: 9 }), START + 2_000);
    expect(digests.of(B)?.tasks).toBe(9);
    expect(digests.usage(B)?.atMs).toBe(START + 2_000);
  });

  it("is heard again of a node whose clock was set back", () => {
    const digests = new Digests(A, "0.1.0");
    digests.heard(B, digest(9_000_000), START);
    digests.heard(B, digest(1_000, { tasks: 3 }), START + DIGEST_LATE_MS);
    expect(digests.of(B)?.tasks).toBe(3);
  });

  it("is forgotten with the member", () => {
    const digests = new Digests(A, "0.1.0");
    digests.measured(USAGE, 0, START);
    digests.heard(B, digest(1), START);
    digests.due([{ id: A }, { id: B }], START);
    expect(digests.of(B)).not.toBeNull();
    digests.due([{ id: A }], START + 1.5 * GOSSIP_MIN_MS);
    expect(digests.of(B)).toBeNull();
    expect(digests.of(A)).not.toBeNull();
  });
});
