import { fault } from "../../lib/errors.ts";
import type { ErrorCode } from "../../lib/errors.ts";
import type { LogLine } from "../../runtime/engine.ts";
import type { Query, Request, Response, UserCommand } from "../core/request.ts";
import type { JobSpec } from "../../state/spec.ts";
import type {
  BrakeView,
  ConfigContentView,
  EventView,
  JobView,
  LocalView,
  LogView,
  NodeView,
  TaskView,
  WriteView,
} from "../core/view-types.ts";
import { ClusterState } from "../../state/cluster.ts";
import { backupText } from "../backup.ts";
import { Histogram, type HistogramView } from "../histogram.ts";
import type { Backend, TaskLogOptions } from "./backend.ts";

/**
 * A whole cluster of one node in a few maps, for tests of the API: it obeys the contract of Backend
 * (versions, idempotency keys, events by index, output that is followed), and runs every task at once.
 */
export class MemoryBackend implements Backend {
  /** What the next requests meet; null: all is well. `silence`: no answer ever. */
  weather: ErrorCode | "silence" | "throw" | null = null;
  ready = true;
  brake: BrakeView | null = null;
  /** Requests that reached it. */
  asked: Request[] = [];
  /** Streams that are open now. */
  watching = 0;
  /** Items of followed streams that were taken. */
  taken = 0;
  readonly eventLog: EventView[] = [];
  readonly #jobs = new Map<string, { spec: JobSpec; view: JobView }>();
  readonly #tasks = new Map<string, TaskView>();
  readonly #configs = new Map<string, ConfigContentView>();
  readonly #output = new Map<string, LogLine[]>();
  readonly #answers = new Map<string, Response>();
  readonly #waiters = new Set<() => void>();
  #index = 1;

  async request(request: Request, timeoutMs: number): Promise<Response> {
    this.asked.push(request);
    if (this.weather === "throw") throw new Error("the driver has a bug");
    if (this.weather === "silence") {
      return new Promise((resolve) => {
        const late = fault("no-manager", "never", "");
        setTimeout(() => resolve({ kind: "refused", fault: late }), timeoutMs * 100).unref();
      });
    }
    if (this.weather !== null) {
      return { kind: "refused", fault: fault(this.weather, "as the test wants it", "Try again.") };
    }
    if (request.kind === "read") return this.#read(request.query);
    if (request.kind === "transfer") {
      return { kind: "ok", index: this.#index, manager: "n1", body: { from: "n1" } };
    }
    const known = this.#answers.get(request.key);
    if (known !== undefined) return known;
    const answer = this.#write(request.command);
    this.#answers.set(request.key, answer);
    return answer;
  }

  async *events(since: number, signal: AbortSignal): AsyncIterable<EventView> {
    yield* this.#follow(this.eventLog, signal, (event) => event.index > since);
  }

  async *logs(
    task: TaskView,
    options: TaskLogOptions,
    signal: AbortSignal,
  ): AsyncIterable<LogLine> {
    const lines = this.#output.get(task.id) ?? [];
    const from = options.sinceMs ?? 0;
    const start = options.tail === null ? 0 : Math.max(0, lines.length - options.tail);
    if (this.weather === "unreachable") throw new Error("the link to the node broke");
    if (!options.follow) {
      yield* lines.slice(start).filter((line) => line.timeMs >= from);
      return;
    }
    yield* this.#follow(lines, signal, (line, at) => at >= start && line.timeMs >= from);
  }

  local(): LocalView {
    return {
      id: "node-1",
      name: "one",
      clusterId: "cluster-1",
      addresses: ["/ip4/127.0.0.1/tcp/7400"],
      raftId: 1,
      role: "leader",
      term: 3,
      vote: 1,
      commitIndex: this.#index,
      appliedIndex: this.#index,
      lastIndex: this.#index,
      leader: 1,
      manager: "node-1",
      managerAgeMs: 40,
      voters: [1],
      learners: [],
      log: this.#log(),
      stateHash: "00",
      ready: this.ready,
      version: "0.1.0",
    };
  }

  backup(): AsyncIterable<string> {
    return backupText(new ClusterState().freeze(), this.#index, "0.1.0");
  }

  counters(): Readonly<Record<string, number>> {
    return { "raft.messagesSent": 12, proposals: 3 };
  }

  histograms(): Readonly<Record<string, HistogramView>> {
    const diskWrites = new Histogram();
    for (const ms of [0.4, 3, 9_000]) diskWrites.add(ms);
    return { diskWrite: diskWrites.view() };
  }

  #log(): LogView {
    return {
      baseIndex: 0,
      entries: this.#index,
      snapshotIndex: 0,
      snapshotAt: null,
      featureLevel: 1,
      voters: ["one"],
      transferee: null,
      followers: [],
    };
  }

  /** A task writes a line. */
  print(id: string, text: string, timeMs: number): void {
    const lines = this.#output.get(id) ?? [];
    this.#output.set(id, lines);
    lines.push({ stream: "stdout", timeMs, text });
    this.#wake();
  }

  /** Another entry of the log with `count` events. */
  emit(count: number, time: string = "2026-01-01T00:00:00.000Z"): void {
    this.#index++;
    for (let nth = 1; nth <= count; nth++) this.#note("cluster", null, `event ${nth}`, time);
    this.#wake();
  }

  async *#follow<T>(
    list: readonly T[],
    signal: AbortSignal,
    wanted: (item: T, at: number) => boolean,
  ): AsyncGenerator<T> {
    this.watching++;
    try {
      for (let at = 0; !signal.aborted;) {
        const item = list[at];
        if (item === undefined) {
          await this.#changed(signal);
          continue;
        }
        if (wanted(item, at)) yield item;
        this.taken++;
        at++;
      }
    } finally {
      this.watching--;
    }
  }

