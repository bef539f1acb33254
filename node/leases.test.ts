import { describe, expect, it } from "vitest";
import { jobSpec, serviceSpec } from "../test/fixtures/cluster.ts";
import { SESSION_BEAT_MS } from "./core/defaults.ts";
import type { UserCommand } from "./core/request.ts";
import { type Machine, World } from "./testing.ts";

const PUT: UserCommand = {
  kind: "job-put",
  spec: jobSpec("web", serviceSpec("front", { image: null, driver: null, command: ["serve"] })),
  ifVersion: null,
};

function three(): { world: World; a: Machine; b: Machine; c: Machine } {
  const { world, a } = World.founded();
  const b = world.join("b", a);
  const c = world.join("c", a);
  world.until("three voters", () => a.node.local().voters.length === 3);
  return { world, a, b, c };
}

describe("leases", () => {
  const ONCE: UserCommand = {
    kind: "job-put",
    spec: jobSpec(
      "web",
      serviceSpec("front", {
        image: null,
        driver: null,
        command: ["serve"],
        replicas: 3,
        partition: "at-most-one",
      }),
    ),
    ifVersion: null,
  };

  it("go to nodes that run what needs one, and to no others", () => {
    const { world, a, b, c } = three();
    a.write(PUT, "put");
    world.pass(1000);
    expect(isGranted(world, [b, c])).toBe(false);
    a.write(ONCE, "once");
    world.until("all run", () => running(a).length === 3);
    expect(isGranted(world, [b])).toBe(true);
    expect(isGranted(world, [c])).toBe(true);
  });

  it("are not granted by a manager that no quorum hears, though its sessions stand", () => {
    const { world, a, b, c } = three();
    a.write(ONCE, "once");
    world.until("all run", () => running(a).length === 3);
    // b speaks to the manager as before; what they say to each other as voters is lost.
    c.isUp = false;
    world.lose = ({ message, from, to }) =>
      message.kind === "raft" && (from === b.id || to === b.id);
    expect(isGranted(world, [b])).toBe(false);
    world.lose = () => false;
    // Whoever manages by now: what it grants itself is not sent.
    world.until("a lease is granted", () => isGranted(world, [a, b]));
  });
});

/** The tasks that run, as that node knows. */
function running({ node }: Machine): readonly unknown[] {
  return [...node.replica.state.tasks.values()].filter(({ state }) => state === "running");
}

/** A lease is sent to one of these from now on. */
function isGranted(world: World, nodes: readonly Machine[]): boolean {
  const before = world.sent.length;
  world.pass(3 * SESSION_BEAT_MS);
  return world.sent
    .slice(before)
    .some(
      ({ to, message }) => message.kind === "session-lease" && nodes.some(({ id }) => id === to),
    );
}
