import { present } from "../../lib/assert.ts";
import { type Fault, fault } from "../../lib/errors.ts";
import type { Prng } from "../../lib/prng.ts";
import { BRAKE_PERCENT, TICK_MS } from "../../node/core/defaults.ts";
import { removedFault } from "../../node/core/endings.ts";
import type { Effect, Event } from "../../node/core/effect.ts";
import { vouchFor } from "../../node/core/member-news.ts";
import type { Member } from "../../node/core/message.ts";
import type { Request, Response } from "../../node/core/request.ts";
import { LIMITS } from "../../node/libp2p/limits.ts";
import { Node } from "../../node/node.ts";
import { decodeVouch, encodeVouch } from "../../node/vouch-wire.ts";
import { decodeMessage, encodeMessage } from "../../node/wire.ts";
import { MemoryEngine, type StepFate, memoryMachine } from "../../runtime/memory.ts";
import type { SnapshotId, SnapshotMeta } from "../../consensus/snapshot.ts";
import type { NodeId } from "../../state/ids.ts";
import type { NodeFacts } from "../../state/node-record.ts";
import { SimDisk, type SimSnapshot, restored } from "./disk.ts";
import { SimKeeper } from "./keeper.ts";
import type { EventQueue } from "./event-queue.ts";
import type { SimNetwork } from "./network.ts";
import type { SimOptions } from "./options.ts";

/** A snapshot travels in pieces of this size: small, so that a fetch can be cut off in the midst. */
const PIECE_BYTES = 700;
/** What some nodes keep of their log beyond what others do. */
const KEEP_MORE = 200;

export interface HostWorld {
  readonly queue: EventQueue;
  readonly network: SimNetwork;
  readonly options: SimOptions;
  readonly hosts: ReadonlyMap<NodeId, Host>;
  faultsOn: boolean;
  count(name: string): void;
  /** Before a message leaves: what it promises must be durable. */
  sending(from: Host, effect: Extract<Effect, { kind: "send" }>): void;
  /** The node cannot go on. */
  stopped(host: Host, reason: Fault): void;
  /** After every turn of a running node. */
  handled(host: Host, events: readonly Event[], effects: readonly Effect[]): void;
}