  async #changed(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        this.#waiters.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      this.#waiters.add(wake);
      signal.addEventListener("abort", wake);
    });
  }

  #wake(): void {
    for (const waiter of this.#waiters) waiter();
  }

  #read(query: Query): Response {
    switch (query.kind) {
      case "nodes":
        return this.#ok([NODE]);
      case "node":
        return this.#found(
          "node",
          query.node,
          [NODE.id, NODE.name].includes(query.node) ? NODE : undefined,
        );
      case "jobs":
        return this.#ok([...this.#jobs.values()].map(({ view }) => view));
      case "job":
        return this.#found("job", query.job, this.#jobs.get(query.job)?.view);
      case "tasks":
        return this.#ok(
          [...this.#tasks.values()].filter(
            (task) =>
              (query.job === null || task.job === query.job) &&
              (query.service === null || task.service === query.service) &&
              (query.node === null || task.node === query.node) &&
              (query.all || task.state === "running"),
          ),
        );
      case "task": {
        const newest = [...this.#tasks.values()].findLast((task) => task.slot === query.task);
        return this.#found("task", query.task, this.#tasks.get(query.task) ?? newest);
      }
      case "configs":
        return this.#ok([...this.#configs.values()].map(({ data: _data, ...view }) => view));
      case "config":
        return this.#found("config", query.config, this.#configs.get(query.config));
      case "cluster":
        return this.#ok({
          id: "cluster-1",
          manager: "node-1",
          term: 3,
          commitIndex: this.#index,
          voters: ["node-1"],
          standbys: [],
          nodes: 1,
          nodesReady: 1,
          jobs: this.#jobs.size,
          tasksRunning: this.#tasks.size,
          tasksPending: 0,
          quorum: true,
          brake: this.brake,
          log: this.#log(),
          version: "0.1.0",
        });
      case "token":
        return this.#ok({ token: "orch-join-1" });
      default:
        throw new Error("no such query");
    }
  }

  #write(command: UserCommand): Response {
    switch (command.kind) {
      case "job-put":
        return this.#put(command.spec, command.ifVersion);
      case "job-stop": {
        const job = this.#jobs.get(command.job);
        if (job === undefined) return this.#found("job", command.job, undefined);
        this.#stopTasks(
          (task) => task.job === command.job && (command.service ?? task.service) === task.service,
        );
        return this.#written(job.view.version, true);
      }
      case "task-stop": {
        const task = this.#tasks.get(command.task);
        if (task === undefined) return this.#found("task", command.task, undefined);
        this.#stopTasks(({ id }) => id === task.id);
        return this.#written(null, true);
      }
      case "config-put":
      case "config-remove":
        return this.#writeConfig(command);
      case "job-restore":
      case "config-restore":
      case "join-secret-put":
      case "node-leave":
      case "node-remove":
        return this.#written(null, true);
      case "brake-release": {
        const changed = this.brake !== null;
        this.brake = null;
        return this.#written(null, changed);
      }
      case "node-admit":
        throw new Error("the API admits no nodes");
      default:
        throw new Error("no such command");
    }
  }

  #put(spec: JobSpec, ifVersion: number | null): Response {
    const now = this.#jobs.get(spec.name);
    const version = now?.view.version ?? 0;
    if (ifVersion !== null && ifVersion !== version) return mismatch(spec.name, version);
    if (now !== undefined && JSON.stringify(now.spec) === JSON.stringify(spec))
      return this.#written(version, false);
    this.#index++;
    this.#jobs.set(spec.name, { spec, view: jobView(spec, version + 1) });
    this.#note("job", spec.name, "submitted");
    spec.services.forEach((service) => {
      for (let slot = 1; slot <= service.replicas; slot++) {
        const id = `${this.#index.toString(36)}-${this.#tasks.size}`;
        this.#tasks.set(id, taskView(id, spec.name, service.name, slot, service.image));
        this.#output.set(id, []);
        this.#note("task", spec.name, id);
      }
    });
    this.#wake();
    return this.#written(version + 1, true);
  }

  #writeConfig(command: Extract<UserCommand, { kind: "config-put" | "config-remove" }>): Response {
    const { name, ifVersion } = command;
    const now = this.#configs.get(name);
    const version = now?.version ?? 0;
    if (ifVersion !== null && ifVersion !== version) return mismatch(name, version);
    if (command.kind === "config-remove") {
      if (now === undefined) return this.#found("config", name, undefined);
      this.#configs.delete(name);
      return this.#written(null, true);
    }
    this.#index++;
    this.#configs.set(name, {
      name,
      version: version + 1,
      sizeBytes: Math.floor((command.data.length * 3) / 4),
      createdAt: now?.createdAt ?? TIME,
      updatedAt: TIME,
      modifiedIndex: this.#index,
      data: command.data,
    });
    return this.#written(version + 1, true);
  }

  #stopTasks(which: (task: TaskView) => boolean): void {
    this.#index++;
    for (const task of this.#tasks.values()) {
      if (!which(task)) continue;
      this.#tasks.set(task.id, { ...task, state: "stopped", desired: "stopped", finishedAt: TIME });
      this.#note("task", task.job, "stopped");
    }
    this.#wake();
  }

  #note(type: EventView["type"], job: string | null, message: string, time: string = TIME): void {
    const nobody = { service: null, slot: null, task: null, node: null, config: null };
    const still = { from: null, to: null };
    this.eventLog.push({ index: this.#index, time, type, job, ...nobody, ...still, message });
  }

  #written(version: number | null, changed: boolean): Response {
    const body: WriteView = { version, changed };
    return this.#ok(body);
  }

  #ok(body: unknown): Response {
    return { kind: "ok", index: this.#index, manager: "node-1", body };
  }

  #found(what: string, name: string, body: unknown): Response {
    if (body !== undefined) return this.#ok(body);
    const missing = fault("not-found", `There is no ${what} ${name}`, `List them: orch ${what} ls`);
    return { kind: "refused", fault: missing };
  }
}

