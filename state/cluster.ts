import { assert, unreachable } from "../lib/assert.ts";
import { type Fault, fault } from "../lib/errors.ts";
import type { Allocation } from "./allocation.ts";
import {
  applyBrakeRelease,
  applyFeatureLevel,
  applyInit,
  applyJoinSecret,
  applyRecover,
} from "./apply-cluster.ts";
import { applyConfigPut, applyConfigRemove, applyConfigRestore } from "./apply-configs.ts";
import { applyJobPut, applyJobRestore, applyJobStop, applyTaskStop } from "./apply-jobs.ts";
import { applyAdmit, applyFacts, applyLeave, applyLiveness, applyRemove } from "./apply-nodes.ts";
import { applyPlan } from "./apply-plan.ts";
import { applyReports } from "./apply-reports.ts";
import type { Command, Envelope } from "./command.ts";
import type { Config } from "./config.ts";
import { checkOutline } from "./envelope-outline.ts";
import type { Index, Millis, NodeId, TaskId } from "./ids.ts";
import { nodeId } from "./ids.ts";
import type { NodeRecord } from "./node-record.ts";
import { RollingHash } from "./rolling-hash.ts";
import type { JobSpec } from "./spec.ts";
import type { Change, FrozenTables } from "./tables.ts";
import { Tables } from "./tables.ts";
import type { Task, TaskState } from "./task.ts";

/** A job in the replicated state. Immutable: a change is a new object. */
export interface Job {
  readonly name: string;
  readonly version: number;
  readonly spec: JobSpec;
  /** The services that the user stopped; all of them when the job is stopped. */
  readonly stopped: readonly string[];
  /** By service: the job's version at which its spec last changed; tasks of an older one are replaced. */
  readonly serviceVersions: Readonly<Record<string, number>>;
  readonly createdAtMs: Millis;
  readonly updatedAtMs: Millis;
  readonly modifiedIndex: number;
}

/** What became of a command; `version` is the job's or config's after it, null when it is about neither. */
export type Outcome =
  | { readonly kind: "done"; readonly changed: boolean; readonly version: number | null }
  | { readonly kind: "refused"; readonly fault: Fault };

/** One line of the task log. `from` and `to` are null where it is no transition. */
export interface StateEvent {
  readonly index: Index;
  readonly timeMs: Millis;
  readonly type: "task" | "node" | "job" | "config" | "cluster";
  readonly job: string | null;
  readonly service: string | null;
  /** `<job>.<service>.<n>` */
  readonly slot: string | null;
  readonly task: TaskId | null;
  readonly node: NodeId | null;
  /** A config's name. */
  readonly config: string | null;
  readonly from: string | null;
  readonly to: string | null;
  readonly message: string;
}

/** The first command that came with an idempotency key, as a hash, and what became of it. */
export interface Answer {
  readonly command: number;
  readonly outcome: Outcome;
  /** The log index at which it was given. */
  readonly index: Index;
}

/** A state as it was at one moment: what later changes leave alone. Every list is in its table's order. */
export interface FrozenState extends FrozenTables {
  readonly lastIndex: Index;
  /** By idempotency key, the oldest first: that one is forgotten next. */
  readonly answers: readonly (readonly [key: string, answer: Answer])[];
}

/** How many idempotency keys are remembered: seconds of writes at the highest rate, hours at a usual one; some MB. */
export const MAX_KEYS = 30_000;

/**
 * What the log makes of an empty cluster: the same on every node that has applied the same entries. Records are
 * immutable; maps and lists that are handed out are live and for reading only.
 */
export class ClusterState {
  readonly #tables: Tables;
  readonly #answers: Map<string, Answer>;
  /** The keys of the answers in a ring, so that the oldest is found at once, and their log indices. */
  readonly #keys: string[];
  readonly #keyIndexes: Index[];
  #nextKey: number;
  #lastIndex: Index;

