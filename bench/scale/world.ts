import { setImmediate } from "node:timers/promises";
import { isMember } from "../../consensus/membership.ts";
import { present } from "../../lib/assert.ts";
import type { Fault } from "../../lib/errors.ts";
import { Prng } from "../../lib/prng.ts";
import { bootstrap } from "../../node/core/bootstrap.ts";
import type { Effect, Event } from "../../node/core/effect.ts";
import type { Response, UserCommand } from "../../node/core/request.ts";
import { JOIN_RATES, JoinLimiter } from "../../node/libp2p/join-limiter.ts";
import { NO_WRITE } from "../../node/storage.ts";
import { encodeMessage } from "../../node/wire.ts";
import type { ClusterState, StateEvent } from "../../state/cluster.ts";
import { type NodeId, nodeId } from "../../state/ids.ts";
import type { NodeFacts } from "../../state/node-record.ts";
import { nodeFacts } from "../../test/fixtures/cluster.ts";
import { EventQueue } from "../../test/sim/event-queue.ts";
import { Host, type HostWorld } from "../../test/sim/host.ts";
import { SimNetwork } from "../../test/sim/network.ts";
import type { SimOptions } from "../../test/sim/options.ts";
import { CALM } from "../../test/sim/regressions.ts";
import { Meter } from "./meter.ts";

const CLUSTER = "scalecluster";
const SECRET = "c2VjcmV0IG9mIDMyIGJ5dGVzLCBubyBtb3JlLCBub25l";
const START_MS = 1_700_000_000_000;
/** Between two looks at the real clock, so that collected garbage is heard of. */
const SLICE_MS = 100;
const ADMIT_MS = 20_000;
/** A joiner that was refused, or not answered, asks again after up to so long. */
const AGAIN_MS = 2_000;
/** From a connect list that names a peer to a stream, and from a broken stream to its being noticed. */
const DIAL_MS = 20;
const RESET_MS = { low: 1, high: 15 };

/** The simulator's, with nothing that goes wrong: a local network and good disks. */
const OPTIONS: SimOptions = {
  ...CALM,
  seed: 1,
  nodes: 0,
  safetyMs: 0,
  livenessMs: 0,
  delayMs: { low: 1, high: 2 },
  syncMs: { low: 2, high: 5 },
  requestEveryMs: 0,
};

/** An event of the state, and when the first node had applied it. */
export interface Applied {
  readonly atMs: number;
  readonly event: StateEvent;
}

/** A cluster of any size in virtual time: the simulator's hosts and network without its faults and checkers. */
export class ScaleWorld implements HostWorld {
  readonly queue: EventQueue = new EventQueue(START_MS);
  readonly options: SimOptions = OPTIONS;
  readonly prng: Prng = new Prng(1);
  readonly network: SimNetwork = new SimNetwork(this.prng.fork(), OPTIONS);
  readonly hosts: Map<NodeId, Host> = new Map();
  readonly meter: Meter = new Meter();
  readonly applied: Applied[] = [];
  /** How many nodes gossiped of themselves, by second. */
  readonly gossips: Map<number, number> = new Map();
  faultsOn = false;
  /** Nothing goes wrong here that would be counted. */
  readonly count = (): void => {};
  readonly #limiters: Map<NodeId, JoinLimiter> = new Map();
  /** Whom each node's connect list names. */
  readonly #wanted: Map<NodeId, ReadonlySet<NodeId>> = new Map();
  #appliedIndex = 0;
  #keys = 0;
  /** Streams that were opened. */
  dials = 0;

  sending(from: Host, { to, message }: Extract<Effect, { kind: "send" }>): void {
    const withMembers = message.kind === "session-set" && message.members !== null;
    const kind = withMembers ? "session-set with members" : message.kind;
    this.meter.sent(from.id, to, kind, () => encodeMessage(message));
  }

  stopped(host: Host, reason: Fault): void {
    throw new Error(`${host.id} stopped: ${reason.message}`);
  }

