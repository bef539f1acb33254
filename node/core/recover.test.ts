import { describe, expect, it } from "vitest";
import { encodeChange, type MemberChange } from "../../consensus/membership.ts";
import type { Entry } from "../../consensus/message.ts";
import { Raft } from "../../consensus/raft.ts";
import { Prng } from "../../lib/prng.ts";
import { ClusterState, decodeEnvelope, encodeEnvelope } from "../../state/cluster.ts";
import type { Command } from "../../state/command.ts";
import { idOf, jobSpec, nodeFacts, serviceSpec } from "../../test/fixtures/cluster.ts";
import { afterWrite, type DiskImage, EMPTY_DISK } from "../storage.ts";
import { type Recoverable, recoveryWrite, surveyRecovery } from "./recover.ts";

const NOW = 5_000;
const PEERS = [{ id: idOf("b"), raftId: 2, addresses: [] }];

/** The log of a cluster of the nodes a, b, c (raft ids 1, 2, 3), as one of them has it. */
class Log {
  readonly entries: Entry[] = [];
  term = 1;

  constructor() {
    this.conf({ op: "add-voter", id: 1 });
    this.command({
      kind: "cluster-init",
      clusterId: "old",
      joinSecret: "old-secret",
      featureLevel: 1,
    });
    for (const name of ["a", "b", "c"]) {
      this.command({ kind: "node-admit", node: idOf(name), facts: nodeFacts(name) });
    }
    this.command({ kind: "job-put", spec: jobSpec("web", serviceSpec("s")), ifVersion: null });
  }

  conf(...changes: MemberChange[]): this {
    return this.#add("conf", encodeChange({ changes }));
  }

  command(command: Command): this {
    const timeMs = 100 * (this.entries.length + 1);
    return this.#add("normal", encodeEnvelope({ command, timeMs, key: null, since: null }));
  }

  /** What a leader begins with. */
  noop(): this {
    return this.#add("normal", new Uint8Array());
  }

  threeVoters(): this {
    return this.conf({ op: "add-voter", id: 2 }, { op: "add-voter", id: 3 }).conf();
  }

  image(name: string, uncommitted = 0): DiskImage {
    const raftId = ["a", "b", "c"].indexOf(name) + 1;
    return {
      ...EMPTY_DISK,
      identity: {
        clusterId: "old",
        node: idOf(name),
        raftId,
        peers: PEERS,
        joinSecret: "old-secret",
      },
      hardState: { term: this.term, vote: 2, commit: this.entries.length - uncommitted },
      entries: this.entries,
    };
  }

  #add(kind: Entry["kind"], data: Uint8Array): this {
    this.entries.push({ term: this.term, index: this.entries.length + 1, kind, data });
    return this;
  }
}

function surveyed(image: DiskImage, state = new ClusterState()): Recoverable {
  const found = surveyRecovery(image, state);
  if ("code" in found) throw new Error(found.message);
  return found;
}

/** Recovers, then runs Raft and the state on what the disk holds, as a start of the node does. */
function recovered(
  image: DiskImage,
  before: () => ClusterState = () => new ClusterState(),
): { raft: Raft; state: ClusterState; after: DiskImage } {
  const found = surveyed(image, before());
  const after = afterWrite(image, recoveryWrite(found, "new", "new-secret", NOW));
  const raftId = image.identity?.raftId ?? 0;
  const config = {
    id: raftId,
    electionTicks: 10,
    heartbeatTicks: 1,
    maxMessageBytes: 1 << 20,
    maxInflight: 8,
    maxInflightBytes: 1 << 20,
    maxUncommittedBytes: 1 << 20,
    maxApply: 1_000,
    maxApplyBytes: 1 << 20,
    maxApplyLag: 1_000,
  };
  const raft = new Raft(config, new Prng(1), after);
  const state = before();
  for (let ticks = 0; ticks < 100 && raft.role !== "leader"; ticks += 1) {
    const { committed, write, messages, durableMessages } = raft.ready();
    expect(messages).toEqual([]);
    raft.persisted(write);
    // Whatever it says, it says to itself alone.
    for (const message of durableMessages) {
      expect(message.to).toBe(raftId);
      raft.step(message);
    }
    for (const entry of committed) {
      if (entry.kind === "normal" && entry.data.length > 0)
        state.apply(entry.index, decodeEnvelope(entry.data));
      raft.applied(entry);
    }
    if (committed.length === 0) raft.tick();
  }
  return { raft, state, after };
}

