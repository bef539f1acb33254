import type { SnapshotMeta } from "../consensus/snapshot.ts";
import { Prng } from "../lib/prng.ts";
import { instantly, MemoryEngine, type MemoryMachine, memoryMachine } from "../runtime/memory.ts";
import { ClusterState, type StateEvent } from "../state/cluster.ts";
import type { NodeId } from "../state/ids.ts";
import { SnapshotReader } from "../state/snapshot.ts";
import type { NodeFacts } from "../state/node-record.ts";
import { idOf, nodeFacts } from "../test/fixtures/cluster.ts";
import { bootstrap } from "./core/bootstrap.ts";
import { BRAKE_PERCENT, LOG_BOUNDS, REPLACE_AFTER_MS, TICK_MS } from "./core/defaults.ts";
import type { Digest, Effect, Event } from "./core/effect.ts";
import type { NodeMessage } from "./core/message.ts";
import type { Query, Request, Response, UserCommand } from "./core/request.ts";
import { decodeDigest, encodeDigest } from "./digest.ts";
import { Node } from "./node.ts";
import {
  type DiskImage,
  type DiskWrite,
  EMPTY_DISK,
  type Identity,
  afterWrite,
} from "./storage.ts";
import { decodeMessage, encodeMessage } from "./wire.ts";

/** Whole nodes for tests: disk, network and time move by the test's hand, and all of it at once. */

export const SECRET = "c2VjcmV0";

interface Snapshot {
  readonly meta: SnapshotMeta;
  readonly chunks: readonly Uint8Array[];
}

/** One node with its disk, its engine and what it did. */
export class Machine {
  readonly world: World;
  readonly id: NodeId;
  /** What its next process says of itself. */
  facts: NodeFacts;
  readonly machine: MemoryMachine = memoryMachine();
  node: Node;
  image: DiskImage;
  /** Durable, by index. */
  readonly snapshots: Map<number, Snapshot> = new Map();
  /** Handed to the disk and not durable, oldest first. */
  readonly writes: { readonly write: number; readonly data: DiskWrite }[] = [];
  readonly replies: Map<number, Response[]> = new Map();
  readonly events: StateEvent[] = [];
  readonly others: Effect[] = [];
  /** Its disk takes its time. */
  isSlow = false;
  isUp = true;
  #engine: MemoryEngine | null = null;
  #requests = 0;

  constructor(world: World, facts: NodeFacts, image: DiskImage) {
    this.world = world;
    this.id = idOf(facts.name);
    this.facts = facts;
    this.image = image;
    this.node = this.start();
  }

  /** A new process of this node, from what its disk holds. */
  start(): Node {
    const { identity } = this.image;
    if (identity === null) throw new Error("the node was admitted");
    const config = {
      identity,
      facts: this.facts,
      orchVersion: "0.1.0",
      logBounds: LOG_BOUNDS,
      replaceAfterMs: REPLACE_AFTER_MS,
      brakePercent: BRAKE_PERCENT,
      leaseUntilMs: 0,
    };
    this.writes.splice(0);
    this.node = new Node(
      config,
      this.image,
      stateOf(this.snapshots.get(this.image.snapshot?.index ?? 0)),
      new Prng(identity.raftId),
      this.world.now,
    );
    this.isUp = true;
    return this.node;
  }

  /** Looks at the engine, as every process does once it runs. */
  runEngine(): void {
    const engine = new MemoryEngine({
      machine: this.machine,
      now: () => this.world.now,
      after: (_delayMs, run) => this.world.later.push(run),
      fate: instantly,
    });
    engine.watch((status) => this.deliver({ kind: "container", status }));
    this.#engine = engine;
    engine.list((outcome) => {
      if (outcome.kind === "listed")
        this.deliver({ kind: "engine-listed", statuses: outcome.statuses });
    });
  }

  deliver(event: Event): void {
    if (!this.isUp) return;
    for (const effect of this.node.handle([event], this.world.now)) this.#perform(effect);
  }

  /** The disk has done what it was given. */
  sync(): void {
    for (const { write, data } of this.writes.splice(0)) {
      this.image = afterWrite(this.image, data);
      this.deliver({ kind: "persisted", write });
    }
  }

