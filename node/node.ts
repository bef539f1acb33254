import type { Prng } from "../lib/prng.ts";
import { Worker, type WorkerOutput } from "../runtime/worker.ts";
import type { ClusterState, StateEvent } from "../state/cluster.ts";
import type { Millis, NodeId } from "../state/ids.ts";
import type { TaskReport } from "../state/task.ts";
import type { Effect, Event } from "./core/effect.ts";
import { Digests } from "./core/digests.ts";
import { type Asked, EarlyRequests } from "./core/early-requests.ts";
import { Ending } from "./core/endings.ts";
import { leaseNote } from "./core/lease-note.ts";
import { localView } from "./core/local-view.ts";
import { Manager } from "./core/manager.ts";
import { MemberNews } from "./core/member-news.ts";
import {
  type FromManager,
  type FromWorker,
  indexOf,
  isFromManager,
  isFromWorker,
  type MemberChange,
  type NodeMessage,
} from "./core/message.ts";
import { type AppliedEntry, Replica, type ReplicaOutput } from "./core/replica.ts";
import { RecentEvents } from "./core/recent-events.ts";
import { Requests } from "./core/requests.ts";
import type { Request } from "./core/request.ts";
import { Roster } from "./core/roster.ts";
import { SessionClient } from "./core/session-client.ts";
import { StateAuditor } from "./core/state-audit.ts";
import { staleAnswer } from "./core/stale.ts";
import type { LocalView } from "./core/view-types.ts";
import { Unseen } from "./core/unseen.ts";
import { isWatchMessage, Watch } from "./core/watch.ts";
import type { NodeConfig } from "./core/node-config.ts";
import type { DiskImage } from "./storage.ts";

/**
 * One node, whole: events in, effects out, no clock, chance or I/O of its own. The same class runs behind
 * `driver.ts` and in the simulator. `now` never runs backwards.
 */
export class Node {
  readonly #self: NodeId;
  #config: NodeConfig;
  readonly #replica: Replica;
  readonly #worker: Worker;
  readonly #requests: Requests;
  readonly #early: EarlyRequests;
  readonly #session: SessionClient;
  #manager: Manager | null = null;
  #effects: Effect[] = [];
  /** Messages of this node to itself: handled before the call ends. */
  readonly #inbox: NodeMessage[] = [];
  readonly #roster: Roster;
  readonly #news: MemberNews;
  readonly #watch: Watch;
  readonly #digests: Digests;
  readonly #events: RecentEvents = new RecentEvents();
  #workerWakeAtMs: Millis | null = null;
  /** Set once this node is no member any more; `left`: as it was asked to. */
  readonly #ending: Ending = new Ending((effect) => this.#effects.push(effect));
  readonly #audit: StateAuditor;
  readonly #unseen: Unseen;
  #lacksLease = false;
  #unsaved: TaskReport[] = [];
  #saving: { readonly write: number; readonly reports: readonly TaskReport[] } | null = null;
  #now: Millis;

