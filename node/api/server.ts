import { dirname, join } from "node:path";
import type { Socket } from "node:net";
import type { ServerResponse } from "node:http";
import { once } from "node:events";
import Fastify from "fastify";
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { assert } from "../../lib/assert.ts";
import { ERRORS, fault, faultOf, OrchError } from "../../lib/errors.ts";
import type { Fault } from "../../lib/errors.ts";
import type { Backend } from "./backend.ts";
import type { Answer, Context, Route, Stream } from "./call.ts";
import { checkOrigin, isLoopbackHost, tokenCheck } from "./guard.ts";
import { metricsText, processSamples } from "./metrics.ts";
import type { ApiCounters } from "./metrics.ts";
import { openapiDocument } from "./openapi.ts";
import { ROUTES } from "./routes.ts";
import { listenOnSocket } from "./socket.ts";
import { begin, send } from "./streams.ts";

/** The HTTP server of a node: the same routes on a unix socket and on loopback TCP. */

const MAX_BODY_BYTES = 2 * 1024 * 1024;
/** Per listener; a file descriptor each. */
const MAX_CONNECTIONS = 1_024;
/** Requests that wait for the cluster at once, over both listeners. */
const MAX_WAITING = 512;
/** Endless answers at once, over both listeners. */
const MAX_STREAMS = 128;
/** A client on the same machine sends its headers at once. */
const HEADERS_TIMEOUT_MS = 5_000;
/** For all of the request, its body included. */
const REQUEST_TIMEOUT_MS = 30_000;
const CHECK_INTERVAL_MS = 1_000;
const IDLE_TIMEOUT_MS = 60_000;
/** A client that reads nothing for so long is cut off. */
const STALL_MS = 60_000;
const KEEPALIVE_MS = 15_000;
/** How long `close` lets requests finish. */
const CLOSE_MS = 3_000;
/** A slot's name, `<job>.<service>.<n>`, escaped. */
const MAX_PARAM_CHARACTERS = 512;

export interface ApiOptions {
  readonly backend: Backend;
  /** In the data directory, next to admin.token. */
  readonly socketPath: string;
  /** A loopback address; port 0 takes any free one. Null: no TCP. */
  readonly tcp: { readonly host: string; readonly port: number } | null;
  readonly adminToken: string;
  readonly orchVersion: string;
}

export interface Api {
  readonly addresses: { readonly socketPath: string; readonly url: string | null };
  readonly counters: Readonly<ApiCounters>;
  /** Ends streams, lets requests finish for a moment, closes both listeners and removes the socket. */
  close(): Promise<void>;
}

/** What both listeners share. */
interface Shared {
  readonly context: Context;
  readonly counters: ApiCounters;
  readonly closing: AbortController;
  waiting: number;
  streams: number;
}

/** What a TCP request must show; null on the unix socket, whose file mode guards it. */
type TokenCheck = (authorization: string | undefined) => Fault | null;

/**
 * Starts the API. Throws OrchError: `invalid` for an address that is not this machine's own, `port-in-use`,
 * `data-in-use` when another node answers at the socket, `data-unwritable` when it cannot be made.
 */
