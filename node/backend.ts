import { z } from "zod";
import { ERRORS, fault, OrchError } from "../lib/errors.ts";
import type { LogLine } from "../runtime/engine.ts";
import { type NodeId, nodeId, taskId } from "../state/ids.ts";
import type { Backend, TaskLogOptions } from "./api/backend.ts";
import { eventSchema, nodeSchema } from "./api/schemas.ts";
import { backupText } from "./backup.ts";
import type { Request, Response } from "./core/request.ts";
import type { EventView, LocalView, TaskView } from "./core/view-types.ts";
import { eventView } from "./core/views.ts";
import type { NodeDriver } from "./driver.ts";
import type { Engines } from "./engines.ts";
import type { HistogramView } from "./histogram.ts";
import { formatToken } from "./libp2p/token.ts";
import type { Network } from "./network.ts";
import { SnapshotRequest, serveSnapshot } from "./snapshot-transfer.ts";
import type { Disk } from "./storage.ts";

/** What a node asks another for as a bulk stream. */
type BulkRequest =
  | {
      readonly kind: "logs";
      readonly task: string;
      readonly options: TaskLogOptions;
      /** The task runs there: who is asked passes it on, to a node that it is connected with, and back. Null: it runs here. */
      readonly node: string | null;
    }
  | { readonly kind: "events"; readonly since: number }
  | { readonly kind: "backup"; readonly timeoutMs: number }
  | z.infer<typeof SnapshotRequest>;

/** A stream that broke is asked for again after this long. */
const RETRY_MS = 500;
/** What a manager knows it says within a round trip or two; without one the node is dialled. */
const GONE_READ_MS = 2_000;
const RELAY_FAULTS: ReadonlySet<string> = new Set(["unreachable", "overloaded"]);
/** A backup that could not begin is asked for again after this long. */
const BACKUP_RETRY_MS = 100;

const LogLineShape = z.object({
  stream: z.enum(["stdout", "stderr"]),
  timeMs: z.number(),
  text: z.string(),
}) satisfies z.ZodType<LogLine>;

const TokenShape = z.object({ clusterId: z.string(), joinSecret: z.string() });

const text = new TextEncoder();
const utf8 = new TextDecoder();

/** The API's view of the node: requests go through the core, streams straight to whoever has what they carry. */
export class NodeBackend implements Backend {
  readonly #driver: NodeDriver;
  readonly #network: Network;
  readonly #engines: Engines;
  readonly #disk: Disk;

  constructor(driver: NodeDriver, network: Network, engines: Engines, disk: Disk) {
    this.#driver = driver;
    this.#network = network;
    this.#engines = engines;
    this.#disk = disk;
  }

  async request(request: Request, timeoutMs: number): Promise<Response> {
    const response = await this.#driver.request(request, timeoutMs);
    const isToken = request.kind === "read" && request.query.kind === "token";
    return isToken && response.kind === "ok"
      ? { ...response, body: tokenView(response.body) }
      : response;
  }

  local(): LocalView {
    return this.#driver.node.local();
  }