function mismatch(name: string, version: number): Response {
  const message = `${name} is at version ${version}`;
  const details = { version };
  return { kind: "refused", fault: fault("version-mismatch", message, "Read it again.", details) };
}

const TIME = "2026-01-02T03:04:05.678Z";
const AMOUNTS = { cpuMilli: 4_000, memoryMib: 8_192, diskMib: 100_000, gpus: 0 };

const NODE: NodeView = {
  id: "node-1",
  name: "one",
  status: "ready",
  role: "voter",
  holdsLog: true,
  manager: true,
  hidden: false,
  datacenter: "dc1",
  labels: { disk: "ssd" },
  addresses: ["/ip4/127.0.0.1/tcp/7400"],
  publishAddress: "127.0.0.1",
  resources: AMOUNTS,
  allocated: AMOUNTS,
  usage: {
    cpuMilli: 12,
    memoryMib: 100,
    diskMib: 5,
    load1: 0.25,
    networkRxBytesPerS: 2_048,
    networkTxBytesPerS: null,
    ageMs: 900,
  },
  rttMs: 0.4,
  missedBy: [],
  tasks: 0,
  version: "0.1.0",
  driver: "memory",
  joinedAt: TIME,
};

function jobView(spec: JobSpec, version: number): JobView {
  return {
    name: spec.name,
    version,
    status: "running",
    services: spec.services.map(({ name, image, partition, replicas }) => ({
      name,
      type: "service",
      image,
      partition,
      replicas,
      running: replicas,
      healthy: 0,
      desired: replicas,
      message: "",
    })),
    createdAt: TIME,
    updatedAt: TIME,
  };
}

function taskView(
  id: string,
  job: string,
  service: string,
  slot: number,
  image: string | null,
): TaskView {
  return {
    id,
    job,
    service,
    slot: `${job}.${service}.${slot}`,
    node: "node-1",
    nodeName: "one",
    state: "running",
    desired: "running",
    healthy: null,
    attempts: 1,
    image,
    ports: [{ host: 20_000, container: 80, protocol: "tcp", address: "127.0.0.1" }],
    exitCode: null,
    message: "",
    previous: null,
    version: 1,
    createdAt: TIME,
    startedAt: TIME,
    finishedAt: null,
  };
}
