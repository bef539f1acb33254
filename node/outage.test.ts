import { expect, test } from "vitest";
import { assert, present } from "../lib/assert.ts";
import { Prng } from "../lib/prng.ts";
import { TICK_MS } from "./core/defaults.ts";
import { type Machine, World } from "./testing.ts";

/** A switch fails and comes back: whole nodes, none of which had anything, and links that return one by one. */

/** Until a lost connection is noticed, as a rule. */
const UNNOTICED_MS = 7_000;
/** The wait between two dials, at most. */
const REDIAL_MS = 2_000;
const AFTER_MS = 10_000;

interface Link {
  readonly ends: readonly [Machine, Machine];
  /** It comes back so long after the network. */
  readonly backAfterMs: number;
}

class Outage {
  readonly world: World;
  readonly machines: readonly Machine[];
  readonly #prng: Prng;
  readonly #cut: Set<Link> = new Set();

  constructor(names: readonly string[], seed: number) {
    this.#prng = new Prng(seed);
    const { world, a } = World.founded();
    this.world = world;
    this.machines = [a, ...names.slice(1).map((name) => world.join(name, a))];
    // The voters are chosen and calm, and the manager may be anywhere in its rounds.
    world.pass(40_000 + TICK_MS * this.#draw(20));
    const isCut = (x: string, y: string): boolean =>
      [...this.#cut].some(({ ends }) => ends.every(({ id }) => id === x || id === y));
    world.lose = ({ from, to }) => isCut(from, to);
  }

  /** Cuts all links between those groups, and brings them back later. `dead`: it falls meanwhile. */
  suffer(groups: readonly string[], dead: Machine | null): void {
    const groupOf = (machine: Machine): number =>
      groups.findIndex((names) => names.includes(machine.facts.name));
    for (const [i, x] of this.machines.entries()) {
      for (const y of this.machines.slice(i + 1)) {
        const backAfterMs = Math.min(this.#draw(REDIAL_MS), this.#draw(REDIAL_MS));
        if (groupOf(x) !== groupOf(y)) this.#cut.add({ ends: [x, y], backAfterMs });
      }
    }
    this.world.pass(UNNOTICED_MS);
    this.#each("peer-lost", [...this.#cut]);
    if (dead !== null) dead.isUp = false;
    this.world.pass(10_000 + TICK_MS * this.#draw(30));
    assert(!this.machines.some(({ node }) => node.isManager), "no group has a quorum");
    for (let passedMs = 0; passedMs <= AFTER_MS; passedMs += TICK_MS) {
      const back = [...this.#cut].filter(
        ({ ends, backAfterMs }) =>
          backAfterMs <= passedMs && !ends.some((machine) => machine === dead),
      );
      for (const link of back) this.#cut.delete(link);
      this.#each("peer-up", back);
      this.world.pass(TICK_MS);
    }
  }

  /** The names of those that were taken for down. */
  get downs(): readonly string[] {
    const events = this.machines.flatMap((machine) => machine.events);
    const ids = new Set(events.filter(({ to }) => to === "down").map(({ node }) => node));
    return this.machines.filter(({ id }) => ids.has(id)).map(({ facts }) => facts.name);
  }

  #draw(below: number): number {
    return this.#prng.uint32() % below;
  }

  #each(kind: "peer-lost" | "peer-up", links: readonly Link[]): void {
    for (const { ends } of links) {
      const [x, y] = ends;
      x.deliver({ kind, peer: y.id });
      y.deliver({ kind, peer: x.id });
    }
    this.world.settle();
  }
}

const SHAPES: readonly { readonly names: readonly string[]; readonly groups: readonly string[] }[] =
  [
    { names: ["a", "b", "c"], groups: ["a", "b", "c"] },
    { names: ["a", "b", "c", "d", "e"], groups: ["a", "b", "c", "d", "e"] },
    { names: ["a", "b", "c", "d", "e", "f", "g"], groups: ["ab", "cd", "efg"] },
    { names: ["a", "b", "c", "d", "e", "f", "g"], groups: ["af", "be", "cd", "g"] },
    {
      names: ["a", "b", "c", "d", "e", "f", "g", "h", "i"],
      groups: ["a", "b", "c", "d", "e", "f", "g", "h", "i"],
    },
  ];

test.each(SHAPES)(
  "$groups were apart, and nobody had a quorum: none is taken for down when they are together again",
  ({ names, groups }) => {
    for (let seed = 1; seed <= 12; seed++) {
      const outage = new Outage(names, seed);
      outage.suffer(groups, null);
      expect(outage.downs, `seed ${seed}`).toEqual([]);
      expect(outage.machines.filter(({ node }) => node.isManager)).toHaveLength(1);
    }
  },
);

test.each(SHAPES)(
  "$groups were apart: one that fell meanwhile is taken for down all the same",
  ({ names, groups }) => {
    const outage = new Outage(names, 1);
    const dead = present(outage.machines.at(-1), "there are several");
    outage.suffer(groups, dead);
    expect(outage.downs).toEqual([dead.facts.name]);
  },
);
