import { describe, expect, it } from "vitest";
import { LEASE_MS } from "../../state/lease.ts";
import type { NodeId } from "../../state/ids.ts";
import { taskId } from "../../state/ids.ts";
import type { TaskReport } from "../../state/task.ts";
import { idOf, nodeFacts, taskReport, USAGE } from "../../test/fixtures/cluster.ts";
import {
  REPORTS_RETRY_MS,
  SESSION_BEAT_MS,
  SESSION_OPEN_MS,
  SESSION_SILENT_MS,
} from "./defaults.ts";
import type { NodeMessage, SessionSet } from "./message.ts";
import { SessionClient } from "./session-client.ts";

const START = 1_000_000;
const [A, B, C] = [idOf("a"), idOf("b"), idOf("c")];
const FACTS = nodeFacts("w");

function report(task: string, state: TaskReport["state"] = "running"): TaskReport {
  return taskReport(taskId(task), state);
}

/** A worker, what it sent since it was last asked, and its clock. */
class Worker {
  now = START;
  holders: readonly NodeId[] = [A, B, C];
  needsLease = false;
  leader: NodeId | null = null;
  current: TaskReport[] = [];
  #sent: { to: NodeId; message: NodeMessage }[] = [];
  readonly client = new SessionClient({
    raftId: 3,
    facts: FACTS,
    reports: () => this.current,
    members: () => "none",
    send: (to, message) => this.#sent.push({ to, message }),
  });

  sent(): { to: NodeId; message: NodeMessage }[] {
    const sent = this.#sent;
    this.#sent = [];
    return sent;
  }

  /** Whom it asked for what. */
  said(): string[] {
    return this.sent().map(({ to, message }) => `${message.kind} ${to.slice(3)}`);
  }

  tick(afterMs = 100): void {
    this.now += afterMs;
    const said = { usage: USAGE, needsLease: this.needsLease };
    this.client.tick(this.leader, this.holders, said, this.now);
  }

  /** The number of the session that was asked for last. */
  opened(): number {
    for (const { message } of this.sent().toReversed()) {
      if (message.kind === "session-open") return message.session;
    }
    throw new Error("no session was asked for");
  }

  accept(session: number, seq: number, full: boolean, from = A): SessionSet | null {
    const set: SessionSet = {
      kind: "session-set",
      featureLevel: 1,
      session,
      seq,
      full,
      upsert: [],
      remove: [],
      index: 1,
      members: null,
      joinSecret: "secret",
    };
    return this.client.accept(from, set, this.now);
  }

  /** Opens a session with node a. */
  open(): number {
    this.leader = A;
    this.tick();
    const session = this.opened();
    this.accept(session, 10, true);
    this.leader = null;
    return session;
  }

  report(...reports: readonly TaskReport[]): void {
    this.client.report(reports, this.now);
  }

  /** The batches that were sent since: number and tasks with their states. */
  batches(): string[] {
    return this.sent().flatMap(({ message }) =>
      message.kind === "session-reports"
        ? [`${message.batch}: ${message.reports.map((r) => `${r.task} ${r.state}`).join(", ")}`]
        : [],
    );
  }
}

describe("a node that has moved", () => {
  const there = ["/ip4/10.0.0.9/tcp/7400"];

  it("says so with another session, and with every one that follows", () => {
    const worker = new Worker();
    const first = worker.open();
    worker.client.moved(there, worker.now);
    const [opened] = worker.sent();
    expect(opened).toMatchObject({ to: A, message: { facts: { ...FACTS, addresses: there } } });
    const second = opened?.message.kind === "session-open" ? opened.message.session : 0;
    expect(second).toBeGreaterThan(first);
    expect(worker.accept(first, 11, false)).toBeNull();
    expect(worker.accept(second, 1, true)).not.toBeNull();
    worker.client.peerLost(A);
    worker.leader = B;
    worker.tick();
    expect(worker.sent()[0]?.message).toMatchObject({ facts: { addresses: there } });
  });

  it("says nothing when it is where it was, or before it has found a manager", () => {
    const worker = new Worker();
    worker.client.moved(there, worker.now);
    expect(worker.sent()).toEqual([]);
    worker.leader = A;
    worker.tick();
    expect(worker.sent()[0]?.message).toMatchObject({ facts: { addresses: there } });
    worker.client.moved([...there], worker.now);
    expect(worker.sent()).toEqual([]);
  });
});

