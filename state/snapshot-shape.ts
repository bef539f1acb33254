import type { Answer, Job } from "./cluster.ts";
import type { Config } from "./config.ts";
import type { NodeRecord } from "./node-record.ts";
import type { ServiceSpec } from "./spec.ts";
import type { FrozenScalars } from "./tables.ts";
import type { TaskPort, TaskState } from "./task.ts";
import { TRANSITIONS } from "./task.ts";

/**
 * The bytes are no snapshot that this orch can take: damaged or foreign (`data-damaged`), or of a newer orch
 * (`data-newer`). The message says what is wrong and in which chunk.
 */
export class SnapshotError extends Error {
  override name = "SnapshotError";
  readonly code: "data-damaged" | "data-newer";
  constructor(message: string, code: "data-damaged" | "data-newer" = "data-damaged") {
    super(message);
    this.code = code;
  }
}

/** Throws SnapshotError, what is wrong as its message, unless the condition holds. */
export function check(condition: boolean, wrong: string): asserts condition {
  if (!condition) throw new SnapshotError(wrong);
}

type FieldType = "text" | "integer" | "flag" | "list" | "object";
type Outline<T> = Readonly<Record<keyof T, FieldType | `${FieldType} or null`>>;

/** A job's record, each service's spec as its number. */
export interface JobRow extends Omit<Job, "spec"> {
  readonly spec: Omit<Job["spec"], "services"> & { readonly services: readonly unknown[] };
}

const NODE: Outline<NodeRecord> = {
  id: "text",
  name: "text",
  addresses: "list",
  datacenter: "text",
  labels: "object",
  os: "text",
  arch: "text",
  resources: "object",
  drivers: "list",
  publishAddress: "text",
  portRange: "object",
  orchVersion: "text",
  mayVote: "flag",
  mayWork: "flag",
  featureLevel: "integer",
  leaving: "flag",
  raftId: "integer",
  liveness: "text",
  livenessAtMs: "integer",
  livenessIndex: "integer",
  downs: "integer",
  joinedAtMs: "integer",
  admittedIndex: "integer",
  modifiedIndex: "integer",
};

const CONFIG: Outline<Config> = {
  name: "text",
  version: "integer",
  data: "text",
  createdAtMs: "integer",
  updatedAtMs: "integer",
  modifiedIndex: "integer",
};

const SPEC: Outline<ServiceSpec> = {
  name: "text",
  type: "text",
  image: "text or null",
  driver: "text or null",
  entrypoint: "list or null",
  command: "list or null",
  environment: "object",
  workingDir: "text or null",
  ports: "list",
  volumes: "list",
  replicas: "integer",
  reservations: "object",
  limits: "object",
  restart: "object",
  constraints: "list",
  stopGraceMs: "integer",
  partition: "text",
};

const JOB: Outline<Job> = {
  name: "text",
  version: "integer",
  spec: "object",
  stopped: "list",
  serviceVersions: "object",
  createdAtMs: "integer",
  updatedAtMs: "integer",
  modifiedIndex: "integer",
};

const AMOUNTS: Outline<ServiceSpec["reservations"]> = {
  cpuMilli: "integer",
  memoryMib: "integer",
  diskMib: "integer",
};

const SCALARS: Outline<FrozenScalars & { readonly lastIndex: number }> = {
  clusterId: "text",
  joinSecret: "text",
  membersIndex: "integer",
  lastRaftId: "integer",
  featureLevel: "integer",
  configFloor: "integer",
  forgottenIndex: "integer",
  brakeReleasedIndex: "integer",
  hash: "text",
  lastIndex: "integer",
};

// What users and nodes said is checked to the depth that the tables rely on: it was checked to its last field
// before it came into the log, and the sum over all chunks finds damage.

export function checkNode(value: unknown): asserts value is NodeRecord {
  checkOutline(value, NODE, "a node");
  const { liveness } = value;
  check(liveness === "ready" || liveness === "down", "a node's liveness is neither ready nor down");
}

export function checkConfigRow(value: unknown): asserts value is Config {
  checkOutline(value, CONFIG, "a config");
}

export function checkSpec(value: unknown): asserts value is ServiceSpec {
  checkOutline(value, SPEC, "a spec");
  checkOutline(value["reservations"], AMOUNTS, "a spec's reservations");
  check(isList(value["ports"]) && value["ports"].every(isObject), "a spec's ports are no objects");
}

export function checkJob(value: unknown): asserts value is JobRow {
  checkOutline(value, JOB, "a job");
  const { spec, stopped } = value;
  check(isObject(spec) && isList(spec["services"]), "a job's spec lists no services");
  check(isList(stopped) && stopped.every(isText), "a job's stopped services are no texts");
}

