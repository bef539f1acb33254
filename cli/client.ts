import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { Pool } from "undici";
import type { Dispatcher } from "undici";
import { ERRORS, fault, OrchError } from "../lib/errors.ts";
import type { ErrorCode, Fault } from "../lib/errors.ts";
import { codeOf, messageOf, parseAnswer } from "./boundary.ts";
import type { Endpoint } from "./endpoint.ts";

export interface ClientOptions {
  /** Tried in turn; at least one. */
  readonly endpoints: readonly Endpoint[];
  /** For how long a call is repeated while no manager answers, or connections break. */
  readonly timeoutMs: number;
  /** Hears once which endpoint answered first. */
  readonly onConnected: (endpoint: Endpoint) => void;
}

interface Call {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array | null;
  /** Whether the answer has no end of its own: its body may then be silent for as long as it likes. */
  readonly endless: boolean;
  /** Instead of the client's own. */
  readonly timeoutMs?: number;
}

type Attempt =
  | { readonly kind: "answered"; readonly response: Dispatcher.ResponseData }
  /** The node refused, for good. */
  | { readonly kind: "refused"; readonly fault: Fault }
  /** The node answered that it cannot now. */
  | { readonly kind: "unavailable"; readonly fault: Fault; readonly retryAfterMs: number }
  /** Connected, then lost: a write may have been done. */
  | { readonly kind: "lost"; readonly reason: string }
  /** Never connected. */
  | { readonly kind: "unreachable"; readonly reason: string };

