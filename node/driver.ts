import { performance } from "node:perf_hooks";
import { NONE } from "../consensus/message.ts";
import { type Fault, fault, faultOf } from "../lib/errors.ts";
import { Prng } from "../lib/prng.ts";
import type { EngineStep, StepOutcome, Usage } from "../runtime/engine.ts";
import type { ClusterState, StateEvent } from "../state/cluster.ts";
import type { Millis, NodeId } from "../state/ids.ts";
import { TICK_MS } from "./core/defaults.ts";
import type { Effect, Event } from "./core/effect.ts";
import { leftFault } from "./core/endings.ts";
import { vouchFor } from "./core/member-news.ts";
import { epochMs } from "./clock.ts";
import { Histogram } from "./histogram.ts";
import type { NodeMessage } from "./core/message.ts";
import type { Request, Response } from "./core/request.ts";
import { decodeDigest, encodeDigest } from "./digest.ts";
import type { Engines } from "./engines.ts";
import type { Keeping } from "./keeper/keeping.ts";
import { LIMITS } from "./libp2p/limits.ts";
import type { Network } from "./network.ts";
import { Node } from "./node.ts";
import type { NodeConfig } from "./core/node-config.ts";
import { fetchSnapshot } from "./snapshot-transfer.ts";
import type { Disk, DiskImage } from "./storage.ts";
import { decodeVouch, encodeVouch } from "./vouch-wire.ts";
import { decodeMessage, encodeMessage } from "./wire.ts";

/** The usage is measured this often; the core decides when to tell it. */
const USAGE_MS = 1_000;
/** A failed look at the engines is repeated this often: nothing is started before one succeeds. */
const LIST_RETRY_MS = 1_000;
/** The engines' own news may be lost while they restart: what they really run is looked at this often. */
const LIST_MS = 60_000;

const HAND_OVER_POLL_MS = 5;
/** Between two tries to fetch a snapshot: doubled with each that fails. */
const FETCH_WAIT_LEAST_MS = 500;
const FETCH_WAIT_MOST_MS = 30_000;

/** What a node that has left answers, for as long as it still can. */
const LEFT: Response = { kind: "refused", fault: leftFault() };

export interface DriverParts {
  readonly config: NodeConfig;
  readonly image: DiskImage;
  /** What the image's snapshot holds. */
  readonly state: ClusterState;
  readonly disk: Disk;
  readonly engines: Engines;
  readonly keeping: Keeping;
  readonly measure: () => Usage;
  /** The process cannot go on: the fault says why. Called once. */
  readonly fatal: (reason: Fault) => void;
  /** The node has left its cluster as it was asked to; nothing is done any more. */
  readonly left: () => void;
  readonly log: (line: string) => void;
}

/**
 * Performs what the core wants with the real disk, network and engines, and feeds back what became of
 * it. One event at a time: what comes in while one is handled waits its turn.
 */
export class NodeDriver {
  readonly node: Node;
  readonly #parts: DriverParts;
  #network: Network | null = null;
  #inbox: Event[] = [];
  #stopped = false;
  #hasLeft = false;
  /** Begins at random: an answer to an earlier process of this node must not settle a request of this one. */
  #requests = Math.floor(Math.random() * 2 ** 48);
  readonly #waiting: Map<number, (response: Response) => void> = new Map();
  readonly #watchers: Set<(events: readonly StateEvent[]) => void> = new Set();
  readonly #timers: NodeJS.Timeout[] = [];
  #lastTickMs = 0;
  /** Ends the fetch of a snapshot that is under way. */
  #fetching: AbortController | null = null;
  /** After a fetch that failed, however often it is offered meanwhile. */
  #fetchAgainAtMs: Millis = 0;
  #fetchWaitMs = FETCH_WAIT_LEAST_MS;
  #members: Extract<Effect, { kind: "members" }> | null = null;
  readonly counts = {
    events: 0,
    turns: 0,
    messagesRejected: 0,
    ticksLate: 0,
    leaderChanges: 0,
    snapshotsSaved: 0,
    snapshotsFetched: 0,
  };
  /** From the hand-over of a write until it is durable. */
  readonly diskWrites: Histogram = new Histogram();
  /** Who led last, as far as Raft here knows. */
  #leader = NONE;