  handled(host: Host, events: readonly Event[], effects: readonly Effect[]): void {
    this.meter.handled(host.id, host.node?.isManager === true, events);
    let index = this.#appliedIndex;
    for (const effect of effects) {
      if (effect.kind === "gossip") this.#gossiped();
      if (effect.kind === "members") this.#connected(host, effect.connect);
      if (effect.kind !== "events") continue;
      for (const event of effect.events) {
        if (event.index <= this.#appliedIndex) continue;
        this.applied.push({ atMs: this.queue.nowMs, event });
        index = Math.max(index, event.index);
      }
    }
    this.#appliedIndex = index;
  }

  #gossiped(): void {
    const second = Math.floor(this.queue.nowMs / 1000);
    this.gossips.set(second, (this.gossips.get(second) ?? 0) + 1);
  }

  /** The streams that a new connect list opens; both ends hear of each. */
  #connected(host: Host, connect: readonly { readonly id: NodeId }[]): void {
    const wanted = new Set(connect.map(({ id }) => id));
    const before = this.#wanted.get(host.id);
    this.#wanted.set(host.id, wanted);
    for (const id of wanted) {
      if (before?.has(id) === true || this.#wanted.get(id)?.has(host.id) === true) continue;
      const other = this.hosts.get(id);
      if (other === undefined) continue;
      this.dials += 1;
      this.queue.after(DIAL_MS, () => {
        if (!host.isUp || !other.isUp) return;
        host.deliver({ kind: "peer-up", peer: id });
        other.deliver({ kind: "peer-up", peer: host.id });
      });
    }
  }

  /** How many nodes each keeps a stream with. */
  connections(): ReadonlyMap<NodeId, number> {
    const linked = new Map<NodeId, Set<NodeId>>();
    const of = (id: NodeId): Set<NodeId> => {
      const known = linked.get(id) ?? new Set();
      linked.set(id, known);
      return known;
    };
    for (const [id, wanted] of this.#wanted) {
      for (const other of wanted) {
        of(id).add(other);
        of(other).add(id);
      }
    }
    return new Map([...linked].map(([id, others]) => [id, others.size]));
  }

  found(): void {
    const first = this.#host(1);
    first.disk.submit(bootstrap(CLUSTER, SECRET, first.id, first.facts, first.now()));
    first.disk.sync();
    this.start(first);
  }

