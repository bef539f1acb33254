import { present } from "../../lib/assert.ts";
import type { MemberChange, Membership } from "../../consensus/membership.ts";
import { decodeChange } from "../../consensus/membership.ts";
import type { Entry, Message, RaftId } from "../../consensus/message.ts";
import type { LogBase } from "../../consensus/snapshot.ts";
import {
  type TestBounds,
  NEW_DISK,
  TestCluster,
  type TestWrite,
  founded,
  learners,
  text,
  voters,
} from "../../consensus/testing.ts";

/**
 * Runs a transcript: lines of commands on a cluster of Rafts, each answered by what it brought about.
 *
 *   add-nodes voters=1,2,3 [learners=4] [log=2,2] [term=N] [bound=N …]   nodes that were founded together;
 *                                 `nodes=1,2` adds these only, `empty` with an empty disk
 *   campaign|status|log|restart|apply|hold-apply N…
 *   tick N [count]      propose N data…      propose-change N v4 l5 r3      read N id      lose-peer N id
 *   deliver [1→2|→2|1→] [kind] [drop]      persist N [count]
 *   stabilize [N…]      cut 1→2 …      mend
 *   snapshot N keepAfter      fetch N      transfer N id      abdicate N
 */

const WORDS: Readonly<Record<string, MemberChange["op"]>> = {
  v: "add-voter",
  l: "add-learner",
  r: "remove",
};

const LETTERS = { "add-voter": "v", "add-learner": "l", remove: "r" } as const;

function ids(list: string | undefined): RaftId[] {
  return list === undefined || list === "" ? [] : list.split(",").map(Number);
}

function showData({ kind, data }: Entry): string {
  if (kind === "normal") return data.length === 0 ? "" : ` ${text(data)}`;
  const { changes } = decodeChange(data);
  if (changes.length === 0) return " leave-joint";
  return ` {${changes.map(({ op, id }) => `${LETTERS[op]}${id}`).join(" ")}}`;
}

/** index/term and the content. */
function showEntry(entry: Entry): string {
  return `${entry.index}/${entry.term}${showData(entry)}`;
}

function showEntries(entries: readonly Entry[]): string {
  return `[${entries.map(showEntry).join(", ")}]`;
}

function showGone({ index, term }: LogBase): string {
  return index === 0 ? "" : `after ${index}/${term} `;
}

function showMembership({ voters: v, outgoing, learners: l, learnersNext }: Membership): string {
  const parts = [`voters ${v.join(",")}`];
  if (outgoing.length > 0) parts.push(`outgoing ${outgoing.join(",")}`);
  if (l.length > 0) parts.push(`learners ${l.join(",")}`);
  if (learnersNext.length > 0) parts.push(`next learners ${learnersNext.join(",")}`);
  return parts.join(" ");
}

function showMessage(m: Message): string {
  const head = `${m.from}→${m.to} ${m.kind} term ${m.term}`;
  switch (m.kind) {
    case "append":
      return `${head} after ${m.prevIndex}/${m.prevTerm} ${showEntries(m.entries)} commit ${m.commit}`;
    case "append-reply":
      return m.rejected
        ? `${head} rejects ${m.index} hint ${m.hintIndex}/${m.hintTerm}`
        : `${head} holds ${m.index}`;
    case "heartbeat":
      return `${head} commit ${m.commit}${m.context === 0 ? "" : ` round ${m.context}`}`;
    case "heartbeat-reply":
      return `${head}${m.context === 0 ? "" : ` round ${m.context}`}`;
    case "vote":
      return `${head} last ${m.lastIndex}/${m.lastTerm}${m.transfer ? " transfer" : ""}`;
    case "pre-vote":
      return `${head} last ${m.lastIndex}/${m.lastTerm}`;
    case "snapshot":
      return `${head} offers ${m.snapshotIndex}/${m.snapshotTerm}`;
    case "timeout-now":
      return head;
    case "vote-reply":
    case "pre-vote-reply":
      return `${head} ${m.rejected ? "rejected" : "granted"}`;
  }
}

function showWrite(id: RaftId, write: TestWrite): string {
  const parts = [`disk ${id}`];
  const { hardState, cut } = write;
  if (hardState !== null) {
    parts.push(`term ${hardState.term} vote ${hardState.vote} commit ${hardState.commit}`);
  }
  if (cut !== null) {
    const { meta, base, dropLog } = cut;
    const left = dropLog ? "nothing else left" : `log after ${base.index}/${base.term}`;
    parts.push(`snapshot ${meta.index}/${meta.term}, ${left}`);
  }
  if (write.entries.length > 0) parts.push(showEntries(write.entries));
  if (write.messages.length > 0) parts.push(`holds back ${write.messages.length}`);
  return parts.join(" ");
}