  counters(): Readonly<Record<string, number>> {
    const { proposalsRefused } = this.#driver.node.replica;
    return { ...this.#network.counters(), ...this.#driver.counts, proposalsRefused };
  }

  histograms(): Readonly<Record<string, HistogramView>> {
    return { diskWrite: this.#driver.diskWrites.view() };
  }

  async *logs(
    task: TaskView,
    options: TaskLogOptions,
    signal: AbortSignal,
  ): AsyncGenerator<LogLine> {
    if (task.node === null) return;
    if (task.node === this.#network.self) {
      yield* this.#engines.logs(taskId(task.id), { ...options, signal });
      return;
    }
    const lines = this.#remoteLogs(nodeId(task.node), task.id, options, signal);
    for await (const line of lines) yield LogLineShape.parse(line);
  }

  /**
   * A node that this one is not connected with, as most are not in a large cluster, and two behind NAT never, is asked through
   * one that holds the log: those are connected with everyone. Last of all it is dialled, unless the cluster knows that to be in vain.
   */
  async *#remoteLogs(
    node: NodeId,
    task: string,
    options: TaskLogOptions,
    signal: AbortSignal,
  ): AsyncGenerator {
    for (const relay of this.#network.isConnected(node) ? [] : this.#relays()) {
      let begun = false;
      try {
        const request: BulkRequest = { kind: "logs", task, options, node };
        for await (const line of this.#bulk(relay, request, signal)) {
          begun = true;
          yield line;
        }
        return;
      } catch (error) {
        // Another may be connected with it, or have fewer streams of this node to pass on.
        const isOfRelay = error instanceof OrchError && RELAY_FAULTS.has(error.fault.code);
        if (begun || signal.aborted || !isOfRelay) throw error;
      }
    }
    if (!this.#network.isConnected(node)) await this.#refuseGone(node, task);
    yield* this.#bulk(node, { kind: "logs", task, options, node: null }, signal);
  }

  /** Throws not-found or unreachable where nobody reaches a node and the manager knows why. */
  async #refuseGone(node: NodeId, task: string): Promise<void> {
    const read: Request = { kind: "read", query: { kind: "node", node }, stale: false };
    const response = await this.#driver.request(read, GONE_READ_MS);
    if (response.kind === "refused" && response.fault.code === "not-found") {
      const reason = `the node that ran ${task} is no member any more: its output is not kept`;
      throw new OrchError(fault("not-found", reason, "", { node }));
    }
    if (response.kind === "refused") return;
    const { name, status } = nodeSchema.parse(response.body);
    if (status !== "down") return;
    const reason = `node ${name} is down, and the output of ${task} is there`;
    const hint = "It can be read when the node is back: `orch node ls`.";
    throw new OrchError(fault("unreachable", reason, hint, { node, isDown: true }));
  }

  /** The manager has enough to do: it is asked after the others. */
  #relays(): NodeId[] {
    const { node } = this.#driver;
    const holders = node.roster.others("holders").filter((id) => this.#network.isConnected(id));
    return holders.toSorted((a, b) => Number(a === node.manager) - Number(b === node.manager));
  }

  async *events(since: number, signal: AbortSignal): AsyncGenerator<EventView> {
    let last = { index: since, events: 0 };
    while (!signal.aborted) {
      const { node } = this.#driver;
      // One entry may cause several events: those of the last one that came before are passed over.
      let known = last.events;
      const from = known === 0 ? last.index : last.index - 1;
      try {
        for await (const event of this.#eventsOnce(node.manager, from, signal)) {
          if (event.index === last.index && known > 0) {
            known -= 1;
            continue;
          }
          last = { index: event.index, events: event.index === last.index ? last.events + 1 : 1 };
          yield event;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof OrchError)) throw error;
      }
      // The other node is gone, or knows no manager yet: whoever leads next has the same log.
      if (!signal.aborted) await pause(RETRY_MS, signal);
    }
  }

