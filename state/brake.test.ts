import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { idOf, nodeFacts, serviceSpec, TestCluster } from "../test/fixtures/cluster.ts";
import type { Brake } from "./brake.ts";
import { BRAKE_HOLD_MS, BRAKE_WINDOW_MS, brakeOf, countHeld } from "./brake.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
/** What the end of a hold is rounded up to at most. */
const STEP = 15 * SECOND;
const WEEK = 7 * 24 * 60 * MINUTE;
const START = 1_000_000_000;

type Step = readonly [at: number, what: "down" | "ready" | "leave" | "remove", nodes: string];

/** Nodes of one letter each. */
function clusterOf(nodes: string): TestCluster {
  const cluster = new TestCluster();
  cluster.now = START;
  cluster.admit(...Array.from(nodes));
  return cluster;
}

/** Times are from the start. */
function play(cluster: TestCluster, steps: readonly (Step | readonly [number, "release"])[]): void {
  for (const [at, what, nodes = ""] of steps) {
    cluster.now = START + at;
    if (what === "release") cluster.apply({ kind: "brake-release" });
    for (const name of nodes) {
      const node = idOf(name);
      if (what === "down" || what === "ready") cluster.liveness(name, what);
      if (what === "leave") cluster.apply({ kind: "node-leave", node });
      if (what === "remove") cluster.apply({ kind: "node-remove", node, force: true });
    }
  }
}

/** `4 of 6`, or `off`. */
function seen(cluster: TestCluster, sharePercent: number, at: number): string {
  const brake = brakeOf(cluster.state, sharePercent, START + at);
  return brake === null ? "off" : `${brake.down.size} of ${brake.nodes}`;
}

