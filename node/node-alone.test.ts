import { expect, it } from "vitest";
import { USAGE } from "../test/fixtures/cluster.ts";
import { GOSSIP_MIN_MS, HELP_MS, PROBE_SILENT_MS } from "./core/defaults.ts";
import type { Query } from "./core/request.ts";
import type { NodeView } from "./core/view-types.ts";
import { type Machine, World } from "./testing.ts";

/** A manager, and a member that may not vote, and so holds no log; each has heard of the other's usage. */
function withMember(): { world: World; a: Machine; b: Machine } {
  const { world, a } = World.founded();
  const b = world.join("b", a, { mayVote: false });
  world.until("a session", () => b.node.manager === a.id);
  for (const machine of [a, b]) machine.deliver({ kind: "usage", usage: USAGE });
  world.pass(2 * GOSSIP_MIN_MS);
  expect(b.node.holdsLog).toBe(false);
  return { world, a, b };
}

function known(machine: Machine, query: Query): unknown {
  const response = machine.answer(machine.read(query, true));
  return response.kind === "ok" ? response.body : response.fault;
}

const UNKNOWN = {
  datacenter: null,
  labels: null,
  publishAddress: null,
  resources: null,
  allocated: null,
  driver: null,
  joinedAt: null,
} satisfies Partial<NodeView>;

const SHOWN = {
  cpuMilli: 1,
  memoryMib: 2,
  diskMib: 3,
  load1: 0.004,
  networkRxBytesPerS: 5,
  networkTxBytesPerS: 6,
};

it("a node without the log lists all nodes by itself: who they are, what they gossip, and what it sees", () => {
  const { world, a, b } = withMember();
  b.deliver({ kind: "peer-up", peer: a.id });
  const said = { tasks: 0, version: "0.1.0", missedBy: [], hidden: false };
  expect(known(b, { kind: "nodes" })).toMatchObject([
    { id: "id-a", name: "a", status: "ready", role: null, holdsLog: true, manager: true, ...said },
    { id: "id-b", name: "b", status: "ready", role: "member", holdsLog: false, ...said },
  ]);
  world.pass(1_000);
  const view = known(b, { kind: "node", node: "a" });
  expect(view).toMatchObject({ ...UNKNOWN, usage: SHOWN, rttMs: 0 });
  // The figures are as old as the gossip, which goes on repeating the only measurement.
  const ageMs = Reflect.get(Object(Reflect.get(Object(view), "usage")), "ageMs");
  expect(ageMs).toBeGreaterThan(0);
  expect(ageMs).toBeLessThanOrEqual(GOSSIP_MIN_MS);
  expect(known(b, { kind: "node", node: "id-a" })).toEqual(view);
  expect(known(b, { kind: "node", node: "c" })).toMatchObject({ code: "not-found" });
  expect(known(b, { kind: "jobs" })).toMatchObject({ code: "no-manager" });
  // One that holds the log knows the rest, and its own usage too.
  expect(known(a, { kind: "nodes" })).toMatchObject([
    { name: "a", role: "voter", datacenter: "dc1", usage: { ...SHOWN, ageMs: 5_000 } },
    { name: "b", role: "member", datacenter: "dc1", usage: SHOWN },
  ]);
});

it("without a manager its list goes on, tells whom it misses, and how long ago it heard a manager", () => {
  const { world, a, b } = withMember();
  b.deliver({ kind: "peer-up", peer: a.id });
  expect(b.node.local().managerAgeMs).toBeLessThanOrEqual(1_000);
  a.isUp = false;
  b.deliver({ kind: "peer-lost", peer: a.id });
  // It misses all others, of which there is but one: a manager that is gone is no reason to doubt itself.
  world.pass(PROBE_SILENT_MS + 2 * HELP_MS);
  expect(known(b, { kind: "node", node: "a" })).toMatchObject({
    status: "suspect",
    manager: false,
    missedBy: [{ node: "id-b", name: "b", how: "reset" }],
    usage: SHOWN,
  });
  expect(b.node.local().managerAgeMs).toBeGreaterThanOrEqual(PROBE_SILENT_MS);
});

it("says of one that it neither hears nor watches that it does not know", () => {
  const { world, a, b } = withMember();
  for (let i = 0; i < 20; i++) world.join(`n${i}`, a, { mayVote: false });
  world.pass(1_000);
  const nodes = known(b, { kind: "nodes" });
  if (!Array.isArray(nodes)) throw new Error("refused");
  const silent = nodes.filter(({ status }: NodeView) => status === null);
  expect(nodes.length).toBe(22);
  // Nobody is connected here, and nobody is missed yet.
  expect(silent.length).toBe(21);
});

it("a node without the log that is too old for its cluster ends, and says why", () => {
  const world = new World();
  const a = world.init("a", { featureLevel: 2 });
  world.until("a manager", () => a.node.isManager);
  const b = world.join("b", a, { featureLevel: 2, mayVote: false });
  world.until("a session", () => b.node.manager === a.id);
  world.pass(1_000);
  expect(b.others.filter(({ kind }) => kind === "stop")).toEqual([]);
  // Its operator installs an older orch.
  b.facts = { ...b.facts, featureLevel: 1 };
  b.start();
  b.runEngine();
  world.pass(2_000);
  expect(b.others.filter(({ kind }) => kind === "stop")).toMatchObject([
    { fault: { code: "too-old", details: { level: 2 } } },
  ]);
});