  constructor(parts: DriverParts) {
    this.#parts = parts;
    const seed = Math.floor(Math.random() * Number.MAX_SAFE_INTEGER);
    const { config, image, state } = parts;
    this.node = new Node(config, image, state, new Prng(seed), epochMs());
  }

  /** Begins: from now on time passes and the engines are watched. */
  start(network: Network): void {
    this.#network = network;
    this.#admit();
    const { engines, measure } = this.#parts;
    engines.watch((status) => this.deliver({ kind: "container", status }));
    this.#list();
    this.#lastTickMs = epochMs();
    this.#timers.push(
      setInterval(() => this.#tick(), TICK_MS),
      setInterval(() => this.deliver({ kind: "usage", usage: measure() }), USAGE_MS),
      setInterval(() => this.#list(), LIST_MS),
    );
    this.deliver({ kind: "continue" });
  }

  /** Nothing is delivered or performed any more. */
  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearInterval(timer);
    this.#fetching?.abort();
  }

  /** Has another node lead, if this one does and there is one that can; resolves then, or after `waitMs`. */
  async handOver(waitMs: number): Promise<void> {
    const endMs = epochMs() + waitMs;
    this.deliver({ kind: "hand-over" });
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    const { raft } = this.node.replica;
    while (raft.transferee !== NONE && !this.#stopped && epochMs() < endMs) {
      await new Promise((resolve) => setTimeout(resolve, HAND_OVER_POLL_MS));
    }
  }

  frame(from: NodeId, frame: Uint8Array): void {
    const message = decodeMessage(frame);
    if (message === null) this.counts.messagesRejected += 1;
    else this.deliver({ kind: "message", from, message });
  }

  gossip(from: NodeId, payload: Uint8Array): void {
    const digest = decodeDigest(payload);
    if (digest === null) this.counts.messagesRejected += 1;
    else this.deliver({ kind: "gossip", from, digest });
  }

  /** What this node says of its cluster to a member that has lost it; null: that is none. */
  vouch(asker: NodeId): Uint8Array | null {
    const vouch = vouchFor(this.#parts.config.identity.node, asker, this.node.roster);
    return vouch === null ? null : encodeVouch(vouch);
  }

  vouched(by: NodeId, list: Uint8Array): void {
    const vouch = decodeVouch(list);
    if (vouch === null) this.counts.messagesRejected += 1;
    else this.deliver({ kind: "vouched", by, vouch });
  }

  request(request: Request, timeoutMs: number): Promise<Response> {
    if (this.#hasLeft) return Promise.resolve(LEFT);
    this.#requests += 1;
    const id = this.#requests;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.deliver({ kind: "request", id, request, timeoutMs });
    });
  }

  /** Hears of every event that this node applies; returns how to stop. */
  watch(watcher: (events: readonly StateEvent[]) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /**
   * libuv runs timers before it reads sockets: after this process stood still, heartbeats wait there that a
   * timer would miss. A late tick lets them in first, and counts once.
   */
  #tick(): void {
    const now = epochMs();
    const late = now - this.#lastTickMs > 2 * TICK_MS;
    this.#lastTickMs = now;
    if (!late) {
      this.deliver({ kind: "tick" });
      return;
    }
    this.counts.ticksLate += 1;
    setImmediate(() => setImmediate(() => this.deliver({ kind: "tick" })));
  }