  /** A new cluster's, or a snapshot's: then the parts belong to the state from now on. */
  constructor(
    tables: Tables = new Tables(),
    answers: Map<string, Answer> = new Map(),
    lastIndex: Index = 0,
  ) {
    this.#tables = tables;
    this.#answers = answers;
    this.#keys = [...answers.keys()];
    this.#keyIndexes = [...answers.values()].map(({ index }) => index);
    this.#nextKey = answers.size % MAX_KEYS;
    this.#lastIndex = lastIndex;
  }

  /** Empty before the cluster was founded. */
  get clusterId(): string {
    return this.#tables.clusterId;
  }

  get joinSecret(): string {
    return this.#tables.joinSecret;
  }

  /** What log entries may hold: see feature-level.ts. 0 before the cluster was founded. */
  get featureLevel(): number {
    return this.#tables.featureLevel;
  }

  /** The log index of the last command that was applied. */
  get lastIndex(): Index {
    return this.#lastIndex;
  }

  /** The last log index at which `nodes` or the secret changed. */
  get membersIndex(): Index {
    return this.#tables.membersIndex;
  }

  /** The log index at which the brake was last released; 0: never. See brake.ts. */
  get brakeReleasedIndex(): Index {
    return this.#tables.brakeReleasedIndex;
  }

  get nodes(): ReadonlyMap<NodeId, NodeRecord> {
    return this.#tables.nodes;
  }

  get jobs(): ReadonlyMap<string, Job> {
    return this.#tables.jobs;
  }

  get tasks(): ReadonlyMap<TaskId, Task> {
    return this.#tables.tasks.all;
  }

  get configs(): ReadonlyMap<string, Config> {
    return this.#tables.configs;
  }

  /** By id or name. */
  findNode(idOrName: string): NodeRecord | undefined {
    const { nodes, nodesByName } = this.#tables;
    return nodes.get(nodeId(idOrName)) ?? nodes.get(nodesByName.get(idOrName) ?? nodeId(""));
  }

  /** Whether the raft id belonged to a node that was removed, or admitted again under another. */
  isRetired(raftId: number): boolean {
    return this.#tables.retiredRaftIds.has(raftId);
  }

  /** In the order of creation, also those that are over. */
  tasksOfNode(node: NodeId): readonly Task[] {
    return this.#tables.tasks.ofNode(node);
  }

  /** Oldest first. */
  tasksOfSlot(job: string, service: string, slot: number): readonly Task[] {
    return this.#tables.tasks.ofSlot(job, service, slot);
  }

  /** In the order of creation. */
  tasksOfJob(job: string): readonly Task[] {
    return this.#tables.tasks.ofJob(job);
  }

  /** Every slot of the job that has tasks, by service and number; also services that the job has no more. */
  slotsOfJob(job: string): ReadonlyMap<string, ReadonlyMap<number, readonly Task[]>> {
    return this.#tables.tasks.services(job);
  }

  /** How many tasks are in that state. */
  taskCount(state: TaskState): number {
    return this.#tables.tasks.count(state);
  }

  /** What the node's tasks that are not over take of it. */
  allocated(node: NodeId): Allocation {
    return this.#tables.tasks.allocated(node);
  }

  /**
   * What became of the command with this idempotency key; undefined: not seen, or long ago. Another
   * command under the same key is refused: its user would take the first one's answer for its own.
   */
  answered(key: string, command: Command): Outcome | undefined {
    const known = this.#answers.get(key);
    if (known === undefined || known.command === hashOf(command)) return known?.outcome;
    return {
      kind: "refused",
      fault: fault(
        "conflict",
        `the idempotency key "${key}" was used for another write`,
        "Make a new key for every write; repeat one only for the very same write.",
        { key },
      ),
    };
  }

  /** 16 hexadecimal digits over every change so far: equal on every replica at the same index. */
  hash(): string {
    return this.#tables.hash.digest();
  }

