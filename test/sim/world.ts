import type { Fault } from "../../lib/errors.ts";
import { Prng } from "../../lib/prng.ts";
import { bootstrap } from "../../node/core/bootstrap.ts";
import type { Effect, Event } from "../../node/core/effect.ts";
import type { Response } from "../../node/core/request.ts";
import { isTerminal } from "../../state/task.ts";
import { type NodeId, nodeId } from "../../state/ids.ts";
import type { NodeFacts } from "../../state/node-record.ts";
import { Checkers } from "./checkers.ts";
import { Drills } from "./drills.ts";
import { EventQueue } from "./event-queue.ts";
import type { SimDisk } from "./disk.ts";
import { Faults } from "./faults.ts";
import { RareFaults } from "./rare-faults.ts";
import { Host, type HostWorld } from "./host.ts";
import { NO_WRITE } from "../../node/storage.ts";
import { SimNetwork } from "./network.ts";
import type { SimOptions } from "./options.ts";
import { convergence } from "./convergence.ts";
import { checkOnce } from "./once.ts";
import { Registers } from "./registers.ts";
import { Violation } from "./violation.ts";
import { Workload } from "./workload.ts";

const CLUSTER = "simulatedcluster";
const SECRET = "secret";
/** What befalls one node in the storm is over after this. */
const STORM_MS = 7_500;
const START_MS = 1_700_000_000_000;

export interface RunResult {
  readonly events: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly acknowledged: number;
  readonly reads: number;
  readonly unknown: number;
  readonly applied: number;
  readonly traceHash: string;
}

/** A whole cluster in one process, in virtual time, with everything that happens drawn from the seed. */
export class World implements HostWorld {
  readonly queue: EventQueue = new EventQueue(START_MS);
  readonly options: SimOptions;
  readonly network: SimNetwork;
  readonly hosts: Map<NodeId, Host> = new Map();
  readonly #prng: Prng;
  readonly #checkers: Checkers;
  readonly #workload: Workload;
  readonly #registers: Registers;
  readonly #storm: Faults;
  readonly #rare: RareFaults;
  readonly #drills: Drills;
  /** Disks that are gone. */
  readonly #lost: SimDisk[] = [];
  readonly #log: ((line: string) => void) | null;
  readonly #faults: Map<string, number> = new Map();
  faultsOn = true;
  #grown = 0;
  #joins = 0;
  #trace = 0;
  #events = 0;

  constructor(options: SimOptions, log: ((line: string) => void) | null) {
    this.options = options;
    this.#log = log;
    this.#prng = new Prng(options.seed ^ 0x5eed);
    this.network = new SimNetwork(this.#prng.fork(), options);
    this.#checkers = new Checkers(this.hosts, this.#lost);
    this.#workload = new Workload(
      this.#prng.fork(),
      () => this.#registers.areMade,
      options.hasOnce,
    );
    this.#registers = new Registers(this.#prng.fork(), options.repeatPerMille === 0);
    this.#storm = new Faults(this, this.#prng.fork());
    this.#rare = new RareFaults(this, new Prng(options.seed ^ 0x7a7e), this.#storm);
    this.#drills = new Drills(this, this.#prng.fork(), this.#registers);
  }

  /** Runs the safety phase, then the liveness phase; throws a Violation when something does not hold. */
  run(): RunResult {
    this.#founding();
    this.#storm.begin();
    this.#rare.begin();
    this.#askLater();
    this.until(START_MS + this.options.safetyMs);
    this.#heal();
    this.#converge();
    if (this.options.drill !== null) {
      // The last of the storm's stalls and pauses end by themselves.
      this.until(this.queue.nowMs + STORM_MS);
      this.#drills.run(this.options.drill);
      this.#converge();
    }
    this.#verify();
    return {
      events: this.#events,
      faults: Object.fromEntries(this.#faults),
      acknowledged: this.#workload.acknowledged + this.#registers.acknowledged,
      reads: this.#workload.reads + this.#registers.reads,
      unknown: this.#workload.unknown + this.#registers.unknown,
      applied: this.#checkers.appliedLast,
      traceHash: this.#trace.toString(16).padStart(8, "0"),
    };
  }

  sending(from: Host, { message }: Extract<Effect, { kind: "send" }>): void {
    if (message.kind !== "raft") return;
    this.#checkers.sending(from, message.message);
  }

  handled(host: Host, events: readonly Event[], effects: readonly Effect[]): void {
    this.#events += events.length;
    for (const event of events) this.#note(host.id, event, effects);
    this.#checkers.handled(host, events, effects);
    if (events.some(({ kind }) => kind === "tick" || kind === "container")) checkOnce(this.hosts);
    if (!this.faultsOn) return;
    this.#storm.watch(host);
    this.#rare.watch(host);
  }

  #note(id: NodeId, event: Event, effects: readonly Effect[]): void {
    const label = event.kind === "message" ? messageLabel(event) : event.kind;
    const line = `${this.queue.nowMs - START_MS} ${id} ${label} ${effects.length}`;
    for (let i = 0; i < line.length; i++) {
      this.#trace = (Math.imul(this.#trace, 31) + line.charCodeAt(i)) >>> 0;
    }
    if (this.#log !== null && (event.kind !== "tick" || effects.length > 0)) this.#log(line);
  }

  say(text: string): void {
    this.#log?.(`${this.queue.nowMs - START_MS} ** ${text}`);
  }

  count(name: string): void {
    this.#faults.set(name, (this.#faults.get(name) ?? 0) + 1);
  }

  until(untilMs: number): void {
    while (this.queue.step(untilMs)) {
      // Everything happens in the events.
    }
  }

  #facts(n: number): NodeFacts {
    const featureLevel = this.options.mixedLevels ? this.#prng.between(1, 3) : 1;
    return { ...factsOf(n), featureLevel };
  }

