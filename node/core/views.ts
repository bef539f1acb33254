import type { Fault } from "../../lib/errors.ts";
import { fault } from "../../lib/errors.ts";
import { unreachable } from "../../lib/assert.ts";
import { brakeOf, countHeld } from "../../state/brake.ts";
import type { ClusterState, StateEvent } from "../../state/cluster.ts";
import { type Config, configBytes } from "../../state/config.ts";
import type { Millis, NodeId } from "../../state/ids.ts";
import { slotName, taskId } from "../../state/ids.ts";
import type { NodeRecord } from "../../state/node-record.ts";
import type { Resources } from "../../state/spec.ts";
import { didYouMean } from "../../state/suggest.ts";
import type { Task } from "../../state/task.ts";
import { isTerminal } from "../../state/task.ts";
import type { Sighting } from "./alerts.ts";
import type { Measured } from "./digests.ts";
import { isoTime, isoTimeOrNull } from "./iso-time.ts";
import { jobView } from "./job-view.ts";
import type { Query } from "./request.ts";
import type {
  BrakeView,
  ClusterView,
  ConfigContentView,
  ConfigView,
  EventView,
  LogView,
  MissedByView,
  NodeView,
  ResourcesView,
  TaskView,
  UsageView,
} from "./view-types.ts";

/** What views need beyond the replicated state. */
export interface ViewContext {
  readonly manager: NodeId | null;
  /** Raft ids. */
  readonly voters: ReadonlySet<number>;
  readonly learners: ReadonlySet<number>;
  readonly usage: (node: NodeId) => Measured | null;
  /** Those who watch the node and miss it, or did when they were heard last. */
  readonly missedBy: (node: NodeId) => readonly Sighting[];
  /** What the answering node itself knows of that one: see `Watch`. */
  readonly isHidden: (node: NodeId) => boolean;
  readonly rttMs: (node: NodeId) => number | null;
  readonly nowMs: Millis;
  /** See `brakeOf`. */
  readonly brakePercent: number;
}

export interface AnswerContext extends ViewContext {
  readonly term: number;
  readonly commitIndex: number;
  readonly quorum: boolean;
  readonly log: LogView;
  readonly orchVersion: string;
}

export type Answer =
  | { readonly kind: "ok"; readonly body: unknown }
  | { readonly kind: "refused"; readonly fault: Fault };

/** Answers a query from the state as this node has it; lists are sorted by name, tasks by slot and age. */
export function answer(
  state: ClusterState,
  query: Exclude<Query, { kind: "token" }>,
  context: AnswerContext,
): Answer {
  switch (query.kind) {
    case "nodes":
      return ok(
        [...state.nodes.values()].toSorted(byName).map((node) => nodeView(state, node, context)),
      );
    case "node": {
      const node = state.findNode(query.node);
      return node === undefined
        ? noSuchNode(state, query.node)
        : ok(nodeView(state, node, context));
    }
    case "jobs":
      return ok([...state.jobs.values()].toSorted(byName).map((job) => jobView(state, job)));
    case "job": {
      const job = state.jobs.get(query.job);
      return job === undefined ? noSuchJob(state, query.job) : ok(jobView(state, job));
    }
    case "tasks":
      return listTasks(state, query);
    case "task": {
      const task = state.tasks.get(taskId(query.task)) ?? newestOfSlot(state, query.task);
      return task === undefined ? noSuchTask(query.task) : ok(taskView(state, task));
    }
    case "configs":
      return ok([...state.configs.values()].toSorted(byName).map(configView));
    case "config": {
      const config = state.configs.get(query.config);
      return config === undefined
        ? noSuchConfig(state, query.config)
        : ok({ ...configView(config), data: config.data } satisfies ConfigContentView);
    }
    case "cluster":
      return ok(clusterView(state, context));
    default:
      return unreachable(query);
  }
}

export function nodeView(state: ClusterState, node: NodeRecord, context: ViewContext): NodeView {
  const allocated = state.allocated(node.id);
  const missedBy = whoMisses(state, node, context);
  const role = roleOf(node, context);
  return {
    id: node.id,
    name: node.name,
    status: statusOf(node, allocated.tasks, missedBy.length > 0, role),
    role,
    holdsLog: role !== "member",
    manager: context.manager === node.id,
    hidden: context.isHidden(node.id),
    datacenter: node.datacenter,
    labels: node.labels,
    addresses: node.addresses,
    publishAddress: node.publishAddress,
    resources: resourcesView(node.resources),
    allocated: resourcesView(allocated.resources),
    usage: usageView(context.usage(node.id), context.nowMs),
    rttMs: roundedRtt(context.rttMs(node.id)),
    missedBy: missedBy.map((sighting) =>
      missedByView(sighting, state.nodes.get(sighting.observer)?.name ?? "", context.nowMs),
    ),
    tasks: allocated.tasks,
    version: node.orchVersion,
    driver: node.drivers.join(","),
    joinedAt: isoTime(node.joinedAtMs),
  };
}

