import { present } from "../../lib/assert.ts";
import type { NodeId } from "../../state/ids.ts";
import { isTerminal } from "../../state/task.ts";
import { serviceSpec } from "../../test/fixtures/cluster.ts";
import type { Host } from "../../test/sim/host.ts";
import { quantile } from "../consensus/numbers.ts";
import type { Account, Longest } from "./meter.ts";
import type { ScaleWorld } from "./world.ts";

/** What is measured of a cluster of one size, in the order in which it is done. */

/** So many are there first: as many hold the log as ever will. */
const FOUNDERS = 9;
const TASKS_PER_NODE = 2;
const FORM_MS = 600_000;
const CALM_MS = 5_000;
const MEASURE_MS = 10_000;
const LOSS_MS = 60_000;
const SECOND_MS = 1_000;

export interface Joins {
  readonly count: number;
  /** When that was. */
  readonly endMs: number;
  /** Until each knew all members and had its session. */
  readonly ms: number;
  readonly memberMessages: number;
  readonly memberBytes: number;
  readonly dials: number;
  /** CPU of the manager's node, all in all, and within the busiest second. */
  readonly managerMs: number;
  readonly busiestMs: number;
  /** … and of the median of the others. */
  readonly otherMs: number;
  readonly longest: Longest;
  readonly longestOther: Longest;
}

/** What nodes of one kind do in a second. */
export interface Rates {
  readonly nodes: number;
  readonly median: Account;
  readonly most: Account;
  readonly connections: readonly number[];
}

export interface Traffic {
  readonly members: Rates;
  readonly holders: Rates;
  readonly manager: Rates;
  readonly longest: Longest;
  readonly longestOther: Longest;
}

export interface Loss {
  readonly fallen: number;
  readonly downMs: readonly number[];
  readonly replacedMs: readonly number[];
  /** Others that were taken for down. */
  readonly falseDowns: number;
  /** Messages of the watch beside its probes: alerts, and the search for those that are missed. */
  readonly alarms: number;
  readonly memberBytes: number;
  readonly longest: Longest;
  readonly longestOther: Longest;
}

/** A small cluster that all the others join at once, each until it is let in. */
export async function form(world: ScaleWorld, nodes: number): Promise<Joins> {
  world.found();
  await world.until("it manages", FORM_MS, () => world.manager() !== null);
  const founders = Math.min(FOUNDERS, nodes - 1);
  world.join(founders - 1, world.holders());
  await world.until("the founders are there", FORM_MS, () => areAllThere(world));
  await world.until("as many voters as are wanted", FORM_MS, () => areVotersChosen(world));
  await world.pass(CALM_MS);
  const doors = [...world.hosts.values()];
  world.meter.reset();
  world.dials = 0;
  const count = nodes - founders;
  world.join(count, doors);
  const manager = present(world.manager(), "it manages");
  const spentMs = (): number => {
    const { cpuMs, encodeMs } = world.meter.of(manager.id);
    return cpuMs + encodeMs;
  };
  const marks: { readonly atMs: number; readonly spentMs: number }[] = [];
  const ms = await world.until("all have joined", FORM_MS, () => {
    marks.push({ atMs: world.queue.nowMs, spentMs: spentMs() });
    return areAllThere(world);
  });
  const busiest = marks.map((mark) => {
    const earlier = marks.find(({ atMs }) => atMs >= mark.atMs - SECOND_MS) ?? mark;
    return mark.spentMs - earlier.spentMs;
  });
  const { messages, bytes } = withMembers(world);
  const others = [...world.hosts.keys()]
    .filter((id) => id !== manager.id)
    .map((id) => world.meter.of(id).cpuMs);
  return {
    count,
    endMs: world.queue.nowMs,
    ms,
    memberMessages: messages,
    memberBytes: bytes,
    dials: world.dials,
    managerMs: spentMs(),
    busiestMs: Math.max(...busiest),
    otherMs: quantile(others, 0.5),
    longest: world.meter.longest("manager"),
    longestOther: world.meter.longest("others"),
  };
}

function withMembers(world: ScaleWorld): { readonly messages: number; readonly bytes: number } {
  return world.meter.byKind.get("session-set with members") ?? { messages: 0, bytes: 0 };
}

function areAllThere(world: ScaleWorld): boolean {
  const { size } = world.hosts;
  for (const { node } of world.hosts.values()) {
    if (node === null || node.roster.members.length !== size || node.manager === null) return false;
  }
  return true;
}

function areVotersChosen(world: ScaleWorld): boolean {
  const { node } = present(world.manager(), "somebody manages");
  const { voters, outgoing, learners } = present(node, "it runs").replica.membership;
  const { size } = world.hosts;
  const wanted = size < 3 ? 1 : size < 7 ? 3 : 5;
  const standbys = Math.min(2, size - wanted);
  return outgoing.length === 0 && voters.length === wanted && learners.length === standbys;
}