  async *#eventsOnce(
    manager: string | null,
    since: number,
    signal: AbortSignal,
  ): AsyncGenerator<EventView> {
    const { node } = this.#driver;
    if (node.holdsLog) {
      for await (const event of this.#driver.events(since, signal)) yield eventView(event);
    } else if (manager !== null) {
      const request: BulkRequest = { kind: "events", since };
      for await (const event of this.#bulk(manager, request, signal))
        yield eventSchema.parse(event);
    }
  }

  async *backup(timeoutMs: number, signal: AbortSignal): AsyncGenerator<string> {
    const endMs = performance.now() + timeoutMs;
    for (let begun = false; ;) {
      const leftMs = Math.max(1, Math.ceil(endMs - performance.now()));
      try {
        for await (const line of this.#backupOnce(leftMs, signal)) {
          begun = true;
          yield line;
        }
        return;
      } catch (error) {
        const isTransient = error instanceof OrchError && ERRORS[error.fault.code].retryable;
        if (begun || signal.aborted || !isTransient || performance.now() >= endMs) throw error;
      }
      await pause(BACKUP_RETRY_MS, signal);
    }
  }

  async *#backupOnce(timeoutMs: number, signal: AbortSignal): AsyncGenerator<string> {
    const { manager } = this.#driver.node;
    if (manager === null) throw noManager();
    if (manager === this.#network.self) {
      yield* this.#ownBackup(timeoutMs);
      return;
    }
    const request: BulkRequest = { kind: "backup", timeoutMs };
    const bytes = text.encode(JSON.stringify(request));
    for await (const line of this.#network.bulk(nodeId(manager), bytes, signal))
      yield utf8.decode(line);
  }

  /** As of a moment after a quorum has confirmed that nothing newer was acknowledged before. */
  async *#ownBackup(timeoutMs: number): AsyncGenerator<string> {
    const read = { kind: "read", query: { kind: "cluster" }, stale: false } as const;
    const response = await this.#driver.request(read, timeoutMs);
    if (response.kind === "refused") throw new OrchError(response.fault);
    const { replica } = this.#driver.node;
    // Another may manage by now, and this node be behind what the other answered.
    if (replica.raft.appliedIndex < response.index) throw noManager();
    yield* backupText(replica.state.freeze(), replica.raft.appliedIndex, this.local().version);
  }

  /** Lines of JSON from another node. */
  async *#bulk(node: string, request: BulkRequest, signal: AbortSignal): AsyncGenerator {
    const bytes = text.encode(JSON.stringify(request));
    for await (const chunk of this.#network.bulk(nodeId(node), bytes, signal)) {
      yield JSON.parse(utf8.decode(chunk));
    }
  }

  /** Serves another node's bulk request. */
  async *serve(payload: Uint8Array, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const request = parseBulk(payload);
    if (request?.kind === "snapshot") {
      yield* serveSnapshot(this.#disk, request);
      return;
    }
    if (request === null) {
      throw new OrchError(
        fault("invalid", "not a stream that this node knows", "Use the same version of orch."),
      );
    }
    if (request.kind === "backup") {
      for await (const line of this.#ownBackup(request.timeoutMs)) yield text.encode(line);
      return;
    }
    if (request.kind === "logs" && request.node !== null) {
      yield* this.#passOn(nodeId(request.node), request, signal);
      return;
    }
    const items: AsyncIterable<unknown> =
      request.kind === "logs"
        ? this.#engines.logs(taskId(request.task), { ...request.options, signal })
        : this.#eventViews(request.since, signal);
    for await (const item of items) yield text.encode(JSON.stringify(item));
  }

  /** One hop: the node itself is asked. As fast as the asker reads, and never by dialling: that the asker can do as well. */
  async *#passOn(
    to: NodeId,
    request: Extract<BulkRequest, { kind: "logs" }>,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    if (!this.#network.isConnected(to)) {
      const message = `node ${to} is not connected with node ${this.#network.self} either`;
      const hint = "`orch node ls` tells whether the node is up.";
      throw new OrchError(fault("unreachable", message, hint, { node: to }));
    }
    const bytes = text.encode(JSON.stringify({ ...request, node: null }));
    yield* this.#network.bulk(to, bytes, signal);
  }

  async *#eventViews(since: number, signal: AbortSignal): AsyncGenerator<EventView> {
    for await (const event of this.#driver.events(since, signal)) yield eventView(event);
  }
}

function noManager(): OrchError {
  const hint = "Try again; `orch cluster status` on any node says who is missing.";
  return new OrchError(fault("no-manager", "no manager answers", hint));
}

function parseBulk(payload: Uint8Array): BulkRequest | null {
  try {
    const value: unknown = JSON.parse(utf8.decode(payload));
    if (typeof value !== "object" || value === null || !("kind" in value)) return null;
    if (value.kind === "snapshot") return SnapshotRequest.parse(value);
    if (value.kind === "events" && "since" in value && typeof value.since === "number") {
      return { kind: "events", since: value.since };
    }
    if (value.kind === "backup" && "timeoutMs" in value && typeof value.timeoutMs === "number") {
      return { kind: "backup", timeoutMs: value.timeoutMs };
    }
    if (value.kind !== "logs" || !("task" in value) || typeof value.task !== "string") return null;
    const options: unknown = Reflect.get(value, "options");
    if (typeof options !== "object" || options === null) return null;
    const number = (name: string): number | null => {
      const field: unknown = Reflect.get(options, name);
      return typeof field === "number" ? field : null;
    };
    const follow = Reflect.get(options, "follow") === true;
    const logOptions = { follow, tail: number("tail"), sinceMs: number("sinceMs") };
    const node: unknown = Reflect.get(value, "node");
    if (node !== null && typeof node !== "string") return null;
    return { kind: "logs", task: value.task, options: logOptions, node };
  } catch {
    return null;
  }
}

function tokenView(body: unknown): { token: string } {
  const { clusterId, joinSecret } = TokenShape.parse(body);
  const secret = new Uint8Array(Buffer.from(joinSecret, "base64url"));
  return { token: formatToken({ clusterId, secret }) };
}

function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    signal.addEventListener("abort", done);
  });
}