/** What must hold however the survivor stood. */
function expectAlone(
  { raft, state, after }: ReturnType<typeof recovered>,
  name: string,
  before: DiskImage,
): void {
  const raftId = before.identity?.raftId;
  expect(raft.membership).toEqual({
    voters: [raftId],
    outgoing: [],
    learners: [],
    learnersNext: [],
  });
  expect(raft.term).toBeGreaterThan(before.hardState.term);
  // Before any election: what is appended must be of a term that nobody has seen.
  const seen = Math.max(before.hardState.term, before.entries.at(-1)?.term ?? 0);
  expect(after.hardState).toMatchObject({ term: seen + 1, vote: raftId });
  expect(after.identity).toEqual({
    ...before.identity,
    clusterId: "new",
    peers: [],
    joinSecret: "new-secret",
  });
  expect(after.hardState.commit).toBe(after.entries.at(-1)?.index);
  // Every entry that was there is there still, in its place.
  expect(after.entries.slice(0, before.entries.length)).toEqual(before.entries);
  expect(state.clusterId).toBe("new");
  expect(state.joinSecret).toBe("new-secret");
  expect([...state.nodes.keys()]).toEqual([idOf(name)]);
  expect(state.jobs.get("web")).toMatchObject({ version: 1 });
}

describe("what a survivor's data hold", () => {
  it("is told: where the log ends, what is known to be committed, who would be cut off", () => {
    const log = new Log().threeVoters();
    log.term = 4;
    log.noop().command({ kind: "config-put", name: "app", data: "", ifVersion: null });
    const { survey } = surveyed({ ...log.image("b", 1) });
    expect(survey).toEqual({
      clusterId: "old",
      self: { id: idOf("b"), name: "b", role: "voter", tasks: 0 },
      others: [
        { id: idOf("a"), name: "a", role: "voter", tasks: 0 },
        { id: idOf("c"), name: "c", role: "voter", tasks: 0 },
      ],
      term: 4,
      lastIndex: 10,
      lastTerm: 4,
      commitIndex: 9,
      uncommitted: 1,
      lastTimeMs: 1_000,
      snapshotIndex: 0,
      jobs: 1,
      configs: 1,
      tasks: 0,
      isSoleVoter: false,
    });
  });

  it("says when nothing can be missing", () => {
    expect(surveyed(new Log().image("a")).survey.isSoleVoter).toBe(true);
    expect(
      surveyed(new Log().conf({ op: "add-learner", id: 2 }).image("b")).survey.isSoleVoter,
    ).toBe(false);
  });

  it.each<[string, DiskImage, string]>([
    ["no node", EMPTY_DISK, "holds no node yet"],
    [
      "a member without a log",
      { ...EMPTY_DISK, identity: new Log().image("b").identity },
      "no log",
    ],
    ["a log that ends without it in Raft", new Log().image("b"), "when its log ends"],
    [
      "a log that ends with its removal",
      new Log()
        .threeVoters()
        .command({ kind: "node-remove", node: idOf("b"), force: true })
        .image("b"),
      "with this node removed",
    ],
    [
      "the raft id that it had before it joined again",
      new Log()
        .threeVoters()
        .command({ kind: "node-admit", node: idOf("b"), facts: nodeFacts("b") })
        .image("b"),
      "with this node removed",
    ],
  ])("%s is nothing to recover from", (_, image, message) => {
    const refused = surveyRecovery(image, new ClusterState());
    expect(refused).toMatchObject({ code: "not-initialized" });
    expect("message" in refused ? refused.message : "").toContain(message);
  });
});

