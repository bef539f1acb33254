import type { Usage } from "../../runtime/engine.ts";
import type { ClusterState } from "../../state/cluster.ts";
import type { Millis, NodeId, TaskId } from "../../state/ids.ts";
import type { NodeRecord } from "../../state/node-record.ts";
import type { Task, TaskReport } from "../../state/task.ts";
import type { Told } from "./assignments.ts";
import { assignmentChange } from "./assignments.ts";
import { MEMBERS_MS, MEMBERS_PER_TURN, SESSION_BEAT_MS } from "./defaults.ts";
import type { Member, MemberChange, NodeMessage, SessionSet } from "./message.ts";
import type { Evidence } from "./verdict.ts";

interface Session {
  readonly session: number;
  readonly node: NodeId;
  readonly openedAtMs: Millis;
  lastHeardMs: Millis;
  /** Its stream broke at this time; null while it stands. */
  brokenAtMs: Millis | null;
  usage: { readonly usage: Usage; readonly atMs: Millis } | null;
  /**
   * The first set's number: the time it was made, so that a session that is made anew under the same
   * number (a repeated open) goes on above what the worker has seen, and its old acknowledgements count for nothing.
   */
  firstSeq: number;
  /** The last set sent, when, and the last one that it has taken over. */
  seq: number;
  sentAtMs: Millis;
  ackedSeq: number;
  told: Told;
  /** Something of its tasks may have changed since the last set. */
  dirty: boolean;
  membersStamp: number;
  /** The stamp of the list that it had when it opened; -1: one that is not known. */
  readonly baseStamp: number;
  /** When it was told of members last. */
  membersAtMs: Millis;
  /** What runs there: as it says, and as far as it was not told otherwise. */
  readonly running: Set<TaskId>;
  /** The first set that was made after its node was last taken for down or ready (at that log index). */
  settled: { readonly livenessIndex: number; readonly seq: number } | null;
  /** It is told what to do although its node is taken for down. */
  isHeld: boolean;
}

function wholeOf(list: readonly Member[]): MemberChange {
  return { whole: true, upsert: list, gone: [] };
}

/** The members as the manager knows them; another stamp for each list. `index`: the log index it has applied. */
export interface MemberList {
  readonly list: readonly Member[];
  readonly stamp: number;
  /** What changed since the list of that stamp; null: too long ago. */
  readonly since: (stamp: number) => MemberChange | null;
  readonly index: number;
}

/** The manager's side of every worker session: who is there, what it was told, when it was last heard. */
export class SessionTable {
  readonly #sessions: Map<NodeId, Session> = new Map();
  /** Nodes that were admitted while this table stood, and when; until they open a session. */
  readonly #expected: Map<NodeId, Millis> = new Map();
  /** Whose sets may be due: there are thousands of others, and this is looked at in every turn. */
  readonly #due: Set<NodeId> = new Set();
  #stamp = -1;
  /** One for all, so that it is turned into bytes once. */
  #whole: MemberChange | null = null;
  #isBehind = false;
  #startedAtMs: Millis;

  constructor(now: Millis) {
    this.#startedAtMs = now;
  }