  #founding(): void {
    for (let n = 1; n <= this.options.nodes; n++) {
      const id = nodeId(`node-${n}`);
      this.hosts.set(id, new Host(this, this.#prng.fork(), id, this.#facts(n)));
    }
    this.#grown = this.options.nodes;
    const [first, ...others] = this.hosts.values();
    if (first === undefined) return;
    first.disk.submit(bootstrap(CLUSTER, SECRET, first.id, first.facts, first.now()));
    first.disk.sync();
    first.start();
    others.forEach((host, i) => {
      this.queue.after(200 + i * this.#prng.between(1, 1_500), () => this.#join(host, 0));
    });
  }

  /** A stranger asks any running node to be admitted, as the join protocol does, until it is. */
  #join(host: Host, attempt: number): void {
    const doors = this.running().filter(({ isPaused }) => !isPaused);
    const door = doors.length === 0 ? undefined : this.#prng.pick(doors);
    const again = (): void => this.queue.after(500, () => this.#join(host, attempt + 1));
    if (door === undefined || this.network.isCut(host.id, door.id)) {
      again();
      return;
    }
    let answered = false;
    const settle = (response: Response | null): void => {
      if (answered) return;
      answered = true;
      const admitted = response?.kind === "ok" ? admission(response.body) : null;
      if (admitted === null || door.node === null) {
        const isTooOld = response?.kind === "refused" && response.fault.code === "too-old";
        if (isTooOld) host.facts = { ...host.facts, featureLevel: 3 };
        again();
        return;
      }
      if (!this.hosts.has(host.id)) return;
      const peers = door.node.roster.members.map(({ id, raftId, addresses }) => ({
        id,
        raftId,
        addresses,
      }));
      const identity = {
        clusterId: CLUSTER,
        node: host.id,
        raftId: admitted,
        peers,
        joinSecret: SECRET,
      };
      host.disk.submit({ ...NO_WRITE, identity });
      host.disk.sync();
      this.say(`${host.id} is admitted as ${admitted}`);
      this.#start(host);
    };
    const command = { kind: "node-admit", node: host.id, facts: host.facts } as const;
    this.#joins += 1;
    const key = `join-${host.id}-${this.#joins}`;
    door.request({ kind: "write", key, command }, 5_000, settle);
    // The door may die with the question.
    this.queue.after(6_000, () => settle(null));
  }

  /** One more machine wants to join, of any feature level or this one. */
  grow(featureLevel: number | null = null): void {
    this.#grown += 1;
    const id = nodeId(`node-${this.#grown}`);
    const facts = this.#facts(this.#grown);
    const host = new Host(this, this.#prng.fork(), id, {
      ...facts,
      featureLevel: featureLevel ?? facts.featureLevel,
    });
    this.hosts.set(id, host);
    this.say(`${id} is new`);
    this.#join(host, 0);
  }

  /** The disk of this host is lost with all that is on it; the machine joins again under its name. */
  wipe(host: Host): void {
    this.crash(host, "wiped disk");
    this.#lost.push(host.disk);
    host.wipe();
    this.queue.after(this.#prng.between(50, 3_000), () => this.#join(host, 0));
  }

  /** Nobody hears it, and it hears nobody. */
  isolate({ id }: Host): void {
    for (const other of this.hosts.values()) {
      if (other.id === id) continue;
      this.network.cut(id, other.id);
      this.network.cut(other.id, id);
    }
  }

  /** A node ends itself: it was removed, or is too old for the cluster and is upgraded. */
  stopped(host: Host, reason: Fault): void {
    this.say(`${host.id} stops: ${reason.message}`);
    if (reason.code === "too-old") {
      host.facts = { ...host.facts, featureLevel: 3 };
      this.crash(host, "too old");
      return;
    }
    if (reason.code !== "removed") throw new Error(`${host.id} stopped: ${reason.message}`);
    const running = host.engine?.running() ?? [];
    if (running.length > 0) {
      throw new Violation(
        "no orphans",
        `${host.id} was removed and still runs ${running.join(", ")}`,
      );
    }
    host.crash();
    this.hosts.delete(host.id);
    this.#lost.push(host.disk);
  }

  running(): Host[] {
    return [...this.hosts.values()].filter(({ isUp }) => isUp);
  }

  /** `awayMs`: until it starts again; drawn when not given. */
  crash(host: Host, why: string, awayMs: number = this.#prng.between(50, 6_000)): void {
    this.count(why);
    this.say(`${host.id} ends: ${why}`);
    host.crash();
    for (const other of this.running()) {
      if (this.network.isCut(host.id, other.id)) continue;
      this.queue.after(this.#prng.between(1, 15), () => {
        other.deliver({ kind: "peer-lost", peer: host.id });
      });
    }
    this.queue.after(awayMs, () => this.#restart(host));
  }

  #restart(host: Host): void {
    if (host.isUp || host.disk.durable.identity === null) return;
    this.say(`${host.id} restarts`);
    this.#start(host);
  }

  #start(host: Host): void {
    host.start();
    for (const other of this.running()) {
      if (other !== host) other.deliver({ kind: "peer-up", peer: host.id });
    }
  }