export async function startApi(options: ApiOptions): Promise<Api> {
  const { backend, socketPath, tcp, adminToken, orchVersion } = options;
  assert(adminToken.length > 0, "an empty token would let everyone in");
  if (tcp !== null) refuseForeign(tcp.host);
  const counters: ApiCounters = { requests: 0, refused: 0, tooLarge: 0, unauthorized: 0 };
  const document = JSON.stringify(openapiDocument(ROUTES, orchVersion));
  const shared: Shared = {
    context: {
      backend,
      document,
      metrics: () =>
        metricsText(
          backend.local(),
          backend.counters(),
          counters,
          backend.histograms(),
          processSamples(),
        ),
    },
    counters,
    closing: new AbortController(),
    waiting: 0,
    streams: 0,
  };
  const check = tokenCheck(adminToken, join(dirname(socketPath), "admin.token"), socketPath);
  const local = buildServer(shared, null);
  const remote = tcp === null ? null : buildServer(shared, check);
  await Promise.all([local.ready(), remote?.ready()]);
  const release = await listenOnSocket(local.server, socketPath);
  const servers = remote === null ? [local] : [local, remote];
  let closed: Promise<void> | null = null;
  const close = async (): Promise<void> => {
    closed ??= closeAll(shared, servers, release);
    return closed;
  };
  try {
    const url = remote === null || tcp === null ? null : await listenOnTcp(remote, tcp);
    return { addresses: { socketPath, url }, counters, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function refuseForeign(host: string): void {
  if (isLoopbackHost(host)) return;
  throw new OrchError(
    fault(
      "invalid",
      `The API cannot listen on ${host}: that needs TLS, which this version does not have`,
      "Use --api 127.0.0.1:7401; from another machine, reach it through an SSH tunnel.",
      { host },
    ),
  );
}

async function listenOnTcp(
  app: FastifyInstance,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<string> {
  // One address, so that a port of 0 is one port; Fastify would take two for localhost.
  const address =
    host.toLowerCase() === "localhost" ? "127.0.0.1" : host.replace(/^\[(.*)\]$/, "$1");
  try {
    await app.listen({ host: address, port });
  } catch (error) {
    throw listenFault(`${host}:${port}`, error);
  }
  const bound = app.server.address();
  assert(
    bound !== null && typeof bound === "object",
    "a TCP server has an address once it listens",
  );
  return `http://${bound.family === "IPv6" ? `[${bound.address}]` : bound.address}:${bound.port}`;
}

function listenFault(address: string, error: unknown): OrchError {
  const code = error instanceof Error && "code" in error ? error.code : null;
  if (code === "EADDRINUSE") {
    return new OrchError(
      fault(
        "port-in-use",
        `The API cannot listen on ${address}: another process does already`,
        "Choose another address with --api HOST:PORT, or stop that process.",
        { address, flag: "--api" },
      ),
      error,
    );
  }
  const reason = error instanceof Error ? error.message : String(error);
  return new OrchError(
    fault(
      "invalid",
      `The API cannot listen on ${address}: ${reason}`,
      "Choose another address with --api HOST:PORT.",
      { address, flag: "--api" },
    ),
    error,
  );
}

function buildServer(shared: Shared, check: TokenCheck | null): FastifyInstance {
  const app = Fastify({
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: IDLE_TIMEOUT_MS,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: MAX_PARAM_CHARACTERS },
    http: {
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
    },
    clientErrorHandler: (error, socket) => refuseConnection(shared.counters, error, socket),
    frameworkErrors: (error, _request, reply) => {
      shared.counters.requests++;
      refuse(shared.counters, reply, frameworkFault(error));
    },
  });
  app.server.maxConnections = MAX_CONNECTIONS;
  onlyJson(app);
  const open = new Set(ROUTES.filter((route) => route.open).map((route) => route.path));
  app.addHook("onRequest", async (request, reply) => {
    shared.counters.requests++;
    reply.headers({ "cache-control": "no-store", "x-content-type-options": "nosniff" });
    if (check === null) return;
    const { host, origin, authorization } = request.headers;
    const foreign = checkOrigin(host, origin);
    if (foreign !== null) throw new OrchError(foreign);
    if (open.has(request.routeOptions.url ?? "")) return;
    const refusal = check(authorization);
    if (refusal !== null) throw new OrchError(refusal);
  });
  app.setErrorHandler((error: FastifyError, request, reply) => {
    refuse(shared.counters, reply, frameworkFault(error, maxBytesOf(request)));
  });
  app.setNotFoundHandler((request, reply) => refuse(shared.counters, reply, noRoute(request)));
  for (const route of ROUTES) {
    if (route.maxBytes === null) serve(app, route, shared);
    else serveBytes(app, route, route.maxBytes, shared);
  }
  return app;
}

/** A route whose body is raw bytes and nothing else: it has a parser of its own, and the others do not have it. */
function serveBytes(app: FastifyInstance, route: Route, maxBytes: number, shared: Shared): void {
  void app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser(
      "application/octet-stream",
      { parseAs: "buffer", bodyLimit: maxBytes },
      (_request, body, done) => done(null, body),
    );
    serve(scope, route, shared);
  });
}

/** The only type of body there is, but for raw bytes; a form, say, could be sent by any web page without asking. */
function onlyJson(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    "application/json",
    { parseAs: "string" },
    app.getDefaultJsonParser("error", "error"),
  );
}

