import { mkdtemp, rm, stat } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { Client, Pool } from "undici";
import { z } from "zod";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ERRORS, OrchError } from "../../lib/errors.ts";
import type { ErrorCode, Fault } from "../../lib/errors.ts";
import type { AnswerShape } from "./call.ts";
import { jobSpec, serviceSpec } from "../../test/fixtures/cluster.ts";
import { MemoryBackend } from "./memory-backend.ts";
import { ROUTES } from "./routes.ts";
import { faultSchema, jobPutSchema, localSchema, SHAPES, taskSchema } from "./schemas.ts";
import { startApi } from "./server.ts";
import type { Api } from "./server.ts";

const CODES: readonly ErrorCode[] = [
  "invalid",
  "not-found",
  "conflict",
  "version-mismatch",
  "cannot-place",
  "forbidden",
  "no-manager",
  "unknown",
  "overloaded",
  "unreachable",
  "bug",
];
const TOKEN = "admin-token-1";
const OCTETS = { "content-type": "application/octet-stream" };
const COMPOSE = `name: shop
services:
  web:
    image: nginx
    deploy: { replicas: 2 }
`;

let folder: string;
let backend: MemoryBackend;
let api: Api;
let local: Pool;
let remote: Pool;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "orch-api-"));
  backend = new MemoryBackend();
  api = await startApi({
    backend,
    socketPath: join(folder, "orch.sock"),
    tcp: { host: "127.0.0.1", port: 0 },
    adminToken: TOKEN,
    orchVersion: "0.1.0",
  });
  local = new Pool("http://localhost", { connect: { socketPath: api.addresses.socketPath } });
  remote = new Pool(api.addresses.url ?? "");
});

afterEach(async () => {
  await Promise.all([local.destroy(), remote.destroy()]);
  await api.close();
  await rm(folder, { recursive: true, force: true });
});

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly body: unknown;
}

