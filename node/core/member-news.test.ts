import { describe, expect, it } from "vitest";
import { idOf, nodeFacts } from "../../test/fixtures/cluster.ts";
import { type Machine, SECRET, World } from "../testing.ts";
import { LOST_MS, SESSION_SILENT_MS, TICK_MS } from "./defaults.ts";
import { vouchFor } from "./member-news.ts";
import type { Member, Vouch } from "./message.ts";

const MARGIN_MS = 1_000;

function member(name: string, raftId: number, holdsLog: boolean): Member {
  return { id: idOf(name), raftId, name, addresses: [`/sim/${name}`], holdsLog };
}

/** What it told its network of seeking. */
function seeks(machine: Machine): boolean[] {
  return machine.others.flatMap((effect) => (effect.kind === "seek" ? [effect.on] : []));
}

function ids(machine: Machine): string[] {
  return machine.node.roster.members.map(({ id }) => id);
}

/** Two nodes, of which b has lost a. */
function lost(): { world: World; a: Machine; b: Machine } {
  const { world, a } = World.founded();
  const b = world.join("b", a);
  world.pass(MARGIN_MS);
  a.isUp = false;
  b.deliver({ kind: "peer-lost", peer: a.id });
  world.pass(LOST_MS + MARGIN_MS);
  return { world, a, b };
}

/** The same with b started again meanwhile: it knows what its disk says. */
function lostAndRestarted(): { world: World; a: Machine; b: Machine } {
  const { world, a, b } = lost();
  b.start();
  b.others.splice(0);
  world.pass(LOST_MS + MARGIN_MS);
  return { world, a, b };
}

/** A cluster that went on without what b knew: c manages. */
function vouch(b: Machine, index: number): Vouch {
  const self = b.node.roster.members.find(({ id }) => id === b.id);
  return {
    members: [self ?? member("b", 2, false), member("c", 3, true)],
    index,
  };
}

describe("another join secret", () => {
  it("reaches every node, with or without the log, also one that was away, and its disk", () => {
    const { world, a } = World.founded();
    const [b, c, d, e] = ["b", "c", "d", "e"].map((name) => world.join(name, a));
    if (b === undefined || c === undefined || d === undefined || e === undefined) return;
    world.pass(60_000);
    expect([b, c, d, e].map(({ node }) => node.holdsLog)).toContain(true);
    d.isUp = false;
    for (const other of [a, b, c, e]) other.deliver({ kind: "peer-lost", peer: d.id });
    a.write({ kind: "join-secret-put", joinSecret: "another" }, "rotate");
    world.pass(5_000);
    d.isUp = true;
    for (const other of [a, b, c, e]) other.deliver({ kind: "peer-up", peer: d.id });
    world.pass(20_000);
    for (const machine of [a, b, c, d, e]) {
      expect(machine.node.roster.joinSecret).toBe("another");
      const told = machine.others.filter((effect) => effect.kind === "members").at(-1);
      expect(told).toMatchObject({ joinSecret: "another" });
      expect(machine.image.identity?.joinSecret).toBe("another");
    }
  });
});

describe("a node that hears no manager", () => {
  it("seeks its cluster after a while, not before, and no longer than that", () => {
    const { world, a } = World.founded();
    const b = world.join("b", a);
    world.pass(2 * LOST_MS);
    expect([seeks(a), seeks(b)]).toEqual([[], []]);
    a.isUp = false;
    b.deliver({ kind: "peer-lost", peer: a.id });
    world.pass(LOST_MS - TICK_MS);
    expect(seeks(b)).toEqual([]);
    world.pass(MARGIN_MS);
    expect(seeks(b)).toEqual([true]);
    a.isUp = true;
    world.until("the session stands", () => seeks(b).length > 1);
    expect(seeks(b)).toEqual([true, false]);
    expect(seeks(a)).toEqual([]);
  });

  it("does not count the time in which it stood still itself", () => {
    const { world, a } = World.founded();
    const b = world.join("b", a);
    a.isUp = false;
    world.now += 10 * LOST_MS;
    world.pass(LOST_MS - MARGIN_MS);
    expect(seeks(b)).toEqual([]);
    world.pass(SESSION_SILENT_MS + 2 * MARGIN_MS);
    expect(seeks(b)).toEqual([true]);
  });
});

