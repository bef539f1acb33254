import { Prng } from "../../lib/prng.ts";

/** What is done to the nodes, and when, all of it drawn from the seed. */

/** Whoever manages then, or a node by its place from 0, counted round as often as needed. */
export type Target = "manager" | number;

/** Of one process, or of several: what takes nothing but signals. */
export type ProcessFault =
  /** kill -9, and started again. */
  | { readonly kind: "kill"; readonly target: Target; readonly downMs: number }
  /** SIGSTOP, then SIGCONT. */
  | { readonly kind: "pause"; readonly target: Target; readonly forMs: number }
  /** SIGTERM, and started again. */
  | { readonly kind: "restart"; readonly target: Target; readonly downMs: number }
  /** Several killed at once: a rack without power, at most all. */
  | { readonly kind: "kill-many"; readonly count: number; readonly downMs: number }
  | { readonly kind: "transfer" };

export type NetworkFault =
  | { readonly kind: "cut"; readonly cut: Cut; readonly target: Target; readonly forMs: number }
  | { readonly kind: "loss"; readonly target: Target; readonly forMs: number };

/** So many nodes are elsewhere at once. `how`: as they run, or between their end and their start. */
export interface MoveFault {
  readonly kind: "move";
  readonly how: "live" | "restart";
  readonly count: number;
}

/** A node comes, goes in order, or is gone for good and is removed. Which of them also depends on how many there are. */
export interface MemberFault {
  readonly kind: "member";
  readonly change: "join" | "leave" | "lose";
  readonly target: Target;
}

export type Fault = ProcessFault | NetworkFault | MoveFault | MemberFault;

/** What a node that is cut off can still do. */
export type Cut = "isolated" | "deaf" | "mute" | "from-one";

export interface Planned {
  readonly afterMs: number;
  readonly fault: Fault;
}

/** Longer than it takes until a node is down, its tasks' leases are over and others run in their place. */
const VERY_LONG = { leastMs: 15_000, mostMs: 35_000 } as const;

/** Without end; the same for the same seed and number of nodes. `network`: also what takes namespaces. */
export function* plannedFaults(seed: number, nodes: number, network: boolean): Generator<Planned> {
  const prng = new Prng(seed);
  for (;;) {
    // Now and then a while of rest, so that what was broken can be seen to heal.
    const afterMs = prng.chance(80) ? prng.between(8_000, 12_000) : prng.between(300, 4_500);
    const target: Target = prng.chance(450) ? "manager" : prng.below(nodes);
    const forMs = prng.chance(250) ? prng.between(4_000, 9_000) : prng.between(50, 2_500);
    const isVeryLong = prng.chance(60);
    const { leastMs, mostMs } = VERY_LONG;
    const lastsMs = isVeryLong ? prng.between(leastMs, mostMs) : forMs;
    yield { afterMs, fault: draw(prng, target, lastsMs, nodes, network) };
  }
}

function draw(prng: Prng, target: Target, forMs: number, nodes: number, network: boolean): Fault {
  const lot = prng.below(network ? 2_000 : 1_400);
  if (lot < 330) return { kind: "kill", target, downMs: forMs };
  // Long enough for another leader, short enough that clients still wait for this one's answers.
  if (lot < 430) return { kind: "pause", target, forMs: prng.between(1_500, 3_800) };
  if (lot < 590) return { kind: "pause", target, forMs };
  if (lot < 780) return { kind: "restart", target, downMs: forMs };
  if (lot < 860) return { kind: "kill-many", count: prng.between(2, nodes), downMs: forMs };
  if (lot < 1_000) return { kind: "transfer" };
  if (lot < 1_260) {
    const change = prng.pick(["join", "leave", "lose"] as const);
    return { kind: "member", change, target };
  }
  if (lot < 1_400) {
    const how = network && prng.chance(600) ? "live" : "restart";
    return { kind: "move", how, count: prng.chance(700) ? 1 : prng.between(2, nodes) };
  }
  if (lot < 1_550) return { kind: "loss", target, forMs };
  const cut = prng.pick(["isolated", "deaf", "mute", "from-one"] as const);
  return { kind: "cut", cut, target, forMs };
}