interface Shown {
  readonly role: string;
  readonly commit: number;
  readonly membership: string;
  readonly applied: number;
  readonly reads: number;
}

export class ScenarioEnvironment {
  readonly #cluster: TestCluster = new TestCluster();
  readonly #cuts: Set<string> = new Set();
  #out: string[] = [];
  #shown: Map<RaftId, Shown> = new Map();

  /** What one command line brings about, one fact a line. */
  run(line: string): string[] {
    this.#out = [];
    const [command, ...words] = line.trim().split(/\s+/);
    this.#command(command ?? "", words);
    this.#drain();
    return this.#out.length === 0 ? ["ok"] : this.#out;
  }

  #command(command: string, words: readonly string[]): void {
    const cluster = this.#cluster;
    const id = Number(words[0]);
    switch (command) {
      case "add-nodes":
        this.#addNodes(words);
        return;
      case "campaign":
        cluster.act(id, (raft) => raft.campaign());
        return;
      case "lose-peer":
        cluster.act(id, (raft) => raft.peerLost(Number(words[1])));
        return;
      case "tick":
        cluster.tick(id, Number(words[1] ?? 1));
        return;
      case "propose":
        for (const data of words.slice(1)) this.#say(cluster.propose(id, data));
        return;
      case "propose-change":
        this.#say(cluster.change(id, ...words.slice(1).map(change)));
        return;
      case "read":
        this.#out.push(
          cluster.act(id, (raft) => raft.readIndex(Number(words[1]))) ? "asked" : "refused",
        );
        return;
      case "transfer": {
        const outcome = cluster.act(id, (raft) => raft.transfer(Number(words[1])));
        this.#out.push(outcome.kind === "begun" ? "begun" : `refused: ${outcome.reason}`);
        return;
      }
      case "abdicate":
        cluster.act(id, (raft) => raft.abdicate());
        return;
      case "snapshot": {
        const { index, term } = cluster.snapshot(id, Number(words[1]));
        this.#out.push(`snapshot ${index}/${term}`);
        return;
      }
      case "fetch":
        this.#out.push(cluster.fetch(id) ? "begins from it" : "has it all");
        return;
      case "hold-apply":
        cluster.node(id).holdsApply = true;
        return;
      case "apply":
        cluster.node(id).holdsApply = false;
        cluster.apply(id);
        return;
      case "persist":
        this.#persist(id, Number(words[1] ?? Number.MAX_SAFE_INTEGER));
        return;
      case "deliver":
        this.#deliver(words);
        return;
      case "stabilize":
        this.#stabilize(words.map(Number));
        return;
      case "cut":
        for (const link of words) this.#cuts.add(link);
        return;
      case "mend":
        this.#cuts.clear();
        return;
      case "restart":
        this.#shown.delete(id);
        cluster.restart(id);
        return;
      case "status":
        for (const word of words) this.#status(Number(word));
        return;
      case "log":
        for (const word of words) this.#log(Number(word));
        return;
      default:
        throw new Error(`no such command: ${command}`);
    }
  }

  #say(outcome: ReturnType<TestCluster["propose"]>): void {
    this.#out.push(
      outcome.kind === "proposed"
        ? `proposed ${outcome.index}/${outcome.term}`
        : `refused: ${outcome.reason}`,
    );
  }

  #addNodes(words: readonly string[]): void {
    const options = new Map(words.map((word) => [word.split("=")[0], word.split("=")[1]]));
    const number = (name: string): number | undefined => {
      const value = options.get(name);
      return value === undefined ? undefined : Number(value);
    };
    const members = [...ids(options.get("voters")), ...ids(options.get("learners"))];
    const changes = [
      ...voters(...ids(options.get("voters"))),
      ...learners(...ids(options.get("learners"))),
    ];
    const term = number("term");
    const disk = options.has("empty")
      ? NEW_DISK
      : founded(changes, ids(options.get("log")), term === undefined ? {} : { term });
    const bounds: TestBounds = {
      electionTicks: number("electionTicks") ?? 3,
      maxInflight: number("maxInflight") ?? 256,
      maxUncommittedBytes: number("maxUncommittedBytes") ?? 1 << 20,
    };
    const nodes = options.has("nodes") ? ids(options.get("nodes")) : members;
    for (const id of nodes) this.#cluster.add(id, disk, bounds);
  }

  #isCut({ from, to }: Message): boolean {
    return this.#cuts.has(`${from}→${to}`);
  }

  #deliver(words: readonly string[]): void {
    const link = words.find((word) => word.includes("→"));
    const [from, to] = link?.split("→") ?? [];
    const kind = words.find((word) => word !== link && word !== "drop");
    const matches = (m: Message): boolean =>
      (from === undefined || from === "" || m.from === Number(from)) &&
      (to === undefined || to === "" || m.to === Number(to)) &&
      (kind === undefined || m.kind === kind);
    const taken = this.#cluster.drop(matches);
    for (const message of taken) this.#arrive(message, words.includes("drop"));
  }

  #arrive(message: Message, isDropped: boolean): void {
    const lost = isDropped || this.#isCut(message) || !this.#cluster.nodes.has(message.to);
    this.#out.push(`${lost ? "lost " : ""}${showMessage(message)}`);
    if (!lost) this.#cluster.step(message);
    this.#drain();
  }

  #persist(id: RaftId, count: number): boolean {
    let done = 0;
    for (; done < count; done++) {
      const [write] = this.#cluster.node(id).writes;
      if (write === undefined) break;
      this.#out.push(showWrite(id, write));
      this.#cluster.persist(id, 1);
      this.#drain();
    }
    return done > 0;
  }

  #stabilize(words: readonly number[]): void {
    const cluster = this.#cluster;
    const among = words.length === 0 ? [...cluster.nodes.keys()] : words;
    for (let round = 0; round < 1_000; round++) {
      let isBusy = false;
      for (const id of among) isBusy = this.#persist(id, Number.MAX_SAFE_INTEGER) || isBusy;
      // What leaves the nodes named stays on its way.
      const inside = (m: Message): boolean => among.includes(m.from) && among.includes(m.to);
      const taken = cluster.drop(inside);
      for (const message of taken) this.#arrive(message, false);
      if (!isBusy && taken.length === 0) return;
    }
    throw new Error("the cluster does not come to rest");
  }

  /** Says how the nodes changed since it last said so. */
  #drain(): void {
    for (const [id, { raft, applied, reads }] of this.#cluster.nodes) {
      const before = this.#shown.get(id);
      const role = `${raft.role} in term ${raft.term}${raft.leader === 0 ? "" : ` of ${raft.leader}`}`;
      const now: Shown = {
        role,
        commit: raft.commitIndex,
        membership: showMembership(raft.membership),
        applied: applied.length,
        reads: reads.length,
      };
      if (before?.role !== role) this.#out.push(`  ${id} is ${role}`);
      if (before !== undefined && before.commit !== now.commit) {
        this.#out.push(`  ${id} commits ${now.commit}`);
      }
      if (before?.membership !== now.membership) this.#out.push(`  ${id} knows ${now.membership}`);
      for (const { id: read, index } of reads.slice(before?.reads ?? 0)) {
        this.#out.push(`  ${id} may answer read ${read} at ${index}`);
      }
      this.#shown.set(id, now);
    }
  }

  #status(id: RaftId): void {
    const { raft } = this.#cluster.node(id);
    const { role, term, vote, leader, commitIndex, appliedIndex, stableIndex, lastIndex } = raft;
    this.#out.push(
      `${id} ${role} term ${term} vote ${vote} leader ${leader}: applied ${appliedIndex} ` +
        `commit ${commitIndex} stable ${stableIndex} last ${lastIndex}`,
    );
    for (const other of this.#cluster.nodes.keys()) {
      const progress = raft.progressOf(other);
      if (progress === undefined) continue;
      const { match, next, state, inflight, recentlyActive } = progress;
      const way = other === id ? "" : `, ${state} next ${next} inflight ${inflight}`;
      this.#out.push(`  ${other} holds ${match}${way}${recentlyActive ? "" : ", silent"}`);
    }
  }

  #log(id: RaftId): void {
    const { raft, disk } = this.#cluster.node(id);
    const { base, lastIndex } = raft;
    const terms = Array.from({ length: lastIndex - base.index }, (_, i) => {
      const index = base.index + 1 + i;
      return `${index}/${raft.termAt(index)}`;
    });
    this.#out.push(
      `${id} log ${showGone(base)}${terms.join(" ")}`,
      `${id} disk ${showGone(disk.base)}${showEntries(disk.entries)}`,
    );
  }
}

function change(word: string): MemberChange {
  const op = present(WORDS[word[0] ?? ""], `a change starts with v, l or r: ${word}`);
  return { op, id: Number(word.slice(1)) };
}