/** One that is down itself says nothing any more: its last word may be that it missed everybody. */
function whoMisses(state: ClusterState, node: NodeRecord, context: ViewContext): Sighting[] {
  return context
    .missedBy(node.id)
    .filter(({ observer }) => state.nodes.get(observer)?.liveness === "ready");
}

function roleOf({ raftId }: NodeRecord, { voters, learners }: ViewContext): Role {
  if (voters.has(raftId)) return "voter";
  return learners.has(raftId) ? "standby" : "member";
}

type Role = NonNullable<NodeView["role"]>;

export function missedByView(
  { observer, how, sinceMs }: Sighting,
  name: string,
  nowMs: Millis,
): MissedByView {
  return { node: observer, name, how, forMs: Math.max(0, nowMs - sinceMs) };
}

/** To a tenth: the clock behind it counts milliseconds. */
export function roundedRtt(rttMs: number | null): number | null {
  return rttMs === null ? null : Math.round(rttMs * 10) / 10;
}

export function usageView(measured: Measured | null, nowMs: Millis): UsageView | null {
  if (measured === null) return null;
  const { usage, atMs } = measured;
  return {
    cpuMilli: usage.cpuMilli,
    memoryMib: usage.memoryMib,
    diskMib: usage.diskMib,
    load1: usage.load1Milli / 1000,
    networkRxBytesPerS: usage.networkRxBytesPerS,
    networkTxBytesPerS: usage.networkTxBytesPerS,
    ageMs: Math.max(0, nowMs - atMs),
  };
}

/** A node that leaves is `left` once it has handed over all that it had: it is about to be removed. */
function statusOf(
  node: NodeRecord,
  tasks: number,
  isMissed: boolean,
  role: Role,
): NodeView["status"] {
  if (node.liveness === "down") return "down";
  if (isMissed) return "suspect";
  if (!node.leaving) return "ready";
  return tasks > 0 || role !== "member" ? "draining" : "left";
}

/** Where people reach a node's published ports: where it listens, or, if that is everywhere, where it is known. */
function publishedAt({ publishAddress, addresses }: NodeRecord): string {
  if (publishAddress !== "0.0.0.0" && publishAddress !== "::") return publishAddress;
  const known = addresses.flatMap(
    (address) => /^\/(?:ip4|ip6|dns)\/([^/]+)\//.exec(address)?.[1] ?? [],
  );
  return known[0] ?? publishAddress;
}

export function taskView(state: ClusterState, task: Task): TaskView {
  const node = task.node === null ? undefined : state.nodes.get(task.node);
  const address = node === undefined ? "" : publishedAt(node);
  return {
    id: task.id,
    job: task.job,
    service: task.service,
    slot: slotName(task.job, task.service, task.slot),
    node: task.node,
    nodeName: node?.name ?? null,
    state: task.state,
    desired: task.desired,
    healthy: task.healthy,
    attempts: task.attempts,
    image: task.spec.image,
    ports: task.ports.map((port) => ({ ...port, address })),
    exitCode: task.exitCode,
    message: task.message,
    previous: task.previous,
    version: task.version,
    createdAt: isoTime(task.createdAtMs),
    startedAt: isoTimeOrNull(task.startedAtMs),
    finishedAt: isoTimeOrNull(task.finishedAtMs),
  };
}

function configView(config: Config): ConfigView {
  return {
    name: config.name,
    version: config.version,
    sizeBytes: configBytes(config.data),
    createdAt: isoTime(config.createdAtMs),
    updatedAt: isoTime(config.updatedAtMs),
    modifiedIndex: config.modifiedIndex,
  };
}

export function eventView(event: StateEvent): EventView {
  const { timeMs, ...rest } = event;
  return { ...rest, time: isoTime(timeMs) };
}

function clusterView(state: ClusterState, context: AnswerContext): ClusterView {
  const nodes = [...state.nodes.values()].toSorted(byName);
  const withId = (ids: ReadonlySet<number>): string[] =>
    nodes.filter((node) => ids.has(node.raftId)).map((node) => node.id);
  return {
    id: state.clusterId,
    manager: context.manager,
    term: context.term,
    commitIndex: context.commitIndex,
    voters: withId(context.voters),
    standbys: withId(context.learners),
    nodes: nodes.length,
    nodesReady: nodes.filter((node) => node.liveness === "ready").length,
    jobs: state.jobs.size,
    tasksRunning: state.taskCount("running"),
    tasksPending: state.taskCount("pending"),
    quorum: context.quorum,
    brake: brakeView(state, context),
    log: context.log,
    version: context.orchVersion,
  };
}