/** Nothing was sent when one of these happens. */
const CONNECT_ERRORS = new Set([
  "ECONNREFUSED",
  "ENOENT",
  "EACCES",
  "EPERM",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

const CONNECT_TIMEOUT_MS = 3_000;
/** A body that stops half-way is given up after this. */
const BODY_TIMEOUT_MS = 10_000;
/** A node gives up this much earlier than the client, so that its reason arrives. */
const NODE_MARGIN_MS = 500;
/** The wait between two rounds over all endpoints: doubled from the first to the second. */
const ROUND_WAIT_MS = { first: 100, last: 1_000 } as const;

/**
 * Talks to whichever node answers. Reads and writes are repeated on the next node when a connection
 * breaks or a node cannot answer now (429, 503, 504); a write keeps its idempotency key meanwhile, so
 * that it is done once. Every method throws OrchError with the node's own fault when it refuses.
 */
export class Client {
  readonly #options: ClientOptions;
  readonly #pools = new Map<Endpoint, Pool>();
  /** The one that answered last stands first. */
  #endpoints: readonly Endpoint[];
  #connected = false;

  /** For how long a call is repeated. */
  get timeoutMs(): number {
    return this.#options.timeoutMs;
  }

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#endpoints = options.endpoints;
  }

  /** The body of a read, as the API sent it; `timeoutMs`: instead of the client's own. */
  async get<Body>(path: string, timeoutMs: number = this.#options.timeoutMs): Promise<Body> {
    return parseAnswer<Body>(
      await this.#read({ method: "GET", path, headers: {}, body: null, endless: false, timeoutMs }),
    );
  }

  /** A read of something that may not be there: null then. */
  async find<Body>(path: string): Promise<Body | null> {
    try {
      return await this.get<Body>(path);
    } catch (error) {
      if (error instanceof OrchError && error.fault.code === "not-found") return null;
      throw error;
    }
  }

  /** The body of a write's answer. */
  async write<Body>(
    method: "PUT" | "POST",
    path: string,
    body: unknown,
    key: string = randomUUID(),
  ): Promise<Body> {
    const headers = { "idempotency-key": key, "content-type": "application/json" };
    return parseAnswer<Body>(
      await this.#read({ method, path, headers, body: JSON.stringify(body), endless: false }),
    );
  }

  /** The same for raw bytes; `ifVersion`: null, or the version at which the write is wanted (0: nothing is there). */
  async writeBytes<Body>(path: string, bytes: Uint8Array, ifVersion: number | null): Promise<Body> {
    const headers = {
      "idempotency-key": randomUUID(),
      "content-type": "application/octet-stream",
      ...(ifVersion === null ? {} : { "if-match": `"${ifVersion}"` }),
    };
    return parseAnswer<Body>(
      await this.#read({ method: "PUT", path, headers, body: bytes, endless: false }),
    );
  }

  /** The body of a removal's answer. */
  async remove<Body>(path: string): Promise<Body> {
    const headers = { "idempotency-key": randomUUID() };
    return parseAnswer<Body>(
      await this.#read({ method: "DELETE", path, headers, body: null, endless: false }),
    );
  }

  /**
   * Opens an endless answer. Its lines end with it, and throw OrchError `unreachable` when the connection
   * breaks: the caller knows where to go on.
   */
  async lines(
    path: string,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<AsyncGenerator<string>> {
    const call: Call = { method: "GET", path, headers, body: null, endless: true };
    return this.#lines(await this.#send(call), signal);
  }

  /** The lines of a backup, which the node makes as they are read. Fails as `lines` does. */
  async *backup(signal: AbortSignal): AsyncGenerator<string> {
    const path = "/v1/cluster/backup";
    const call: Call = { method: "POST", path, headers: {}, body: null, endless: false };
    yield* this.#lines(await this.#send(call), signal);
  }

  async *#lines(response: Dispatcher.ResponseData, signal: AbortSignal): AsyncGenerator<string> {
    const stop = (): void => {
      response.body.destroy();
    };
    signal.addEventListener("abort", stop, { once: true });
    const decoder = new TextDecoder();
    let rest = "";
    try {
      if (signal.aborted) return;
      for await (const chunk of response.body) {
        const lines = `${rest}${decoder.decode(chunk, { stream: true })}`.split("\n");
        rest = lines.pop() ?? "";
        yield* lines;
      }
      if (rest !== "") yield rest;
    } catch (error) {
      if (!signal.aborted) throw lostFault(this.#endpoints[0], reasonOf(error));
    } finally {
      signal.removeEventListener("abort", stop);
      response.body.destroy();
    }
  }

  /** Drops every connection. */
  async close(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()));
  }

  async #read(call: Call): Promise<string> {
    const response = await this.#send(call);
    return response.body.text();
  }

  /** Goes round the endpoints until one answers, the time is up, or the first round found nobody. */
  async #send(call: Call): Promise<Dispatcher.ResponseData> {
    const timeoutMs = call.timeoutMs ?? this.#options.timeoutMs;
    const deadlineMs = performance.now() + timeoutMs;
    let waitMs: number = ROUND_WAIT_MS.first;
    let seen = this.#connected;
    for (;;) {
      const failures: Record<string, string> = {};
      let latest: Fault | null = null;
      for (const endpoint of this.#endpoints) {
        const attempt = await this.#attempt(endpoint, call, deadlineMs - performance.now());
        if (attempt.kind === "answered") {
          this.#promote(endpoint);
          return attempt.response;
        }
        if (attempt.kind === "refused") throw new OrchError(attempt.fault);
        if (attempt.kind === "unavailable") {
          latest = attempt.fault;
          waitMs = Math.max(waitMs, attempt.retryAfterMs);
        } else {
          failures[endpoint.host] = attempt.reason;
        }
        seen ||= attempt.kind !== "unreachable";
        if (performance.now() >= deadlineMs) break;
      }
      if (!seen) throw nobodyFault(failures);
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= waitMs) {
        throw latest === null ? timeoutFault(call, timeoutMs, failures) : new OrchError(latest);
      }
      await delay(waitMs);
      waitMs = Math.min(waitMs * 2, ROUND_WAIT_MS.last);
    }
  }

  async #attempt(endpoint: Endpoint, call: Call, leftMs: number): Promise<Attempt> {
    // A node that hangs must not use up the time that another could answer in.
    const timeoutMs = call.timeoutMs ?? this.#options.timeoutMs;
    const shareMs = this.#endpoints.length > 1 ? Math.min(leftMs, timeoutMs / 3) : leftMs;
    try {
      const response = await this.#pool(endpoint).request({
        method: call.method,
        path: call.path,
        headers: {
          ...call.headers,
          "orch-timeout": String(
            Math.max(
              1,
              Math.floor(shareMs > 2 * NODE_MARGIN_MS ? shareMs - NODE_MARGIN_MS : shareMs),
            ),
          ),
          ...(endpoint.token === null ? {} : { authorization: `Bearer ${endpoint.token}` }),
        },
        body: call.body,
        headersTimeout: Math.max(1, Math.ceil(shareMs)),
        bodyTimeout: call.endless ? 0 : BODY_TIMEOUT_MS,
      });
      if (response.statusCode < 300) return { kind: "answered", response };
      const refusal = parseFault(response.statusCode, await response.body.text(), endpoint);
      // Where a node is down, whoever is asked says so, for as long as it is.
      if (refusal.details["isDown"] === true) return { kind: "refused", fault: refusal };
      if (![429, 503, 504].includes(response.statusCode))
        return { kind: "refused", fault: refusal };
      const retryAfterMs = Number(response.headers["retry-after"] ?? 0) * 1_000;
      return {
        kind: "unavailable",
        fault: refusal,
        retryAfterMs: Math.min(retryAfterMs || 0, 1_000),
      };
    } catch (error) {
      const code = codeOf(error);
      const unreachable = code !== null && CONNECT_ERRORS.has(code);
      return { kind: unreachable ? "unreachable" : "lost", reason: reasonOf(error) };
    }
  }

  #promote(endpoint: Endpoint): void {
    this.#endpoints = [endpoint, ...this.#endpoints.filter((other) => other !== endpoint)];
    if (this.#connected) return;
    this.#connected = true;
    this.#options.onConnected(endpoint);
  }

  #pool(endpoint: Endpoint): Pool {
    const known = this.#pools.get(endpoint);
    if (known !== undefined) return known;
    const socket = endpoint.socketPath === null ? {} : { socketPath: endpoint.socketPath };
    const pool = new Pool(endpoint.origin, { connect: { ...socket, timeout: CONNECT_TIMEOUT_MS } });
    this.#pools.set(endpoint, pool);
    return pool;
  }
}

