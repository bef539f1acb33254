import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pool } from "undici";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MemoryBackend } from "./memory-backend.ts";
import { clusterSchema, faultSchema, writeSchema } from "./schemas.ts";
import { startApi } from "./server.ts";
import type { Api } from "./server.ts";

// The brake over the real HTTP server.

let folder: string;
let backend: MemoryBackend;
let api: Api;
let pool: Pool;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "orch-api-"));
  backend = new MemoryBackend();
  const socketPath = join(folder, "orch.sock");
  const told = { tcp: null, adminToken: "admin-token-1", orchVersion: "0.1.0" };
  api = await startApi({ backend, socketPath, ...told });
  pool = new Pool("http://localhost", { connect: { socketPath: api.addresses.socketPath } });
});

afterEach(async () => {
  await pool.destroy();
  await api.close();
  await rm(folder, { recursive: true, force: true });
});

interface Reply {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: unknown;
}

async function release(key: string, body: string | null = null): Promise<Reply> {
  const headers = {
    "idempotency-key": key,
    ...(body === null ? {} : { "content-type": "application/json" }),
  };
  const path = "/v1/cluster/release";
  const response = await pool.request({ method: "POST", path, headers, body });
  return { headers: response.headers, body: await response.body.json() };
}

async function brake(): Promise<unknown> {
  const response = await pool.request({ method: "GET", path: "/v1/cluster" });
  return clusterSchema.parse(await response.body.json()).brake;
}

test("the brake is shown, and released once under a key", async () => {
  const times = { since: "2026-01-01T00:00:00.000Z", until: "2026-01-01T00:05:00.000Z" };
  const on = { down: 4, nodes: 6, held: 9, ...times };
  backend.brake = on;
  expect(await brake()).toEqual(on);
  const done = await release("release-1");
  expect(done.headers["idempotency-key"]).toBe("release-1");
  expect(writeSchema.parse(done.body)).toEqual({ version: null, changed: true });
  expect((await release("release-1", "{}")).body).toEqual(done.body);
  const write = { kind: "write", key: "release-1", command: { kind: "brake-release" } };
  expect(backend.asked.filter(({ kind }) => kind === "write")).toEqual([write, write]);
  expect(await brake()).toBeNull();
  expect(writeSchema.parse((await release("release-2")).body).changed).toBe(false);
});

test("a release takes no arguments: all that is held is released", async () => {
  const refused = await release("release-3", '{"node":"one"}');
  expect(faultSchema.parse(refused.body).code).toBe("invalid");
  expect(backend.asked).toEqual([]);
});