function brakeView(state: ClusterState, { brakePercent, nowMs }: ViewContext): BrakeView | null {
  const brake = brakeOf(state, brakePercent, nowMs);
  if (brake === null) return null;
  return {
    down: brake.down.size,
    nodes: brake.nodes,
    held: countHeld(state, brake),
    since: isoTime(brake.sinceMs),
    until: isoTime(brake.untilMs),
  };
}

function listTasks(state: ClusterState, query: Extract<Query, { kind: "tasks" }>): Answer {
  const { job, service, all } = query;
  if (job !== null && !state.jobs.has(job)) return noSuchJob(state, job);
  const node = query.node === null ? null : state.findNode(query.node);
  if (node === undefined) return noSuchNode(state, query.node ?? "");
  // The smallest list that has them all.
  const source =
    job !== null
      ? state.tasksOfJob(job)
      : node !== null
        ? state.tasksOfNode(node.id)
        : state.tasks.values();
  const wanted: Task[] = [];
  for (const task of source) {
    if (service !== null && task.service !== service) continue;
    if (node !== null && task.node !== node.id) continue;
    if (all || !isTerminal(task.state)) wanted.push(task);
  }
  if (service !== null && wanted.length === 0) {
    const refusal = unknownService(state, job, service);
    if (refusal !== null) return refusal;
  }
  // The order of creation stays within a slot: sorting is stable.
  return ok(wanted.toSorted(bySlot).map((task) => taskView(state, task)));
}

function bySlot(a: Task, b: Task): number {
  return compare(a.job, b.job) || compare(a.service, b.service) || a.slot - b.slot;
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return compare(a.name, b.name);
}

/** By code unit: the same on every machine, whatever its language. */
function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** A slot's name is `<job>.<service>.<n>`; a job's name has no dot, a service's may. */
function newestOfSlot(state: ClusterState, name: string): Task | undefined {
  const parts = /^([^.]+)\.(.+)\.(\d{1,6})$/.exec(name);
  if (parts === null) return undefined;
  const [, job = "", service = "", slot = ""] = parts;
  return state.tasksOfSlot(job, service, Number(slot)).at(-1);
}

function resourcesView(resources: Resources): ResourcesView {
  const { cpuMilli, memoryMib, diskMib } = resources;
  return { cpuMilli, memoryMib, diskMib, gpus: 0 };
}

function ok(body: unknown): Answer {
  return { kind: "ok", body };
}

function noSuchNode(state: ClusterState, node: string): Answer {
  return unknownNode(
    [...state.nodes.values()].map((record) => record.name),
    node,
  );
}

export function unknownNode(
  names: readonly string[],
  node: string,
): Extract<Answer, { kind: "refused" }> {
  const hint = didYouMean(node, names, "orch node ls");
  return { kind: "refused", fault: fault("not-found", `no node "${node}"`, hint, { node }) };
}

function noSuchJob(state: ClusterState, job: string): Answer {
  const hint = didYouMean(job, state.jobs.keys(), "orch job ls");
  return { kind: "refused", fault: fault("not-found", `no job "${job}"`, hint, { job }) };
}

function noSuchConfig(state: ClusterState, config: string): Answer {
  const hint = didYouMean(config, state.configs.keys(), "orch config ls");
  return { kind: "refused", fault: fault("not-found", `no config "${config}"`, hint, { config }) };
}

function noSuchTask(task: string): Answer {
  const message = `no task or slot "${task}"`;
  return { kind: "refused", fault: fault("not-found", message, "See `orch ps --all`.", { task }) };
}

/** Null: the service is known, it only has no such tasks. */
function unknownService(state: ClusterState, job: string | null, service: string): Answer | null {
  const jobs = job === null ? [...state.jobs.values()] : [state.jobs.get(job)];
  const names = new Set(
    jobs.flatMap((known) => known?.spec.services.map(({ name }) => name) ?? []),
  );
  if (names.has(service)) return null;
  const where = job === null ? "in any job" : `in job "${job}"`;
  const hint = didYouMean(service, names, job === null ? "orch job ls" : `orch job status ${job}`);
  return {
    kind: "refused",
    fault: fault("not-found", `no service "${service}" ${where}`, hint, { job, service }),
  };
}