describe("finding the manager", () => {
  it("asks whom Raft knows to lead, with its facts and all its reports", () => {
    const worker = new Worker();
    worker.leader = B;
    worker.current = [report("t1")];
    worker.tick();
    const session = worker.now;
    expect(worker.sent()).toEqual([
      {
        to: B,
        message: {
          kind: "session-open",
          session,
          raftId: 3,
          facts: FACTS,
          reports: [report("t1")],
          members: "none",
        },
      },
    ]);
    expect(worker.client.manager).toBeNull();
  });

  it("asks one log holder after the other, for ever, with a wait between", () => {
    const worker = new Worker();
    const asked: string[] = [];
    for (let i = 0; i < 4 * 5; i++) {
      worker.tick();
      asked.push(...worker.said());
    }
    expect(SESSION_OPEN_MS).toBe(500);
    expect(asked).toEqual(["b", "c", "a", "b"].map((to) => `session-open ${to}`));
  });

  it("asks nobody while it knows nobody", () => {
    const worker = new Worker();
    worker.holders = [];
    worker.tick();
    expect(worker.sent()).toEqual([]);
    worker.holders = [C];
    worker.tick();
    expect(worker.said()).toEqual(["session-open c"]);
  });

  it("goes at once where a refusal points", () => {
    const worker = new Worker();
    worker.tick();
    worker.client.refused(worker.opened(), A, worker.now);
    const [open] = worker.sent();
    expect(open).toMatchObject({ to: A, message: { kind: "session-open" } });
  });

  it("waits for its turn after a refusal that points nowhere, or at the refuser itself", () => {
    const worker = new Worker();
    worker.tick();
    const session = worker.opened();
    worker.client.refused(session, null, worker.now);
    worker.client.refused(session, B, worker.now);
    worker.tick();
    expect(worker.sent()).toEqual([]);
    worker.tick(SESSION_OPEN_MS);
    expect(worker.said()).toEqual(["session-open c"]);
  });

  it("takes no refusal of an older session", () => {
    const worker = new Worker();
    worker.tick();
    worker.client.refused(worker.opened() - 1, A, worker.now);
    expect(worker.sent()).toEqual([]);
  });

  it("believes in a manager once its first set is there", () => {
    const worker = new Worker();
    const session = worker.open();
    expect(worker.client.manager).toBe(A);
    worker.client.refused(session, null, worker.now);
    expect(worker.client.manager).toBeNull();
    worker.tick();
    expect(worker.said()).toEqual(["session-open b"]);
  });

  it("opens anew when Raft knows another leader", () => {
    const worker = new Worker();
    const session = worker.open();
    worker.leader = C;
    worker.tick();
    expect(worker.sent()).toMatchObject([{ to: C, message: { kind: "session-open" } }]);
    // What the one before still says is not heard.
    expect(worker.accept(session, 11, false)).toBeNull();
    expect(worker.client.manager).toBeNull();
  });

  it("opens anew when the stream to its manager breaks, and only then", () => {
    const worker = new Worker();
    worker.open();
    worker.client.peerLost(B);
    expect(worker.client.manager).toBe(A);
    worker.client.peerLost(A);
    worker.tick();
    expect(worker.said()).toEqual(["session-open b"]);
  });

  it("never uses a number twice, whatever the clock says", () => {
    const worker = new Worker();
    worker.tick();
    const session = worker.opened();
    worker.client.refused(session, A, START - 5000);
    expect(worker.opened()).toBe(session + 1);
  });
});

describe("a session", () => {
  it("beats every second with the usage and the last set, at once after a set", () => {
    const worker = new Worker();
    const session = worker.open();
    worker.tick();
    expect(worker.sent()).toEqual([
      { to: A, message: { kind: "session-beat", session, usage: USAGE, seq: 10, lease: null } },
    ]);
    worker.tick(SESSION_BEAT_MS - 1);
    expect(worker.sent()).toEqual([]);
    worker.tick(1);
    expect(worker.said()).toEqual(["session-beat a"]);
    worker.accept(session, 11, false);
    worker.tick();
    expect(worker.sent()).toMatchObject([{ message: { kind: "session-beat", seq: 11 } }]);
  });

  it("asks for a lease with each beat while something here needs one", () => {
    const worker = new Worker();
    const session = worker.open();
    worker.needsLease = true;
    worker.tick();
    const askedAtMs = worker.now;
    expect(worker.sent()).toMatchObject([{ message: { kind: "session-beat", lease: 1 } }]);
    worker.tick(SESSION_BEAT_MS);
    expect(worker.sent()).toMatchObject([{ message: { lease: 2 } }]);
    // Whenever the answer comes, the lease counts from when it was asked for.
    expect(worker.client.leased(A, session, 2)).toBe(askedAtMs + SESSION_BEAT_MS + LEASE_MS);
    expect(worker.client.leased(A, session, 1)).toBe(askedAtMs + LEASE_MS);
    expect(worker.client.leased(A, session, 3), "never asked for").toBeNull();
    expect(worker.client.leased(B, session, 2), "not its manager").toBeNull();
    expect(worker.client.leased(A, session - 1, 2), "of an earlier session").toBeNull();
    worker.client.peerLost(A);
    const next = worker.open();
    expect(worker.client.leased(A, next, 2), "asked for in an earlier session").toBeNull();
  });

  it("is opened anew after silence, which any word of its manager ends", () => {
    const worker = new Worker();
    const session = worker.open();
    worker.now += SESSION_SILENT_MS;
    worker.client.heard(A, session, worker.now);
    worker.tick(SESSION_SILENT_MS);
    expect(worker.client.manager).toBe(A);
    worker.client.heard(B, session, worker.now);
    worker.client.heard(A, session - 1, worker.now);
    worker.sent();
    worker.tick(1);
    expect(worker.said()).toEqual(["session-open b"]);
    expect(worker.client.manager).toBeNull();
  });

  it("takes sets in order: old ones and those after a gap are passed by", () => {
    const worker = new Worker();
    const session = worker.open();
    expect(worker.accept(session, 10, false)).toBeNull();
    expect(worker.accept(session, 9, true)).toBeNull();
    expect(worker.accept(session, 12, false)).toBeNull();
    expect(worker.accept(session, 11, false)).toMatchObject({ seq: 11 });
    expect(worker.accept(session, 12, false)).toMatchObject({ seq: 12 });
    // All of it: no gap matters.
    expect(worker.accept(session, 20, true)).toMatchObject({ seq: 20 });
    expect(worker.accept(session, 19, false)).toBeNull();
  });

  it("takes no set of another node or session", () => {
    const worker = new Worker();
    const session = worker.open();
    expect(worker.accept(session, 11, false, B)).toBeNull();
    expect(worker.accept(session + 1, 11, true)).toBeNull();
    expect(worker.accept(session, 11, false)).not.toBeNull();
  });
});