  /** Copies lists, not records: a few milliseconds for 100,000 tasks. `snapshotChunks` writes the result. */
  freeze(): FrozenState {
    const answers = [...this.#answers];
    return { ...this.#tables.freeze(), lastIndex: this.#lastIndex, answers };
  }

  /**
   * Applies the log entry at `index`, which must be above all before. Checks the command against the state as it
   * is now: what does not fit is refused or, in plans and reports, passed by. Never throws on a command of its
   * type. A key seen before changes nothing and gets the first outcome again.
   */
  apply(index: Index, envelope: Envelope): { outcome: Outcome; events: readonly StateEvent[] } {
    assert(
      Number.isSafeInteger(index) && index > this.#lastIndex,
      "entries are applied once and in order",
    );
    this.#lastIndex = index;
    const known = envelope.key === null ? undefined : this.answered(envelope.key, envelope.command);
    if (known !== undefined) return { outcome: known, events: [] };
    const { since } = envelope;
    if (since !== null && since < this.#tables.forgottenIndex) {
      return { outcome: { kind: "refused", fault: forgottenFault(envelope.key) }, events: [] };
    }
    const change: Change = { index, since, timeMs: envelope.timeMs, events: [] };
    const outcome = dispatch(this.#tables, envelope.command, change);
    if (envelope.key !== null) this.#remember(envelope.key, envelope.command, outcome, index);
    return { outcome, events: change.events };
  }

  #remember(key: string, command: Command, outcome: Outcome, index: Index): void {
    this.#answers.set(key, { command: hashOf(command), outcome, index });
    // Not the wording of a refusal: it may differ between versions of orch.
    const gist = outcome.kind === "done" ? `${outcome.version}` : outcome.fault.code;
    this.#tables.hash.add(`${key} ${outcome.kind} ${gist}`);
    // Not by asking the map for its first key: it walks over all that were deleted before.
    const oldest = this.#keys[this.#nextKey];
    if (oldest !== undefined) {
      this.#tables.forgottenIndex = this.#keyIndexes[this.#nextKey] ?? index;
      this.#answers.delete(oldest);
    }
    this.#keys[this.#nextKey] = key;
    this.#keyIndexes[this.#nextKey] = index;
    this.#nextKey = (this.#nextKey + 1) % MAX_KEYS;
  }
}

/** It may have been done under a key that is forgotten by now: to do it could be to do it twice. */
function forgottenFault(key: string | null): Fault {
  return fault(
    "unknown",
    "the write waited for so long that nobody knows any more whether it was done",
    "Look at what it was to change; if it was not done, repeat it with a new idempotency key.",
    { key },
  );
}

function hashOf(command: Command): number {
  const hash = new RollingHash();
  hash.add(JSON.stringify(command));
  return hash.number();
}

function dispatch(tables: Tables, command: Command, change: Change): Outcome {
  switch (command.kind) {
    case "cluster-init":
      return applyInit(tables, command, change);
    case "cluster-recover":
      return applyRecover(tables, command, change);
    case "join-secret-put":
      return applyJoinSecret(tables, command, change);
    case "feature-level":
      return applyFeatureLevel(tables, command, change);
    case "node-admit":
      return applyAdmit(tables, command, change);
    case "node-facts":
      return applyFacts(tables, command, change);
    case "node-liveness":
      return applyLiveness(tables, command, change);
    case "node-leave":
      return applyLeave(tables, command, change);
    case "node-remove":
      return applyRemove(tables, command, change);
    case "brake-release":
      return applyBrakeRelease(tables, change);
    case "job-put":
      return applyJobPut(tables, command, change);
    case "job-stop":
      return applyJobStop(tables, command, change);
    case "job-restore":
      return applyJobRestore(tables, command, change);
    case "task-stop":
      return applyTaskStop(tables, command, change);
    case "config-put":
      return applyConfigPut(tables, command, change);
    case "config-remove":
      return applyConfigRemove(tables, command, change);
    case "config-restore":
      return applyConfigRestore(tables, command, change);
    case "plan":
      return { kind: "done", changed: applyPlan(tables, command, change), version: null };
    case "task-reports":
      return { kind: "done", changed: applyReports(tables, command, change), version: null };
    default:
      return unreachable(command);
  }
}

/** A log entry's bytes: JSON in UTF-8. */
export function encodeEnvelope(envelope: Envelope): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(envelope));
}

/** Reads a log entry; stops the process when it is none, or one of a kind that this orch does not know. */
export function decodeEnvelope(bytes: Uint8Array): Envelope {
  const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  checkOutline(value);
  return value;
}