describe("a recovered cluster", () => {
  it.each<[string, string, DiskImage]>([
    ["a voter of three", "b", new Log().threeVoters().image("b")],
    ["the only voter", "a", new Log().image("a")],
    ["a learner beside one voter", "b", new Log().conf({ op: "add-learner", id: 2 }).image("b")],
    [
      "a learner beside two voters",
      "c",
      new Log().conf({ op: "add-voter", id: 2 }).conf({ op: "add-learner", id: 3 }).image("c"),
    ],
    [
      "in the midst of a joint change that takes it in",
      "b",
      new Log().conf({ op: "remove", id: 1 }, { op: "add-voter", id: 2 }).image("b"),
    ],
    [
      "in the midst of a joint change that takes it out",
      "a",
      new Log().conf({ op: "remove", id: 1 }, { op: "add-voter", id: 2 }).image("a"),
    ],
    [
      "in the midst of a joint change that makes it a learner",
      "a",
      new Log().conf({ op: "add-learner", id: 1 }, { op: "add-voter", id: 2 }).image("a"),
    ],
    [
      "with a change that was not known to be committed",
      "b",
      new Log().threeVoters().image("b", 2),
    ],
  ])("%s: leads alone, with all that it had", (_, name, image) => {
    const after = recovered(image);
    expect(after.raft.role).toBe("leader");
    expectAlone(after, name, image);
  });

  it("keeps entries of an old term that were not known to be committed", () => {
    const log = new Log().threeVoters();
    const put = { kind: "config-put", name: "late", data: "", ifVersion: null } as const;
    log.command(put);
    log.term = 7;
    const image = log.image("c", 1);
    const after = recovered(image);
    expectAlone(after, "c", image);
    expect(after.state.configs.has("late")).toBe(true);
    expect(after.raft.term).toBeGreaterThan(7);
  });

  it("goes on from a snapshot and what is left of the log behind it", () => {
    const whole = new Log().threeVoters();
    const meta = {
      index: 8,
      term: 1,
      membership: { voters: [1, 2, 3], outgoing: [], learners: [], learnersNext: [] },
    };
    const atSnapshot = (): ClusterState => {
      const state = new ClusterState();
      for (const entry of whole.entries.slice(0, 8)) {
        if (entry.kind === "normal") state.apply(entry.index, decodeEnvelope(entry.data));
      }
      return state;
    };
    for (const [base, tail] of [
      [8, 0],
      [5, 0],
      [8, 1],
      [5, 1],
    ] as const) {
      const log = new Log().threeVoters();
      if (tail > 0) log.command({ kind: "config-put", name: "x", data: "", ifVersion: null });
      const image: DiskImage = {
        ...log.image("b"),
        snapshot: meta,
        base: { index: base, term: 1 },
        entries: log.entries.slice(base),
      };
      const after = recovered(image, atSnapshot);
      expectAlone(after, "b", image);
      expect(after.state.configs.has("x")).toBe(tail > 0);
      expect(surveyed(image, atSnapshot()).survey).toMatchObject({
        snapshotIndex: 8,
        lastIndex: 8 + tail,
      });
    }
  });

  it("begins from the snapshot's membership, though changes that led to it are still in the log", () => {
    const log = new Log().threeVoters().conf({ op: "remove", id: 1 }, { op: "add-learner", id: 3 });
    const image: DiskImage = {
      ...log.image("b"),
      snapshot: {
        index: 9,
        term: 1,
        membership: { voters: [2], outgoing: [1, 2, 3], learners: [], learnersNext: [3] },
      },
      base: { index: 7, term: 1 },
      entries: log.entries.slice(7),
    };
    const atSnapshot = (): ClusterState => {
      const state = new ClusterState();
      for (const entry of log.entries) {
        if (entry.kind === "normal") state.apply(entry.index, decodeEnvelope(entry.data));
      }
      return state;
    };
    const after = recovered(image, atSnapshot);
    expect(after.raft.role).toBe("leader");
    expectAlone(after, "b", image);
  });

  it("is not younger than its last entry, whatever this machine's clock says", () => {
    const image = new Log().threeVoters().image("b");
    const found = surveyed(image);
    const last = recoveryWrite(found, "new", "s", 3).entries.at(-1);
    expect(decodeEnvelope(last?.data ?? new Uint8Array()).timeMs).toBe(600);
  });
});