/** Nothing happens but that tasks run. */
export async function quiet(world: ScaleWorld): Promise<Traffic> {
  await load(world);
  await world.pass(CALM_MS);
  world.meter.reset();
  await world.pass(MEASURE_MS);
  const [manager, ...holders] = world.holders().map(({ id }) => id);
  const holding = new Set([present(manager, "somebody manages"), ...holders]);
  const connections = world.connections();
  const rates = (of: readonly NodeId[]): Rates => {
    const accounts = of.map((id) => world.meter.of(id));
    return {
      nodes: of.length,
      median: perSecond(accounts, (values) => quantile(values, 0.5)),
      most: perSecond(accounts, (values) => Math.max(...values)),
      connections: of.map((id) => connections.get(id) ?? 0),
    };
  };
  return {
    members: rates([...world.hosts.keys()].filter((id) => !holding.has(id))),
    holders: rates(holders),
    manager: rates(manager === undefined ? [] : [manager]),
    longest: world.meter.longest("manager"),
    longestOther: world.meter.longest("others"),
  };
}

function perSecond(
  accounts: readonly Account[],
  one: (values: readonly number[]) => number,
): Account {
  const of = (pick: (account: Account) => number): number =>
    one(accounts.map((account) => (pick(account) * 1000) / MEASURE_MS));
  return {
    sent: of(({ sent }) => sent),
    sentBytes: of(({ sentBytes }) => sentBytes),
    received: of(({ received }) => received),
    receivedBytes: of(({ receivedBytes }) => receivedBytes),
    cpuMs: of(({ cpuMs }) => cpuMs),
    encodeMs: of(({ encodeMs }) => encodeMs),
  };
}

async function load(world: ScaleWorld): Promise<void> {
  const replicas = TASKS_PER_NODE * world.hosts.size;
  const spec = { name: "load", services: [serviceSpec("web", { replicas })] };
  const manager = present(world.manager(), "somebody manages");
  world.write(manager, { kind: "job-put", spec, ifVersion: null }, () => {});
  await world.until("all tasks run", FORM_MS, () => world.state.taskCount("running") === replicas);
}

/** Nodes that hold no log, each once for as long as there are enough. */
export class Victims {
  readonly #world: ScaleWorld;
  #queue: Host[] = [];

  constructor(world: ScaleWorld) {
    this.#world = world;
  }

  take(count: number): Host[] {
    const holding = new Set(this.#world.holders());
    const { nodes } = this.#world.state;
    const fit = (): Host[] =>
      this.#queue.filter((host) => nodes.get(host.id)?.liveness === "ready" && !holding.has(host));
    if (fit().length < count)
      this.#queue = this.#world.prng.shuffle([...this.#world.hosts.values()]);
    const taken = new Set(fit().slice(0, count));
    this.#queue = this.#queue.filter((host) => !taken.has(host));
    return [...taken];
  }
}

/**
 * These fall at once; measured until they are down and their tasks placed elsewhere, and for `alarmMs` from the loss at
 * least: whoever is taken for down wrongly is so by then. They start again.
 */
export async function lose(
  world: ScaleWorld,
  fallen: readonly Host[],
  how: "reset" | "silent",
  alarmMs: number,
): Promise<Loss> {
  const ids = new Set(fallen.map(({ id }) => id));
  const slots = new Set<string>();
  for (const { id } of fallen) {
    for (const task of world.state.tasksOfNode(id)) {
      if (!isTerminal(task.state)) slots.add(`${task.job}.${task.service}.${task.slot}`);
    }
  }
  world.meter.reset();
  const atMs = world.queue.nowMs;
  const downMs = new Map<NodeId, number>();
  const placedMs = new Map<string, number>();
  let falseDowns = 0;
  let seen = world.applied.length;
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
  for (const host of fallen) world.kill(host, how);
  await world.until("all are down and replaced", LOSS_MS, () => {
    look();
    return downMs.size === ids.size && placedMs.size === slots.size;
  });
  await world.pass(Math.max(0, alarmMs - (world.queue.nowMs - atMs)));
  look();
  const kinds = ["alerts", "probe-for", "probed-for"];
  const counts = kinds.map((kind) => world.meter.byKind.get(kind)?.messages ?? 0);
  const loss = {
    fallen: fallen.length,
    downMs: [...downMs.values()],
    replacedMs: [...placedMs.values()],
    falseDowns,
    alarms: counts.reduce((sum, count) => sum + count, 0),
    memberBytes: withMembers(world).bytes,
    longest: world.meter.longest("manager"),
    longestOther: world.meter.longest("others"),
  };
  for (const host of fallen) world.start(host);
  await world.until("all are back", LOSS_MS, () => isWhole(world));
  return loss;
}

function isWhole(world: ScaleWorld): boolean {
  const { node } = world.manager() ?? {};
  const nodes = node?.replica.state.nodes.values() ?? [];
  return node !== undefined && [...nodes].every(({ liveness }) => liveness === "ready");
}
