import type { Job, StateEvent } from "./cluster.ts";
import { type Config, configBytes } from "./config.ts";
import type { Index, Millis, NodeId } from "./ids.ts";
import { slotName } from "./ids.ts";
import type { NodeRecord } from "./node-record.ts";
import { RollingHash } from "./rolling-hash.ts";
import type { Task } from "./task.ts";
import type { PortCursor, ServiceSlots } from "./task-table.ts";
import { TaskTable } from "./task-table.ts";

/** Where a change stands in the log, and the events that it causes. */
export interface Change {
  readonly index: Index;
  /** The log index that the asker knew when it asked first; null for what the cluster itself decides. */
  readonly since: Index | null;
  readonly timeMs: Millis;
  readonly events: StateEvent[];
}

/** What is no table. */
export interface FrozenScalars {
  readonly clusterId: string;
  readonly joinSecret: string;
  readonly membersIndex: Index;
  readonly lastRaftId: number;
  readonly featureLevel: number;
  readonly configFloor: number;
  readonly forgottenIndex: Index;
  readonly brakeReleasedIndex: Index;
  /** The digest over every change so far. */
  readonly hash: string;
}

/** The tables' content at one moment, each list in its table's order. */
export interface FrozenTables {
  readonly scalars: FrozenScalars;
  readonly nodes: readonly NodeRecord[];
  readonly retiredRaftIds: readonly number[];
  readonly jobs: readonly Job[];
  readonly slots: readonly ServiceSlots[];
  readonly portCursors: readonly PortCursor[];
  readonly tasks: readonly Task[];
  readonly configs: readonly Config[];
}

/**
 * The replicated tables, changed only through these methods: each records the change in the hash and in the
 * change's events. The commands' rules are in the apply-*.ts files.
 */
export class Tables {
  clusterId = "";
  joinSecret = "";
  featureLevel = 0;
  membersIndex: Index = 0;
  readonly nodes: Map<NodeId, NodeRecord> = new Map();
  readonly nodesByName: Map<string, NodeId> = new Map();
  readonly retiredRaftIds: Set<number> = new Set();
  readonly jobs: Map<string, Job> = new Map();
  readonly tasks: TaskTable = new TaskTable();
  readonly configs: Map<string, Config> = new Map();
  /** The highest version that any removed config had: the versions of new ones begin above it. */
  configFloor = 0;
  /** The log index of the newest answer that is not remembered any more. */
  forgottenIndex: Index = 0;
  /** The log index at which the brake was last released; 0: never. */
  brakeReleasedIndex: Index = 0;
  /** Null: not counted yet. */
  #configsBytes: number | null = null;
  readonly hash: RollingHash = new RollingHash();
  #lastRaftId = 0;

  /** A raft id that was never given before. */
  nextRaftId(): number {
    this.#lastRaftId += 1;
    return this.#lastRaftId;
  }

  /** Says which cluster this is: when it is founded, and when it is recovered as another one. */
  identify(clusterId: string, joinSecret: string, change: Change, message: string): void {
    this.clusterId = clusterId;
    this.joinSecret = joinSecret;
    this.membersIndex = change.index;
    this.hash.add(`cluster ${clusterId} ${joinSecret}`);
    change.events.push({ ...blank(change, "cluster"), message });
  }

  /** `message`: of the event; null: none, the level came with the cluster. */
  putFeatureLevel(level: number, change: Change, message: string | null): void {
    this.featureLevel = level;
    this.hash.add(`feature level ${level}`);
    if (message !== null) change.events.push({ ...blank(change, "cluster"), message });
  }

  releaseBrake(change: Change, message: string): void {
    this.brakeReleasedIndex = change.index;
    this.hash.add(`brake released ${change.index}`);
    change.events.push({ ...blank(change, "cluster"), message });
  }

  putNode(node: NodeRecord, change: Change, message: string): void {
    const old = this.nodes.get(node.id);
    if (old !== undefined) {
      this.nodesByName.delete(old.name);
      if (old.raftId !== node.raftId) this.retiredRaftIds.add(old.raftId);
    }
    this.nodes.set(node.id, node);
    this.nodesByName.set(node.name, node.id);
    this.membersIndex = change.index;
    this.hash.add(JSON.stringify(node));
    const moved = old?.liveness !== node.liveness;
    change.events.push({
      ...blank(change, "node"),
      node: node.id,
      from: moved ? (old?.liveness ?? null) : null,
      to: moved ? node.liveness : null,
      message,
    });
  }

  /** The record goes, its name is free again and its raft id retired. Its tasks are the caller's. */
  removeNode(node: NodeRecord, change: Change, message: string): void {
    this.nodes.delete(node.id);
    this.nodesByName.delete(node.name);
    this.retiredRaftIds.add(node.raftId);
    this.membersIndex = change.index;
    this.hash.add(`remove ${node.id} ${node.raftId}`);
    const moved = { from: node.liveness, to: node.leaving ? "left" : "removed" };
    change.events.push({ ...blank(change, "node"), node: node.id, ...moved, message });
  }

