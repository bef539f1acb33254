import { describe, expect, it } from "vitest";
import { idOf, jobSpec, nodeFacts, serviceSpec, USAGE } from "../test/fixtures/cluster.ts";
import {
  AUTOPILOT_MS,
  AUDIT_ENTRIES,
  SESSION_BEAT_MS,
  SESSION_GRACE_MS,
  TICK_MS,
} from "./core/defaults.ts";
import type { Response, UserCommand } from "./core/request.ts";
import { type Machine, SECRET, World } from "./testing.ts";

const PUT: UserCommand = {
  kind: "job-put",
  spec: jobSpec("web", serviceSpec("front", { image: null, driver: null, command: ["serve"] })),
  ifVersion: null,
};

function code(response: Response): string {
  return response.kind === "ok" ? "ok" : response.fault.code;
}

function alone(): { world: World; b: Machine } {
  const { world, a } = World.founded();
  const b = world.join("b", a);
  a.isUp = false;
  b.deliver({ kind: "peer-lost", peer: a.id });
  world.pass(1000);
  return { world, b };
}

function three(): { world: World; a: Machine; b: Machine; c: Machine } {
  const { world, a } = World.founded();
  const b = world.join("b", a);
  const c = world.join("c", a);
  world.until("three voters", () => a.node.local().voters.length === 3);
  return { world, a, b, c };
}

/** A manager and two standbys that have all of its log, and would become voters next. */
function taught(): { world: World; a: Machine; b: Machine; c: Machine } {
  const { world, a } = World.founded();
  const b = world.join("b", a);
  const c = world.join("c", a);
  const { raft } = a.node.replica;
  const isTaught = ({ node }: Machine): boolean =>
    raft.progressOf(node.replica.raftId)?.match === raft.lastIndex;
  world.until("two standbys", () => isTaught(b) && isTaught(c));
  expect(a.node.local().voters).toEqual([1]);
  return { world, a, b, c };
}