function serve(app: FastifyInstance, route: Route, shared: Shared): void {
  app.route({
    method: route.method,
    url: urlOf(route),
    handler: async (request, reply) => {
      if (shared.waiting >= MAX_WAITING) throw overloaded("requests", MAX_WAITING);
      shared.waiting++;
      let answer: Answer;
      try {
        answer = await route.run(request, shared.context);
      } finally {
        shared.waiting--;
      }
      if (answer.kind === "stream") return answerStream(answer, reply, shared);
      reply.raw.setTimeout(STALL_MS);
      return reply
        .code(answer.status)
        .headers(answer.headers)
        .type(answer.contentType)
        .send(answer.text);
    },
  });
}

/** The path as Fastify writes it. */
function urlOf(route: Route): string {
  return route.path.replaceAll(/\{(\w+)\}/g, ":$1");
}

function overloaded(what: string, limit: number): OrchError {
  return new OrchError(
    fault(
      "overloaded",
      `This node serves ${limit} ${what} at once and has no room for another.`,
      "Try again in a moment, or ask another node.",
      { limit },
    ),
  );
}

async function answerStream(stream: Stream, reply: FastifyReply, shared: Shared): Promise<void> {
  if (shared.streams >= MAX_STREAMS) throw overloaded("streams", MAX_STREAMS);
  const { raw } = reply;
  const gone = new AbortController();
  const signal = AbortSignal.any([gone.signal, shared.closing.signal]);
  raw.once("close", () => gone.abort());
  if (raw.destroyed) gone.abort();
  shared.streams++;
  try {
    const begun = await begin(stream, signal);
    // From here on the response is not Fastify's: it would buffer what it is given.
    reply.hijack();
    raw.writeHead(200, {
      ...headersOf(reply),
      ...stream.headers,
      "content-type": stream.contentType,
    });
    raw.flushHeaders();
    signal.addEventListener("abort", () => raw.end(), { once: true });
    if (signal.aborted) raw.end();
    const bounds = { keepaliveMs: KEEPALIVE_MS, stallMs: STALL_MS };
    const end = await send(stream, begun, sinkOf(raw), bounds, signal);
    if (end === "stalled") raw.destroy();
    else raw.end();
  } finally {
    shared.streams--;
    gone.abort();
  }
}

/** What hooks have set. */
function headersOf(reply: FastifyReply): Record<string, string> {
  return Object.fromEntries(
    Object.entries(reply.getHeaders()).map(([name, value]) => [name, String(value)]),
  );
}

function sinkOf(raw: ServerResponse): {
  write(text: string): boolean;
  drained(signal: AbortSignal): Promise<void>;
} {
  return {
    write: (text) => raw.writableEnded || raw.write(text),
    drained: async (signal) => {
      await once(raw, "drain", { signal });
    },
  };
}

/** How many raw bytes the request's route takes; null: it takes JSON. */
function maxBytesOf({ method, routeOptions: { url } }: FastifyRequest): number | null {
  const found = ROUTES.find((route) => route.method === method && urlOf(route) === url);
  return found?.maxBytes ?? null;
}

