import { z } from "zod";
import { fault, OrchError } from "../../lib/errors.ts";
import type { ErrorCode } from "../../lib/errors.ts";
import type { Query, UserCommand } from "../core/request.ts";
import type { Backend } from "./backend.ts";
import { DEFAULT_TIMEOUT_MS, HEADERS, inputFault } from "./input.ts";
import type { EventPosition, HeaderName } from "./input.ts";

/** What a route is, and what stands between it and the HTTP server: its parsed input and its answer as data. */

/** How the backend is given a little longer than the caller asked for before the API answers in its place. */
const GRACE_MS = 1_000;

/** A request as the HTTP server has it: text that nobody has checked yet. */
export interface RawCall {
  readonly params: unknown;
  readonly query: unknown;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: unknown;
}

export type Answer =
  | {
      readonly kind: "whole";
      readonly status: number;
      readonly contentType: string;
      readonly text: string;
      readonly headers: Readonly<Record<string, string>>;
    }
  | Stream;

/** An answer that goes on: pieces of text as they come. */
export interface Stream {
  readonly kind: "stream";
  readonly contentType: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent at once; empty: nothing. */
  readonly opening: string;
  /** Sent whenever nothing else was for a while; null: nothing is. */
  readonly keepalive: string | null;
  /**
   * How long the status may wait for the first piece, so that a failure until then is an error status
   * and not a piece. `strict`: no piece in that time is a failure too.
   */
  readonly first: { readonly waitMs: number; readonly strict: boolean };
  readonly pieces: (signal: AbortSignal) => AsyncIterable<string>;
  /** The piece that tells of a failure midway. */
  readonly broken: (error: unknown) => string;
}

/** What answers are in the OpenAPI document. */
export type AnswerShape =
  | { readonly kind: "one"; readonly shape: string }
  | { readonly kind: "list"; readonly shape: string }
  | { readonly kind: "lines"; readonly shape: string }
  | { readonly kind: "events"; readonly shape: string }
  | { readonly kind: "text" }
  | { readonly kind: "document" };

/** One route. Paths are as in OpenAPI: `/v1/jobs/{name}`. */
export interface Route {
  readonly id: string;
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  readonly path: string;
  readonly summary: string;
  /** Open routes need no token on TCP either. */
  readonly open: boolean;
  readonly params: z.ZodObject;
  readonly query: z.ZodObject;
  readonly headers: readonly HeaderName[];
  /** Of the JSON that is sent; null: nothing is. */
  readonly body: z.ZodType | null;
  /** The body is raw bytes, at most so many; null: it is none or JSON. */
  readonly maxBytes: number | null;
  readonly answer: AnswerShape;
  /** The codes that it may answer with beyond those that every route has. */
  readonly faults: readonly ErrorCode[];
  readonly run: (raw: RawCall, context: Context) => Promise<Answer>;
}

/** What routes work with. */
export interface Context {
  readonly backend: Backend;
  /** The OpenAPI document. */
  readonly document: string;
  readonly metrics: () => string;
}

/** A request whose every part has been checked. */
export interface Call<P, Q, B> {
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  /** The raw bytes of the body; empty where the route takes none. */
  readonly bytes: Uint8Array;
  readonly key: string;
  readonly ifVersion: number | null;
  readonly lastEventId: EventPosition | null;
  readonly cluster: Cluster;
}

/** The cluster as one request sees it: all that it asks for shares the request's deadline. */
export interface Cluster {
  /** Milliseconds that are left of the client's timeout, at least 1. */
  left(): number;
  /** Throws OrchError with the fault when refused. */
  read(query: Query): Promise<Done>;
  write(command: UserCommand, key: string): Promise<Done>;
  /** Has another node manage (null: whichever is most up to date); resolves once this one does no longer. */
  transfer(node: string | null): Promise<Done>;
}

export interface Done {
  readonly body: unknown;
  readonly headers: Readonly<Record<string, string>>;
}

interface Definition<
  P extends z.ZodObject,
  Q extends z.ZodObject,
  B extends z.ZodType,
> extends Omit<Route, "open" | "params" | "query" | "body" | "maxBytes" | "headers" | "run"> {
  readonly open?: true;
  readonly maxBytes?: number;
  readonly params: P;
  readonly query: Q;
  readonly headers: readonly HeaderName[];
  readonly body: B | null;
  readonly run: (
    call: Call<z.infer<P>, z.infer<Q>, z.infer<B> | null>,
    context: Context,
  ) => Answer | Promise<Answer>;
}

