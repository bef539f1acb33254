import { fault } from "../../lib/errors.ts";
import type { Usage } from "../../runtime/engine.ts";
import { isMember } from "../../consensus/membership.ts";
import { refuseRemoval } from "../../state/apply-nodes.ts";
import type { UnseenSince } from "../../scheduler/fence.ts";
import { schedule } from "../../scheduler/schedule.ts";
import type { Outcome } from "../../state/cluster.ts";
import type { Command, Envelope } from "../../state/command.ts";
import type { Millis, NodeId } from "../../state/ids.ts";
import type { TaskReport } from "../../state/task.ts";
import { BrakeLog } from "./brake-log.ts";
import { heldNote } from "./held-note.ts";
import { FLAP_HOLD_MS, PASS_MS, PLAN_STEPS, STALL_MS, TICK_MS } from "./defaults.ts";
import { describeDown } from "./down-reason.ts";
import type { Asked } from "./early-requests.ts";
import { sameFacts } from "./facts.ts";
import { logView } from "./log-view.ts";
import type { ForwardOutcome, NodeMessage } from "./message.ts";
import { Pilot } from "./pilot.ts";
import { type LeaseAsk, Reads } from "./reads.ts";
import type { AppliedEntry, Replica } from "./replica.ts";
import type { Query, Request, Response, UserCommand } from "./request.ts";
import { isNews } from "./reports.ts";
import { type MemberList, SessionTable } from "./sessions.ts";
import { Transfers } from "./transfers.ts";
import { downAtMs, soonestDownAtMs } from "./verdict.ts";
import { answer, type ViewContext } from "./views.ts";
import type { Watch } from "./watch.ts";

/** Who waits for a proposal of this manager to be applied. */
type Waiter =
  | {
      readonly kind: "request";
      readonly from: NodeId;
      readonly id: number;
      readonly command: UserCommand;
    }
  | {
      readonly kind: "reports";
      readonly node: NodeId;
      readonly session: number;
      readonly batch: number;
    }
  | { readonly kind: "plan" }
  | { readonly kind: "liveness"; readonly node: NodeId }
  | { readonly kind: "facts"; readonly node: NodeId }
  | { readonly kind: "none" };

export interface ManagerSettings {
  readonly orchVersion: string;
  readonly replaceAfterMs: number;
  readonly brakePercent: number;
}

export interface ManagerContext {
  readonly self: NodeId;
  readonly replica: Replica;
  readonly settings: ManagerSettings;
  /** Who misses whom: known from before this node managed. */
  readonly watch: Pick<Watch, "lost" | "of" | "missing" | "sureSinceMs" | "isHidden" | "rttMs">;
  readonly unseenSince: UnseenSince;
  readonly gossipedUsage: (node: NodeId) => { readonly usage: Usage; readonly atMs: Millis } | null;
  readonly send: (to: NodeId, message: NodeMessage) => void;
  readonly note: (text: string) => void;
}

/**
 * The manager's work, for as long as this node leads: answers requests, keeps the worker sessions, declares
 * nodes down, schedules, and chooses the voters. Holds nothing that must survive it: all that matters is
 * in the replicated state, and a new manager starts from there.
 */
export class Manager {
  readonly #context: ManagerContext;
  readonly #sessions: SessionTable;
  /** By log index; the term tells whether the entry there is the one that was proposed. */
  readonly #waiting: Map<number, { readonly term: number; readonly waiter: Waiter }> = new Map();
  readonly #reads: Reads;
  readonly #transfers: Transfers;
  readonly #brake: BrakeLog;
  #planInFlight = false;
  #stateChanged = true;
  #lastPassMs: Millis = 0;
  #wakeAtMs: Millis | null = null;
  #lastTickMs: Millis;
  readonly #pilot: Pilot;
  /** Who left on request while this node managed: to be told so, should it ask again. */
  readonly #left: Set<NodeId> = new Set();
  /** How many changes of a node's facts were proposed and are not applied yet: what it says now is compared with none of these. */
  readonly #introducing: Map<NodeId, number> = new Map();
  /** Liveness changes that were proposed and not applied yet. */
  readonly #judging: Map<NodeId, "ready" | "down"> = new Map();
  /** Leases that were asked for since the last tick: one read answers all. */
  #leases: LeaseAsk[] = [];