describe("a single node", () => {
  it("makes itself the manager of the cluster that it was founded with", () => {
    const { a } = World.founded();
    expect(a.node.roster.members).toMatchObject([{ id: "id-a", raftId: 1, holdsLog: true }]);
    expect(a.node.local()).toMatchObject({
      clusterId: "c1",
      role: "leader",
      voters: [1],
      manager: "id-a",
      ready: true,
    });
  });

  it("sends nothing over the network, its own session included", () => {
    const { world, a } = World.founded();
    expect(world.sent).toEqual([]);
    a.write(PUT, "k1");
    world.pass(5000);
    expect(world.sent).toEqual([]);
    // The session set came: the worker runs what was placed.
    expect([...a.machine.containers.values()].map(({ status }) => status.state)).toEqual([
      "running",
    ]);
    const [task] = a.node.replica.state.tasks.values();
    expect(task?.state).toBe("running");
  });

  it("answers a write once it is durable, and not before", () => {
    const { world, a } = World.founded();
    a.isSlow = true;
    const id = a.write(PUT, "k1");
    world.pass(1000);
    expect(a.replies.has(id)).toBe(false);
    expect(a.node.replica.state.jobs.size).toBe(0);
    a.isSlow = false;
    world.settle();
    expect(a.answer(id)).toMatchObject({
      kind: "ok",
      manager: "id-a",
      body: { version: 1, changed: true },
    });
    expect(a.image.entries.length).toBe(a.node.replica.raft.lastIndex);
  });

  it("answers reads, fresh and stale", () => {
    const { world, a } = World.founded();
    const fresh = a.read({ kind: "nodes" });
    const stale = a.read({ kind: "nodes" }, true);
    world.settle();
    expect(a.answer(fresh)).toMatchObject({
      kind: "ok",
      body: [{ name: "a", manager: true, status: "ready" }],
    });
    expect(a.answer(stale)).toMatchObject({ kind: "ok", body: [{ name: "a" }] });
    const token = a.read({ kind: "token" });
    const staleToken = a.read({ kind: "token" }, true);
    world.settle();
    expect(a.answer(token)).toMatchObject({ body: { clusterId: "c1", joinSecret: SECRET } });
    expect(code(a.answer(staleToken))).toBe("no-manager");
  });

  it("does a write once under its key, and answers the second alike", () => {
    const { world, a } = World.founded();
    // Both before either is applied, and one after.
    const ids = [a.write(PUT, "k1"), a.write(PUT, "k1")];
    world.settle();
    const { lastIndex } = a.node.replica.raft;
    ids.push(a.write(PUT, "k1"));
    expect(a.node.replica.raft.lastIndex).toBe(lastIndex);
    const fresh = a.write(PUT, "k2");
    world.settle();
    for (const id of ids)
      expect(a.answer(id)).toMatchObject({ body: { version: 1, changed: true } });
    expect(a.answer(fresh)).toMatchObject({ body: { version: 1, changed: false } });
    expect(a.events.filter(({ type }) => type === "job")).toHaveLength(1);
  });

  it("refuses what the state refuses", () => {
    const { world, a } = World.founded();
    const id = a.write({ kind: "job-stop", job: "none", service: null }, "k1");
    world.settle();
    expect(code(a.answer(id))).toBe("not-found");
  });

  it("goes on with everything after a restart, its task untouched", () => {
    const { world, a } = World.founded();
    a.write(PUT, "k1");
    world.pass(3000);
    const before = [...a.machine.containers.values()].map(({ run }) => run);
    const hash = a.node.replica.state.hash();
    a.start();
    a.runEngine();
    world.settle();
    world.until("a manager", () => a.node.isManager);
    expect(a.node.replica.state.jobs.has("web")).toBe(true);
    world.pass(3000);
    expect([...a.machine.containers.values()].map(({ run }) => run)).toEqual(before);
    expect(a.node.replica.state.hash()).toBe(hash);
    expect(a.node.eventsSince(0).filter(({ type }) => type === "job")).toHaveLength(1);
  });

  it("gossips a digest that counts upwards", () => {
    const { world, a } = World.founded();
    world.pass(3000);
    expect(a.others.filter(({ kind }) => kind === "gossip")).toEqual([]);
    a.deliver({ kind: "usage", usage: USAGE });
    world.pass(5000);
    const counts = a.others.flatMap((effect) =>
      effect.kind === "gossip" ? [effect.digest.count] : [],
    );
    expect(counts.length).toBeGreaterThan(1);
    expect(counts).toEqual([...new Set(counts)].toSorted((x, y) => x - y));
  });
});

describe("a node without a manager", () => {
  it("refuses a request at its deadline, not before", () => {
    const { world, b } = alone();
    const ids = [b.write(PUT, "k1"), b.read({ kind: "jobs" })];
    world.pass(4900);
    expect(b.replies.size).toBe(0);
    world.pass(200);
    expect(ids.map((id) => code(b.answer(id)))).toEqual(["no-manager", "no-manager"]);
  });

  it("does the write once a manager is back", () => {
    const { world, b } = alone();
    const id = b.write(PUT, "k1");
    const a = world.machines.get(idOf("a"));
    a?.start();
    a?.runEngine();
    world.pass(4900);
    expect(b.answer(id)).toMatchObject({ kind: "ok", body: { version: 1 } });
  });
});