const commonQuery = z.object({
  timeout: z.number().optional(),
  consistency: z.enum(["linearizable", "stale"]).optional(),
});

/** Builds a route whose `run` gets its input parsed by its own schemas; what does not parse is a fault `invalid`. */
export function route<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>(
  definition: Definition<P, Q, B>,
): Route {
  return {
    ...definition,
    open: definition.open ?? false,
    maxBytes: definition.maxBytes ?? null,
    run: async (raw, context) => {
      const headers = headersOf(definition.headers, raw.headers);
      const params = parse("path", definition.params, raw.params);
      const query = parse("query", definition.query, raw.query);
      const body = definition.body === null ? null : parse("body", definition.body, raw.body);
      const bytes = definition.maxBytes === undefined ? NO_BYTES : bytesOf(raw);
      const common = commonQuery.parse(query);
      const timeoutMs = common.timeout ?? headers.timeoutMs ?? DEFAULT_TIMEOUT_MS;
      const stale = common.consistency === "stale";
      const cluster = clusterOf(context.backend, timeoutMs, stale);
      return definition.run({ params, query, body, bytes, ...headers, cluster }, context);
    },
  };
}

const NO_BYTES = new Uint8Array();

/** Nothing at all is no content: it has to be said that the empty content is meant, with the type. */
function bytesOf({ body }: RawCall): Uint8Array {
  if (body instanceof Uint8Array) return body;
  throw new OrchError(
    fault(
      "invalid",
      "The request has no body.",
      "Send the content with Content-Type: application/octet-stream; it may be empty.",
    ),
  );
}

function parse<S extends z.ZodType>(where: string, schema: S, raw: unknown): z.infer<S> {
  const result = schema.safeParse(raw);
  if (!result.success) throw new OrchError(inputFault(where, result.error));
  return result.data;
}

const headersSchema = z.object(HEADERS);

function headersOf(
  names: readonly HeaderName[],
  raw: Readonly<Record<string, unknown>>,
): {
  timeoutMs: number | null;
  key: string;
  ifVersion: number | null;
  lastEventId: EventPosition | null;
} {
  const known = Object.fromEntries(names.map((name) => [name, raw[name]]));
  const parsed = parse("header", headersSchema, known);
  const mustBeNew = parsed["if-none-match"] !== undefined;
  if (mustBeNew && parsed["if-match"] !== undefined) {
    throw new OrchError(
      fault(
        "invalid",
        "header: If-Match and If-None-Match exclude each other",
        "Send one of them.",
      ),
    );
  }
  return {
    timeoutMs: parsed["orch-timeout"] ?? null,
    key: parsed["idempotency-key"] ?? crypto.randomUUID(),
    ifVersion: mustBeNew ? 0 : (parsed["if-match"] ?? null),
    lastEventId: parsed["last-event-id"] ?? null,
  };
}

function clusterOf(backend: Backend, timeoutMs: number, stale: boolean): Cluster {
  const deadlineMs = performance.now() + timeoutMs;
  const left = (): number => Math.max(1, Math.ceil(deadlineMs - performance.now()));
  const ask = async (
    request: Parameters<Backend["request"]>[0],
    late: ErrorCode,
    lateHint: string,
  ): Promise<Done> => {
    const waitMs = left();
    const response = await within(backend.request(request, waitMs), waitMs + GRACE_MS);
    if (response === null) {
      throw new OrchError(fault(late, `No answer within ${timeoutMs} ms.`, lateHint));
    }
    if (response.kind === "refused") throw new OrchError(response.fault);
    const headers: Record<string, string> = { "orch-index": String(response.index) };
    if (response.manager !== null) headers["orch-manager"] = response.manager;
    return { body: response.body, headers };
  };
  return {
    left,
    read: async (query) =>
      ask(
        { kind: "read", query, stale },
        "no-manager",
        "Try again, or ask with ?consistency=stale.",
      ),
    write: async (command, key) =>
      ask(
        { kind: "write", key, command },
        "unknown",
        "It may have been done. Send it again with the same Idempotency-Key: it is not done twice.",
      ),
    transfer: async (node) =>
      ask({ kind: "transfer", node }, "no-manager", "See `orch cluster status` for who manages."),
  };
}

/** The promise's value; null when it takes longer. */
async function within<T>(promise: Promise<T>, limitMs: number): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A JSON answer. */
export function json(
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
  status = 200,
): Answer {
  return {
    kind: "whole",
    status,
    contentType: "application/json; charset=utf-8",
    text: JSON.stringify(body),
    headers,
  };
}