describe("reports", () => {
  it("wait for a session, the newest of each task", () => {
    const worker = new Worker();
    worker.report(report("t1", "starting"));
    worker.report(report("t1"), report("t2"));
    expect(worker.sent()).toEqual([]);
    worker.open();
    worker.tick();
    expect(worker.batches()).toEqual(["1: t1 running, t2 running"]);
  });

  it("leave at once, one batch at a time", () => {
    const worker = new Worker();
    const session = worker.open();
    worker.report(report("t1", "starting"));
    expect(worker.batches()).toEqual(["1: t1 starting"]);
    worker.report(report("t1"));
    worker.report(report("t1", "complete"), report("t2"));
    worker.tick();
    expect(worker.batches()).toEqual([]);
    worker.client.acknowledged(session, 2, worker.now);
    worker.client.acknowledged(session - 1, 1, worker.now);
    expect(worker.batches()).toEqual([]);
    worker.client.acknowledged(session, 1, worker.now);
    expect(worker.batches()).toEqual(["2: t1 complete, t2 running"]);
    worker.client.acknowledged(session, 2, worker.now);
    worker.tick(5000);
    expect(worker.batches()).toEqual([]);
  });

  it("are sent again until they are acknowledged, newer ones in their place", () => {
    const worker = new Worker();
    const session = worker.open();
    worker.report(report("t1", "starting"), report("t2"));
    worker.report(report("t1"));
    expect(worker.batches()).toHaveLength(1);
    worker.tick(2999);
    expect(worker.batches()).toEqual([]);
    worker.tick(1);
    expect(worker.batches()).toEqual(["2: t1 running, t2 running"]);
    // The first batch was superseded: its late acknowledgement is not the second's.
    worker.client.acknowledged(session, 1, worker.now);
    worker.client.heard(A, session, worker.now);
    worker.tick(3000);
    expect(worker.batches()).toEqual(["3: t1 running, t2 running"]);
  });

  it("of a session that ended go to the next one", () => {
    const worker = new Worker();
    const session = worker.open();
    worker.report(report("t1"));
    worker.client.refused(session, B, worker.now);
    const next = worker.opened();
    worker.client.acknowledged(session, 1, worker.now);
    worker.accept(next, 1, true, B);
    worker.tick();
    expect(worker.batches()).toEqual(["2: t1 running"]);
  });

  it("that open a session are sent again until they are acknowledged, like all others", () => {
    const worker = new Worker();
    worker.current = [report("t1", "stopped")];
    const session = worker.open();
    worker.accept(session, 1, true);
    worker.sent();
    const again = (): NodeMessage[] =>
      worker
        .sent()
        .map(({ message }) => message)
        .filter(({ kind }) => kind === "session-reports");
    worker.tick(REPORTS_RETRY_MS);
    expect(again()).toMatchObject([{ session, reports: worker.current }]);
    const other = new Worker();
    other.current = worker.current;
    const opened = other.open();
    other.accept(opened, 1, true);
    other.client.acknowledged(opened, 0, other.now);
    other.tick(REPORTS_RETRY_MS);
    expect(other.sent().map(({ message }) => message.kind)).not.toContain("session-reports");
  });
});