  #askLater(): void {
    this.queue.after(this.#prng.between(1, 2 * this.options.requestEveryMs), () => {
      if (!this.faultsOn) return;
      const up = this.running();
      if (up.length > 0) this.ask(null);
      this.#askLater();
    });
  }

  /** What a user wants, of one that runs; null: of any. */
  ask(asked: Host | null): void {
    const source = this.#prng.chance(500) ? this.#workload : this.#registers;
    const { request, done } = source.next();
    // Some users have no patience, and are told what may have become of their write.
    const mostMs = this.#prng.chance(300) ? 1_500 : 10_000;
    const host = asked ?? this.#prng.pick(this.running());
    host.request(request, this.#prng.between(300, mostMs), done);
  }

  #heal(): void {
    this.say("all faults end");
    this.faultsOn = false;
    this.network.heal();
    for (const host of this.hosts.values()) {
      host.resume();
      host.stalledUntilMs = 0;
    }
    this.restartAll();
  }

  restartAll(): void {
    for (const host of this.hosts.values()) this.#restart(host);
  }

  #converge(): void {
    const deadlineMs = this.queue.nowMs + this.options.livenessMs;
    let missing = "it never looked";
    while (this.queue.nowMs < deadlineMs) {
      this.until(this.queue.nowMs + 500);
      missing = convergence(this.hosts) ?? "";
      if (missing === "") break;
    }
    if (missing !== "") throw new Violation("liveness", missing);
  }

  #verify(): void {
    const manager = this.running().find(({ node }) => node?.isManager === true);
    const state = manager?.node?.replica.state;
    const { values, keys } = this.#checkers.replay();
    this.#registers.check(values, keys);
    this.#workload.check((job) => state?.jobs.get(job)?.version ?? 0);
    const live = [...(state?.tasks.values() ?? [])].filter((task) => !isTerminal(task.state));
    this.say(`converged with ${live.length} live tasks`);
  }
}

function messageLabel(event: Extract<Event, { kind: "message" }>): string {
  const { message, from } = event;
  if (message.kind !== "raft") return `${message.kind} from ${from}`;
  return `${message.message.kind}/${message.message.term} from ${from}`;
}

function admission(body: unknown): number | null {
  const raftId = typeof body === "object" && body !== null ? Reflect.get(body, "raftId") : null;
  return typeof raftId === "number" && raftId > 0 ? raftId : null;
}

function factsOf(n: number): NodeFacts {
  return {
    name: `n${n}`,
    addresses: [`/sim/${n}`],
    datacenter: "dc1",
    labels: {},
    os: "linux",
    arch: "x64",
    resources: { cpuMilli: 4_000, memoryMib: 4_096, diskMib: 10_000 },
    drivers: ["docker", "process"],
    publishAddress: "127.0.0.1",
    portRange: { first: 20_000, last: 20_099 },
    orchVersion: "sim",
    featureLevel: 1,
    mayVote: true,
    mayWork: true,
  };
}