  putJob(job: Job, change: Change, service: string | null, message: string): void {
    this.jobs.set(job.name, job);
    this.hash.add(JSON.stringify(job));
    change.events.push({ ...blank(change, "job"), job: job.name, service, message });
  }

  /** Of the content of all configs together. */
  configsBytes(): number {
    if (this.#configsBytes === null) {
      this.#configsBytes = 0;
      for (const { data } of this.configs.values()) this.#configsBytes += configBytes(data);
    }
    return this.#configsBytes;
  }

  putConfig(config: Config, change: Change, message: string): void {
    const oldBytes = configBytes(this.configs.get(config.name)?.data ?? "");
    this.#configsBytes = this.configsBytes() - oldBytes + configBytes(config.data);
    this.configs.set(config.name, config);
    const { name, version, data, createdAtMs, updatedAtMs, modifiedIndex } = config;
    this.hash.add(`config ${name} ${version} ${createdAtMs} ${updatedAtMs} ${modifiedIndex}`);
    this.hash.add(data);
    change.events.push({ ...blank(change, "config"), config: config.name, message });
  }

  removeConfig(config: Config, change: Change): void {
    this.#configsBytes = this.configsBytes() - configBytes(config.data);
    this.configs.delete(config.name);
    this.configFloor = Math.max(this.configFloor, config.version);
    this.hash.add(`remove config ${config.name}`);
    const message = `removed at version ${config.version}`;
    change.events.push({ ...blank(change, "config"), config: config.name, message });
  }

  /** `message`: of the event; null: the change is too small for one. */
  putTask(task: Task, change: Change, message: string | null): void {
    const from = this.tasks.all.get(task.id)?.state ?? null;
    this.tasks.put(task);
    this.hash.add(fingerprint(task));
    if (message === null) return;
    const moved = from !== task.state;
    change.events.push({
      ...blank(change, "task"),
      job: task.job,
      service: task.service,
      slot: slotName(task.job, task.service, task.slot),
      task: task.id,
      node: task.node,
      from: moved ? from : null,
      to: moved ? task.state : null,
      message,
    });
  }

  /** No event: that a task's record was dropped is no news of the task. */
  removeTask(task: Task): void {
    this.tasks.remove(task);
    this.hash.add(`forget ${task.id}`);
  }

  /** All that the tables hold; what follows from it (names, room on nodes, slots' tasks) is left out. */
  freeze(): FrozenTables {
    return {
      scalars: {
        clusterId: this.clusterId,
        joinSecret: this.joinSecret,
        membersIndex: this.membersIndex,
        lastRaftId: this.#lastRaftId,
        featureLevel: this.featureLevel,
        configFloor: this.configFloor,
        forgottenIndex: this.forgottenIndex,
        brakeReleasedIndex: this.brakeReleasedIndex,
        hash: this.hash.digest(),
      },
      nodes: [...this.nodes.values()],
      retiredRaftIds: [...this.retiredRaftIds],
      jobs: [...this.jobs.values()],
      slots: this.tasks.slotOrder(),
      portCursors: this.tasks.portCursors(),
      tasks: [...this.tasks.all.values()],
      configs: [...this.configs.values()],
    };
  }

  /** For tables that nothing was put into. `scalars.hash` must be a digest. */
  restoreScalars(scalars: FrozenScalars): void {
    this.clusterId = scalars.clusterId;
    this.joinSecret = scalars.joinSecret;
    this.membersIndex = scalars.membersIndex;
    this.#lastRaftId = scalars.lastRaftId;
    this.featureLevel = scalars.featureLevel;
    this.configFloor = scalars.configFloor;
    this.forgottenIndex = scalars.forgottenIndex;
    this.brakeReleasedIndex = scalars.brakeReleasedIndex;
    this.hash.restore(scalars.hash);
  }

  /** Without a trace in hash and events: the node was put before. Its id and name must be new. */
  restoreNode(node: NodeRecord): void {
    this.nodes.set(node.id, node);
    this.nodesByName.set(node.name, node.id);
  }
}

function blank(change: Change, type: StateEvent["type"]): StateEvent {
  return {
    index: change.index,
    timeMs: change.timeMs,
    type,
    job: null,
    service: null,
    slot: null,
    task: null,
    node: null,
    config: null,
    from: null,
    to: null,
    message: "",
  };
}

/** Everything of a task that can differ between two states: the spec follows from job and version. */
function fingerprint(task: Task): string {
  return JSON.stringify([
    [task.id, task.job, task.service, task.slot, task.version, task.node, task.state, task.desired],
    [task.healthy, task.attempts, task.exitCode, task.message, task.previous, task.rejections],
    [task.createdAtMs, task.startedAtMs, task.finishedAtMs, task.modifiedIndex],
    task.ports.map((port) => [port.container, port.host, port.protocol]),
  ]);
}