  /** `state`: what the image's snapshot holds; an empty one without. */
  constructor(config: NodeConfig, image: DiskImage, state: ClusterState, prng: Prng, now: Millis) {
    const { identity } = config;
    this.#config = config;
    this.#self = identity.node;
    this.#now = now;
    this.#replica = new Replica(identity.raftId, image, state, prng, config.logBounds);
    this.#worker = new Worker({ memory: image.worker, leaseUntilMs: config.leaseUntilMs });
    this.#unseen = new Unseen(now);
    const send = (to: NodeId, message: NodeMessage): void => this.#send(to, message);
    this.#requests = new Requests({
      send,
      reply: (id, response) => this.#effects.push({ kind: "reply", id, response }),
      knownIndex: () => Math.max(this.#replica.raft.appliedIndex, this.#roster.heardIndex),
    });
    this.#early = new EarlyRequests(send);
    this.#session = new SessionClient({
      raftId: identity.raftId,
      facts: config.facts,
      reports: () => this.#worker.reports(),
      members: () => this.#news.hash,
      send,
    });
    this.#roster = new Roster(identity);
    this.#watch = new Watch(this.#self, this.#roster, send, now);
    this.#digests = new Digests(this.#self, config.orchVersion);
    this.#news = new MemberNews({
      identity,
      roster: this.#roster,
      replica: this.#replica,
      effect: (effect) => this.#effects.push(effect),
    });
    this.#audit = new StateAuditor({
      self: this.#self,
      marks: this.#replica.marks,
      roster: this.#roster,
      ending: this.#ending,
      send: (to, message) => this.#send(to, message),
    });
  }

  /**
   * Advances by what has happened since the last call, in order; what follows from all of it is done once: entries
   * that were proposed together share a message and a write. The effects are to be performed in order.
   */
  handle(events: readonly Event[], now: Millis): Effect[] {
    this.#now = Math.max(this.#now, now);
    this.#effects = [];
    const released: Parameters<Replica["take"]>[0] = [];
    for (const event of events) {
      if (event.kind === "persisted") this.#persisted(event.write, released);
      else this.#dispatch(event);
    }
    this.#settle(released);
    return this.#effects;
  }

  /** Who this node knows of: also what a joiner is told. */
  get roster(): Roster {
    return this.#roster;
  }

  get isManager(): boolean {
    return this.#manager !== null;
  }

  get holdsLog(): boolean {
    return this.#replica.holdsLog && !this.#roster.isWithoutLog;
  }

  /** The manager as far as this node knows. */
  get manager(): NodeId | null {
    if (this.#manager !== null) return this.#self;
    return this.#leader() ?? this.#session.manager;
  }

  /** Events after `index` that are still in memory, oldest first. */
  eventsSince(index: number): readonly StateEvent[] {
    return this.#events.since(index);
  }

  local(): LocalView {
    return localView(this.#replica, this.#config, this, this.#session.silentMs(this.#now));
  }

  /** For checkers: what this node has applied and holds. */
  get replica(): Replica {
    return this.#replica;
  }

  get worker(): Worker {
    return this.#worker;
  }

  #persisted(write: number, released: Parameters<Replica["take"]>[0]): void {
    this.#replica.persisted(write, released);
    if (this.#saving?.write !== write) return;
    this.#session.report(this.#saving.reports, this.#now);
    this.#saving = null;
  }

  #dispatch(event: Exclude<Event, { kind: "persisted" }>): void {
    switch (event.kind) {
      case "tick":
        this.#tick();
        return;
      case "message":
        this.#watch.heard(event.from, this.#now);
        this.#message(event.from, event.message);
        return;
      case "peer-up":
        this.#watch.peerUp(event.peer, this.#now);
        return;
      case "peer-lost":
        this.#peerLost(event.peer);
        return;
      case "dialable":
        this.#watch.dialable(event.peer, event.dialable);
        return;
      case "request":
        this.#request(event.id, event.request, event.timeoutMs);
        return;
      case "engine-listed":
        this.#work(this.#worker.listed(event.statuses, this.#now));
        return;
      case "container":
        this.#work(this.#worker.observed(event.status, this.#now));
        return;
      case "step-done":
        this.#work(this.#worker.stepDone(event.task, event.step, event.outcome, this.#now));
        return;
      case "snapshot-saved":
        this.#replica.saved(event.meta, this.#now);
        return;
      case "snapshot-fetched":
        this.#replica.fetched(event.meta, event.state, this.#now);
        this.#unseen.restored(this.#now);
        return;
      case "hand-over":
        this.#replica.handOver();
        return;
      case "usage":
        this.#digests.measured(event.usage, this.#worker.live(), this.#now);
        return;
      case "gossip":
        this.#digests.heard(event.from, event.digest, this.#now);
        return;
      case "moved":
        this.#config = {
          ...this.#config,
          facts: this.#session.moved(event.addresses, this.#now),
        };
        return;
      case "vouched":
        this.#news.vouched(event.by, event.vouch, this.#now);
        return;
      case "continue":
        return;
    }
  }

  #tick(): void {
    this.#replica.tick();
    this.#requests.tick(this.#now);
    this.#watch.tick(this.isManager || this.#session.manager !== null, this.#now);
    this.#manager?.tick(this.#now);
    // While it is lost, any of them may have taken the seat of a holder that it knew.
    const askable = this.#roster.others(this.#news.isLost ? "all" : "holders");
    const said = { usage: this.#digests.usageOf(this.#self), needsLease: this.#worker.needsLease };
    this.#session.tick(this.#leader(), askable, said, this.#now);
    if (this.#workerWakeAtMs !== null && this.#now >= this.#workerWakeAtMs) {
      this.#work(this.#worker.tick(this.#now));
    }
    const digest = this.#digests.due(this.#roster.members, this.#now);
    if (digest !== null) this.#effects.push({ kind: "gossip", digest });
    if (this.#roster.tick(this.#now)) this.#effects.push(this.#roster.effect());
    this.#news.tick(this.#session.manager !== null, this.#now);
    this.#audit.tick(this.holdsLog ? this.manager : null, this.#now);
    this.#ending.tick(this.#worker.isIdle, this.#replica.diskHungMs, this.#now);
  }

  #peerLost(peer: NodeId): void {
    this.#watch.peerLost(peer, this.#now);
    const member = this.#roster.find(peer);
    if (member !== undefined) this.#replica.raft.peerLost(member.raftId);
    this.#manager?.peerLost(peer, this.#now);
    this.#session.peerLost(peer);
  }

  /** The node that leads as far as Raft here knows; null when it is not known, or not to this node. */
  #leader(): NodeId | null {
    if (!this.holdsLog) return null;
    const { raft, raftId } = this.#replica;
    return raft.leader === raftId ? this.#self : this.#roster.nodeOf(raft.leader);
  }

  #request(id: number, request: Request, timeoutMs: number): void {
    if (request.kind !== "read" || !request.stale) {
      this.#requests.submit(id, request, timeoutMs, this.#now);
      return;
    }
    const response = staleAnswer(request.query, {
      config: this.#config,
      roster: this.#roster,
      replica: this.#replica,
      watch: this.#watch,
      digests: this.#digests,
      manager: this.manager,
      now: this.#now,
    });
    this.#effects.push({ kind: "reply", id, response });
  }

  #send(to: NodeId, message: NodeMessage): void {
    if (to === this.#self) this.#inbox.push(message);
    else this.#effects.push({ kind: "send", to, message });
  }

  #message(from: NodeId, message: NodeMessage): void {
    if (isWatchMessage(message)) {
      this.#watch.message(from, message, this.#now);
      return;
    }
    if (isFromWorker(message)) {
      this.#serve(from, message);
      return;
    }
    if (isFromManager(message)) {
      this.#follow(from, message);
      return;
    }
    switch (message.kind) {
      case "raft":
        this.#raft(from, message);
        return;
      case "removed":
        if (message.raftId === this.#replica.raftId) this.#beRemoved(false);
        return;
      case "state-mark":
      case "state-differs":
        this.#audit.heard(from, message, this.manager);
        return;
      case "forward":
        // One that was removed is let in to be told so, and for nothing else.
        if (!this.#roster.isDeparting(from)) this.#forward({ from, ...message });
        return;
      case "forwarded":
        this.#roster.hearIndex(indexOf(message.outcome));
        this.#requests.forwarded(message.id, message.outcome, this.#now);
        return;
    }
  }

  #raft(from: NodeId, { clusterId, message }: Extract<NodeMessage, { kind: "raft" }>): void {
    const member = this.#roster.find(from);
    const isOurs =
      clusterId === this.#config.identity.clusterId && message.to === this.#replica.raftId;
    // Not under an id that it has lost. Under a later one than is known here: this node is behind.
    if (!isOurs || (member !== undefined && message.from < member.raftId)) return;
    // Nor under another's.
    if (!this.#roster.maySpeakAs(from, message.from)) return;
    if (this.#replica.hasLost(message.from)) {
      this.#send(from, { kind: "removed", raftId: message.from });
      return;
    }
    this.#roster.heard(message.from, from);
    this.#replica.raft.step(message);
  }

  #forward(asked: Asked): void {
    const leads = this.#replica.raft.role === "leader";
    if (this.#manager === null) this.#early.came(asked, leads, this.manager);
    else this.#manager.request(asked, this.#now);
  }

  /** A worker speaks to the manager. */
  #serve(from: NodeId, m: FromWorker): void {
    const manager = this.#manager;
    if (manager === null) {
      const hint = this.manager === null ? null : (this.#roster.find(this.manager) ?? null);
      this.#send(from, { kind: "session-refused", session: m.session, manager: hint });
    } else if (m.kind === "session-open" && this.#replica.hasLost(m.raftId)) {
      this.#send(from, { kind: "removed", raftId: m.raftId });
    } else if (m.kind === "session-open") {
      manager.opened(from, m, this.#roster.stampOf(m.members), this.#now);
    } else if (m.kind === "session-beat") {
      manager.beat(from, m, this.#now);
    } else {
      manager.reported(from, m.session, m.batch, m.reports, this.#now);
    }
  }

  /** The manager speaks to its worker. */
  #follow(from: NodeId, m: FromManager): void {
    switch (m.kind) {
      case "session-set": {
        const set = this.#session.accept(from, m, this.#now);
        if (set === null) return;
        this.#roster.hearIndex(set.index);
        if (this.#ending.levelIs(set.featureLevel, this.#config.facts)) return;
        this.#news.told(set, this.#now);
        this.#work(this.#worker.assign(set, this.#now));
        return;
      }
      case "session-refused":
        if (this.#session.isCurrent(from, m.session)) this.#news.hinted(m.manager, this.#now);
        this.#session.refused(m.session, m.manager?.id ?? null, this.#now);
        return;
      case "session-removed":
        if (this.#session.isCurrent(from, m.session)) this.#beRemoved(m.left);
        return;
      case "session-beat-reply":
        this.#roster.hearIndex(m.index);
        this.#session.heard(from, m.session, this.#now);
        return;
      case "session-lease": {
        const untilMs = this.#session.leased(from, m.session, m.lease);
        if (untilMs !== null) this.#work(this.#worker.lease(untilMs, this.#now));
        return;
      }
      case "session-reports-ack":
        this.#session.acknowledged(m.session, m.batch, this.#now);
        return;
    }
  }

  /** What still runs here belongs to nobody: it is stopped, and then the node. */
  #beRemoved(told: boolean): void {
    // Whoever says so may not know any more that it was asked to leave; its own copy may.
    const left = told || this.#replica.state.nodes.get(this.#self)?.leaving === true;
    this.#ending.removed(left, this.#now);
    this.#work(this.#worker.assign({ full: true, upsert: [], remove: [] }, this.#now));
  }

  #work(output: WorkerOutput): void {
    // Before the steps: what is started has its end seen to.
    if (output.lease !== null) this.#effects.push({ kind: "lease", ...output.lease });
    const { lacksLease } = this.#worker;
    if (lacksLease !== this.#lacksLease) this.#effects.push(leaseNote(lacksLease));
    this.#lacksLease = lacksLease;
    for (const step of output.steps) this.#effects.push({ kind: "engine", step });
    if (output.memory !== null) this.#replica.remember({ worker: output.memory });
    this.#workerWakeAtMs = output.wakeAtMs;
    this.#unsaved.push(...output.reports);
  }

  /** What the manager was told must not be forgotten here: reports leave once the worker's memory of them is durable. */
  #persist(output: NonNullable<ReplicaOutput["persist"]>): void {
    this.#effects.push({ kind: "persist", ...output });
    if (output.data.worker === null || this.#unsaved.length === 0) return;
    this.#saving = { write: output.write, reports: this.#unsaved };
    this.#unsaved = [];
  }

  /** Does all that follows from the event, until nothing follows any more. */
  #settle(released: Parameters<Replica["take"]>[0]): void {
    let messages = released;
    for (;;) {
      let isBehind = false;
      const output = this.#replica.take(messages);
      messages = [];
      for (const message of output.messages) this.#sendRaft(message);
      if (output.persist !== null) this.#persist(output.persist);
      if (output.save !== null) this.#effects.push({ kind: "save-snapshot", ...output.save });
      const { wanted } = output;
      const from = wanted === null ? null : this.#roster.nodeOf(wanted.from);
      if (wanted !== null && from !== null)
        this.#effects.push({ kind: "fetch-snapshot", from, id: wanted.id });
      this.#applied(output.applied);
      this.#changeRole();
      if (this.#manager !== null) {
        this.#manager.applied(output.applied, this.#now);
        this.#manager.confirmed(output.reads);
        this.#manager.plan(this.#now);
        const { members: list, stamp } = this.#roster;
        const since = (earlier: number): MemberChange | null => this.#roster.changesSince(earlier);
        const { appliedIndex: index } = this.#replica.raft;
        isBehind = this.#manager.dispatch({ list, stamp, since, index }, this.#now);
      }
      this.#requests.flush(this.manager, this.#now);
      const { applied, persist, more } = output;
      const isSettled = this.#inbox.length === 0 && applied.length === 0 && persist === null;
      if (more || (isSettled && isBehind)) this.#effects.push({ kind: "again" });
      if (more || isSettled) return;
      for (const message of this.#inbox.splice(0)) this.#message(this.#self, message);
    }
  }

  #sendRaft(message: Extract<NodeMessage, { kind: "raft" }>["message"]): void {
    const to = this.#roster.nodeOf(message.to);
    if (to === null) return;
    this.#send(to, { kind: "raft", clusterId: this.#config.identity.clusterId, message });
  }

  #applied(entries: readonly AppliedEntry[]): void {
    const events = entries.flatMap((entry) => entry.events);
    if (events.length > 0) {
      this.#events.add(events);
      this.#effects.push({ kind: "events", events });
    }
    const { state } = this.#replica;
    this.#unseen.applied(events, state, this.#now);
    this.#ending.levelIs(state.featureLevel, this.#config.facts);
    this.#news.applied(this.#now);
  }

  #changeRole(): void {
    const manages = this.#replica.isManager;
    if (manages && this.#manager === null) {
      this.#manager = new Manager(
        {
          self: this.#self,
          replica: this.#replica,
          settings: this.#config,
          watch: this.#watch,
          unseenSince: this.#unseen.since,
          gossipedUsage: (node) => this.#digests.usage(node),
          send: (to, message) => this.#send(to, message),
          note: (text) => this.#effects.push({ kind: "note", text }),
        },
        this.#now,
      );
      for (const asked of this.#early.take()) this.#manager.request(asked, this.#now);
    } else if (this.#replica.raft.role !== "leader") {
      this.#manager?.resign();
      this.#manager = null;
      this.#early.sendAway(this.manager);
    }
  }
}
