import { describe, expect, it } from "vitest";
import { encodeChange } from "../../consensus/membership.ts";
import type { Entry, HardState, Message } from "../../consensus/message.ts";
import { Prng } from "../../lib/prng.ts";
import { ClusterState, encodeEnvelope } from "../../state/cluster.ts";
import { idOf, nodeFacts } from "../../test/fixtures/cluster.ts";
import { EMPTY_DISK, type Identity } from "../storage.ts";
import { bootstrap } from "./bootstrap.ts";
import { LOG_BOUNDS } from "./defaults.ts";
import { Replica, type ReplicaOutput } from "./replica.ts";

const IDENTITY: Identity = {
  clusterId: "c1",
  node: idOf("b"),
  raftId: 2,
  peers: [],
  joinSecret: "c2VjcmV0",
};
const WORKER = { assignments: [], reports: [], ending: [] };

/** The log that founds the voters 1 to 3. */
const FOUNDING: Entry = {
  term: 1,
  index: 1,
  kind: "conf",
  data: encodeChange({ changes: [1, 2, 3].map((id) => ({ op: "add-voter", id })) }),
};

function entry(term: number, index: number, node = "x"): Entry {
  const command = { kind: "node-admit", node: idOf(node), facts: nodeFacts(node) } as const;
  return {
    term,
    index,
    kind: "normal",
    data: encodeEnvelope({ command, timeMs: 1, key: null, since: null }),
  };
}

/** Node 2 of three, with a disk that is done when the test says so. */
class Follower {
  readonly replica: Replica;
  output: ReplicaOutput;

  constructor(entries: readonly Entry[] = [FOUNDING], hardState: Partial<HardState> = {}) {
    const image = {
      ...EMPTY_DISK,
      entries,
      hardState: { term: 1, vote: 0, commit: 1, ...hardState },
    };
    this.replica = new Replica(2, image, new ClusterState(), new Prng(2), LOG_BOUNDS);
    this.output = this.take();
  }

  take(released: Message[] = []): ReplicaOutput {
    this.output = this.replica.take(released);
    return this.output;
  }

  step(message: Message): ReplicaOutput {
    this.replica.raft.step(message);
    return this.take();
  }

  /** Entries from the leader of that term. */
  append(
    term: number,
    from: number,
    prev: [number, number],
    entries: readonly Entry[],
    commit = 1,
  ): ReplicaOutput {
    const [prevIndex, prevTerm] = prev;
    return this.step({ kind: "append", from, to: 2, term, prevIndex, prevTerm, entries, commit });
  }

  persisted(write: number): ReplicaOutput {
    const released: Message[] = [];
    this.replica.persisted(write, released);
    return this.take(released);
  }

  campaign(): void {
    this.replica.raft.campaign();
    this.take();
    const [asked] = this.output.messages;
    const term = asked?.term ?? 0;
    this.step({
      kind: "pre-vote-reply",
      from: 3,
      to: 2,
      term,
      rejected: false,
      commit: 0,
      commitTerm: 0,
    });
  }
}

function written(output: ReplicaOutput): number[][] | null {
  return output.persist?.data.entries.map(({ term, index }) => [term, index]) ?? null;
}

function sent(output: ReplicaOutput): string[] {
  return output.messages.map((m) =>
    m.kind === "append-reply" ? `append-reply ${m.term}:${m.index}` : m.kind,
  );
}

describe("writes", () => {
  it("are one at a time: what comes meanwhile is the next, in one", () => {
    const f = new Follower();
    expect(f.output.persist).toBeNull();
    expect(written(f.append(2, 1, [1, 1], [entry(2, 2)]))).toEqual([[2, 2]]);
    expect(f.output.persist).toMatchObject({
      write: 1,
      data: { hardState: { term: 2 }, worker: null },
    });
    expect(f.append(2, 1, [2, 2], [entry(2, 3)]).persist).toBeNull();
    f.replica.remember({ worker: WORKER, identity: IDENTITY });
    expect(f.append(2, 1, [3, 2], [entry(2, 4)]).persist).toBeNull();
    expect(written(f.persisted(1))).toEqual([
      [2, 3],
      [2, 4],
    ]);
    expect(f.output.persist).toMatchObject({
      write: 2,
      data: { worker: WORKER, identity: IDENTITY },
    });
    expect(f.persisted(2).persist).toBeNull();
  });

  it("leave out what a later leader overtook before it was written", () => {
    const f = new Follower();
    f.append(2, 1, [1, 1], [entry(2, 2)]);
    f.append(2, 1, [2, 2], [entry(2, 3), entry(2, 4), entry(2, 5)]);
    f.append(3, 3, [3, 2], [entry(3, 4)]);
    expect(written(f.persisted(1))).toEqual([
      [2, 3],
      [3, 4],
    ]);
    expect(f.output.persist?.data.hardState?.term).toBe(3);
  });

  it("hold the newest of what is remembered only", () => {
    const f = new Follower();
    f.replica.remember({ worker: WORKER });
    f.replica.remember({ worker: { ...WORKER, reports: [] } });
    f.replica.remember({ identity: IDENTITY });
    const { persist } = f.take();
    expect(persist?.data).toEqual({
      identity: IDENTITY,
      hardState: null,
      cut: null,
      entries: [],
      worker: WORKER,
    });
  });

  it("end in the order in which they were begun", () => {
    const f = new Follower();
    f.append(2, 1, [1, 1], [entry(2, 2)]);
    expect(() => f.persisted(2)).toThrow("writes complete in order");
    f.persisted(1);
    expect(() => f.persisted(1)).toThrow("writes complete in order");
  });
});