/** The fault in whatever a route, a hook or the framework threw. */
function frameworkFault(error: FastifyError | Error, maxBytes: number | null = null): Fault {
  if (error instanceof OrchError) return error.fault;
  const code = "code" in error ? error.code : "";
  switch (code) {
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return fault(
        "too-large",
        `The body is larger than ${maxBytes ?? MAX_BODY_BYTES} bytes.`,
        maxBytes === null
          ? "Send less; split the job into several."
          : "Send less; keep large files in a volume or an image.",
        { limitBytes: maxBytes ?? MAX_BODY_BYTES },
      );
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return fault(
        "invalid",
        maxBytes === null ? "The body is not sent as JSON." : "The body is not sent as raw bytes.",
        `Send it with Content-Type: application/${maxBytes === null ? "json" : "octet-stream"}.`,
      );
    case "FST_ERR_CTP_EMPTY_JSON_BODY":
      return fault("invalid", "The body is empty.", "Leave Content-Type away, or send JSON.");
    case "FST_ERR_CTP_INVALID_JSON_BODY":
      return fault("invalid", "The body is not JSON.", "Check it, for instance with jq.");
    case "FST_ERR_CTP_INVALID_CONTENT_LENGTH":
      return fault("invalid", "The body is not as long as Content-Length says.", "Send it again.");
    case "FST_ERR_BAD_URL":
    case "FST_ERR_MAX_PARAM_LENGTH":
      return fault("invalid", `The URL is not valid: ${error.message}`, "Check how it is escaped.");
    default:
      break;
  }
  const status = "statusCode" in error ? error.statusCode : null;
  if (typeof status === "number" && status >= 400 && status < 500) {
    return fault("invalid", error.message, "GET /v1/openapi.json describes what each route takes.");
  }
  return reported(error);
}

/** A bug: its trace goes to the node's log, not over the network. */
function reported(error: Error): Fault {
  process.stderr.write(`api: ${error.stack ?? error.message}\n`);
  const { code, message, hint } = faultOf(error);
  return fault(code, message, hint);
}

function noRoute(request: FastifyRequest): Fault {
  const path = request.url.split("?", 1)[0] ?? "";
  const methods = ROUTES.filter((route) => pathPattern(route.path).test(path)).map(
    (route) => route.method,
  );
  const known = methods.length === 0 ? "" : `This path answers ${methods.join(" and ")}. `;
  return fault(
    "not-found",
    `There is no ${request.method} ${path.slice(0, 200)}`,
    `${known}GET /v1/openapi.json lists all routes.`,
  );
}

function pathPattern(path: string): RegExp {
  return new RegExp(`^${path.replaceAll(/\{\w+\}/g, "[^/]+")}$`);
}

function refuse(counters: ApiCounters, reply: FastifyReply, reason: Fault): void {
  count(counters, reason);
  if (reason.code === "unauthorized") reply.header("www-authenticate", "Bearer");
  if (isTransient(reason)) reply.header("retry-after", "1");
  void reply
    .code(ERRORS[reason.code].status)
    .type("application/json; charset=utf-8")
    .send(JSON.stringify(reason));
}

/** Whether the node can say when to come again: what may have been done is not for waiting, but for asking again. */
function isTransient({ code }: Fault): boolean {
  return code === "no-manager" || code === "overloaded" || code === "unreachable";
}

function count(counters: ApiCounters, { code }: Fault): void {
  counters.refused++;
  if (code === "too-large") counters.tooLarge++;
  if (code === "unauthorized" || code === "forbidden") counters.unauthorized++;
}

/** Answers what is not HTTP, or did not arrive in time: there is no request to reply to. */
function refuseConnection(
  counters: ApiCounters,
  error: Error & { code?: string },
  socket: Socket,
): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  counters.requests++;
  const reason =
    error.code === "HPE_HEADER_OVERFLOW"
      ? fault("too-large", "The headers are too large.", "Send fewer or shorter ones.")
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? fault("invalid", "The request did not arrive in time.", "Send it faster.")
        : fault("invalid", "This is not an HTTP request.", "Check the client.");
  count(counters, reason);
  const body = JSON.stringify(reason);
  const { status } = ERRORS[reason.code];
  socket.end(
    `HTTP/1.1 ${status} ${status === 413 ? "Content Too Large" : "Bad Request"}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
  // A client that does not read must not keep its socket.
  socket.setTimeout(CHECK_INTERVAL_MS, () => socket.destroy());
}

async function closeAll(
  shared: Shared,
  servers: readonly FastifyInstance[],
  release: () => Promise<void>,
): Promise<void> {
  shared.closing.abort();
  const untilMs = performance.now() + CLOSE_MS;
  await release();
  while (shared.waiting + shared.streams > 0 && performance.now() < untilMs) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await Promise.all(
    servers.map(async (app) => {
      app.server.close();
      app.server.closeAllConnections();
      await app.close();
    }),
  );
}
