import { describe, expect, it } from "vitest";
import { present } from "../../lib/assert.ts";
import { taskId } from "../../state/ids.ts";
import type { NodeId } from "../../state/ids.ts";
import { idOf, serviceSpec, taskReport, TestCluster, USAGE } from "../../test/fixtures/cluster.ts";
import {
  MEMBERS_MS,
  MEMBERS_PER_TURN,
  SESSION_BROKEN_MS,
  SESSION_GRACE_MS,
  SESSION_SILENT_MS,
} from "./defaults.ts";
import type { Member, MemberChange, SessionSet } from "./message.ts";
import { SessionTable } from "./sessions.ts";
import { downAtMs } from "./verdict.ts";

/** How a session begins whose worker has no tasks and no list. */
const NEW = { reports: [], membersStamp: -1 };
const START = 1_000_000;
const A = idOf("a");

function sessions(): SessionTable {
  return new SessionTable(START);
}

/** With one of its observers missing it. */
function downAt(table: SessionTable, node: NodeId, lostAtMs: number | null): number {
  const alerts = [{ sinceMs: START }];
  return downAtMs({ ...table.evidence(node), lostAtMs, sureSinceMs: null, observers: 3, alerts });
}

describe("when a node is taken for down", () => {
  it("after the grace time of a new manager, if it never spoke", () => {
    expect(downAt(sessions(), A, null)).toBe(START + SESSION_GRACE_MS);
  });

  it("much sooner when its stream was seen to break, but not before it could open a session", () => {
    expect(downAt(sessions(), A, START - 100)).toBe(START - 100 + SESSION_BROKEN_MS);
    expect(downAt(sessions(), A, START - 60_000)).toBe(START + SESSION_BROKEN_MS / 2);
  });

  it("when its session was silent for too long", () => {
    const table = sessions();
    table.open(A, 1, NEW, START + 10_000);
    expect(downAt(table, A, null)).toBe(START + 10_000 + SESSION_SILENT_MS);
    expect(table.heard(A, 1, START + 12_000)).toBe(true);
    expect(downAt(table, A, null)).toBe(START + 12_000 + SESSION_SILENT_MS);
  });

  it("soon after its stream broke, counted from the first break, unless it speaks again", () => {
    const table = sessions();
    table.open(A, 1, NEW, START);
    table.peerLost(A, START + 1000);
    table.peerLost(A, START + 2000);
    expect(downAt(table, A, null)).toBe(START + 1000 + SESSION_BROKEN_MS);
    table.heard(A, 1, START + 2100);
    expect(downAt(table, A, null)).toBe(START + 2100 + SESSION_SILENT_MS);
  });

  it("never from what was known before its session: an open is a sign of life", () => {
    const table = sessions();
    table.open(A, 1, NEW, START + 50);
    expect(downAt(table, A, START - 60_000)).toBe(START + 50 + SESSION_SILENT_MS);
  });

  it("after its grace, when it was admitted while this manager led", () => {
    const table = sessions();
    table.open(A, 1, NEW, START);
    table.peerLost(A, START + 100);
    table.expect(A, START + 60_000);
    expect(table.has(A)).toBe(false);
    expect(downAt(table, A, null)).toBe(START + 60_000 + SESSION_GRACE_MS);
    expect(downAt(table, idOf("b"), null)).toBe(START + SESSION_GRACE_MS);
  });
});

describe("a manager that stood still", () => {
  it("blames nobody for that time", () => {
    const table = sessions();
    table.open(A, 1, NEW, START);
    table.open(idOf("b"), 1, NEW, START);
    table.peerLost(idOf("b"), START + 100);
    table.forgive(7000, START + 7200);
    expect(downAt(table, A, null)).toBe(START + 7000 + SESSION_SILENT_MS);
    expect(downAt(table, idOf("b"), null)).toBe(START + 7100 + SESSION_BROKEN_MS);
  });

  it("nor those that it has not heard of yet", () => {
    const table = sessions();
    table.expect(idOf("b"), START + 1000);
    table.forgive(7000, START + 9000);
    expect(downAt(table, A, null)).toBe(START + 7000 + SESSION_GRACE_MS);
    expect(downAt(table, idOf("b"), null)).toBe(START + 8000 + SESSION_GRACE_MS);
  });

  it("credits nobody beyond now: what waited for it may have been read before the clock", () => {
    const table = sessions();
    const [b, c] = [idOf("b"), idOf("c")];
    for (const node of [A, b]) table.open(node, 1, NEW, START);
    table.heard(A, 1, START + 60_000);
    table.peerLost(b, START + 60_000);
    table.expect(c, START + 60_000);
    table.forgive(60_000, START + 60_000);
    expect(downAt(table, A, null)).toBe(START + 60_000 + SESSION_SILENT_MS);
    expect(downAt(table, b, null)).toBe(START + 60_000 + SESSION_BROKEN_MS);
    expect(downAt(table, c, null)).toBe(START + 60_000 + SESSION_GRACE_MS);
  });
});

