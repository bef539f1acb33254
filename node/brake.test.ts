import { expect, it } from "vitest";
import { isVoter } from "../consensus/membership.ts";
import { BRAKE_HOLD_MS } from "../state/brake.ts";
import { jobSpec, serviceSpec } from "../test/fixtures/cluster.ts";
import { type Machine, World } from "./testing.ts";

/** Five nodes with two tasks each; all but the manager and one voter are lost. */
function lost(): { world: World; a: Machine; told: () => string[]; brake: () => unknown } {
  const { world, a } = World.founded();
  const others = ["b", "c", "d", "e"].map((name) => world.join(name, a));
  world.pass(60_000);
  const spec = jobSpec("j", serviceSpec("s", { replicas: 10 }));
  a.write({ kind: "job-put", spec, ifVersion: null }, "put");
  world.pass(5_000);
  const { membership } = a.node.replica;
  const spared = others.find(({ node }) => isVoter(membership, node.replica.raftId));
  for (const machine of others) if (machine !== spared) machine.isUp = false;
  const { state } = a.node.replica;
  world.until("all are down", () => {
    const down = [...state.nodes.values()].filter(({ liveness }) => liveness === "down");
    return down.length === 3 && state.taskCount("lost") === 6;
  });
  world.pass(1_000);
  const told = (): string[] =>
    a.others.flatMap((effect) =>
      effect.kind === "note" && effect.text.startsWith("the brake") ? [effect.text] : [],
    );
  const brake = (): unknown => {
    const id = a.read({ kind: "cluster" });
    world.settle();
    const answer = a.answer(id);
    return answer.kind === "ok" ? Reflect.get(Object(answer.body), "brake") : answer.fault;
  };
  return { world, a, told, brake };
}

it("a manager that loses most nodes says so, holds their tasks back, and places them when it is released", () => {
  const { world, a, told, brake } = lost();
  const { state } = a.node.replica;
  const held = state.taskCount("pending");
  expect(held).toBeGreaterThan(0);
  expect(brake()).toMatchObject({ down: 3, nodes: 5, held });
  expect(told()).toHaveLength(1);
  expect(told()[0]).toMatch(/^the brake is on: 3 of 5 nodes/);
  const entries = a.node.replica.raft.appliedIndex;
  world.pass(60_000);
  expect(state.taskCount("pending")).toBe(held);
  expect(a.node.replica.raft.appliedIndex - entries, "the log is quiet").toBeLessThan(5);

  const id = a.write({ kind: "brake-release" }, "release");
  world.pass(1_000);
  expect(a.answer(id)).toMatchObject({ kind: "ok", body: { changed: true } });
  expect([brake(), state.taskCount("pending"), state.taskCount("running")]).toEqual([null, 0, 10]);
  expect(told().slice(1)).toEqual(["the brake is off: it was released"]);
  const released = a.events.filter(({ message }) => message.startsWith("the brake was released"));
  expect(released).toHaveLength(1);
});

it("without a release they are placed when the hold is over", () => {
  const { world, a, told, brake } = lost();
  const { state } = a.node.replica;
  world.pass(BRAKE_HOLD_MS - 10_000);
  expect(state.taskCount("pending")).toBeGreaterThan(0);
  world.pass(30_000);
  expect([brake(), state.taskCount("pending"), state.taskCount("running")]).toEqual([null, 0, 10]);
  expect(told().slice(1)).toEqual(["the brake is off: its time is over"]);
});