describe("the brake", () => {
  it.each<[why: string, nodes: string, steps: Step[], at: number, wanted: string]>([
    ["a single node is everyday", "abc", [[0, "down", "a"]], 0, "off"],
    ["so are two, though they are most", "abc", [[0, "down", "ab"]], 0, "off"],
    ["three of four at once", "abcd", [[0, "down", "abc"]], 0, "3 of 4"],
    ["not more than the share", "abcdef", [[0, "down", "abc"]], 0, "off"],
    ["more than the share", "abcdef", [[0, "down", "abcd"]], 0, "4 of 6"],
    ["all of them", "abcd", [[0, "down", "abcd"]], 0, "4 of 4"],
    [
      "within a window, one after the other",
      "abcd",
      [
        [0, "down", "a"],
        [30_000, "down", "b"],
        [60_000, "down", "c"],
      ],
      60_000,
      "3 of 4",
    ],
    [
      "a millisecond longer is not at once",
      "abcd",
      [
        [0, "down", "a"],
        [30_000, "down", "b"],
        [60_001, "down", "c"],
      ],
      60_001,
      "off",
    ],
    [
      "any stretch of that length will do, not only one that begins with the first",
      "abcdefg",
      [
        [0, "down", "a"],
        [50_000, "down", "bc"],
        [70_000, "down", "de"],
      ],
      70_000,
      "4 of 6",
    ],
    [
      "losses that overlap are one",
      "abcdefg",
      [
        [0, "down", "ab"],
        [50_000, "down", "cd"],
        [100_000, "down", "e"],
      ],
      100_000,
      "5 of 7",
    ],
    [
      "those that come back one by one make it smaller",
      "abcdef",
      [
        [0, "down", "abcde"],
        [5, "ready", "a"],
      ],
      5,
      "4 of 6",
    ],
    [
      "until enough are back",
      "abcdef",
      [
        [0, "down", "abcd"],
        [5, "ready", "a"],
      ],
      5,
      "off",
    ],
    [
      "until too few are left to count",
      "abcd",
      [
        [0, "down", "abcd"],
        [5, "ready", "ab"],
      ],
      5,
      "off",
    ],
    [
      "one that falls again counts with its new loss: no longer with the others",
      "abcd",
      [
        [0, "down", "abc"],
        [100_000, "ready", "a"],
        [100_000, "down", "a"],
      ],
      100_000,
      "off",
    ],
    [
      "one that flaps within the window stays in",
      "abcd",
      [
        [0, "down", "abc"],
        [10_000, "ready", "a"],
        [20_000, "down", "a"],
      ],
      20_000,
      "3 of 4",
    ],
    [
      "who leaves is not missed",
      "abcdef",
      [
        [0, "down", "abcd"],
        [5, "leave", "a"],
      ],
      5,
      "3 of 5",
    ],
    [
      "who was removed is not there",
      "abcdef",
      [
        [0, "down", "abcd"],
        [5, "remove", "ab"],
      ],
      5,
      "off",
    ],
    [
      "nor is one that was to leave before",
      "abcdef",
      [
        [0, "leave", "a"],
        [5, "down", "abc"],
      ],
      5,
      "off",
    ],
    [
      "machines that have been off for weeks are no part of a later loss",
      "abcdefg",
      [
        [0, "down", "abcd"],
        [WEEK, "down", "e"],
      ],
      WEEK,
      "off",
    ],
    [
      "nor do they hide it",
      "abcdefghi",
      [
        [0, "down", "abcd"],
        [WEEK, "down", "efg"],
      ],
      WEEK,
      "3 of 5",
    ],
    [
      "later losses of single nodes do not make an earlier one a large one",
      "abcdefgh",
      [
        [0, "down", "abc"],
        [100_000, "down", "d"],
        [200_000, "down", "e"],
        [250_000, "down", "f"],
      ],
      250_000,
      "off",
    ],
  ])("%s", (_why, nodes, steps, at, wanted) => {
    const cluster = clusterOf(nodes);
    play(cluster, steps);
    expect(seen(cluster, 50, at)).toBe(wanted);
  });

  it("counts only nodes that may run tasks", () => {
    const cluster = clusterOf("abc");
    for (const name of "xyz") cluster.admitWith(name, { mayWork: false });
    play(cluster, [[0, "down", "xyza"]]);
    expect(seen(cluster, 50, 0)).toBe("off");
    play(cluster, [[1, "down", "bc"]]);
    expect(seen(cluster, 50, 1)).toBe("3 of 3");
  });

  it("is off for ever at 100 percent, and looks at the number alone below", () => {
    const cluster = clusterOf("abcd");
    play(cluster, [[0, "down", "abcd"]]);
    expect(seen(cluster, 100, 0)).toBe("off");
    expect(seen(cluster, 99, 0)).toBe("4 of 4");
    play(cluster, [[1, "ready", "a"]]);
    expect(seen(cluster, 75, 1)).toBe("off");
    expect(seen(cluster, 74, 1)).toBe("3 of 4");
  });

  it("holds for its time after the last one went down, to a full step", () => {
    const cluster = clusterOf("abcd");
    play(cluster, [
      [0, "down", "ab"],
      [20_001, "down", "c"],
    ]);
    const { sinceMs, untilMs } = brakeOf(cluster.state, 50, cluster.now) ?? {
      sinceMs: 0,
      untilMs: 0,
    };
    expect(sinceMs).toBe(START);
    expect(untilMs % STEP).toBe(0);
    expect(untilMs - (START + 20_001)).toBeGreaterThanOrEqual(BRAKE_HOLD_MS);
    expect(untilMs - (START + 20_001)).toBeLessThan(BRAKE_HOLD_MS + STEP);
    expect(seen(cluster, 50, untilMs - START - 1)).toBe("3 of 4");
    expect(seen(cluster, 50, untilMs - START)).toBe("off");
  });

  it("a clock that was set back makes no hold without an end, a little skew none shorter", () => {
    const cluster = clusterOf("abcd");
    play(cluster, [[0, "down", "abc"]]);
    expect(seen(cluster, 50, -5 * SECOND)).toBe("3 of 4");
    expect(seen(cluster, 50, -60 * MINUTE)).toBe("off");
    // The manager after that has the early clock: what happens under it counts.
    play(cluster, [
      [-60 * MINUTE, "ready", "abc"],
      [-60 * MINUTE, "down", "abc"],
    ]);
    expect(seen(cluster, 50, -60 * MINUTE)).toBe("3 of 4");
  });

  it("is released for all that went down before, whatever the clocks say, and for nothing after", () => {
    const cluster = clusterOf("abcdefgh");
    play(cluster, [
      [0, "down", "abcde"],
      [-10 * SECOND, "release"],
    ]);
    expect(seen(cluster, 50, 0)).toBe("off");
    play(cluster, [[-20 * SECOND, "down", "fgh"]]);
    expect(seen(cluster, 50, 0)).toBe("3 of 3");
    play(cluster, [
      [1, "ready", "a"],
      [2, "down", "a"],
    ]);
    expect(seen(cluster, 50, 2)).toBe("4 of 4");
  });
});

