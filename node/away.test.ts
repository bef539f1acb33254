import { expect, it } from "vitest";
import { memberIds } from "../consensus/membership.ts";
import { World, type Machine } from "./testing.ts";

it("a node that was away while the others took turns at the log comes back", () => {
  const { world, a } = World.founded();
  const machines = [a];
  for (const name of "bcdefghijklmno") machines.push(world.join(name, a));
  const away = world.join("z", a);
  world.pass(60_000);
  const manager = (): Machine | undefined =>
    machines.find(({ isUp, node }) => isUp && node.isManager);
  const holders = (): Machine[] => {
    const ids = memberIds(manager()?.node.replica.membership ?? a.node.replica.membership);
    return machines.filter(({ node }) => ids.includes(node.replica.raftId));
  };
  const before = holders();
  expect(before).toHaveLength(7);
  expect(before).not.toContain(away);
  away.isUp = false;
  // One after the other ends for good, and a node that holds no log takes its seat.
  for (const machine of before) {
    machine.isUp = false;
    world.until("another manages", () => manager() !== undefined);
    world.until("its seat is taken", () => {
      const now = holders();
      return now.length === 7 && !now.includes(machine);
    });
    world.pass(15_000);
  }
  expect(holders().filter((machine) => before.includes(machine))).toEqual([]);
  expect(away.node.roster.members.map(({ id }) => id)).toContain(manager()?.id);
  away.isUp = true;
  world.pass(120_000);
  expect(away.node.manager).toBe(manager()?.id);
  expect(manager()?.node.replica.state.nodes.get(away.id)?.liveness).toBe("ready");
}, 120_000);
