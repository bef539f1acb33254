import { present } from "../../lib/assert.ts";
import type { NodeId } from "../../state/ids.ts";
import { isTerminal } from "../../state/task.ts";
import { serviceSpec } from "../../test/fixtures/cluster.ts";
import type { Host } from "../../test/sim/host.ts";
import type { Account, Longest } from "./meter.ts";
import { ScaleWorld } from "./world.ts";

/** What is measured of a cluster of one size, in the order in which it is done. */

const FOUNDERS = 3;
const TASKS_PER_NODE = 2;
const FORM_MS = 600_000;
const CALM_MS = 20_000;
const MEASURE_MS = 30_000;
const LOSS_MS = 60_000;
/** Whoever is taken for down wrongly is so within this of a loss. */
const ALARM_MS = 15_000;

export interface Joins {
  readonly count: number;
  /** Until each knew all members and had its session. */
  readonly ms: number;
  readonly memberMessages: number;
  readonly memberBytes: number;
  readonly dials: number;
  /** CPU of the manager's node, all in all, and within the busiest second. */
  readonly managerMs: number;
  readonly busiestMs: number;
  readonly otherMs: number;
  readonly longest: Longest;
  readonly longestOther: Longest;
}

export interface Rates {
  readonly nodes: number;
  readonly medianOf: (pick: (account: Account) => number) => number;
  readonly maxOf: (pick: (account: Account) => number) => number;
  readonly connections: readonly number[];
}

export interface Traffic {
  readonly seconds: number;
  readonly members: Rates;
  readonly holders: Rates;
  readonly manager: Rates;
  readonly gossipsPerSecond: number;
  readonly longest: Longest;
  readonly longestOther: Longest;
}

export interface Loss {
  readonly downMs: readonly number[];
  readonly replacedMs: readonly number[];
  /** Others that were taken for down. */
  readonly falseDowns: number;
  /** Messages of the watch beside its probes: alerts, and the search for those that are missed. */
  readonly alarms: number;
  readonly bytes: number;
  readonly longest: Longest;
  readonly longestOther: Longest;
}

/** A cluster of three that so many more join, all at once. */
export async function form(world: ScaleWorld, nodes: number): Promise<Joins> {
  world.found();
  await world.until("it manages", 10_000, () => world.manager() !== null);
  const founders = Math.min(FOUNDERS, nodes);
  world.join(founders - 1, world.holders());
  await world.until("the founders are there", FORM_MS, () => areAllThere(world));
  await world.pass(CALM_MS);
  const doors = [...world.hosts.values()];
  world.meter.reset();
  world.dials = 0;
  const count = nodes - founders;
  world.join(count, doors);
  const manager = present(world.manager(), "it manages");
  let busiestMs = 0;
  const spentMs = (): number => {
    const { cpuMs, encodeMs } = world.meter.of(manager.id);
    return cpuMs + encodeMs;
  };
  const marks: number[] = [];
  const ms = await world.until("all have joined", FORM_MS, () => {
    marks.push(spentMs());
    busiestMs = Math.max(busiestMs, spentMs() - (marks.at(-11) ?? 0));
    return areAllThere(world);
  });
  const { messages, bytes } = world.meter.byKind.get("session-set with members") ?? {
    messages: 0,
    bytes: 0,
  };
  const others = [...world.hosts.keys()]
    .filter((id) => id !== manager.id)
    .map((id) => world.meter.of(id).cpuMs);
  return {
    count,
    ms,
    memberMessages: messages,
    memberBytes: bytes,
    dials: world.dials,
    managerMs: spentMs(),
    busiestMs,
    otherMs: middle(others),
    longest: world.meter.longest("manager"),
    longestOther: world.meter.longest("others"),
  };
}

function areAllThere(world: ScaleWorld): boolean {
  const { size } = world.hosts;
  for (const { node } of world.hosts.values()) {
    if (node === null || node.roster.members.length !== size || node.manager === null) return false;
  }
  return true;
}

/** Nothing happens but that tasks run. */
export async function quiet(world: ScaleWorld): Promise<Traffic> {
  await load(world);
  await world.until("as many voters as are wanted", FORM_MS, () => areVotersChosen(world));
  await world.pass(CALM_MS);
  world.meter.reset();
  await world.pass(MEASURE_MS);
  const holders = world.holders();
  const [manager] = holders;
  const holding = new Set(holders.map(({ id }) => id));
  const ids = [...world.hosts.keys()];
  const connections = world.connections();
  const rates = (of: readonly NodeId[]): Rates => {
    const accounts = of.map((id) => world.meter.of(id));
    const values = (pick: (account: Account) => number): number[] =>
      accounts.map((account) => pick(account) / (MEASURE_MS / 1000));
    return {
      nodes: of.length,
      medianOf: (pick) => middle(values(pick)),
      maxOf: (pick) => Math.max(...values(pick)),
      connections: of.map((id) => connections.get(id) ?? 0),
    };
  };
  const managing = present(manager, "somebody manages").id;
  return {
    seconds: MEASURE_MS / 1000,
    members: rates(ids.filter((id) => !holding.has(id))),
    holders: rates([...holding].filter((id) => id !== managing)),
    manager: rates([managing]),
    gossipsPerSecond: world.meter.gossips / (MEASURE_MS / 1000),
    longest: world.meter.longest("manager"),
    longestOther: world.meter.longest("others"),
  };
}

