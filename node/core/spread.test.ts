import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bestExchange, crowding, firstPerDomain, pickSpread, type Place } from "./spread.ts";

interface Node extends Place {
  readonly id: number;
}

const anyNodes = fc
  .array(
    fc.record({ datacenter: fc.constantFrom("a", "b", "c"), zone: fc.constantFrom("", "1") }),
    {
      minLength: 1,
      maxLength: 9,
    },
  )
  .map((places) => places.map((place, i): Node => ({ ...place, id: i + 1 })));

function byId(a: Node, b: Node): number {
  return a.id - b.id;
}

/** Pairs in one datacenter and, by far less, pairs in one zone: what a failure takes together. */
function cost(group: readonly Place[]): number {
  return group.reduce((sum, place, i) => {
    const { datacenter, zone } = crowding(place, group.slice(0, i));
    return sum + datacenter * 1_000 + zone;
  }, 0);
}

function subsets(nodes: readonly Node[], count: number): Node[][] {
  const [first, ...rest] = nodes;
  if (count === 0) return [[]];
  if (first === undefined) return [];
  return [...subsets(rest, count - 1).map((subset) => [first, ...subset]), ...subsets(rest, count)];
}

function least(nodes: readonly Node[], count: number): number {
  return Math.min(...subsets(nodes, count).map(cost));
}

describe("spread", () => {
  it("is the best there is, of all choices, when chosen one by one", () => {
    fc.assert(
      fc.property(anyNodes, fc.integer({ min: 1, max: 5 }), (nodes, wanted) => {
        const count = Math.min(wanted, nodes.length);
        const picked = pickSpread(nodes, [], count, byId);
        expect(new Set(picked).size).toBe(count);
        expect(cost(picked)).toBe(least(nodes, count));
      }),
    );
  });

  it("is the best there is once no exchange improves it, though one node never moves", () => {
    fc.assert(
      fc.property(anyNodes, fc.integer({ min: 1, max: 5 }), (nodes, wanted) => {
        let group = nodes.slice(0, wanted);
        for (let round = 0; ; round++) {
          expect(round).toBeLessThan(20);
          const before = cost(group);
          const pool = nodes.filter((node) => !group.includes(node));
          const found = bestExchange(group, group.slice(1), pool, (a, b) => byId(a.in, b.in));
          if (found === null) break;
          group = [...group.filter((node) => node !== found.out), found.in];
          expect(cost(group)).toBeLessThan(before);
        }
        expect(cost(group)).toBe(least(nodes, group.length));
      }),
    );
  });

  it("takes the first among equals", () => {
    const nodes = [3, 1, 2].map((id): Node => ({ id, datacenter: "a", zone: "" }));
    expect(pickSpread(nodes, [], 2, byId).map(({ id }) => id)).toEqual([1, 2]);
    expect(firstPerDomain(nodes, byId).map(({ id }) => id)).toEqual([1]);
  });

  it("keeps one of each datacenter and zone", () => {
    fc.assert(
      fc.property(anyNodes, (nodes) => {
        const firsts = firstPerDomain(nodes, byId);
        for (const node of nodes) {
          const same = firsts.filter((first) => crowding(first, [node]).zone === 1);
          expect(same).toHaveLength(1);
          expect(same[0]?.id).toBeLessThanOrEqual(node.id);
        }
      }),
    );
  });
});