describe("a release", () => {
  it("is a line of the task log, once", () => {
    const cluster = clusterOf("abcd");
    play(cluster, [[0, "down", "abc"]]);
    const { length } = cluster.events;
    expect(cluster.apply({ kind: "brake-release" })).toMatchObject({ kind: "done", changed: true });
    const index = cluster.log.length;
    expect(cluster.state.brakeReleasedIndex).toBe(index);
    const hash = cluster.state.hash();
    expect(cluster.apply({ kind: "brake-release" })).toMatchObject({ changed: false });
    expect(cluster.state.brakeReleasedIndex).toBe(index);
    expect(cluster.state.hash()).toBe(hash);
    expect(cluster.events.slice(length).map(({ type, message }) => [type, message])).toEqual([
      ["cluster", "the brake was released: 3 nodes are down, their tasks are replaced"],
    ]);
  });

  it("changes nothing when no node that counts is down", () => {
    const cluster = clusterOf("ab");
    cluster.admitWith("x", { mayWork: false });
    play(cluster, [[0, "down", "x"]]);
    expect(cluster.apply({ kind: "brake-release" })).toMatchObject({ changed: false });
  });
});

describe("a node's record", () => {
  it("says when and where in the log its liveness last changed", () => {
    const cluster = clusterOf("a");
    const of = (): unknown => {
      const { livenessAtMs, livenessIndex } = cluster.state.nodes.get(idOf("a")) ?? {};
      return [livenessAtMs, livenessIndex];
    };
    expect(of()).toEqual([START, 1]);
    play(cluster, [[5, "ready", "a"]]);
    expect(of(), "it was so already").toEqual([START, 1]);
    play(cluster, [[10, "down", "a"]]);
    expect(of()).toEqual([START + 10, 3]);
    cluster.apply({ kind: "node-leave", node: idOf("a") });
    const facts = nodeFacts("a", { datacenter: "elsewhere" });
    cluster.apply({ kind: "node-facts", node: idOf("a"), facts });
    expect(of(), "other changes leave it").toEqual([START + 10, 3]);
    cluster.now = START + 20;
    cluster.admit("a");
    expect(of(), "admitted again").toEqual([START + 20, 6]);
  });
});

type Move = { readonly node: number; readonly what: number; readonly afterMs: number };

const moves: fc.Arbitrary<readonly Move[]> = fc.array(
  fc.record({
    node: fc.nat(8),
    what: fc.nat(11),
    afterMs: fc.oneof(fc.nat(3_000), fc.nat(90_000)),
  }),
  { maxLength: 40, size: "max" },
);