/** The path of one thing below a collection, with its name escaped. */
export function pathOf(
  collection: "jobs" | "tasks" | "nodes" | "configs",
  name: string,
  rest: string = "",
): string {
  return `/v1/${collection}/${encodeURIComponent(name)}${rest}`;
}

const CODE_BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  401: "unauthorized",
  403: "forbidden",
  404: "not-found",
  409: "conflict",
  413: "too-large",
  429: "overloaded",
  503: "no-manager",
  504: "unknown",
};

/** The fault in an answer's body; one made of the status when the body is none of ours. */
export function parseFault(status: number, body: string, endpoint: Pick<Endpoint, "host">): Fault {
  try {
    const value = parseAnswer<Partial<Fault>>(body);
    if (typeof value.message === "string" && value.code !== undefined && value.code in ERRORS) {
      return fault(value.code, value.message, value.hint ?? "", value.details ?? {});
    }
  } catch {
    // Not JSON: something else than orch, or a broken orch, answered.
  }
  return fault(
    CODE_BY_STATUS[status] ?? "bug",
    `${endpoint.host} answered ${status} without saying why`,
    "Check that this address is orch's API, and the node's log.",
    { status, body: body.slice(0, 1_000) },
  );
}

function nobodyFault(failures: Readonly<Record<string, string>>): OrchError {
  const tried = Object.entries(failures).map(([host, reason]) => `${host} (${reason})`);
  return new OrchError(
    fault(
      "unreachable",
      `no node reachable: ${tried.join(", ")}`,
      "Start one with `orch node init`, a whole cluster with `orch dev`, or name a running one with --host.",
      { failures },
    ),
  );
}

function lostFault(endpoint: Endpoint | undefined, reason: string): OrchError {
  return new OrchError(
    fault(
      "unreachable",
      `the connection to ${endpoint?.host ?? "the node"} broke: ${reason}`,
      "Try again.",
    ),
  );
}

function timeoutFault(
  call: Call,
  timeoutMs: number,
  failures: Readonly<Record<string, string>>,
): OrchError {
  const seconds = Math.round(timeoutMs / 100) / 10;
  if (call.method === "GET") {
    return new OrchError(
      fault(
        "no-manager",
        `no answer within ${seconds} s`,
        "Try again, or wait longer with --timeout.",
        { failures },
      ),
    );
  }
  return new OrchError(
    fault(
      "unknown",
      `no answer within ${seconds} s: the change may or may not have been made`,
      "Look with `orch ps`, `orch job ls` or `orch config ls`, then repeat the command: submitting the same again changes nothing.",
      { failures },
    ),
  );
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ENOENT: "no such socket",
  EACCES: "permission denied",
  ECONNRESET: "connection reset",
  UND_ERR_SOCKET: "connection closed",
  UND_ERR_HEADERS_TIMEOUT: "no answer in time",
  UND_ERR_CONNECT_TIMEOUT: "no connection in time",
  ENOTFOUND: "unknown host name",
};

function reasonOf(error: unknown): string {
  const code = codeOf(error);
  return (code === null ? undefined : REASONS[code]) ?? messageOf(error);
}