  #host(n: number): Host {
    const facts = factsOf(n);
    const host = new Host(this, this.prng.fork(), idOf(n), facts);
    this.hosts.set(host.id, host);
    return host;
  }

  /** This many more machines ask these doors to be let in, all at once, each until it is. Returns them. */
  join(count: number, doors: readonly Host[]): Host[] {
    const known = this.hosts.size;
    const joiners = Array.from({ length: count }, (_, i) => this.#host(known + 1 + i));
    for (const joiner of joiners) this.#ask(joiner, doors);
    return joiners;
  }

  #ask(joiner: Host, doors: readonly Host[]): void {
    const door = this.prng.pick(doors);
    const again = (): void =>
      this.queue.after(this.prng.between(AGAIN_MS / 2, AGAIN_MS), () => this.#ask(joiner, doors));
    const limiter = this.#limiters.get(door.id) ?? new JoinLimiter(JOIN_RATES, START_MS);
    this.#limiters.set(door.id, limiter);
    if (!door.isUp || !limiter.allow(joiner.id, this.queue.nowMs)) {
      again();
      return;
    }
    const command = { kind: "node-admit", node: joiner.id, facts: joiner.facts } as const;
    this.write(door, command, (response) => {
      const raftId = response.kind === "ok" ? raftIdOf(response.body) : null;
      if (raftId === null || door.node === null) {
        again();
        return;
      }
      const holders = door.node.roster.members.filter(({ holdsLog }) => holdsLog);
      const peers = holders.map(({ id, raftId: of, addresses }) => ({ id, raftId: of, addresses }));
      const identity = {
        clusterId: CLUSTER,
        node: joiner.id,
        raftId,
        peers,
        joinSecret: SECRET,
      };
      joiner.disk.submit({ ...NO_WRITE, identity });
      joiner.disk.sync();
      this.queue.after(DIAL_MS, () => this.start(joiner));
    });
  }

  write(host: Host, command: UserCommand, done: (response: Response) => void): void {
    this.#keys += 1;
    host.request({ kind: "write", key: `scale-${this.#keys}`, command }, ADMIT_MS, done);
  }

  start(host: Host): void {
    host.start();
    const node = present(host.node, "it was started");
    this.meter.watch(host.id, node);
    host.deliver({ kind: "usage", usage: USAGE });
    this.#connected(host, node.roster.effect().connect);
    for (const other of this.hosts.values()) {
      if (other === host || !other.isUp || !(other.hears(host) || host.hears(other))) continue;
      this.queue.after(DIAL_MS, () => {
        other.deliver({ kind: "peer-up", peer: host.id });
        host.deliver({ kind: "peer-up", peer: other.id });
      });
    }
  }

  /** `how`: whether those that are connected with it see it, or hear nothing more of it. */
  kill(host: Host, how: "reset" | "silent"): void {
    const others = [...this.hosts.values()].filter(
      (other) => other !== host && other.isUp && (other.hears(host) || host.hears(other)),
    );
    host.crash();
    if (how === "silent") return;
    for (const other of others) {
      this.queue.after(this.prng.between(RESET_MS.low, RESET_MS.high), () =>
        other.deliver({ kind: "peer-lost", peer: host.id }),
      );
    }
  }

  manager(): Host | null {
    return [...this.hosts.values()].find(({ node }) => node?.isManager === true) ?? null;
  }

  get state(): ClusterState {
    return present(this.manager()?.node, "somebody manages").replica.state;
  }

  /** Those that hold the log, the manager first. */
  holders(): Host[] {
    const manager = present(this.manager(), "somebody manages");
    const { membership } = present(manager.node, "it runs").replica;
    const { nodes } = this.state;
    const others = [...this.hosts.values()].filter(
      (host) => host !== manager && isMember(membership, nodes.get(host.id)?.raftId ?? 0),
    );
    return [manager, ...others];
  }

  async pass(durationMs: number): Promise<void> {
    const endMs = this.queue.nowMs + durationMs;
    while (this.queue.nowMs < endMs) {
      const sliceMs = Math.min(endMs, this.queue.nowMs + SLICE_MS);
      while (this.queue.step(sliceMs)) {
        // Everything happens in the events.
      }
      await setImmediate();
    }
  }

  /** How long it took, in virtual time. Throws after `limitMs`. */
  async until(what: string, limitMs: number, holds: () => boolean): Promise<number> {
    const startMs = this.queue.nowMs;
    while (!holds()) {
      if (this.queue.nowMs - startMs > limitMs) throw new Error(`not in ${limitMs} ms: ${what}`);
      await this.pass(SLICE_MS);
    }
    return this.queue.nowMs - startMs;
  }
}

const USAGE = {
  cpuMilli: 412,
  memoryMib: 1_733,
  diskMib: 20_480,
  load1Milli: 730,
  networkRxBytesPerS: 120_000,
  networkTxBytesPerS: 90_000,
};

const BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz".split("");

/** As long as a peer id. */
function idOf(n: number): NodeId {
  const prng = new Prng(n);
  const letters = Array.from({ length: 44 }, () => prng.pick(BASE58));
  return nodeId(`12D3KooW${letters.join("")}`);
}

function factsOf(n: number): NodeFacts {
  const address = `10.${Math.floor(n / 62_500)}.${Math.floor(n / 250) % 250}.${(n % 250) + 1}`;
  return nodeFacts(`node-${n}`, {
    addresses: [`/ip4/${address}/tcp/7400`],
    publishAddress: address,
  });
}

function raftIdOf(body: unknown): number | null {
  const raftId = typeof body === "object" && body !== null ? Reflect.get(body, "raftId") : null;
  return typeof raftId === "number" && raftId > 0 ? raftId : null;
}