it("a node that comes and goes is ready again only when its session has stood for a while", () => {
  const { world, a } = World.founded();
  const b = world.join("b", a);
  world.pass(60_000);
  const liveness = (): string | undefined => a.node.replica.state.nodes.get(b.id)?.liveness;
  const waits: number[] = [];
  for (let time = 1; time <= 4; time++) {
    b.isUp = false;
    a.deliver({ kind: "peer-lost", peer: b.id });
    world.until("it is down", () => liveness() === "down");
    b.start();
    a.deliver({ kind: "peer-up", peer: b.id });
    const startMs = world.now;
    world.until("it is ready", () => liveness() === "ready");
    waits.push(world.now - startMs);
    world.pass(30_000);
  }
  expect(waits[0]).toBeLessThan(1_000);
  expect(waits[1]).toBeLessThan(1_000);
  expect(waits[2]).toBeGreaterThanOrEqual(5_000);
  expect(waits[3]).toBeGreaterThanOrEqual(15_000);
});

it("what a node said of itself last counts, also if it said something else just before", () => {
  const { world, a } = World.founded();
  const b = world.join("b", a);
  world.pass(60_000);
  const { facts } = b;
  const open = (session: number, datacenter: string): void => {
    const reports: never[] = [];
    const said = { ...facts, datacenter };
    const rest = { raftId: 2, facts: said, reports, members: "" };
    const message = { kind: "session-open", session, ...rest } as const;
    a.deliver({ kind: "message", from: b.id, message });
  };
  a.isSlow = true;
  open(world.now + 10, "elsewhere");
  open(world.now + 20, facts.datacenter);
  a.isSlow = false;
  world.settle();
  expect(a.node.replica.state.nodes.get(b.id)?.datacenter).toBe(facts.datacenter);
});

describe("a node that joins", () => {
  it("is a member that asks the manager, and is ready throughout", () => {
    const { world, a } = World.founded();
    world.pass(60_000);
    const b = world.join("b", a);
    world.pass(2000);
    expect(b.node.manager).toBe(a.id);
    const id = b.read({ kind: "nodes" });
    world.settle();
    expect(b.answer(id)).toMatchObject({
      manager: "id-a",
      body: [
        { name: "a", status: "ready", role: "voter" },
        { name: "b", status: "ready", role: "standby" },
      ],
    });
  });

  it("has the grace time to open its session before it is missed", () => {
    const { world, a } = World.founded();
    world.pass(60_000);
    const facts = nodeFacts("b");
    a.write({ kind: "node-admit", node: idOf("b"), facts }, "join-b");
    world.settle();
    world.pass(SESSION_GRACE_MS - TICK_MS);
    expect(a.node.replica.state.nodes.get(idOf("b"))?.liveness).toBe("ready");
    world.pass(2 * TICK_MS);
    expect(a.node.replica.state.nodes.get(idOf("b"))?.liveness).toBe("down");
  });

  it("again without its log comes under a new raft id, with the same grace", () => {
    const { world, a } = World.founded();
    const b = world.join("b", a);
    world.pass(60_000);
    b.isUp = false;
    a.deliver({ kind: "peer-lost", peer: b.id });
    world.pass(1000);
    a.write({ kind: "node-admit", node: b.id, facts: b.facts }, "join-b-again");
    world.settle();
    a.deliver({ kind: "peer-up", peer: b.id });
    world.pass(SESSION_GRACE_MS - TICK_MS);
    expect(a.node.replica.state.nodes.get(b.id)).toMatchObject({ liveness: "ready", raftId: 3 });
  });

  it("with a log whose raft id was given up since, is told that it is no member", () => {
    const { world, a } = World.founded();
    const b = world.join("b", a);
    b.isUp = false;
    a.deliver({ kind: "peer-lost", peer: b.id });
    world.pass(60_000);
    a.write({ kind: "node-admit", node: b.id, facts: b.facts }, "join-b-again");
    world.pass(60_000);
    expect(a.node.replica.state.isRetired(2)).toBe(true);
    b.isUp = true;
    a.deliver({ kind: "peer-up", peer: b.id });
    world.pass(5_000);
    expect(b.others).toContainEqual(
      expect.objectContaining({
        kind: "stop",
        fault: expect.objectContaining({ code: "removed" }),
      }),
    );
  });
});