/** What happens, most of all losses. */
function move(cluster: TestCluster, { node, what, afterMs }: Move): void {
  cluster.now += afterMs;
  const name = "abcdefghi"[node] ?? "a";
  if (what < 7) cluster.liveness(name, "down");
  else if (what < 9) cluster.liveness(name, "ready");
  else if (what === 9) cluster.apply({ kind: "node-leave", node: idOf(name) });
  else if (what === 10) cluster.apply({ kind: "node-remove", node: idOf(name), force: true });
  else cluster.apply({ kind: "brake-release" });
}

/** The definition, word by word. */
function expected(cluster: TestCluster, sharePercent: number, now: number): string {
  const members = [...cluster.state.nodes.values()].filter((node) => node.mayWork && !node.leaving);
  const { brakeReleasedIndex } = cluster.state;
  const lost = members.filter(
    (node) => node.liveness === "down" && node.livenessIndex > brakeReleasedIndex,
  );
  const down = new Set<string>();
  for (const { livenessAtMs: begin } of lost) {
    const fell = lost.filter(
      ({ livenessAtMs: at }) => at >= begin && at <= begin + BRAKE_WINDOW_MS,
    );
    const were = members.filter(
      (node) => node.liveness === "ready" || (lost.includes(node) && node.livenessAtMs >= begin),
    );
    if (fell.length < 3 || fell.length / were.length <= sharePercent / 100) continue;
    const last = Math.max(...fell.map(({ livenessAtMs }) => livenessAtMs));
    if (Math.ceil((last + BRAKE_HOLD_MS) / STEP) * STEP <= now) continue;
    for (const { id } of fell) down.add(id);
  }
  return [...down].toSorted().join(" ");
}

function named(brake: Brake | null): string {
  return [...(brake?.down ?? [])].toSorted().join(" ");
}

describe("whatever happens", () => {
  it("the brake is as it is defined, and what the brake relies on holds", () => {
    let on = 0;
    fc.assert(
      fc.property(moves, fc.constantFrom(1, 30, 50, 80, 100), (list, share) => {
        const cluster = clusterOf("abcdefghi");
        for (const each of list) {
          move(cluster, each);
          const brake = brakeOf(cluster.state, share, cluster.now);
          expect(named(brake)).toBe(expected(cluster, share, cluster.now));
          if (brake === null) continue;
          on += 1;
          const { down, nodes, sinceMs, untilMs } = brake;
          expect(down.size).toBeGreaterThanOrEqual(3);
          expect(nodes).toBeLessThanOrEqual(9);
          expect(sinceMs).toBeLessThanOrEqual(cluster.now);
          expect(untilMs).toBeLessThanOrEqual(cluster.now + BRAKE_HOLD_MS + STEP);
          for (const id of down) expect(cluster.state.nodes.get(id)?.liveness).toBe("down");
          let before = named(brake);
          for (let at = cluster.now; at <= untilMs; at += STEP) {
            const then = named(brakeOf(cluster.state, share, at));
            for (const id of then.split(" ")) expect(before, "time adds nobody").toContain(id);
            before = then;
          }
          expect(brakeOf(cluster.state, share, untilMs)).toBeNull();
        }
      }),
      { numRuns: 300 },
    );
    expect(on, "the brake was on often enough to tell").toBeGreaterThan(50);
  });
});

describe("the tasks that it keeps pending", () => {
  it("are counted as long as they are held", () => {
    const cluster = clusterOf("abcd");
    cluster.put("j", serviceSpec("s", { replicas: 8 }), serviceSpec("t", { replicas: 4 }));
    cluster.settle();
    play(cluster, [[0, "down", "abc"]]);
    const held = (): number => {
      const brake = brakeOf(cluster.state, 50, cluster.now);
      return brake === null ? -1 : countHeld(cluster.state, brake);
    };
    expect(held(), "nothing is replaced before a pass").toBe(0);
    cluster.settle();
    expect(held()).toBe(9);
    cluster.apply({ kind: "job-stop", job: "j", service: "t" });
    cluster.settle();
    expect(held()).toBe(6);
  });
});