describe("sessions", () => {
  it("are known by their number: another's beat must open first", () => {
    const table = sessions();
    expect(table.heard(A, 1, START)).toBe(false);
    table.open(A, 5, NEW, START);
    expect(table.heard(A, 4, START + 1)).toBe(false);
    expect(table.heard(A, 6, START + 1)).toBe(false);
    expect(downAt(table, A, null)).toBe(START + SESSION_SILENT_MS);
  });

  it("are replaced by later ones only", () => {
    const table = sessions();
    table.open(A, 5, NEW, START);
    table.open(A, 4, NEW, START + 1);
    expect(table.heard(A, 5, START + 2)).toBe(true);
    table.open(A, 6, NEW, START + 3);
    expect(table.heard(A, 5, START + 4)).toBe(false);
    expect(table.heard(A, 6, START + 4)).toBe(true);
  });

  it("keep the newest usage, with its time, through a new session", () => {
    const table = sessions();
    expect(table.usage(A)).toBeNull();
    table.open(A, 1, NEW, START);
    table.beat(A, USAGE, 0, START + 10);
    table.beat(A, null, 0, START + 20);
    expect(table.usage(A)).toEqual({ usage: USAGE, atMs: START + 10 });
    table.open(A, 2, NEW, START + 30);
    expect(table.usage(A)).toEqual({ usage: USAGE, atMs: START + 10 });
    table.delete(A);
    expect(table.usage(A)).toBeNull();
    expect(table.has(A)).toBe(false);
  });
});

const MEMBER: Member = { id: A, raftId: 1, name: "a", addresses: [], holdsLog: true };

function noChange(): MemberChange {
  return { whole: false, upsert: [], gone: [] };
}

const WHOLE = { whole: true, upsert: [MEMBER], gone: [] };

/** A manager with node a in session 1 and a job of one task on it. */
class Manager {
  readonly cluster = new TestCluster();
  readonly table = sessions();
  now = START;
  stamp = 1;
  /** What the manager can say of how its list changed. */
  change: MemberChange | null = null;
  /** … since the list of a stamp. */
  readonly changes: Map<number, MemberChange> = new Map();

  constructor() {
    this.cluster.apply({
      kind: "cluster-init",
      clusterId: "c1",
      joinSecret: "secret",
      featureLevel: 1,
    });
    this.cluster.admit("a");
    this.cluster.put("web", serviceSpec("front"));
    this.cluster.settle();
    this.table.open(A, 1, NEW, this.now);
  }

  get task(): string {
    return this.cluster.task("web", "front", 1).id;
  }

  /** The set that is due for node a now. */
  set(): SessionSet | null {
    const since = (stamp: number): MemberChange | null => this.changes.get(stamp) ?? this.change;
    const members = { list: [MEMBER], stamp: this.stamp, since, index: 1 };
    const due = this.table.sets(this.cluster.state, members, this.now);
    const [first, ...more] = due;
    if (more.length > 0 || (first !== undefined && first.to !== A)) throw new Error("not for a");
    return first?.message.kind === "session-set" ? first.message : null;
  }

  /** The set that is due, which must be there. */
  due(): SessionSet {
    const set = this.set();
    if (set === null) throw new Error("no set is due");
    return set;
  }

  beat(seq: number): void {
    this.table.beat(A, null, seq, this.now);
  }

  stop(): void {
    this.cluster.apply({ kind: "job-stop", job: "web", service: null });
    this.cluster.pass();
    this.table.touch(A);
  }
}