  /** Returns the request's number. */
  request(request: Request, timeoutMs = 5000): number {
    this.#requests += 1;
    this.deliver({ kind: "request", id: this.#requests, request, timeoutMs });
    return this.#requests;
  }

  write(command: UserCommand, key: string): number {
    return this.request({ kind: "write", key, command });
  }

  read(query: Query, stale = false): number {
    return this.request({ kind: "read", query, stale });
  }

  /** The one answer to a request. */
  answer(id: number): Response {
    const [answer, ...more] = this.replies.get(id) ?? [];
    if (answer === undefined || more.length > 0) {
      throw new Error(
        `request ${id} has ${answer === undefined ? "no answer" : "several answers"}`,
      );
    }
    return answer;
  }

  #fetch({ from, id }: Extract<Effect, { kind: "fetch-snapshot" }>): void {
    const snapshot = this.world.machines.get(from)?.snapshots.get(id.index);
    if (snapshot === undefined) return;
    this.snapshots.set(id.index, snapshot);
    const { meta } = snapshot;
    this.deliver({ kind: "snapshot-fetched", meta, state: stateOf(snapshot) });
  }

  #perform(effect: Effect): void {
    switch (effect.kind) {
      case "persist":
        this.writes.push(effect);
        return;
      case "send":
        this.world.send(this.id, effect.to, effect.message);
        return;
      case "reply":
        this.replies.set(effect.id, [...(this.replies.get(effect.id) ?? []), effect.response]);
        return;
      case "engine": {
        const { step } = effect;
        const task = step.kind === "create" ? step.spec.task : step.task;
        this.#engine?.perform(step, (outcome) => {
          this.world.later.push(() =>
            this.deliver({ kind: "step-done", task, step: step.kind, outcome }),
          );
        });
        return;
      }
      case "save-snapshot": {
        const snapshot = { meta: effect.meta, chunks: [...effect.chunks] };
        this.world.later.push(() => {
          this.snapshots.set(effect.meta.index, snapshot);
          this.deliver({ kind: "snapshot-saved", meta: effect.meta });
        });
        return;
      }
      case "fetch-snapshot":
        this.world.later.push(() => this.#fetch(effect));
        return;
      case "again":
        this.world.later.push(() => this.deliver({ kind: "continue" }));
        return;
      case "events":
        this.events.push(...effect.events);
        return;
      case "gossip":
        this.others.push(effect);
        this.world.gossip(this.id, effect.digest);
        return;
      case "members":
      case "seek":
      case "note":
      case "lease":
      case "left":
      case "stop":
        this.others.push(effect);
        return;
    }
  }
}

function stateOf(snapshot: Snapshot | undefined): ClusterState {
  if (snapshot === undefined) return new ClusterState();
  const reader = new SnapshotReader();
  for (const chunk of snapshot.chunks) reader.add(chunk);
  return reader.finish();
}

/** Nodes, time and a network without delay that carries bytes. */
export class World {
  now = 1_000_000;
  readonly machines: Map<NodeId, Machine> = new Map();
  readonly later: (() => void)[] = [];
  /** Every message that was sent, whether it arrived or not. */
  readonly sent: { from: NodeId; to: NodeId; message: NodeMessage }[] = [];

  /** Which messages do not arrive. */
  lose: (sent: { from: NodeId; to: NodeId; message: NodeMessage }) => boolean = () => false;

  /** Founds a cluster on a node of this name. */
  init(name: string, changes: Partial<NodeFacts> = {}): Machine {
    const facts = nodeFacts(name, changes);
    const write = bootstrap("c1", SECRET, idOf(name), facts, this.now);
    return this.#add(new Machine(this, facts, afterWrite(EMPTY_DISK, write)));
  }

  /** Has a node admitted through a member, and starts it. */
  join(name: string, through: Machine, changes: Partial<NodeFacts> = {}): Machine {
    const facts = nodeFacts(name, changes);
    const id = through.write({ kind: "node-admit", node: idOf(name), facts }, `join-${name}`);
    this.settle();
    const response = through.answer(id);
    if (response.kind === "refused") throw new Error(response.fault.message);
    const raftId = Reflect.get(Object(response.body), "raftId");
    const peers = through.node.roster.members.filter(({ holdsLog }) => holdsLog);
    const identity: Identity = {
      clusterId: "c1",
      node: idOf(name),
      raftId,
      peers,
      joinSecret: SECRET,
    };
    return this.#add(new Machine(this, facts, { ...EMPTY_DISK, identity }));
  }

  #add(machine: Machine): Machine {
    this.machines.set(machine.id, machine);
    machine.runEngine();
    machine.deliver({ kind: "continue" });
    this.settle();
    return machine;
  }

  send(from: NodeId, to: NodeId, message: NodeMessage): void {
    this.sent.push({ from, to, message });
    if (this.lose({ from, to, message })) return;
    const frame = encodeMessage(message);
    this.later.push(() => {
      const read = decodeMessage(frame);
      if (read === null) throw new Error(`a node sends what cannot be read: ${message.kind}`);
      this.machines.get(to)?.deliver({ kind: "message", from, message: read });
    });
  }

  gossip(from: NodeId, sent: Digest): void {
    const digest = decodeDigest(encodeDigest(sent));
    if (digest === null) throw new Error("a node gossips what cannot be read");
    for (const machine of this.machines.values()) {
      if (machine.id !== from)
        this.later.push(() => machine.deliver({ kind: "gossip", from, digest }));
    }
  }

  /** Delivers and syncs until nothing is left to do at this time. */
  settle(): void {
    for (let round = 0; round < 10_000; round++) {
      const busy = [...this.machines.values()].filter(
        ({ writes, isSlow }) => !isSlow && writes.length > 0,
      );
      if (busy.length === 0 && this.later.length === 0) return;
      for (const machine of busy) machine.sync();
      for (const run of this.later.splice(0)) run();
    }
    throw new Error("the nodes do not come to rest");
  }

  /** Lets time pass, tick by tick. */
  pass(durationMs: number): void {
    for (let passedMs = 0; passedMs < durationMs; passedMs += TICK_MS) {
      this.now += TICK_MS;
      for (const machine of this.machines.values()) machine.deliver({ kind: "tick" });
      this.settle();
    }
  }

  until(what: string, condition: () => boolean): void {
    for (let tick = 0; tick < 600; tick++) {
      if (condition()) return;
      this.pass(TICK_MS);
    }
    throw new Error(`a minute passed without: ${what}`);
  }

  /** A founded cluster of one node that manages and has its worker session. */
  static founded(): { world: World; a: Machine } {
    const world = new World();
    const a = world.init("a");
    world.until("a manager", () => a.node.isManager);
    world.pass(2000);
    return { world, a };
  }
}