/** One machine: a disk and an engine that outlive its node, and the node while it runs. Performs its effects. */
export class Host {
  readonly id: NodeId;
  facts: NodeFacts;
  disk: SimDisk = new SimDisk();
  readonly machine: ReturnType<typeof memoryMachine> = memoryMachine();
  readonly #world: HostWorld;
  readonly #prng: Prng;
  /** Thousandths by which its clock runs fast. */
  readonly #driftPerMille: number;
  readonly #clockOffsetMs: number;
  node: Node | null = null;
  engine: MemoryEngine | null = null;
  /** Of the node that ran last: whoever is not that node can use it still. */
  #lastEngine: MemoryEngine | null = null;
  readonly #keeper: SimKeeper = new SimKeeper({
    now: () => this.now(),
    after: (delayMs, run) => this.#world.queue.after(delayMs, run),
    engine: () => this.#lastEngine,
    ended: () => this.#world.count("ended by its keeper"),
  });
  /** Counts lives: what was asked in an earlier one is not answered in this. */
  life = 0;
  isPaused = false;
  /** What arrived while it stood still. */
  #backlog: Event[] = [];
  /** For the next turn. */
  #inbox: Event[] = [];
  stalledUntilMs = 0;
  members: ReadonlySet<NodeId> = new Set();
  #connect: ReadonlySet<NodeId> = new Set();
  #isFetching = false;
  /** Whether it asks strangers that connect to vouch for themselves. */
  isSeeking = false;
  readonly #askedAtMs: Map<NodeId, number> = new Map();
  readonly #requests: Map<number, (response: Response) => void> = new Map();
  #requestCount = 0;

  constructor(world: HostWorld, prng: Prng, id: NodeId, facts: NodeFacts) {
    this.#world = world;
    this.#prng = prng;
    this.id = id;
    this.facts = facts;
    const drift = world.options.clockDriftPerMille;
    this.#driftPerMille = drift === 0 ? 0 : prng.between(-drift, drift);
    this.#clockOffsetMs = prng.below(2_000);
  }

  /** Its own idea of the time. */
  now(): number {
    const t = this.#world.queue.nowMs;
    return Math.floor(t + this.#clockOffsetMs + ((t % 100_000_000) * this.#driftPerMille) / 1000);
  }

  get isUp(): boolean {
    return this.node !== null;
  }

  /** Whether either of the two keeps a stream to the other, and this one lets it in. */
  hears(from: Host): boolean {
    const linked = this.#connect.has(from.id) || from.#connect.has(this.id);
    return linked && this.members.has(from.id);
  }

  start(): void {
    const image = this.disk.durable;
    const identity = present(image.identity, "a host starts with an identity");
    this.life += 1;
    const { life } = this;
    // Now and then somebody starts it with other flags.
    if (life > 1 && this.#prng.chance(200)) {
      this.facts = { ...this.facts, publishAddress: `127.0.0.${this.#prng.between(1, 9)}` };
    }
    const config = {
      identity,
      facts: this.facts,
      orchVersion: "sim",
      logBounds: this.#drawBounds(),
      replaceAfterMs: this.#world.options.replaceAfterMs,
      brakePercent: BRAKE_PERCENT,
      leaseUntilMs: this.#keeper.untilMs,
    };
    this.node = new Node(config, image, this.disk.readState(), this.#prng.fork(), this.now());
    this.#isFetching = false;
    const { members, connect } = this.node.roster.effect();
    this.#learn(members, connect);
    this.isSeeking = false;
    this.#askedAtMs.clear();
    this.engine = new MemoryEngine({
      machine: this.machine,
      now: () => this.now(),
      after: (delayMs, run) => this.#world.queue.after(delayMs, run),
      fate: () => this.#fate(),
    });
    this.#lastEngine = this.engine;
    this.engine.watch((status) => this.deliver({ kind: "container", status }));
    this.engine.list((outcome) => {
      if (outcome.kind === "listed") {
        this.deliver({ kind: "engine-listed", statuses: outcome.statuses });
      }
    });
    this.#tickLater(life);
  }

  #drawBounds(): SimOptions["logBounds"] {
    const { fetchMs, logBounds } = this.#world.options;
    if (fetchMs === 0 || this.#prng.chance(500)) return logBounds;
    return { ...logBounds, keepEntries: logBounds.keepEntries + KEEP_MORE };
  }

  #fate(): StepFate {
    const { engineFaultPerMille } = this.#world.options;
    const delayMs = this.#prng.between(1, 50);
    const fails = this.#world.faultsOn && this.#prng.chance(engineFaultPerMille);
    const reason = fault("engine-unavailable", "the engine does not answer", "Start it.");
    return { delayMs, fault: fails ? reason : null };
  }

  #tickLater(life: number): void {
    const everyMs = Math.round((TICK_MS * 1000) / (1000 + this.#driftPerMille));
    this.#world.queue.after(everyMs, () => {
      if (this.life !== life || this.node === null) return;
      this.deliver({ kind: "tick" });
      if (!this.isPaused) this.#dialSeekers();
      this.#tickLater(life);
    });
  }

  /** kill -9, or the power: the disk loses what was not synced, containers run on. */
  crash(): void {
    if (this.node === null) return;
    this.life += 1;
    this.node = null;
    this.engine?.detach();
    this.engine = null;
    this.isPaused = false;
    this.#backlog = [];
    this.#inbox = [];
    this.stalledUntilMs = 0;
    this.disk.crash(this.#prng);
    this.#requests.clear();
    this.#requestCount = this.life * 1_000_000;
  }

  wipe(): void {
    this.disk = new SimDisk();
  }

  pause(): void {
    if (this.node !== null) this.isPaused = true;
  }

  /** `usersFirst`: its own users are served before it hears what the others have done meanwhile. */
  resume(usersFirst: boolean = this.#prng.chance(500)): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    let backlog = this.#backlog;
    this.#backlog = [];
    if (usersFirst) {
      const rest = backlog.filter(({ kind }) => kind !== "request");
      for (const event of backlog) if (event.kind === "request") this.deliver(event);
      backlog = [];
      this.#later(0, () => this.#catchUp(rest));
    }
    this.#catchUp(backlog);
  }

  #catchUp(backlog: readonly Event[]): void {
    // Sockets are drained before the clock counts, and it counts once (libuv would do it the other way).
    for (const event of backlog.filter(({ kind }) => kind !== "tick")) this.deliver(event);
    if (backlog.some(({ kind }) => kind === "tick")) this.deliver({ kind: "tick" });
  }

  deliver(event: Event): void {
    const { node } = this;
    if (node === null) return;
    if (this.isPaused) {
      this.#backlog.push(event);
      return;
    }
    this.#inbox.push(event);
    if (this.#inbox.length === 1) this.#later(0, () => this.#turn());
  }

  /** What came at the same time is handled together. */
  #turn(): void {
    const { node } = this;
    const events = this.#inbox;
    this.#inbox = [];
    if (node === null) return;
    const effects = node.handle(events, this.now());
    for (const effect of effects) this.#perform(effect);
    this.#world.handled(this, events, effects);
  }

  request(request: Request, timeoutMs: number, done: (response: Response) => void): void {
    this.#requestCount += 1;
    this.#requests.set(this.#requestCount, done);
    this.deliver({ kind: "request", id: this.#requestCount, request, timeoutMs });
  }

  #perform(effect: Effect): void {
    switch (effect.kind) {
      case "persist":
        this.disk.submit(effect.data);
        this.#syncLater(effect.write);
        return;
      case "send":
        this.#world.sending(this, effect);
        this.#send(effect);
        return;
      case "reply": {
        const done = this.#requests.get(effect.id);
        this.#requests.delete(effect.id);
        done?.(effect.response);
        return;
      }
      case "engine": {
        const { life } = this;
        const { step } = effect;
        const task = step.kind === "create" ? step.spec.task : step.task;
        this.engine?.perform(step, (outcome) => {
          if (this.life !== life) return;
          this.#world.queue.after(0, () => {
            if (this.life === life) {
              this.deliver({ kind: "step-done", task, step: step.kind, outcome });
            }
          });
        });
        return;
      }
      case "lease":
        this.#keeper.take(effect);
        return;
      case "members":
        this.#learn(effect.members, effect.connect);
        return;
      case "again": {
        // Applying takes its time, and meanwhile others speak.
        const applyMs = this.#world.faultsOn ? this.#world.options.applyMs : 0;
        this.#later(this.#prng.below(applyMs + 1), () => this.deliver({ kind: "continue" }));
        return;
      }
      case "save-snapshot":
        this.#saveSnapshot(effect.meta, effect.chunks[Symbol.iterator](), []);
        return;
      case "fetch-snapshot":
        this.#fetchSnapshot(effect.from, effect.id);
        return;
      case "seek":
        this.isSeeking = effect.on;
        return;
      case "events":
      case "note":
      case "gossip":
        return;
      case "left":
        this.#later(0, () => this.#world.stopped(this, removedFault()));
        return;
      case "stop":
        // Later: other effects of the same event come first.
        this.#later(0, () => this.#world.stopped(this, effect.fault));
        return;
    }
  }

  #learn(members: readonly Member[], connect: readonly Member[]): void {
    this.members = new Set(members.map(({ id }) => id));
    this.#connect = new Set(connect.map(({ id }) => id));
  }

  /** In this life, later; nothing if it ends before. */
  #later(delayMs: number, run: () => void): void {
    const { life } = this;
    this.#world.queue.after(delayMs, () => {
      if (this.life === life) run();
    });
  }

  #diskDelayMs(): number {
    const { low, high } = this.#world.options.syncMs;
    return (
      Math.max(this.stalledUntilMs - this.#world.queue.nowMs, 0) + this.#prng.between(low, high)
    );
  }

  #syncLater(write: number): void {
    this.#later(this.#diskDelayMs(), () => {
      this.disk.sync();
      this.deliver({ kind: "persisted", write });
    });
  }

  /** Chunk by chunk, with other events in between. */
  #saveSnapshot(meta: SnapshotMeta, chunks: Iterator<Uint8Array>, taken: Uint8Array[]): void {
    this.#later(this.#diskDelayMs(), () => {
      const next = chunks.next();
      if (next.done !== true) {
        this.#saveSnapshot(meta, chunks, [...taken, next.value]);
        return;
      }
      this.disk.keep({ meta, chunks: taken });
      this.deliver({ kind: "snapshot-saved", meta });
    });
  }

  /** Piece by piece from the other node's disk; a cut or a crash ends it, and the next offer goes on from there. */
  #fetchSnapshot(from: NodeId, id: SnapshotId): void {
    if (this.#isFetching) return;
    this.#isFetching = true;
    const known = this.disk.find(id);
    if (known !== null) {
      this.#later(1, () => this.#begin(known));
      return;
    }
    const { network, options } = this.#world;
    const step = (): void => {
      const found = this.#world.hosts.get(from);
      const snapshot = found?.disk.find(id) ?? null;
      const isReachable =
        found?.isUp === true && !network.isCut(from, this.id) && !network.isCut(this.id, from);
      const breaks = this.#world.faultsOn && this.#prng.chance(options.lossPerMille / 4);
      if (snapshot === null || !isReachable || breaks) {
        this.#isFetching = false;
        return;
      }
      const held = this.disk.held(id) + 1;
      const pieces = Math.ceil(
        snapshot.chunks.reduce((sum, { length }) => sum + length, 0) / PIECE_BYTES,
      );
      if (held < pieces) {
        this.disk.hold(id, held);
        this.#later(this.#prng.between(options.delayMs.low, options.delayMs.high), step);
        return;
      }
      this.disk.keep(snapshot);
      const isSlow = options.fetchMs > 0 && this.#world.faultsOn;
      const readMs = isSlow ? this.#prng.below(options.fetchMs) : 0;
      this.#later(this.#diskDelayMs() + readMs, () => this.#begin(snapshot));
    };
    this.#later(options.delayMs.low, step);
  }

  #begin(snapshot: SimSnapshot): void {
    this.#isFetching = false;
    this.deliver({
      kind: "snapshot-fetched",
      meta: snapshot.meta,
      state: restored(snapshot),
    });
  }

  #send(effect: Extract<Effect, { kind: "send" }>): void {
    const { queue, network, hosts } = this.#world;
    const to = hosts.get(effect.to);
    if (to === undefined) return;
    // Over the wire as bytes: no object is ever shared between two nodes.
    const frame = encodeMessage(effect.message);
    for (const atMs of network.arrivals(this.id, effect.to, queue.nowMs)) {
      queue.after(atMs - queue.nowMs, () => {
        if (network.isCut(this.id, to.id) || !to.hears(this)) return;
        const message = present(decodeMessage(frame), "what a node sends can be read");
        to.deliver({ kind: "message", from: this.id, message });
      });
    }
  }

  /** Whom it keeps dialling and is a stranger to; only those that seek make anything of it. */
  #dialSeekers(): void {
    const { hosts, network } = this.#world;
    for (const id of this.#connect) {
      const to = hosts.get(id);
      if (to === undefined || !to.isSeeking || to.isPaused || to.members.has(this.id)) continue;
      if (!network.isCut(this.id, id) && !network.isCut(id, this.id)) to.#askToVouch(this);
    }
  }

  /** The stranger's proof is not computed: it is given when both have one cluster's id and secret. */
  #askToVouch(stranger: Host): void {
    const { queue } = this.#world;
    const askedAtMs = this.#askedAtMs.get(stranger.id);
    if (askedAtMs !== undefined && queue.nowMs - askedAtMs < LIMITS.vouchEveryMs) return;
    this.#askedAtMs.set(stranger.id, queue.nowMs);
    const { life } = this;
    this.#onArrival(this.id, stranger.id, () => {
      const list = stranger.#vouchFor(this);
      if (list === null) return;
      this.#onArrival(stranger.id, this.id, () => {
        const vouch = present(decodeVouch(list), "what a node vouches for can be read");
        if (this.life === life) this.deliver({ kind: "vouched", by: stranger.id, vouch });
      });
    });
  }

  /** Once, if at all: it is on a stream. */
  #onArrival(from: NodeId, to: NodeId, run: () => void): void {
    const { queue, network } = this.#world;
    const [atMs] = network.arrivals(from, to, queue.nowMs);
    if (atMs === undefined) return;
    queue.after(atMs - queue.nowMs, () => {
      if (!network.isCut(from, to)) run();
    });
  }

  #vouchFor(asker: Host): Uint8Array | null {
    const { node } = this;
    if (node === null || this.isPaused) return null;
    const [one, other] = [this, asker].map(({ disk }) => disk.durable.identity);
    const isOurs = one?.clusterId === other?.clusterId && one?.joinSecret === other?.joinSecret;
    const vouch = isOurs ? vouchFor(this.id, asker.id, node.roster) : null;
    return vouch === null ? null : encodeVouch(vouch);
  }
}