describe("messages", () => {
  it("that speak of what is written wait until it is durable", () => {
    const f = new Follower();
    expect(sent(f.append(2, 1, [1, 1], [entry(2, 2)]))).toEqual([]);
    expect(sent(f.persisted(1))).toEqual(["append-reply 2:2"]);
  });

  it("that came during a write wait for the next", () => {
    const f = new Follower();
    f.append(2, 1, [1, 1], [entry(2, 2)]);
    f.append(2, 1, [2, 2], [entry(2, 3)]);
    expect(sent(f.persisted(1))).toEqual(["append-reply 2:2"]);
    expect(sent(f.persisted(2))).toEqual(["append-reply 2:3"]);
  });

  it("leave at once when there is nothing to wait for", () => {
    const f = new Follower();
    f.append(2, 1, [1, 1], [entry(2, 2)]);
    f.persisted(1);
    expect(sent(f.append(2, 1, [2, 2], []))).toEqual(["append-reply 2:2"]);
    expect(f.output.persist).toBeNull();
  });

  it("wait even without a write of their own while one is in flight", () => {
    const f = new Follower();
    f.append(2, 1, [1, 1], [entry(2, 2)]);
    expect(sent(f.append(2, 1, [2, 2], []))).toEqual([]);
    expect(sent(f.persisted(1))).toEqual(["append-reply 2:2", "append-reply 2:2"]);
  });

  it("that promise something to the leader of an earlier term are dropped", () => {
    const f = new Follower();
    f.append(2, 1, [1, 1], [entry(2, 2)]);
    f.append(3, 3, [1, 1], [entry(3, 2)]);
    expect(sent(f.persisted(1))).toEqual([]);
    expect(sent(f.persisted(2))).toEqual(["append-reply 3:2"]);
  });

  it("that ask for votes leave with their term, while the candidacy lasts", () => {
    const f = new Follower();
    f.campaign();
    expect(sent(f.output)).toEqual([]);
    expect(sent(f.persisted(1))).toEqual(["vote", "vote"]);
  });

  it("that ask for votes are dropped when the candidacy is over before they could leave", () => {
    const f = new Follower();
    f.campaign();
    const { term } = f.replica.raft;
    f.append(term, 1, [1, 1], [entry(term, 2)]);
    expect(sent(f.persisted(1))).toEqual([]);
    expect(sent(f.persisted(2))).toEqual([`append-reply ${term}:2`]);
  });
});

describe("committed entries", () => {
  it("are applied in order, each with what became of it", () => {
    const f = new Follower();
    f.append(
      2,
      1,
      [1, 1],
      [entry(2, 2, "x"), { term: 2, index: 3, kind: "normal", data: new Uint8Array() }],
    );
    f.persisted(1);
    const { applied } = f.append(2, 1, [3, 2], [], 3);
    expect(applied).toMatchObject([
      { index: 2, term: 2, outcome: { kind: "done", changed: true }, events: [{ node: "id-x" }] },
      { index: 3, term: 2, outcome: null, events: [] },
    ]);
    expect(f.replica.state.nodes.size).toBe(1);
    expect(f.take().applied).toEqual([]);
  });

  it("are applied a bounded number at a time", () => {
    const entries = Array.from({ length: 450 }, (_, i) => entry(1, i + 2, `n${i % 10}`));
    const f = new Follower([FOUNDING, ...entries], { commit: 451 });
    const counts: number[] = [];
    for (let output = f.output; ; output = f.take()) {
      counts.push(output.applied.length);
      if (!output.more) break;
    }
    expect(counts.reduce((sum, count) => sum + count)).toBe(451);
    expect(Math.max(...counts)).toBeLessThan(400);
    expect(counts.length).toBeGreaterThan(1);
  });

  it("tell whether the node holds the log", () => {
    expect(new Follower([], { commit: 0 }).replica.holdsLog).toBe(false);
    expect(new Follower().replica.holdsLog).toBe(true);
  });
});

describe("a lone voter", () => {
  it("may decide once an entry of its own term is durable and applied", () => {
    const { hardState, entries } = bootstrap("c1", "secret", idOf("a"), nodeFacts("a"), 1);
    const image = { ...EMPTY_DISK, hardState: hardState ?? EMPTY_DISK.hardState, entries };
    const replica = new Replica(1, image, new ClusterState(), new Prng(1), LOG_BOUNDS);
    replica.take([]);
    replica.raft.campaign();
    expect(replica.take([]).persist).toMatchObject({ data: { hardState: { term: 2, vote: 1 } } });
    expect(replica.raft.role).toBe("candidate");
    replica.persisted(1, []);
    expect(replica.take([]).persist?.data.entries).toMatchObject([{ term: 2, index: 4 }]);
    expect(replica.raft.role).toBe("leader");
    expect(replica.isManager).toBe(false);
    replica.persisted(2, []);
    expect(replica.take([]).applied).toMatchObject([{ index: 4, term: 2 }]);
    expect(replica.isManager).toBe(true);
    expect(
      replica.propose({
        command: { kind: "job-stop", job: "x", service: null },
        timeMs: 1,
        key: null,
        since: null,
      }),
    ).toEqual({
      kind: "proposed",
      index: 5,
      term: 2,
    });
  });
});