async function load(world: ScaleWorld): Promise<void> {
  const replicas = TASKS_PER_NODE * world.hosts.size;
  const reservations = { cpuMilli: 100, memoryMib: 64, diskMib: 0 };
  const service = serviceSpec("web", { replicas, reservations });
  const spec = { name: "load", services: [service] };
  const manager = present(world.manager(), "somebody manages");
  world.write(manager, { kind: "job-put", spec, ifVersion: null }, () => {});
  await world.until("all tasks run", FORM_MS, () => world.state.taskCount("running") === replicas);
}

function areVotersChosen(world: ScaleWorld): boolean {
  const { node } = present(world.manager(), "somebody manages");
  const { voters, outgoing, learners } = present(node, "it runs").replica.membership;
  const { size } = world.hosts;
  const wanted = size < 3 ? 1 : size < 7 ? 3 : 5;
  const standbys = Math.min(2, size - wanted);
  return outgoing.length === 0 && voters.length === wanted && learners.length === standbys;
}

/** Ordinary nodes, each once for as long as there are enough. */
export class Victims {
  readonly #world: ScaleWorld;
  #queue: Host[] = [];

  constructor(world: ScaleWorld) {
    this.#world = world;
  }

  take(count: number): Host[] {
    const holding = new Set(this.#world.holders());
    const fit = (): Host[] => this.#queue.filter((host) => host.isUp && !holding.has(host));
    if (fit().length < count)
      this.#queue = this.#world.prng.shuffle([...this.#world.hosts.values()]);
    const taken = new Set(fit().slice(0, count));
    this.#queue = this.#queue.filter((host) => !taken.has(host));
    return [...taken];
  }
}

/** These fall at once; measured from then on until they are down and their tasks placed elsewhere, and started again. */
export async function lose(
  world: ScaleWorld,
  fallen: readonly Host[],
  how: "reset" | "silent",
): Promise<Loss> {
  const ids = new Set(fallen.map(({ id }) => id));
  const slots = new Set<string>();
  for (const { id } of fallen) {
    for (const task of world.state.tasksOfNode(id)) {
      if (!isTerminal(task.state)) slots.add(`${task.job}.${task.service}.${task.slot}`);
    }
  }
  world.meter.reset();
  const from = world.applied.length;
  const atMs = world.queue.nowMs;
  for (const host of fallen) world.kill(host, how);
  const downMs = new Map<NodeId, number>();
  const placedMs = new Map<string, number>();
  let falseDowns = 0;
  let seen = from;
  const look = (): void => {
    for (const { event, atMs: appliedMs } of world.applied.slice(seen)) {
      const { type, node, slot, to } = event;
      if (type === "node" && to === "down" && node !== null) {
        if (ids.has(node)) downMs.set(node, appliedMs - atMs);
        else falseDowns += 1;
      }
      const isPlaced = type === "task" && to === "assigned" && node !== null && !ids.has(node);
      if (isPlaced && slot !== null && slots.has(slot) && !placedMs.has(slot))
        placedMs.set(slot, appliedMs - atMs);
    }
    seen = world.applied.length;
  };
  await world.until("all are down and replaced", LOSS_MS, () => {
    look();
    return downMs.size === ids.size && placedMs.size === slots.size;
  });
  await world.pass(Math.max(0, ALARM_MS - (world.queue.nowMs - atMs)));
  look();
  const kinds = ["alerts", "probe-for", "probed-for"];
  const counts = kinds.map((kind) => world.meter.byKind.get(kind)?.messages ?? 0);
  const bytes = [...world.meter.byKind.values()].reduce((sum, kind) => sum + kind.bytes, 0);
  const loss = {
    downMs: [...downMs.values()],
    replacedMs: [...placedMs.values()],
    falseDowns,
    alarms: counts.reduce((sum, count) => sum + count, 0),
    bytes,
    longest: world.meter.longest("manager"),
    longestOther: world.meter.longest("others"),
  };
  for (const host of fallen) world.start(host);
  await world.until("all are back", LOSS_MS, () =>
    [...world.state.nodes.values()].every(({ liveness }) => liveness === "ready"),
  );
  await world.pass(2_000);
  return loss;
}

export function middle(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