describe("a stranger that proved the join secret", () => {
  it("is let in, with whom it names, beside those that were known", () => {
    const { b } = lostAndRestarted();
    expect(ids(b)).not.toContain(idOf("c"));
    b.deliver({ kind: "vouched", by: idOf("c"), vouch: vouch(b, 1_000) });
    expect(ids(b)).toEqual([idOf("a"), idOf("b"), idOf("c")]);
    const told = b.others.findLast(({ kind }) => kind === "members");
    expect(told).toMatchObject({ joinSecret: SECRET });
    expect(told?.kind === "members" ? told.connect.map(({ id }) => id) : []).toContain(idOf("c"));
    b.sync();
    expect(b.image.identity).toMatchObject({ joinSecret: SECRET });
    expect(b.image.identity?.peers.map(({ id }) => id)).toContain(idOf("c"));
  });

  it("is asked for a session like any holder of the log", () => {
    const { world, b } = lostAndRestarted();
    b.deliver({ kind: "vouched", by: idOf("c"), vouch: vouch(b, 1_000) });
    world.sent.splice(0);
    world.pass(MARGIN_MS);
    const asked = world.sent.filter(({ message }) => message.kind === "session-open");
    expect(asked.map(({ to }) => to)).toContain(idOf("c"));
  });

  it("gives way to the manager's own list, whatever index it named", () => {
    const { world, a, b } = lost();
    b.deliver({ kind: "vouched", by: idOf("c"), vouch: vouch(b, Number.MAX_SAFE_INTEGER) });
    expect(ids(b)).toContain(idOf("c"));
    a.isUp = true;
    world.until("the session stands", () => b.node.manager === a.id);
    world.join("d", a);
    world.pass(MARGIN_MS);
    expect(ids(b)).toEqual([idOf("a"), idOf("b"), idOf("d")]);
  });

  it("is not believed by a node that has its manager", () => {
    const { world, a } = World.founded();
    const b = world.join("b", a);
    world.pass(MARGIN_MS);
    const before = ids(b);
    b.deliver({ kind: "vouched", by: idOf("c"), vouch: vouch(b, 1_000) });
    expect(ids(b)).toEqual(before);
  });

  it("is not believed when its list is older, or lacks one of the two", () => {
    const { b } = lost();
    const before = ids(b);
    const { members, index } = vouch(b, 1_000);
    const { appliedIndex: known } = b.node.replica.raft;
    expect(known).toBeGreaterThanOrEqual(b.node.roster.index);
    expect(b.node.roster.index).toBeGreaterThan(0);
    const [first, ...others] = members;
    for (const bad of [
      { members, index: b.node.roster.index - 1 },
      { members, index: known },
      { members: others, index },
      { members: first === undefined ? [] : [first], index },
      { members: [], index },
    ]) {
      b.deliver({ kind: "vouched", by: idOf("c"), vouch: bad });
    }
    expect(ids(b)).toEqual(before);
    expect(b.writes).toEqual([]);
    b.deliver({ kind: "vouched", by: idOf("c"), vouch: { members, index: known + 1 } });
    expect(ids(b)).toContain(idOf("c"));
  });

  it.each([
    ["a member that was missed", { kind: "node-admit", node: idOf("d"), facts: nodeFacts("d") }],
    ["no member", { kind: "config-put", name: "d", data: "", ifVersion: null }],
  ] as const)("is believed until the log, with %s, has come as far, and no longer", (_, missed) => {
    const { world, a } = World.founded();
    const b = world.join("b", a);
    const c = world.join("c", a);
    world.until("three voters", () => a.node.local().voters.length === 3);
    world.until("b has it all", () => b.node.local().voters.length === 3);
    b.isUp = false;
    const before = b.node.replica.raft.appliedIndex;
    a.write(missed, "missed");
    world.pass(MARGIN_MS);
    const index = a.node.replica.raft.appliedIndex + 3;
    b.isUp = true;
    a.isUp = false;
    c.isUp = false;
    world.pass(LOST_MS + SESSION_SILENT_MS + MARGIN_MS);
    expect(seeks(b)).toEqual([true]);
    const self = b.node.roster.members.find(({ id }) => id === b.id) ?? member("b", 2, true);
    const ghost = { ...member("x", 99, true) };
    b.deliver({ kind: "vouched", by: ghost.id, vouch: { members: [self, ghost], index } });
    expect(ids(b)).toContain(ghost.id);
    // The manager's word would end it: the log comes first.
    const asked = (): string | undefined =>
      world.sent.findLast(({ from, message }) => from === b.id && message.kind === "session-open")
        ?.to;
    world.until("b asks one that is not there", () => asked() === ghost.id);
    a.isUp = true;
    c.isUp = true;
    world.until("b has read it", () => b.node.replica.raft.appliedIndex > before);
    expect(b.node.replica.raft.appliedIndex).toBeLessThan(index);
    expect(ids(b)).toContain(ghost.id);
    const manager = [a, b, c].find(({ node }) => node.isManager) ?? a;
    for (const name of ["one", "two", "three", "four"]) {
      manager.write({ kind: "config-put", name, data: "", ifVersion: null }, name);
    }
    world.pass(MARGIN_MS);
    expect(b.node.replica.raft.appliedIndex).toBeGreaterThanOrEqual(index);
    expect(ids(b)).toEqual(a.node.roster.members.map(({ id }) => id));
  });
});

describe("what a member says for itself", () => {
  it("names the log's holders, the asker and itself, to members only", () => {
    const { world, a } = World.founded();
    for (const name of ["b", "c", "d", "e", "f", "g", "h", "i", "j"]) world.join(name, a);
    world.pass(60_000);
    const { roster } = a.node;
    const plain = roster.members.filter(({ holdsLog }) => !holdsLog).map(({ id }) => id);
    const [asker, self] = plain;
    if (asker === undefined || self === undefined) throw new Error("there are plain workers");
    const said = vouchFor(self, asker, roster);
    expect(said?.index).toBe(roster.index);
    const names = new Set(said?.members.map(({ id }) => id));
    expect(names).toEqual(new Set([asker, self, ...roster.others("holders"), a.id]));
    expect(vouchFor(self, idOf("nobody"), roster)).toBeNull();
  });
});
