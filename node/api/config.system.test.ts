import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { Pool } from "undici";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ERRORS } from "../../lib/errors.ts";
import type { ErrorCode, Fault } from "../../lib/errors.ts";
import { MAX_CONFIG_BYTES } from "../../state/config.ts";
import { MemoryBackend } from "./memory-backend.ts";
import { configContentSchema, faultSchema } from "./schemas.ts";
import { startApi } from "./server.ts";
import type { Api } from "./server.ts";

// Configs over the real HTTP server: raw bytes in, JSON out, versions as entity tags.

const OCTETS = { "content-type": "application/octet-stream" };

let folder: string;
let backend: MemoryBackend;
let api: Api;
let pool: Pool;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "orch-api-"));
  backend = new MemoryBackend();
  api = await startApi({
    backend,
    socketPath: join(folder, "orch.sock"),
    tcp: null,
    adminToken: "admin-token-1",
    orchVersion: "0.1.0",
  });
  pool = new Pool("http://localhost", { connect: { socketPath: api.addresses.socketPath } });
});

afterEach(async () => {
  await pool.destroy();
  await api.close();
  await rm(folder, { recursive: true, force: true });
});

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: unknown;
}

async function call(
  method: "GET" | "PUT" | "DELETE",
  name: string,
  body: Uint8Array | string | null = null,
  headers: Readonly<Record<string, string>> = {},
): Promise<Reply> {
  const path = `/v1/configs/${name}`;
  const response = await pool.request({ method, path, headers, body });
  const text = await response.body.text();
  return { status: response.statusCode, headers: response.headers, body: JSON.parse(text) };
}

function put(
  name: string,
  content: Uint8Array | string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Reply> {
  return call("PUT", name, content, { ...OCTETS, ...headers });
}

function expectFault(reply: Reply, code: ErrorCode): Fault {
  const parsed = faultSchema.parse(reply.body);
  expect([parsed.code, reply.status]).toEqual([code, ERRORS[code].status]);
  return parsed;
}

async function contentOf(name: string): Promise<Uint8Array> {
  const { data, sizeBytes } = configContentSchema.parse((await call("GET", name)).body);
  const bytes = new Uint8Array(Buffer.from(data, "base64url"));
  expect(sizeBytes).toBe(bytes.length);
  return bytes;
}

test("any bytes come back as they were sent", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
      expect((await put("app", bytes)).status).toBe(200);
      expect(await contentOf("app")).toEqual(bytes);
    }),
    { numRuns: 50 },
  );
});

test("the content may be empty if its type says that it is meant", async () => {
  expect((await put("app", "")).body).toEqual({ version: 1, changed: true });
  expect(await contentOf("app")).toEqual(new Uint8Array());
  expect(expectFault(await call("PUT", "app"), "invalid").hint).toContain("octet-stream");
});

test("the version is the entity tag, of the answer to a write, too", async () => {
  const first = await put("app", "a");
  expect([first.headers["etag"], first.headers["orch-index"]]).toEqual(['"1"', "2"]);
  expect((await put("app", "b")).headers["etag"]).toBe('"2"');
  expect((await call("GET", "app")).headers["etag"]).toBe('"2"');
});

test("If-Match and If-None-Match compare and set", async () => {
  expectFault(await put("app", "a", { "if-match": '"1"' }), "version-mismatch");
  expect((await put("app", "a", { "if-none-match": "*" })).status).toBe(200);
  expectFault(await put("app", "b", { "if-none-match": "*" }), "version-mismatch");
  expect((await put("app", "b", { "if-match": '"1"' })).status).toBe(200);
  expect((await put("app", "c", { "if-match": "2" })).status).toBe(200);
  expectFault(await put("app", "d", { "if-match": "2" }), "version-mismatch");
  expect(Buffer.from(await contentOf("app")).toString()).toBe("c");
  expectFault(await call("DELETE", "app", null, { "if-match": "2" }), "version-mismatch");
  expect((await call("DELETE", "app", null, { "if-match": "3" })).body).toEqual({
    version: null,
    changed: true,
  });
  expectFault(await call("GET", "app"), "not-found");
  expectFault(await call("DELETE", "app"), "not-found");
});

test.each([
  { "if-match": "x" },
  { "if-match": '"1' },
  { "if-match": 'W/"1"' },
  { "if-match": "-1" },
  { "if-match": "*" },
  { "if-none-match": '"1"' },
  { "if-none-match": "" },
  { "if-match": "1", "if-none-match": "*" },
])("the headers %j are refused", async (headers) => {
  expectFault(await put("app", "a", headers), "invalid");
  expect(backend.asked).toEqual([]);
});

test("the same key is done once", async () => {
  const key = { "idempotency-key": "k1" };
  const first = await put("app", "a", key);
  const second = await put("app", "a", key);
  expect(second.body).toEqual(first.body);
  expect([first, second].map(({ headers }) => headers["idempotency-key"])).toEqual(["k1", "k1"]);
  expect(await call("GET", "app")).toMatchObject({ body: { version: 1 } });
  const writes = backend.asked.filter(({ kind }) => kind === "write");
  expect(writes).toEqual(
    Array.from({ length: 2 }, () => ({
      kind: "write",
      key: "k1",
      command: { kind: "config-put", name: "app", data: "YQ", ifVersion: null },
    })),
  );
});

test("content at the bound is taken, above it refused, and the node goes on", async () => {
  expect((await put("app", new Uint8Array(MAX_CONFIG_BYTES))).status).toBe(200);
  const { details } = expectFault(
    await put("app", new Uint8Array(MAX_CONFIG_BYTES + 1)),
    "too-large",
  );
  expect(details).toEqual({ limitBytes: MAX_CONFIG_BYTES });
  expect(api.counters).toMatchObject({ requests: 2, refused: 1, tooLarge: 1 });
  expect((await contentOf("app")).length).toBe(MAX_CONFIG_BYTES);
});

test.each(["App", "a.b", "-a", "a%2Fb", "a%20b", "x".repeat(64)])(
  "the name %s is refused",
  async (name) => {
    expectFault(await put(name, "a"), "invalid");
    expect(backend.asked).toEqual([]);
  },
);

test.each([
  ["application/json", "{}"],
  ["text/plain", "a"],
  ["application/x-www-form-urlencoded", "a=b"],
])("content that is sent as %s is refused", async (type, body) => {
  const reply = await call("PUT", "app", body, { "content-type": type });
  expect(expectFault(reply, "invalid").hint).toContain("application/octet-stream");
  const job = await pool.request({
    method: "PUT",
    path: "/v1/jobs/app",
    headers: OCTETS,
    body: "a",
  });
  expect(await job.body.text()).toContain("Content-Type: application/json");
});

test("reads may be stale; queries that are not known are refused", async () => {
  await put("app", "a");
  expect((await call("GET", "app?consistency=stale")).status).toBe(200);
  expect(backend.asked.at(-1)).toEqual({
    kind: "read",
    stale: true,
    query: { kind: "config", config: "app" },
  });
  expectFault(await call("GET", "app?version=1"), "invalid");
  expectFault(await call("PUT", "app?consistency=stale", "a", OCTETS), "invalid");
});