describe("a session of a node that was taken for down", () => {
  it("is told nothing before what it runs has been decided on, and then all of it", () => {
    const manager = new Manager();
    manager.beat(manager.due().seq);
    manager.cluster.liveness("a", "down");
    manager.table.touch(A);
    expect(manager.set()).toBeNull();
    manager.cluster.liveness("a", "ready");
    manager.table.touch(A);
    expect(manager.set()).toMatchObject({ full: false, remove: [manager.task] });
  });

  it("unless it is held back for coming and going", () => {
    const manager = new Manager();
    manager.cluster.liveness("a", "down");
    manager.table.hold(A);
    expect(manager.set()).toMatchObject({ full: true, upsert: [] });
  });

  it("says what runs there, until it is told to end that", () => {
    const manager = new Manager();
    const task = taskId(manager.task);
    const other = taskId("zz-0");
    expect(manager.table.isRunning(A, task)).toBe(false);
    manager.table.reported(A, [taskReport(task, "running"), taskReport(other, "running")]);
    expect([task, other].map((id) => manager.table.isRunning(A, id))).toEqual([true, true]);
    manager.due();
    expect([task, other].map((id) => manager.table.isRunning(A, id))).toEqual([true, false]);
    manager.table.reported(A, [taskReport(task, "failed")]);
    expect(manager.table.isRunning(A, task)).toBe(false);
  });

  it("is settled once it has acknowledged a set of after the node's last turn", () => {
    const manager = new Manager();
    const isSettled = (): boolean =>
      manager.table.isSettled(present(manager.cluster.state.nodes.get(A), "it was admitted"));
    expect(isSettled()).toBe(false);
    const { seq } = manager.due();
    expect(isSettled(), "it was sent").toBe(false);
    manager.beat(seq);
    expect(isSettled()).toBe(true);
    manager.cluster.liveness("a", "down");
    manager.cluster.liveness("a", "ready");
    expect(isSettled(), "the node has had a turn since").toBe(false);
    // Also where nothing else is to be said.
    manager.table.touch(A);
    const next = manager.due();
    manager.beat(next.seq - 1);
    expect(isSettled()).toBe(false);
    manager.beat(next.seq);
    expect(isSettled()).toBe(true);
    manager.table.open(A, 2, NEW, manager.now);
    expect(isSettled(), "another session").toBe(false);
  });
});