describe("a learner that is to vote", () => {
  it("answers first: one that is gone, and was heard a moment ago, is sworn in by nobody", () => {
    const { world, a, b, c } = taught();
    b.isUp = false;
    c.isUp = false;
    world.pass(60_000);
    expect(a.node.local().voters).toEqual([1]);
    const id = a.write(PUT, "k1");
    world.settle();
    expect(a.answer(id)).toMatchObject({ kind: "ok" });
  });

  it("is sworn in within a few ticks when it does", () => {
    const { world, a } = taught();
    world.pass(AUTOPILOT_MS + 2 * TICK_MS);
    expect(a.node.local().voters).toEqual([1, 2, 3]);
  });
});

/** The number of the session that the node opened last. */
function sessionOf(world: World, { id }: Machine): number {
  const opened = world.sent.findLast(
    ({ from, message }) => from === id && message.kind === "session-open",
  );
  return opened?.message.kind === "session-open" ? opened.message.session : 0;
}

describe("a cluster of three", () => {
  it("has three voters, the same state everywhere and each worker in a session", () => {
    const { world, a, b, c } = three();
    world.pass(2000);
    expect([...a.node.local().voters].toSorted((x, y) => x - y)).toEqual([1, 2, 3]);
    const hashes = [a, b, c].map(({ node }) => node.replica.state.hash());
    expect(new Set(hashes).size).toBe(1);
    expect([b, c].map(({ node }) => node.manager)).toEqual([a.id, a.id]);
  });

  it("chooses another manager, which finishes what the first one was asked", () => {
    const { world, a, b, c } = three();
    world.pass(1000);
    a.isUp = false;
    const id = b.write(PUT, "k1");
    for (const machine of [b, c]) machine.deliver({ kind: "peer-lost", peer: a.id });
    world.until("an answer", () => b.replies.has(id));
    expect(b.answer(id)).toMatchObject({ kind: "ok", body: { version: 1 } });
    const manager = [b, c].find(({ node }) => node.isManager);
    world.until(
      "a is down",
      () => manager?.node.replica.state.nodes.get(a.id)?.liveness === "down",
    );
  });

  it("answers what waited for a manager as soon as there is one, through any node", () => {
    const { world, a, b, c } = three();
    a.isUp = false;
    for (const machine of [b, c]) machine.deliver({ kind: "peer-lost", peer: a.id });
    const ids = [b, c].map((machine) => machine.write(PUT, `k-${machine.id}`));
    world.until("another manager", () => b.node.isManager || c.node.isManager);
    for (const [i, machine] of [b, c].entries())
      expect(code(machine.answer(ids[i] ?? 0))).toBe("ok");
  });

  it("reports of a task only what its worker cannot forget any more", () => {
    const { world, a, b } = three();
    world.pass(1000);
    b.isSlow = true;
    const before = world.sent.length;
    const front = serviceSpec("front", { image: null, command: ["serve"], replicas: 3 });
    a.write({ kind: "job-put", spec: jobSpec("web", front), ifVersion: null }, "k1");
    world.pass(1000);
    const reported = (): boolean =>
      world.sent
        .slice(before)
        .some(({ from, message }) => from === b.id && message.kind === "session-reports");
    expect([...b.machine.containers.values()].map(({ status }) => status.state)).toEqual([
      "running",
    ]);
    // What was written before is done; the worker's memory goes with the next write.
    b.sync();
    world.settle();
    expect(b.writes.at(-1)?.data.worker?.reports).toMatchObject([{ state: "running" }]);
    expect(reported()).toBe(false);
    b.isSlow = false;
    world.settle();
    expect(reported()).toBe(true);
  });

  it("tells a worker's session that nobody knows to open another", () => {
    const { world, a, b } = three();
    world.pass(1000);
    const session = 1;
    world.send(b.id, a.id, { kind: "session-beat", session, usage: null, seq: 1, lease: null });
    world.settle();
    expect(world.sent.at(-1)).toEqual({
      from: a.id,
      to: b.id,
      message: { kind: "session-refused", session, manager: null },
    });
  });

  it("points those who ask the wrong node at the manager", () => {
    const { world, a, b, c } = three();
    world.pass(1000);
    const open = { kind: "session-open", session: 9, facts: c.facts, reports: [] } as const;
    world.send(c.id, b.id, { ...open, raftId: 3, members: "" });
    world.send(c.id, b.id, {
      kind: "forward",
      id: 99,
      request: { kind: "read", query: { kind: "jobs" }, stale: false },
      since: 0,
    });
    world.settle();
    const [refused, forwarded] = world.sent.slice(-2).map(({ message }) => message);
    expect(refused).toMatchObject({ kind: "session-refused", manager: { id: a.id, raftId: 1 } });
    expect(forwarded).toMatchObject({
      id: 99,
      outcome: { kind: "try-again", manager: a.id, tried: false },
    });
  });

  it("stops a node that is no member any more", () => {
    const { world, a, b, c } = three();
    world.send(a.id, b.id, { kind: "session-removed", session: sessionOf(world, b), left: false });
    world.send(a.id, c.id, { kind: "session-removed", session: sessionOf(world, c), left: true });
    world.settle();
    world.pass(TICK_MS);
    expect(b.others).toContainEqual(
      expect.objectContaining({
        kind: "stop",
        fault: expect.objectContaining({ code: "removed" }),
      }),
    );
    expect(c.others).toContainEqual({ kind: "left" });
    world.send(idOf("x"), a.id, {
      kind: "session-open",
      session: 1,
      raftId: 9,
      facts: nodeFacts("x"),
      reports: [],
      members: "",
    });
    world.settle();
    expect(world.sent.at(-1)?.message).toEqual({
      kind: "session-removed",
      session: 1,
      left: false,
    });
  });

  it("stops a node whose state is not the others'", () => {
    const { world, a, b } = three();
    for (let i = 0; i < AUDIT_ENTRIES; i++) a.write(PUT, `audit-${i}`);
    world.settle();
    const [index = 0] = b.node.replica.marks.keys();
    expect(index).toBe(AUDIT_ENTRIES);
    b.node.replica.marks.set(index, "another");
    world.until("it stops", () => b.others.some(({ kind }) => kind === "stop"));
    expect(b.others.find(({ kind }) => kind === "stop")).toMatchObject({
      fault: { code: "data-damaged", details: { index } },
    });
    expect(a.others.filter(({ kind }) => kind === "stop")).toEqual([]);
  });

  it("does not hear Raft of another cluster, nor under a raft id that was lost", () => {
    const { world, a, b } = three();
    world.pass(1000);
    const { term } = a.node.local();
    const message = {
      kind: "append-reply",
      from: 2,
      to: 1,
      term: term + 5,
      index: 0,
      rejected: false,
    } as const;
    world.send(b.id, a.id, { kind: "raft", clusterId: "c2", message });
    world.send(b.id, a.id, { kind: "raft", clusterId: "c1", message: { ...message, to: 9 } });
    world.send(b.id, a.id, { kind: "raft", clusterId: "c1", message: { ...message, from: 1 } });
    world.settle();
    expect(a.node.local().term).toBe(term);
    world.send(b.id, a.id, { kind: "raft", clusterId: "c1", message });
    world.settle();
    expect(a.node.local().term).toBeGreaterThan(term);
  });

  it("keeps its workers through a manager's standing still", () => {
    const { world, a, b, c } = three();
    world.pass(SESSION_BEAT_MS);
    // All stood still, as on a laptop that slept.
    world.now += 60_000;
    world.pass(1000);
    const lived = [a, b, c].map(({ events }) =>
      events.filter(({ message }) => message.includes("down")),
    );
    expect(lived).toEqual([[], [], []]);
  });
});