export function checkScalars(
  value: unknown,
): asserts value is FrozenScalars & { readonly lastIndex: number } {
  checkOutline(value, SCALARS, "the first chunk");
  check(isDigest(value["hash"]), "the state's hash does not have 16 hexadecimal digits");
}

export function checkAnswer(value: unknown): asserts value is Answer {
  checkOutline(value, { command: "integer", outcome: "object", index: "integer" }, "an answer");
  const { outcome } = value;
  check(isObject(outcome), "an outcome is no object");
  if (outcome["kind"] === "done") {
    checkOutline(outcome, { changed: "flag", version: "integer or null" }, "an outcome");
    return;
  }
  check(outcome["kind"] === "refused", "an outcome is neither done nor refused");
  const { fault } = outcome;
  checkOutline(
    fault,
    { code: "text", message: "text", details: "object", hint: "text" },
    "a refusal",
  );
}

function checkOutline(
  value: unknown,
  outline: Readonly<Record<string, string>>,
  what: string,
): asserts value is Record<string, unknown> {
  check(isObject(value), `${what} is no object`);
  for (const [field, type] of Object.entries(outline)) {
    check(Object.hasOwn(value, field), `${what} has no field ${field}`);
    const found = value[field];
    const nullable = type.endsWith(" or null");
    if (nullable && found === null) continue;
    check(
      typeOf(found) === (nullable ? type.slice(0, -" or null".length) : type),
      `${what}'s ${field} is not ${type}`,
    );
  }
}

function typeOf(value: unknown): FieldType | null {
  if (typeof value === "string") return "text";
  if (typeof value === "boolean") return "flag";
  if (Number.isSafeInteger(value)) return "integer";
  if (isList(value)) return "list";
  return isObject(value) ? "object" : null;
}

/** A row that is a list: its cells are taken one after the other, each checked. */
export class Row {
  readonly #cells: readonly unknown[];
  readonly #what: string;
  #next = 0;

  constructor(row: unknown, what: string) {
    check(isList(row), `${what} is no list`);
    this.#cells = row;
    this.#what = what;
  }

  text(): string {
    const cell = this.any();
    return isText(cell) ? cell : this.#refuse("text");
  }

  textOrNull(): string | null {
    const cell = this.any();
    return cell === null || isText(cell) ? cell : this.#refuse("text or null");
  }

  integer(): number {
    const cell = this.any();
    return isInteger(cell) ? cell : this.#refuse("integer");
  }

  integerOrNull(): number | null {
    const cell = this.any();
    return cell === null || isInteger(cell) ? cell : this.#refuse("integer or null");
  }

  flagOrNull(): boolean | null {
    const cell = this.any();
    return cell === null || typeof cell === "boolean" ? cell : this.#refuse("flag or null");
  }

  desired(): "running" | "stopped" {
    const cell = this.any();
    return cell === "running" || cell === "stopped" ? cell : this.#refuse("running or stopped");
  }

  state(): TaskState {
    const cell = this.any();
    return isState(cell) ? cell : this.#refuse("a task's state");
  }

  /** Each port as its three fields in a row. */
  ports(): readonly TaskPort[] {
    const cell = this.any();
    if (!isList(cell) || cell.length % 3 !== 0) return this.#refuse("ports");
    const ports: TaskPort[] = [];
    for (let i = 0; i < cell.length; i += 3) {
      const [container, host, protocol] = cell.slice(i, i + 3);
      if (!isInteger(container) || !isInteger(host)) return this.#refuse("ports");
      if (protocol !== "tcp" && protocol !== "udp") return this.#refuse("ports");
      ports.push({ container, host, protocol });
    }
    return ports;
  }

  integers(): readonly number[] {
    const cell = this.any();
    return isList(cell) && cell.every(isInteger) ? cell : this.#refuse("integers");
  }

  any(): unknown {
    const cell = this.#cells[this.#next];
    this.#next += 1;
    return cell;
  }

  end(): void {
    check(
      this.#cells.length === this.#next,
      `${this.#what} has ${this.#cells.length} cells instead of ${this.#next}`,
    );
  }

  #refuse(type: string): never {
    throw new SnapshotError(`${this.#what}'s cell ${this.#next} is not ${type}`);
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

export function isText(value: unknown): value is string {
  return typeof value === "string";
}

export function isInteger(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

function isState(value: unknown): value is TaskState {
  return isText(value) && Object.hasOwn(TRANSITIONS, value);
}

function isDigest(value: unknown): boolean {
  return isText(value) && /^[0-9a-f]{16}$/.test(value);
}