describe("the sets of a session", () => {
  it("begin with all: tasks, members and the secret, once", () => {
    const manager = new Manager();
    expect(manager.set()).toMatchObject({
      session: 1,
      seq: START,
      full: true,
      upsert: [{ task: manager.task, desired: "running" }],
      remove: [],
      members: WHOLE,
      joinSecret: "secret",
    });
    expect(manager.set()).toBeNull();
  });

  it("say only what changed once the first is acknowledged", () => {
    const manager = new Manager();
    const { seq } = manager.due();
    manager.beat(seq);
    manager.table.touch(A);
    expect(manager.set()).toBeNull();
    manager.stop();
    expect(manager.set()).toMatchObject({
      seq: seq + 1,
      full: false,
      upsert: [{ task: manager.task, desired: "stopped" }],
      members: null,
    });
    expect(manager.set()).toBeNull();
  });

  it("bring members when they have changed", () => {
    const manager = new Manager();
    manager.beat(manager.due().seq);
    manager.stamp += 1;
    manager.change = { whole: false, upsert: [{ ...MEMBER, name: "b" }], gone: [idOf("c")] };
    manager.now += MEMBERS_MS;
    const { change: members } = manager;
    expect(manager.set()).toMatchObject({ full: false, upsert: [], remove: [], members });
    expect(manager.set()).toBeNull();
  });

  it("bring all members when the manager cannot say what changed", () => {
    const manager = new Manager();
    manager.beat(manager.due().seq);
    manager.stamp += 1;
    manager.now += MEMBERS_MS;
    expect(manager.set()).toMatchObject({ full: false, members: WHOLE });
  });

  it("bring members that change in quick succession together, and tasks at once", () => {
    const manager = new Manager();
    manager.beat(manager.due().seq);
    manager.stamp += 1;
    expect(manager.set()).toBeNull();
    manager.stop();
    expect(manager.set()).toMatchObject({ full: false, upsert: [{}], members: null });
    manager.stamp += 1;
    manager.now += MEMBERS_MS;
    expect(manager.set()).toMatchObject({ members: WHOLE });
  });

  it("say everything while the first is not acknowledged", () => {
    const manager = new Manager();
    const { seq } = manager.due();
    manager.stop();
    expect(manager.set()).toMatchObject({
      seq: seq + 1,
      full: true,
      upsert: [{ task: manager.task, desired: "stopped" }],
      members: WHOLE,
    });
  });

  it("say everything again when one was lost, and not before it can be known", () => {
    const manager = new Manager();
    const { seq } = manager.due();
    manager.beat(seq);
    manager.stop();
    manager.due();
    manager.now += 2000;
    manager.beat(seq);
    expect(manager.set()).toBeNull();
    manager.now += 1;
    manager.beat(seq);
    expect(manager.set()).toMatchObject({
      seq: seq + 2,
      full: true,
      upsert: [{ task: manager.task, desired: "stopped" }],
    });
    // An acknowledgement of the one before does not end that.
    manager.beat(seq + 1);
    manager.table.touch(A);
    expect(manager.due().full).toBe(true);
    manager.beat(seq + 3);
    manager.table.touch(A);
    expect(manager.set()).toBeNull();
  });

  it("go on above what was seen when the same session is opened again", () => {
    const manager = new Manager();
    const { seq } = manager.due();
    manager.beat(seq);
    manager.stop();
    expect(manager.due().seq).toBe(seq + 1);
    manager.table.open(A, 1, NEW, manager.now);
    expect(manager.set()).toMatchObject({ seq: seq + 2, full: true });
    // What was acknowledged of the session's first life counts for nothing.
    manager.beat(seq + 1);
    manager.table.touch(A);
    expect(manager.due().full).toBe(true);
  });

  it("begin with what changed for one that has a list which the manager knows, also when the first is lost", () => {
    const manager = new Manager();
    manager.changes.set(7, { whole: false, upsert: [], gone: [idOf("c")] });
    manager.table.open(A, 2, { ...NEW, membersStamp: 7 }, manager.now);
    const members = { whole: false, upsert: [], gone: [idOf("c")] };
    const { seq } = manager.due();
    expect(seq).toBe(START);
    manager.stop();
    expect(manager.set()).toMatchObject({ full: true, upsert: [{}], members });
    manager.table.open(A, 3, { ...NEW, membersStamp: 8 }, manager.now);
    expect(manager.set()).toMatchObject({ full: true, members: WHOLE });
  });

  it("bring no second list while the first is under way", () => {
    const manager = new Manager();
    const { seq } = manager.due();
    manager.stamp += 1;
    manager.now += MEMBERS_MS;
    expect(manager.set()).toBeNull();
    manager.beat(seq);
    expect(manager.set()).toMatchObject({ full: false, members: WHOLE });
  });

  it("share a whole list, so that it becomes bytes once", () => {
    const manager = new Manager();
    manager.cluster.admit("b", "c");
    for (const name of ["b", "c"]) manager.table.open(idOf(name), 1, NEW, manager.now);
    const list = { list: [MEMBER], stamp: 1, since: () => null, index: 1 };
    const sets = manager.table.sets(manager.cluster.state, list, manager.now);
    const lists = sets.map(({ message }) =>
      message.kind === "session-set" ? message.members : null,
    );
    expect(lists).toHaveLength(3);
    expect(lists[0]).toEqual(WHOLE);
    expect(new Set(lists).size).toBe(1);
  });

  it("bring whole lists to some in one turn, and to the others in the next", () => {
    const manager = new Manager();
    const { state } = manager.cluster;
    const list = Array.from({ length: MEMBERS_PER_TURN / 2 }, () => MEMBER);
    const members = { list, stamp: 1, since: () => null, index: 1 };
    manager.cluster.admit("b", "c", "d", "e");
    for (const name of ["b", "c", "d", "e"]) manager.table.open(idOf(name), 1, NEW, manager.now);
    const told: NodeId[][] = [];
    do told.push(manager.table.sets(state, members, manager.now).map(({ to }) => to));
    while (manager.table.isBehind);
    expect(told).toEqual([[A, idOf("b")], [idOf("c"), idOf("d")], [idOf("e")]]);
    expect(manager.table.sets(state, members, manager.now)).toEqual([]);
    // Those that need no list wait for nobody.
    for (const name of ["b", "c", "d", "e"]) {
      manager.table.open(idOf(name), 2, { ...NEW, membersStamp: 1 }, manager.now);
    }
    const known = { ...members, since: noChange };
    expect(manager.table.sets(state, known, manager.now)).toHaveLength(4);
    expect(manager.table.isBehind).toBe(false);
  });

  it("are not believed acknowledged beyond what was sent", () => {
    const manager = new Manager();
    manager.beat(Number.MAX_SAFE_INTEGER);
    expect(manager.due().full).toBe(true);
    manager.stop();
    expect(manager.due().full).toBe(true);
  });

  it("wait until the state knows the node", () => {
    const manager = new Manager();
    manager.table.open(idOf("b"), 1, NEW, manager.now);
    manager.due();
    manager.cluster.admit("b");
    const due = manager.table.sets(
      manager.cluster.state,
      { list: [MEMBER], stamp: 1, since: () => null, index: 1 },
      manager.now,
    );
    expect(due).toMatchObject([{ to: "id-b", message: { full: true, upsert: [] } }]);
  });
});