async function call(
  method: "GET" | "PUT" | "POST" | "DELETE" | "HEAD",
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
  pool: Pool = local,
): Promise<Reply> {
  const type = body === undefined ? {} : { "content-type": "application/json" };
  const response = await pool.request({
    method,
    path,
    headers: { ...type, ...headers },
    body: body === undefined ? null : typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await response.body.text();
  return { status: response.statusCode, headers: response.headers, text, body: jsonOf(text) };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function expectFault(reply: Reply, code: ErrorCode): Fault {
  const parsed = faultSchema.parse(reply.body);
  expect([parsed.code, reply.status]).toEqual([code, ERRORS[code].status]);
  expect(reply.headers["content-type"]).toBe("application/json; charset=utf-8");
  return parsed;
}

async function submit(): Promise<string> {
  const reply = await call("PUT", "/v1/jobs/-", { compose: COMPOSE });
  expect(reply.status).toBe(200);
  const { body } = await call("GET", "/v1/tasks/shop.web.1");
  return taskSchema.parse(body).id;
}

test("every route answers in the shape that the document says", async () => {
  const id = await submit();
  backend.print(id, "hello", 5);
  const paths: Record<
    string,
    { readonly path: string; readonly body?: unknown; readonly headers?: Record<string, string> }
  > = {
    getNode: { path: "/v1/nodes/one" },
    putJoinToken: { path: "/v1/nodes/token", body: { secret: "A".repeat(43) } },
    getJob: { path: "/v1/jobs/shop" },
    putJob: { path: "/v1/jobs/again", body: { compose: COMPOSE } },
    stopJob: { path: "/v1/jobs/shop/stop", body: { service: "web" } },
    getTask: { path: `/v1/tasks/${id}` },
    stopTask: { path: `/v1/tasks/${id}/stop` },
    getTaskLogs: { path: `/v1/tasks/${id}/logs` },
    getConfig: { path: "/v1/configs/app" },
    putConfig: { path: "/v1/configs/app", body: "x", headers: OCTETS },
    deleteConfig: { path: "/v1/configs/app" },
    restoreJob: {
      path: "/v1/jobs/back/restore",
      body: { spec: jobSpec("back", serviceSpec("web")), stopped: [], version: 3 },
    },
    restoreConfig: { path: "/v1/configs/back/restore", body: { data: "YQ", version: 3 } },
    leaveCluster: { path: "/v1/nodes/one/leave" },
    removeNode: { path: "/v1/nodes/one?force=true" },
  };
  await call("PUT", "/v1/configs/app", "a", OCTETS);
  for (const route of ROUTES.filter(({ id: name }) => name !== "watchEvents")) {
    const { path, body, headers } = paths[route.id] ?? { path: route.path };
    const reply = await call(route.method, path, body, headers);
    expect([route.id, reply.status]).toEqual([route.id, 200]);
    expect(reply.headers["cache-control"]).toBe("no-store");
    expect(declared(route.answer, reply)).toEqual(said(route.answer, reply));
  }
});

/** The answer as its schema reads it: without members that nobody declared. */
function declared(answer: AnswerShape, reply: Reply): unknown {
  if (answer.kind === "one") return SHAPES[answer.shape]?.parse(reply.body);
  if (answer.kind === "list") return z.array(SHAPES[answer.shape] ?? z.never()).parse(reply.body);
  if (answer.kind === "lines") {
    return z.array(SHAPES[answer.shape] ?? z.never()).parse(said(answer, reply));
  }
  return said(answer, reply);
}

function said(answer: AnswerShape, reply: Reply): unknown {
  return answer.kind === "lines" ? reply.text.trimEnd().split("\n").map(jsonOf) : reply.body;
}

test("an answer tells its log index and the manager", async () => {
  const reply = await call("GET", "/v1/jobs");
  expect(reply.headers["orch-index"]).toBe("1");
  expect(reply.headers["orch-manager"]).toBe("node-1");
});

test("a file is submitted under the URL's name, its own, or the default; twice changes nothing", async () => {
  const own = await call("PUT", "/v1/jobs/-", { compose: COMPOSE });
  expect(own.body).toEqual({ version: 1, changed: true, name: "shop", warnings: [] });
  const again = await call("PUT", "/v1/jobs/-", { compose: COMPOSE });
  expect(again.body).toEqual({ version: 1, changed: false, name: "shop", warnings: [] });
  const other = await call("PUT", "/v1/jobs/other", { compose: `version: "3"\n${COMPOSE}` });
  expect(other.body).toMatchObject({ name: "other", warnings: [{ line: 1 }] });
  const nameless = { compose: "services: { a: { image: b } }", defaultName: "my folder" };
  expect((await call("PUT", "/v1/jobs/-", nameless)).body).toMatchObject({ name: "my-folder" });
});

test("a file that is wrong is refused with every problem's place", async () => {
  const compose = "services:\n  web:\n    image: a\n    buld: .\n    replica: 2\n";
  const reply = await call("PUT", "/v1/jobs/shop", { compose, file: "my.yaml" });
  const { message, details } = expectFault(reply, "invalid");
  expect(message).toContain("my.yaml:4:5");
  expect(details["problems"]).toMatchObject([
    { line: 4, column: 5 },
    { line: 5, column: 5 },
  ]);
});

test("If-Match guards a job's version", async () => {
  const body = { compose: COMPOSE };
  const created = await call("PUT", "/v1/jobs/shop", body, { "if-match": "0" });
  expect(created.status).toBe(200);
  expectFault(await call("PUT", "/v1/jobs/shop", body, { "if-match": "0" }), "version-mismatch");
  const changed = { compose: COMPOSE.replace("2", "3") };
  const replaced = await call("PUT", "/v1/jobs/shop", changed, { "if-match": '"1"' });
  expect(replaced.body).toMatchObject({ version: 2, changed: true });
  expectFault(await call("PUT", "/v1/jobs/shop", body, { "if-match": "any" }), "invalid");
});

test("the same idempotency key is done once; without one each request has its own", async () => {
  const key = { "idempotency-key": "k 1" };
  const first = await call("PUT", "/v1/jobs/-", { compose: COMPOSE }, key);
  const second = await call("PUT", "/v1/jobs/-", { compose: COMPOSE.replace("2", "3") }, key);
  expect(second.body).toEqual(first.body);
  expect(first.headers["idempotency-key"]).toBe("k 1");
  await call("POST", "/v1/jobs/shop/stop");
  await call("POST", "/v1/jobs/shop/stop");
  const keys = backend.asked.flatMap((request) => (request.kind === "write" ? [request.key] : []));
  expect(new Set(keys).size).toBe(3);
  for (const bad of ["", "x".repeat(129), "k\u00e9"]) {
    const reply = await call("POST", "/v1/jobs/shop/stop", undefined, { "idempotency-key": bad });
    expectFault(reply, "invalid");
  }
});

test("queries reach the backend as they were meant", async () => {
  await call("GET", "/v1/tasks?job=a&service=b&node=c&all=true&consistency=stale");
  expect(backend.asked.at(-1)).toEqual({
    kind: "read",
    stale: true,
    query: { kind: "tasks", job: "a", service: "b", node: "c", all: true },
  });
  await call("GET", "/v1/jobs/a%2Fb");
  expect(backend.asked.at(-1)).toMatchObject({ stale: false, query: { kind: "job", job: "a/b" } });
});

test.each([
  "/v1/tasks?jbo=shop",
  "/v1/tasks?job=",
  "/v1/tasks?job=a&job=b",
  "/v1/tasks?all=maybe",
  "/v1/jobs?consistency=weak",
  "/v1/jobs?timeout=11m",
  "/v1/jobs?timeout=x",
  "/v1/events?since=soon",
  "/v1/tasks/1-0/logs?tail=-1",
  "/v1/tasks/1-0/logs?since=soon",
  "/v1/jobs/%zz",
  `/v1/jobs/${"x".repeat(600)}`,
  "/v1/nodes/%",
])("GET %s is refused as invalid", async (path) => {
  expect(expectFault(await call("GET", path), "invalid").message).not.toBe("");
});

test.each([
  ["PUT", "/v1/jobs/-", "{", {}],
  ["PUT", "/v1/jobs/-", "", {}],
  ["PUT", "/v1/jobs/-", undefined, {}],
  ["PUT", "/v1/jobs/-", "null", {}],
  ["PUT", "/v1/jobs/-", '{"compose":"a: b","__proto__":{"x":1}}', {}],
  ["PUT", "/v1/jobs/Shop", { compose: COMPOSE }, {}],
  ["PUT", "/v1/jobs/-", "compose=x", { "content-type": "application/x-www-form-urlencoded" }],
  ["PUT", "/v1/jobs/-", COMPOSE, { "content-type": "text/plain" }],
  ["POST", "/v1/jobs/a/stop", { servce: "b" }, {}],
  ["POST", "/v1/tasks/a/stop", { now: true }, {}],
] as const)("%s %s with %j is refused as invalid", async (method, path, body, headers) => {
  expect(expectFault(await call(method, path, body, headers), "invalid").message).not.toBe("");
});

test.each([
  ["GET", "/", ""],
  ["GET", "/v2/jobs", ""],
  ["DELETE", "/v1/jobs/shop", "GET and PUT"],
  ["POST", "/v1/nodes", "GET"],
  ["HEAD", "/v1/events", ""],
] as const)("%s %s is not there", async (method, path, known) => {
  const reply = await call(method, path);
  expect(reply.status).toBe(404);
  if (method === "HEAD") return;
  expectFault(reply, "not-found");
  expect(reply.text).toContain(known);
});

test("a body above the limit is refused and counted, and the node goes on", async () => {
  const reply = await call("PUT", "/v1/jobs/-", { compose: "x".repeat(2 * 1024 * 1024) });
  expectFault(reply, "too-large");
  expect(api.counters).toMatchObject({ requests: 1, refused: 1, tooLarge: 1, unauthorized: 0 });
  expect((await call("GET", "/healthz")).status).toBe(200);
});

test("every refusal of the cluster has its status; a transient one says when to come again", async () => {
  for (const code of CODES) {
    backend.weather = code;
    const reply = await call("GET", "/v1/jobs");
    expectFault(reply, code);
    const wait = ["no-manager", "overloaded", "unreachable"].includes(code) ? "1" : undefined;
    expect(reply.headers["retry-after"]).toBe(wait);
  }
});

test("a backend that is silent is not waited for: no-manager for reads, unknown for writes", async () => {
  backend.weather = "silence";
  const read = call("GET", "/v1/jobs?timeout=50ms");
  const write = call("POST", "/v1/jobs/a/stop", undefined, { "orch-timeout": "50" });
  expect(expectFault(await read, "no-manager").message).toContain("50 ms");
  expect(expectFault(await write, "unknown").hint).toContain("Idempotency-Key");
});

test("a bug is a fault without a trace", async () => {
  backend.weather = "throw";
  const { details } = expectFault(await call("GET", "/v1/jobs"), "bug");
  expect(details).toEqual({});
});

test("TCP needs the token; the socket does not", async () => {
  const { url } = api.addresses;
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  for (const headers of [{}, { authorization: "Bearer wrong" }]) {
    for (const path of [
      "/v1/jobs",
      "/readyz",
      "/metrics",
      "/debug/raft",
      "/v1/openapi.json",
      "/x",
    ]) {
      const reply = await call("GET", path, undefined, headers, remote);
      expect(expectFault(reply, "unauthorized").hint).toContain(join(folder, "admin.token"));
      expect(reply.headers["www-authenticate"]).toBe("Bearer");
    }
  }
  expect(api.counters).toMatchObject({ unauthorized: 12, refused: 12 });
  expect(backend.asked).toEqual([]);
  const authorization = `Bearer ${TOKEN}`;
  expect((await call("GET", "/v1/jobs", undefined, { authorization }, remote)).status).toBe(200);
  expect((await call("GET", "/v1/jobs")).status).toBe(200);
});

test("health is open, and tells who the node is and no more", async () => {
  const reply = await call("GET", "/healthz", undefined, {}, remote);
  const { id, clusterId: cluster, addresses } = backend.local();
  expect(reply.body).toEqual({ status: "ok", id, cluster, addresses });
});

test("a page of another origin, or under another name, is refused even with the token", async () => {
  const authorization = `Bearer ${TOKEN}`;
  for (const foreign of [
    { host: "evil.example:7401" },
    { origin: "http://evil.example" },
    { origin: "null" },
  ]) {
    for (const path of ["/v1/jobs", "/healthz"]) {
      const headers = { authorization, ...foreign };
      expectFault(await call("GET", path, undefined, headers, remote), "forbidden");
    }
  }
  expect(backend.asked).toEqual([]);
  const own = { authorization, origin: "http://localhost:3000", host: "localhost:7401" };
  expect((await call("GET", "/v1/jobs", undefined, own, remote)).status).toBe(200);
});

test("readiness follows the node", async () => {
  expect((await call("GET", "/readyz")).status).toBe(200);
  backend.ready = false;
  const reply = await call("GET", "/readyz");
  expect(reply.status).toBe(503);
  expect(localSchema.parse(reply.body)).toMatchObject({ ready: false });
});

test("metrics hold the API's own counters", async () => {
  await call("GET", "/nowhere");
  const { text, headers } = await call("GET", "/metrics");
  expect(headers["content-type"]).toContain("text/plain; version=0.0.4");
  expect(text).toContain("\norch_api_requests_total 2\n");
  expect(text).toContain("\norch_api_refused_total 1\n");
});

test("what is not HTTP gets an answer and is counted", async () => {
  const text = await rawExchange("hello\r\n\r\n");
  expect(text).toMatch(/^HTTP\/1\.1 400 /);
  expect(faultSchema.parse(jsonOf(text.split("\r\n\r\n")[1] ?? "")).code).toBe("invalid");
  const large = await rawExchange(`GET / HTTP/1.1\r\nHost: a\r\nx: ${"y".repeat(40_000)}\r\n\r\n`);
  expect(large).toMatch(/^HTTP\/1\.1 413 /);
  expect(api.counters).toMatchObject({ requests: 2, refused: 2, tooLarge: 1 });
});

test("a client that stops halfway in its headers is cut off", async () => {
  const text = await rawExchange("GET /healthz HTTP/1.1\r\nHost: a\r\n");
  expect(text).toMatch(/^HTTP\/1\.1 400 /);
});

/** Sends the bytes over the socket and reads until the node closes. */
async function rawExchange(bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(api.addresses.socketPath);
    let text = "";
    socket.setEncoding("utf8");
    socket.on("data", (part: string) => {
      text += part;
    });
    socket.on("error", reject);
    socket.on("close", () => resolve(text));
    socket.write(bytes);
  });
}

test("no body makes the node answer with anything but 200 or a fault", async () => {
  const paths = ["/v1/jobs/-", "/v1/jobs/shop"];
  const body = fc.oneof(
    fc.string(),
    fc.json(),
    fc.record({ compose: fc.string() }).map((value) => JSON.stringify(value)),
    fc
      .tuple(fc.nat(COMPOSE.length), fc.string(), fc.nat(9))
      .map(([at, text, cut]) => COMPOSE.slice(0, at) + text + COMPOSE.slice(at + cut))
      .map((compose) => JSON.stringify({ compose, defaultName: "a" })),
  );
  await fc.assert(
    fc.asyncProperty(body, fc.constantFrom(...paths), async (text, path) => {
      const reply = await call("PUT", path, text);
      const shape = reply.status === 200 ? jobPutSchema : faultSchema;
      expect(shape.safeParse(reply.body).success).toBe(true);
      expect([200, 400, 413]).toContain(reply.status);
    }),
    { numRuns: 200 },
  );
});

test("the socket is private, and gone after close", async () => {
  const { socketPath } = api.addresses;
  expect((await stat(socketPath)).mode & 0o777).toBe(0o600);
  await api.close();
  await expect(stat(socketPath)).rejects.toThrow("ENOENT");
});

test("a port that is taken is told with its flag, and leaves no socket behind", async () => {
  const port = Number(new URL(api.addresses.url ?? "").port);
  const socketPath = join(folder, "second.sock");
  const second = startApi({
    backend,
    socketPath,
    tcp: { host: "127.0.0.1", port },
    adminToken: TOKEN,
    orchVersion: "0.1.0",
  });
  const reason = await faultOfStart(second);
  expect(reason).toMatchObject({ code: "port-in-use" });
  expect(`${reason.message} ${reason.hint}`).toMatch(new RegExp(`127.0.0.1:${port}.*--api`));
  await expect(stat(socketPath)).rejects.toThrow("ENOENT");
});

test.each(["0.0.0.0", "::", "192.0.2.1", "node.example"])(
  "listening on %s is refused",
  async (host) => {
    const second = startApi({
      backend,
      socketPath: join(folder, "second.sock"),
      tcp: { host, port: 0 },
      adminToken: TOKEN,
      orchVersion: "0.1.0",
    });
    const reason = await faultOfStart(second);
    expect(reason.code).toBe("invalid");
    expect(reason.message).toContain("needs TLS, which this version does not have");
  },
);

async function faultOfStart(starting: Promise<Api>): Promise<OrchError["fault"]> {
  try {
    await (await starting).close();
  } catch (error) {
    if (error instanceof OrchError) return error.fault;
    throw error;
  }
  throw new Error("it started");
}

test("close ends requests that wait, and does not wait for idle connections", async () => {
  backend.weather = "silence";
  const client = new Client("http://localhost", {
    connect: { socketPath: api.addresses.socketPath },
  });
  const waiting = client.request({ method: "GET", path: "/v1/jobs?timeout=10m" });
  const ended = waiting.then(
    () => "answered",
    () => "cut",
  );
  await expect.poll(() => backend.asked.length).toBe(1);
  await api.close();
  expect(await ended).toBe("cut");
  await client.destroy();
});