  /**
   * A worker opens a session; an older one of the same node ends. The full set is due at once. `membersStamp`: of the list of
   * members that the worker has; -1: it is not known. `reports`: what it says of its tasks.
   */
  open(
    node: NodeId,
    session: number,
    opening: { readonly reports: readonly TaskReport[]; readonly membersStamp: number },
    now: Millis,
  ): void {
    if (this.isPast(node, session)) return;
    const known = this.#sessions.get(node);
    this.#expected.delete(node);
    this.#due.add(node);
    this.#sessions.set(node, {
      session,
      node,
      openedAtMs: now,
      lastHeardMs: now,
      brokenAtMs: null,
      usage: known?.usage ?? null,
      firstSeq: Math.max(now, (known?.seq ?? 0) + 1),
      seq: 0,
      sentAtMs: now,
      ackedSeq: 0,
      told: new Map(),
      dirty: true,
      membersStamp: -1,
      baseStamp: opening.membersStamp,
      membersAtMs: 0,
      running: new Set(),
      settled: null,
      isHeld: false,
    });
    this.reported(node, opening.reports);
  }

  /** Its worker says so of tasks. */
  reported(node: NodeId, reports: readonly TaskReport[]): void {
    const running = this.#sessions.get(node)?.running;
    for (const { task, state } of reports) {
      if (state === "running") running?.add(task);
      else running?.delete(task);
    }
  }

  /** Whether the task runs there, as its worker says, which was not told to stop it. */
  isRunning(node: NodeId, task: TaskId): boolean {
    return this.#sessions.get(node)?.running.has(task) === true;
  }

  /** Of its tasks those that were given up with the node and run there still. */
  claims(node: NodeId, tasks: readonly Task[]): readonly TaskId[] {
    return tasks
      .filter(({ id, state }) => state === "lost" && this.isRunning(node, id))
      .map(({ id }) => id);
  }

  /** Its node is taken for down and stays so for a while: what was given up with it is not waited for. False: it knows already. */
  hold(node: NodeId): boolean {
    const known = this.#sessions.get(node);
    if (known === undefined || known.isHeld) return false;
    known.isHeld = true;
    return true;
  }

  /** Whether the node knows what was decided of its tasks when it was last taken for down or ready. */
  isSettled({ id, livenessIndex }: Pick<NodeRecord, "id" | "livenessIndex">): boolean {
    const known = this.#sessions.get(id);
    if (known === undefined || known.settled?.livenessIndex !== livenessIndex) return false;
    return known.ackedSeq >= known.settled.seq;
  }

  /** Whether that is a late message of an earlier session. A lower number after a break is a node whose clock was set back. */
  isPast(node: NodeId, session: number): boolean {
    const known = this.#sessions.get(node);
    return known !== undefined && known.session > session && known.brokenAtMs === null;
  }

  /** The node was admitted just now, perhaps anew: it has yet to start, and an older session of it is over. */
  expect(node: NodeId, now: Millis): void {
    this.#sessions.delete(node);
    this.#expected.set(node, now);
  }

  /** A sign of life. Returns false when there is no such session: the worker must open one. */
  heard(node: NodeId, session: number, now: Millis): boolean {
    const known = this.#sessions.get(node);
    if (known === undefined || known.session !== session) return false;
    known.lastHeardMs = now;
    known.brokenAtMs = null;
    return true;
  }

  beat(node: NodeId, usage: Usage | null, seq: number, now: Millis): void {
    const known = this.#sessions.get(node);
    if (known === undefined) return;
    if (usage !== null) known.usage = { usage, atMs: now };
    known.ackedSeq = Math.max(known.ackedSeq, Math.min(seq, known.seq));
    // A set was lost on its way: say everything again.
    if (known.ackedSeq < known.seq && now - known.sentAtMs > 2 * SESSION_BEAT_MS) {
      this.touch(node);
      known.firstSeq = known.seq + 1;
    }
  }

  peerLost(node: NodeId, now: Millis): void {
    const known = this.#sessions.get(node);
    if (known !== undefined && known.brokenAtMs === null) known.brokenAtMs = now;
  }

  /** Something of this node's tasks changed. */
  touch(node: NodeId): void {
    const known = this.#sessions.get(node);
    if (known === undefined) return;
    known.dirty = true;
    this.#due.add(node);
  }

  has(node: NodeId): boolean {
    return this.#sessions.has(node);
  }

  /** How long its session stands; 0: it has none. */
  ageMs(node: NodeId, now: Millis): number {
    const known = this.#sessions.get(node);
    return known === undefined ? 0 : now - known.openedAtMs;
  }

  /** The number of the node's session; null: it has none. */
  sessionOf(node: NodeId): number | null {
    return this.#sessions.get(node)?.session ?? null;
  }

  delete(node: NodeId): void {
    this.#sessions.delete(node);
    this.#expected.delete(node);
  }

  usage(node: NodeId): { readonly usage: Usage; readonly atMs: Millis } | null {
    return this.#sessions.get(node)?.usage ?? null;
  }

  /** The clock jumped because this process stood still: nobody is blamed for that time, nor credited beyond now. */
  forgive(gapMs: number, now: Millis): void {
    const later = (atMs: Millis): Millis => Math.min(atMs + gapMs, now);
    this.#startedAtMs = later(this.#startedAtMs);
    for (const [node, sinceMs] of this.#expected) this.#expected.set(node, later(sinceMs));
    for (const session of this.#sessions.values()) {
      session.lastHeardMs = later(session.lastHeardMs);
      if (session.brokenAtMs !== null) session.brokenAtMs = later(session.brokenAtMs);
    }
  }

  /** What the sessions say of a node. */
  evidence(node: NodeId): Pick<Evidence, "managesSinceMs" | "session" | "expectedAtMs"> {
    const session = this.#sessions.get(node) ?? null;
    const expectedAtMs = this.#expected.get(node) ?? null;
    return { managesSinceMs: this.#startedAtMs, session, expectedAtMs };
  }

  /** Whether the last call of `sets` left some that were due for another at once. */
  get isBehind(): boolean {
    return this.#isBehind;
  }

  /** The sets that are due now: tasks as soon as they change, members when `members` is given. */
  sets(
    state: ClusterState,
    members: MemberList,
    now: Millis,
  ): { readonly to: NodeId; readonly message: NodeMessage }[] {
    if (members.stamp !== this.#stamp) {
      this.#stamp = members.stamp;
      this.#whole = null;
      for (const node of this.#sessions.keys()) this.#due.add(node);
    }
    const due: { to: NodeId; message: NodeMessage }[] = [];
    let named = 0;
    this.#isBehind = false;
    for (const node of this.#due) {
      if (named >= MEMBERS_PER_TURN) {
        this.#isBehind = true;
        break;
      }
      const session = this.#sessions.get(node);
      const message = session === undefined ? null : this.#setFor(session, state, members, now);
      if (message !== null) due.push({ to: node, message });
      if (message?.members?.whole === true) named += message.members.upsert.length;
      const waits =
        session?.dirty === true || (session?.membersStamp ?? this.#stamp) !== this.#stamp;
      if (!waits) this.#due.delete(node);
    }
    return due;
  }

  #setFor(
    session: Session,
    state: ClusterState,
    members: MemberList,
    now: Millis,
  ): SessionSet | null {
    const isNew = session.membersStamp !== members.stamp;
    const record = state.nodes.get(session.node);
    if (record === undefined) return null;
    // What runs there may be taken back: it is not told to end that before it is known.
    if (record.liveness === "down" && !session.isHeld) return null;
    const full = session.ackedSeq < session.firstSeq;
    // Many that join at once share a set, and the first one's list is not sent twice while it is under way.
    const isUnderWay = full && session.seq >= session.firstSeq;
    const newMembers = isNew && !isUnderWay && now - session.membersAtMs >= MEMBERS_MS;
    const isUnsettled = session.settled?.livenessIndex !== record.livenessIndex;
    if (!session.dirty && !newMembers && !isUnsettled) return null;
    if (full) session.told = new Map();
    const change =
      session.dirty || full
        ? assignmentChange(session.told, record, state.tasksOfNode(session.node))
        : null;
    session.dirty = false;
    if (change === null && !full && !newMembers && !isUnsettled) return null;
    session.seq = Math.max(session.seq + 1, session.firstSeq);
    if (isUnsettled) {
      session.settled = { livenessIndex: record.livenessIndex, seq: session.seq };
    }
    for (const task of session.running) if (!session.told.has(task)) session.running.delete(task);
    session.sentAtMs = now;
    const told = full || newMembers;
    const known = told ? members.since(full ? session.baseStamp : session.membersStamp) : null;
    if (told && known === null) this.#whole ??= wholeOf(members.list);
    if (told) {
      session.membersStamp = members.stamp;
      session.membersAtMs = now;
    }
    return {
      kind: "session-set",
      session: session.session,
      seq: session.seq,
      full,
      upsert: change?.upsert ?? [],
      remove: change?.remove ?? [],
      index: members.index,
      featureLevel: state.featureLevel,
      members: told ? (known ?? this.#whole) : null,
      joinSecret: state.joinSecret,
    };
  }
}
