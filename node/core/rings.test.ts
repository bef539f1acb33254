import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type NodeId, nodeId } from "../../state/ids.ts";
import { RINGS } from "./defaults.ts";
import { neighboursOf, Rings } from "./rings.ts";

function nodes(count: number, prefix = "node"): NodeId[] {
  return Array.from({ length: count }, (_, i) => nodeId(`12D3KooW-${prefix}-${i}`));
}

describe("the rings", () => {
  it("few nodes watch each other, all of them", () => {
    for (let count = 1; count <= RINGS + 1; count++) {
      const members = nodes(count);
      for (const id of members) {
        const others = members.filter((other) => other !== id);
        expect(neighboursOf(id, members)).toEqual({ subjects: others, observers: others });
      }
    }
  });

  it("who watches is who is watched by, however the list is ordered, as many on each side", () => {
    fc.assert(
      fc.property(fc.integer({ min: RINGS + 2, max: 60 }), fc.string(), (count, prefix) => {
        const members = nodes(count, prefix);
        const shuffled = members.toReversed();
        const of = new Map(members.map((id) => [id, neighboursOf(id, shuffled)]));
        for (const [id, { subjects, observers }] of of) {
          expect(subjects).not.toContain(id);
          expect(new Set(neighboursOf(id, members).subjects)).toEqual(new Set(subjects));
          for (const subject of subjects) expect(of.get(subject)?.observers).toContain(id);
          for (const observer of observers) expect(of.get(observer)?.subjects).toContain(id);
          expect(observers.length).toBeLessThanOrEqual(RINGS);
        }
      }),
      { numRuns: 50 },
    );
  });

  it("made once say the same as those that are walked for each, of strangers as well", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 40 }), fc.string(), (count, prefix) => {
        const members = nodes(count, prefix).toReversed();
        const rings = new Rings(members);
        for (const id of [...members, nodeId("stranger")])
          expect(rings.of(id)).toEqual(neighboursOf(id, members));
      }),
      { numRuns: 50 },
    );
  });

  it("order those of equal places by their ids, made once or walked", () => {
    // Of one hash, found by trying.
    const [lower, higher] = [nodeId("twin-1600380"), nodeId("twin-813509")];
    const members = [higher, ...nodes(20), lower];
    const rings = new Rings(members);
    for (const id of members) expect(rings.of(id)).toEqual(neighboursOf(id, members));
    expect(rings.of(lower).subjects).toEqual([higher]);
    expect(rings.of(higher).observers).toEqual([lower]);
  });

  it("give a node of many nearly RINGS different observers, and nobody reaches only its own kind", () => {
    const members = nodes(1_000);
    const observers = members.map((id) => neighboursOf(id, members).observers.length);
    expect(observers.reduce((a, b) => a + b) / members.length).toBeGreaterThan(RINGS - 0.1);
    expect(Math.min(...observers)).toBeGreaterThanOrEqual(RINGS - 2);
    const reached = new Set<NodeId>(members.slice(0, 1));
    for (const id of reached)
      for (const next of neighboursOf(id, members).subjects) reached.add(next);
    expect(reached.size).toBe(members.length);
  });

  it("one that joins or leaves changes the neighbours of a few only", () => {
    const members = nodes(500);
    const more = [...members, nodeId("12D3KooW-new")];
    const changed = members.filter(
      (id) => neighboursOf(id, members).subjects.join() !== neighboursOf(id, more).subjects.join(),
    );
    expect(changed.length).toBeLessThanOrEqual(RINGS);
  });
});