  constructor(context: ManagerContext, now: Millis) {
    this.#context = context;
    this.#sessions = new SessionTable(now);
    this.#lastTickMs = now;
    const { self, replica } = context;
    this.#transfers = new Transfers({
      self,
      replica,
      answer: (from, id, response) => this.#answer(from, id, response),
    });
    this.#reads = new Reads({
      readIndex: (id) => replica.raft.readIndex(id),
      appliedIndex: () => replica.raft.appliedIndex,
      answer: (read) => {
        if (read.kind === "leases") for (const ask of read.asks) this.#grant(ask);
        else this.#answer(read.from, read.id, this.answerQuery(read.query));
      },
      // Who asked for a lease asks again with its next beat.
      tryAgain: (read) => {
        if (read.kind === "query") this.#tryAgain(read.from, read.id, false);
      },
    });
    this.#brake = new BrakeLog(context.note);
    this.#pilot = new Pilot(
      {
        self,
        replica,
        replaceAfterMs: context.settings.replaceAfterMs,
        hears: (node) => this.#sessions.has(node),
        isHidden: (node) => context.watch.isHidden(node),
        propose: (command) => this.#propose(command, null, this.#lastTickMs, { kind: "none" }),
        note: context.note,
      },
      now,
    );
  }

  /** Takes a request of any node; the outcome goes back to it, now or when it is applied. */
  request({ from, id, request, since }: Asked, now: Millis): void {
    if (request.kind === "write") this.#write(from, id, request, since, now);
    else if (request.kind === "read") {
      this.#reads.ask({ kind: "query", from, id, query: request.query });
    } else this.#transfers.ask(from, id, request.node);
  }

  #write(
    from: NodeId,
    id: number,
    { key, command }: Extract<Request, { kind: "write" }>,
    since: number,
    now: Millis,
  ): void {
    const { replica } = this.#context;
    const before = replica.state.answered(key, command);
    if (before !== undefined) {
      this.#answer(from, id, this.#writeResponse(before, command));
      return;
    }
    const waiter: Waiter = { kind: "request", from, id, command };
    if (command.kind === "node-remove" && this.#isCounted(command.node)) {
      // Two that are removed at once must not take the quorum with them: Raft lets go of each first.
      this.#expel(command, now, waiter);
    } else {
      this.#propose(command, { key, since }, now, waiter);
    }
  }

  #isCounted(node: NodeId): boolean {
    const { state, membership } = this.#context.replica;
    const record = state.nodes.get(node);
    return record !== undefined && isMember(membership, record.raftId);
  }

  /** The pilot removes it once it has no seat. Without a key: it is done once however often it is asked. */
  #expel(
    { node, force }: Extract<UserCommand, { kind: "node-remove" }>,
    now: Millis,
    waiter: Extract<Waiter, { kind: "request" }>,
  ): void {
    const refusal = refuseRemoval(this.#context.replica.state.nodes.get(node), force);
    if (refusal !== null) this.#answer(waiter.from, waiter.id, { kind: "refused", fault: refusal });
    else this.#propose({ kind: "node-leave", node }, null, now, waiter);
  }

  #propose(
    command: Command,
    keyed: Pick<Envelope, "key" | "since"> | null,
    now: Millis,
    waiter: Waiter,
  ): boolean {
    const { key, since } = keyed ?? { key: null, since: null };
    const outcome = this.#context.replica.propose({ command, timeMs: now, key, since });
    if (outcome.kind === "proposed") {
      this.#waiting.set(outcome.index, { term: outcome.term, waiter });
      return true;
    }
    if (waiter.kind === "request") {
      if (outcome.reason === "overloaded") {
        const refusal = fault(
          "overloaded",
          "the manager has more writes waiting than a quorum confirms",
          "Wait and try again; if it stays, see `orch cluster status` for voters that are away.",
        );
        this.#answer(waiter.from, waiter.id, { kind: "refused", fault: refusal });
      } else {
        this.#tryAgain(waiter.from, waiter.id, false);
      }
    }
    return false;
  }

  /** A quorum confirmed these reads. */
  confirmed(reads: readonly { readonly id: number; readonly index: number }[]): void {
    this.#reads.confirmed(reads);
  }

  /** To a node that is ready and knows which of its tasks are still its own: decision 0026. */
  #grant({ from, session, lease }: LeaseAsk): void {
    const record = this.#context.replica.state.nodes.get(from);
    if (record?.liveness !== "ready" || this.#sessions.sessionOf(from) !== session) return;
    if (this.#sessions.isSettled(record)) {
      this.#context.send(from, { kind: "session-lease", session, lease });
    }
  }

  /** The answer from this node's applied state. */
  answerQuery(query: Query): Response {
    const { replica, self } = this.#context;
    if (query.kind === "token") {
      const { clusterId, joinSecret } = replica.state;
      const index = replica.raft.appliedIndex;
      return { kind: "ok", index, manager: self, body: { clusterId, joinSecret } };
    }
    const result = answer(replica.state, query, {
      ...this.#viewContext(),
      term: replica.raft.term,
      commitIndex: replica.raft.commitIndex,
      quorum: true,
      log: logView(replica),
      orchVersion: this.#context.settings.orchVersion,
    });
    if (result.kind === "refused") return result;
    return { kind: "ok", index: replica.raft.appliedIndex, manager: self, body: result.body };
  }

  #viewContext(): ViewContext {
    const { replica, self, gossipedUsage, watch } = this.#context;
    const { voters, outgoing, learners } = replica.membership;
    return {
      manager: self,
      voters: new Set([...voters, ...outgoing]),
      learners: new Set(learners),
      usage: (node) => this.#sessions.usage(node) ?? gossipedUsage(node),
      missedBy: (node) => watch.missing(node, this.#lastTickMs),
      isHidden: (node) => watch.isHidden(node),
      rttMs: (node) => watch.rttMs(node),
      nowMs: this.#lastTickMs,
      brakePercent: this.#context.settings.brakePercent,
    };
  }

  /** Log entries were applied: whoever waited for them hears of it, and the scheduler has work. */
  applied(entries: readonly AppliedEntry[], now: Millis): void {
    for (const { index, term, outcome, events } of entries) {
      if (outcome?.kind === "done" && outcome.changed) this.#stateChanged = true;
      for (const { node, to } of events) {
        if (node === null) continue;
        if (to === "left") this.#left.add(node);
        if (to === "left" || to === "removed") this.#dismiss(node);
        else this.#sessions.touch(node);
      }
      const waiting = this.#waiting.get(index);
      if (waiting === undefined) continue;
      this.#waiting.delete(index);
      const { waiter } = waiting;
      const isAdmission = waiter.kind === "request" && waiter.command.kind === "node-admit";
      // Without events the key was seen before, and the node may be long at work.
      if (isAdmission && events.length > 0) this.#sessions.expect(waiter.command.node, now);
      this.#done(waiter, waiting.term === term ? outcome : null);
    }
    this.#reads.applied();
  }

  /** The node is no member any more: it is told while it is still let in. */
  #dismiss(node: NodeId): void {
    const session = this.#sessions.sessionOf(node);
    if (session !== null) this.#tellRemoved(node, session);
    this.#sessions.delete(node);
  }

  #tellRemoved(node: NodeId, session: number): void {
    this.#context.send(node, { kind: "session-removed", session, left: this.#left.has(node) });
  }

  #done(waiter: Waiter, outcome: Outcome | null): void {
    switch (waiter.kind) {
      case "request":
        if (outcome === null) this.#tryAgain(waiter.from, waiter.id, true);
        else this.#answer(waiter.from, waiter.id, this.#writeResponse(outcome, waiter.command));
        return;
      case "reports":
        if (outcome !== null) {
          const { session, batch } = waiter;
          this.#context.send(waiter.node, { kind: "session-reports-ack", session, batch });
        }
        return;
      case "plan":
        this.#planInFlight = false;
        this.#stateChanged = true;
        return;
      case "liveness":
        this.#judging.delete(waiter.node);
        return;
      case "facts":
        this.#introducing.set(waiter.node, (this.#introducing.get(waiter.node) ?? 0) - 1);
        return;
      case "none":
        return;
    }
  }

  #writeResponse(outcome: Outcome, command: UserCommand): Response {
    if (outcome.kind === "refused") return outcome;
    const { replica, self } = this.#context;
    const body =
      command.kind === "node-admit"
        ? this.#admission(command.node)
        : { version: outcome.version, changed: outcome.changed };
    return { kind: "ok", index: replica.raft.appliedIndex, manager: self, body };
  }

  /** What a node needs to take part: who it is, and where the others are. */
  #admission(node: NodeId): unknown {
    const { state } = this.#context.replica;
    return {
      clusterId: state.clusterId,
      raftId: state.nodes.get(node)?.raftId ?? 0,
      joinSecret: state.joinSecret,
    };
  }

  #answer(from: NodeId, id: number, response: Response): void {
    this.#forwarded(from, id, { kind: "answered", response });
  }

  #tryAgain(from: NodeId, id: number, tried: boolean): void {
    this.#forwarded(from, id, { kind: "try-again", manager: null, tried });
  }

  #forwarded(to: NodeId, id: number, outcome: ForwardOutcome): void {
    this.#context.send(to, { kind: "forwarded", id, outcome });
  }

  /** A worker session opens: the node lives, whatever was believed of it. `membersStamp`: see `SessionTable.open`. */
  opened(
    from: NodeId,
    { session, facts, reports }: Extract<NodeMessage, { kind: "session-open" }>,
    membersStamp: number,
    now: Millis,
  ): void {
    const record = this.#context.replica.state.nodes.get(from);
    if (record === undefined) {
      this.#tellRemoved(from, session);
      return;
    }
    if (this.#sessions.isPast(from, session)) return;
    const underWay = this.#introducing.get(from) ?? 0;
    if (underWay > 0 || !sameFacts(record, facts)) {
      const command: Command = { kind: "node-facts", node: from, facts };
      // It asks again, and by then this manager may have room for them.
      if (!this.#propose(command, null, now, { kind: "facts", node: from })) return;
      this.#introducing.set(from, underWay + 1);
    }
    this.#sessions.open(from, session, { reports, membersStamp }, now);
    this.#revive(from, now);
    if (reports.length > 0) this.reported(from, session, 0, reports, now);
  }

  #revive(node: NodeId, now: Millis): void {
    const record = this.#context.replica.state.nodes.get(node);
    if (record?.liveness !== "down") return;
    const holdMs = FLAP_HOLD_MS[record.downs] ?? FLAP_HOLD_MS.at(-1) ?? 0;
    if (this.#sessions.ageMs(node, now) >= holdMs) this.#judge(node, "ready", now);
    else if (this.#sessions.hold(node)) this.#context.note(heldNote(record, holdMs));
  }

  beat(from: NodeId, beat: Extract<NodeMessage, { kind: "session-beat" }>, now: Millis): void {
    const { session, usage, seq, lease } = beat;
    if (!this.#sessions.heard(from, session, now)) {
      this.#context.send(from, { kind: "session-refused", session, manager: null });
      return;
    }
    this.#sessions.beat(from, usage, seq, now);
    this.#revive(from, now);
    const index = this.#context.replica.raft.appliedIndex;
    this.#context.send(from, { kind: "session-beat-reply", session, index });
    if (lease !== null) this.#leases.push({ from, session, lease });
  }

  reported(
    from: NodeId,
    session: number,
    batch: number,
    reports: readonly TaskReport[],
    now: Millis,
  ): void {
    if (!this.#sessions.heard(from, session, now)) return;
    // Its tasks are lost before these would be applied: it says them again, when they may be its own again.
    if (this.#judging.get(from) === "down") return;
    this.#sessions.reported(from, reports);
    const { state } = this.#context.replica;
    const news = reports.filter((report) => {
      const task = state.tasks.get(report.task);
      return task !== undefined && task.node === from && isNews(report, task);
    });
    const waiter: Waiter = { kind: "reports", node: from, session, batch };
    if (news.length === 0) {
      this.#context.send(from, { kind: "session-reports-ack", session, batch });
      return;
    }
    this.#propose({ kind: "task-reports", node: from, reports: news }, null, now, waiter);
  }

  peerLost(peer: NodeId, now: Millis): void {
    this.#sessions.peerLost(peer, now);
  }

  /** Time has passed: judges who is down, plans, chooses voters. */
  tick(now: Millis): void {
    const gapMs = now - this.#lastTickMs - TICK_MS;
    this.#lastTickMs = now;
    // This process itself stood still: what it did not hear meanwhile says nothing about others.
    if (gapMs > STALL_MS) this.#sessions.forgive(gapMs, now);
    if (this.#leases.length > 0) this.#reads.ask({ kind: "leases", asks: this.#leases });
    this.#leases = [];
    this.#judgeAll(now);
    this.#brake.look(this.#context.replica.state, this.#context.settings.brakePercent, now);
    this.#transfers.tick();
    this.#pilot.tick(now);
  }

  #judgeAll(now: Millis): void {
    const { self, watch } = this.#context;
    const { nodes } = this.#context.replica.state;
    const isThere = (observer: NodeId): boolean => nodes.get(observer)?.liveness === "ready";
    for (const { id, liveness } of nodes.values()) {
      if (liveness === "down" || id === self || this.#judging.has(id)) continue;
      const own = { ...this.#sessions.evidence(id), sureSinceMs: watch.sureSinceMs(id, now) };
      if (now < soonestDownAtMs(own)) continue;
      const lostAtMs = watch.lost.get(id) ?? null;
      const evidence = { ...own, lostAtMs, ...watch.of(id, isThere, now) };
      if (now < downAtMs(evidence)) continue;
      const missing = evidence.alerts.map(({ observer }) => nodes.get(observer)?.name ?? observer);
      this.#judge(id, "down", now, describeDown(evidence, missing, now));
    }
  }

  #judge(node: NodeId, liveness: "ready" | "down", now: Millis, reason = ""): void {
    if (this.#judging.has(node)) return;
    const { state } = this.#context.replica;
    const claims = liveness === "ready" ? this.#sessions.claims(node, state.tasksOfNode(node)) : [];
    const command: Command = { kind: "node-liveness", node, liveness, claims, reason };
    if (this.#propose(command, null, now, { kind: "liveness", node }))
      this.#judging.set(node, liveness);
    if (liveness === "down") this.#sessions.delete(node);
  }

  /** Runs the scheduler when there may be work: one plan in flight, at most one pass in PASS_MS. */
  plan(now: Millis): void {
    const due = this.#stateChanged || (this.#wakeAtMs !== null && now >= this.#wakeAtMs);
    if (!due || this.#planInFlight || now - this.#lastPassMs < PASS_MS) return;
    this.#lastPassMs = now;
    const { replica, settings } = this.#context;
    const caution = { brakePercent: settings.brakePercent, unseenSince: this.#context.unseenSince };
    const { steps, more, wakeAtMs } = schedule(replica.state, now, PLAN_STEPS, caution);
    this.#stateChanged = more;
    this.#wakeAtMs = wakeAtMs;
    if (steps.length === 0) return;
    this.#planInFlight = this.#propose({ kind: "plan", steps }, null, now, { kind: "plan" });
    if (!this.#planInFlight) this.#stateChanged = true;
  }

  /** Sends workers what they have not been told. Returns whether more is to be sent at once. */
  dispatch(members: MemberList, now: Millis): boolean {
    const { replica, send } = this.#context;
    for (const { to, message } of this.#sessions.sets(replica.state, members, now))
      send(to, message);
    return this.#sessions.isBehind;
  }

  /** This node leads no longer: nobody is left waiting. What was proposed may still be committed. */
  resign(): void {
    for (const { waiter } of this.#waiting.values()) {
      if (waiter.kind === "request") this.#tryAgain(waiter.from, waiter.id, true);
    }
    this.#transfers.resign();
    this.#reads.resign();
  }
}