  #list(): void {
    this.#parts.engines.list((outcome) => {
      if (outcome.kind === "listed") {
        this.deliver({ kind: "engine-listed", statuses: outcome.statuses });
        return;
      }
      this.#parts.log(`${outcome.fault.message}; looking again`);
      if (!this.#stopped) setTimeout(() => this.#list(), LIST_RETRY_MS).unref();
    });
  }

  deliver(event: Event): void {
    if (this.#stopped) return;
    this.#inbox.push(event);
    if (this.#inbox.length > 1) return;
    // After everything that the sockets hold now: what comes together is done together.
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    if (this.#stopped) return;
    const events = this.#inbox;
    this.#inbox = [];
    this.counts.events += events.length;
    this.counts.turns += 1;
    try {
      for (const effect of this.node.handle(events, epochMs())) this.#perform(effect);
      this.#countLeader();
    } catch (error) {
      // A broken assertion: whatever this node would do next may be wrong.
      this.stop();
      this.#parts.fatal(faultOf(error));
    }
  }

  #countLeader(): void {
    const { leader } = this.node.replica.raft;
    if (leader === NONE || leader === this.#leader) return;
    this.#leader = leader;
    this.counts.leaderChanges += 1;
  }

  #perform(effect: Effect): void {
    switch (effect.kind) {
      case "persist":
        this.#persist(effect);
        return;
      case "send":
        this.#send(effect.to, effect.message);
        return;
      case "reply": {
        const resolve = this.#waiting.get(effect.id);
        this.#waiting.delete(effect.id);
        resolve?.(effect.response);
        return;
      }
      case "engine":
        this.#engine(effect.step);
        return;
      case "lease":
        this.#parts.keeping.hold(effect);
        return;
      case "members":
        this.#members = effect;
        this.#admit();
        return;
      case "seek":
        this.#network?.seek(effect.on);
        return;
      case "events":
        for (const watcher of this.#watchers) watcher(effect.events);
        return;
      case "gossip":
        this.#network?.gossip(encodeDigest(effect.digest));
        return;
      case "note":
        this.#parts.log(effect.text);
        return;
      case "save-snapshot":
        this.#saveSnapshot(effect);
        return;
      case "fetch-snapshot":
        this.#fetchSnapshot(effect);
        return;
      case "again":
        this.deliver({ kind: "continue" });
        return;
      case "left":
        this.#hasLeft = true;
        this.stop();
        for (const [id, resolve] of this.#waiting) {
          this.#waiting.delete(id);
          resolve(LEFT);
        }
        this.#parts.left();
        return;
      case "stop":
        this.stop();
        this.#parts.fatal(effect.fault);
        return;
    }
  }

  #engine(step: EngineStep): void {
    const task = step.kind === "create" ? step.spec.task : step.task;
    const done = (outcome: StepOutcome): void =>
      this.deliver({ kind: "step-done", task, step: step.kind, outcome });
    const { engines, keeping } = this.#parts;
    if (step.kind !== "start" || !keeping.guards(task)) {
      engines.perform(step, done);
      return;
    }
    keeping.ready().then(
      () => engines.perform(step, done),
      (error: unknown) => done({ kind: "failed", fault: faultOf(error) }),
    );
  }

  /** A message too long for one frame would vanish: an answer becomes a refusal, all else is said in the log. */
  #send(to: NodeId, message: NodeMessage): void {
    const frame = encodeMessage(message);
    if (frame.length <= LIMITS.maxFrameBytes) {
      this.#network?.send(to, frame);
      return;
    }
    this.#parts.log(`a ${message.kind} of ${frame.length} bytes for ${to} is too long to send`);
    if (message.kind !== "forwarded") return;
    const response: Response = {
      kind: "refused",
      fault: fault(
        "too-large",
        `the answer has ${frame.length} bytes, more than one message carries`,
        "Ask for less: one job, one node, or without --all. Or ask the manager's own node.",
      ),
    };
    const outcome = { kind: "answered", response } as const;
    this.#network?.send(to, encodeMessage({ kind: "forwarded", id: message.id, outcome }));
  }

  #persist(effect: Extract<Effect, { kind: "persist" }>): void {
    const begunMs = performance.now();
    this.#parts.disk.write(effect.data).then(
      () => {
        this.diskWrites.add(performance.now() - begunMs);
        this.deliver({ kind: "persisted", write: effect.write });
      },
      (error: unknown) => this.#diskFailed(error),
    );
  }

  /** After a failed sync nobody knows what the disk holds: never again, not even once more. */
  #diskFailed(error: unknown): void {
    if (this.#stopped) return;
    this.stop();
    this.#parts.fatal(faultOf(error));
  }

  #saveSnapshot({ meta, chunks }: Extract<Effect, { kind: "save-snapshot" }>): void {
    this.#parts.disk.saveSnapshot(meta, chunks).then(
      () => {
        this.counts.snapshotsSaved += 1;
        this.deliver({ kind: "snapshot-saved", meta });
      },
      (error: unknown) => this.#diskFailed(error),
    );
  }

  /** Whatever goes wrong on the way is the other node's or the network's: the leader offers it again. */
  #fetchSnapshot({ from, id }: Extract<Effect, { kind: "fetch-snapshot" }>): void {
    if (this.#fetching !== null || this.#network === null || epochMs() < this.#fetchAgainAtMs)
      return;
    const abort = new AbortController();
    this.#fetching = abort;
    fetchSnapshot(this.#parts.disk, this.#network, from, id, abort.signal).then(
      ({ meta, state }) => {
        this.#fetching = null;
        this.#fetchWaitMs = FETCH_WAIT_LEAST_MS;
        this.counts.snapshotsFetched += 1;
        this.deliver({ kind: "snapshot-fetched", meta, state });
      },
      (error: unknown) => {
        this.#fetching = null;
        this.#fetchAgainAtMs = epochMs() + this.#fetchWaitMs;
        this.#fetchWaitMs = Math.min(2 * this.#fetchWaitMs, FETCH_WAIT_MOST_MS);
        const { code, message } = faultOf(error);
        if (code === "data-unwritable") this.#diskFailed(error);
        else if (!this.#stopped) this.#parts.log(`a snapshot could not be fetched: ${message}`);
      },
    );
  }

  /** Tells the network who is a member and whom to reach; before the core has spoken, from the identity. */
  #admit(): void {
    const network = this.#network;
    if (network === null) return;
    const { members, connect, joinSecret } = this.#members ?? this.node.roster.effect();
    const { clusterId } = this.#parts.config.identity;
    const secret = new Uint8Array(Buffer.from(joinSecret, "base64url"));
    network.admit(new Set(members.map(({ id }) => id)), { clusterId, secret });
    network.connect(connect.map(({ id, addresses }) => ({ id, addresses })));
    // Only who holds the log may manage, and has to know who may.
    const holders = members.filter(({ holdsLog }) => holdsLog).map(({ id }) => id);
    const { self } = network;
    network.dialBack(holders.includes(self) ? holders.filter((id) => id !== self) : []);
  }

  /** Events after `since`, oldest first, then new ones as they come; batches of one log index stay together. */
  async *events(since: number, signal: AbortSignal): AsyncGenerator<StateEvent> {
    let queue: StateEvent[] = [...this.node.eventsSince(since)];
    let room = Promise.withResolvers<void>();
    const onAbort = (): void => room.resolve();
    const unwatch = this.watch((events) => {
      // What a node that is catching up applies may be older than what was asked for.
      for (const event of events) if (event.index > since) queue.push(event);
      room.resolve();
    });
    signal.addEventListener("abort", onAbort);
    try {
      while (!signal.aborted) {
        const batch = queue;
        queue = [];
        yield* batch;
        if (queue.length === 0 && !signal.aborted) {
          room = Promise.withResolvers();
          await room.promise;
        }
      }
    } finally {
      unwatch();
      signal.removeEventListener("abort", onAbort);
    }
  }
}
