import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pool } from "undici";
import type { Dispatcher } from "undici";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MemoryBackend } from "./memory-backend.ts";
import { eventSchema, faultSchema, logLineSchema, taskSchema } from "./schemas.ts";
import { startApi } from "./server.ts";
import type { Api } from "./server.ts";

let folder: string;
let backend: MemoryBackend;
let api: Api;
let pool: Pool;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "orch-api-"));
  backend = new MemoryBackend();
  const socketPath = join(folder, "orch.sock");
  const rest = { tcp: null, adminToken: "t", orchVersion: "0.1.0" };
  api = await startApi({ backend, socketPath, ...rest });
  pool = new Pool("http://localhost", { connect: { socketPath }, bodyTimeout: 0 });
});

afterEach(async () => {
  await pool.destroy();
  await api.close();
  await rm(folder, { recursive: true, force: true });
});

/** A GET whose body is read as it comes. */
class Reading {
  text = "";
  ended = false;
  readonly response: Dispatcher.ResponseData;

  constructor(response: Dispatcher.ResponseData) {
    this.response = response;
    response.body.setEncoding("utf8");
    response.body.on("data", (part: string) => {
      this.text += part;
    });
    response.body.on("end", () => {
      this.ended = true;
    });
    // Destroying it is an error to undici.
    response.body.on("error", () => undefined);
  }

  leave(): void {
    this.response.body.destroy();
  }

  ids(): string[] {
    return [...this.text.matchAll(/^id: (.*)$/gm)].map(([, id = ""]) => id);
  }
}

async function get(path: string, headers: Readonly<Record<string, string>> = {}): Promise<Reading> {
  return new Reading(await pool.request({ method: "GET", path, headers }));
}

async function newTask(): Promise<string> {
  const compose = "services: { web: { image: a } }";
  await pool.request({
    method: "PUT",
    path: "/v1/jobs/shop",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ compose }),
  });
  const { body } = await pool.request({ method: "GET", path: "/v1/tasks/shop.web.1" });
  return taskSchema.parse(await body.json()).id;
}

test("events that were, then events that come, each in its shape", async () => {
  backend.emit(1);
  const events = await get("/v1/events");
  expect(events.response.headers["content-type"]).toBe("text/event-stream; charset=utf-8");
  expect(events.response.headers["orch-index"]).toBe("2");
  expect(events.response.headers["cache-control"]).toBe("no-store");
  await expect.poll(() => events.ids()).toEqual(["2"]);
  backend.emit(2);
  await expect.poll(() => events.ids()).toEqual(["2", "3", "3.2"]);
  const sent = [...events.text.matchAll(/^data: (.*)$/gm)].map(
    ([, json = ""]) => JSON.parse(json) as unknown,
  );
  expect(sent.map((event) => eventSchema.parse(event))).toEqual(backend.eventLog);
});

test("since is after an index, or from a time on", async () => {
  backend.emit(1, "2026-01-01T00:00:00.000Z");
  backend.emit(1, "2026-01-02T00:00:00.000Z");
  backend.emit(1, "2026-01-03T00:00:00.000Z");
  const byIndex = await get("/v1/events?since=2");
  await expect.poll(() => byIndex.ids()).toEqual(["3", "4"]);
  const byTime = await get("/v1/events?since=2026-01-02T12:00:00Z");
  await expect.poll(() => byTime.ids()).toEqual(["4"]);
});

test("a reconnect with Last-Event-ID misses nothing and repeats nothing, even within one entry", async () => {
  const all: string[] = [];
  for (let count = 1; count <= 3; count++) backend.emit(count);
  const whole = await get("/v1/events");
  await expect.poll(() => whole.ids().length).toBe(6);
  for (const id of whole.ids()) {
    all.push(id);
    const again = await get("/v1/events", { "last-event-id": id });
    const rest = whole.ids().filter((other) => !all.includes(other));
    backend.emit(0);
    await expect.poll(() => again.ids()).toEqual(rest);
    again.leave();
  }
  const malformed = await get("/v1/events", { "last-event-id": "x" });
  expect(malformed.response.statusCode).toBe(400);
});

test("a client that goes ends its stream in the backend", async () => {
  const events = await get("/v1/events");
  await expect.poll(() => backend.watching).toBe(1);
  events.leave();
  await expect.poll(() => backend.watching).toBe(0);
});

test("close ends streams", async () => {
  const events = await get("/v1/events");
  await expect.poll(() => backend.watching).toBe(1);
  await api.close();
  await expect.poll(() => events.ended).toBe(true);
  expect(backend.watching).toBe(0);
});

test("there is a bound on streams, and room again once one ends", async () => {
  const streams: Reading[] = [];
  for (let nth = 0; nth < 128; nth++) streams.push(await get("/v1/events"));
  const refused = await get("/v1/events");
  expect(refused.response.statusCode).toBe(429);
  expect(refused.response.headers["retry-after"]).toBe("1");
  streams[0]?.leave();
  await expect
    .poll(async () => {
      const next = await get("/v1/events");
      next.leave();
      return next.response.statusCode;
    })
    .toBe(200);
});

function textsIn(text: string): string[] {
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => logLineSchema.parse(JSON.parse(line)).text);
}

async function printed(path: string): Promise<string[]> {
  const reading = await get(path);
  expect(reading.response.headers["content-type"]).toBe("application/x-ndjson; charset=utf-8");
  await expect.poll(() => reading.ended).toBe(true);
  return textsIn(reading.text);
}

test("output: all, the last lines, from a time on, by slot", async () => {
  const id = await newTask();
  const hourAgoMs = Date.now() - 3_600_000;
  for (let minute = 0; minute < 60; minute++)
    backend.print(id, `m${minute}`, hourAgoMs + minute * 60_000);
  expect(await printed(`/v1/tasks/${id}/logs`)).toHaveLength(60);
  expect(await printed(`/v1/tasks/${id}/logs?tail=2`)).toEqual(["m58", "m59"]);
  expect(await printed(`/v1/tasks/${id}/logs?tail=0`)).toEqual([]);
  expect(await printed(`/v1/tasks/shop.web.1/logs?since=150s`)).toEqual(["m58", "m59"]);
  expect(await printed(`/v1/tasks/${id}/logs?since=${hourAgoMs + 59 * 60_000}`)).toEqual(["m59"]);
  const time = encodeURIComponent(new Date(hourAgoMs + 58 * 60_000).toISOString());
  expect(await printed(`/v1/tasks/${id}/logs?since=${time}`)).toEqual(["m58", "m59"]);
});

test("followed output goes on until the client leaves", async () => {
  const id = await newTask();
  backend.print(id, "a", 1);
  const reading = await get(`/v1/tasks/${id}/logs?follow=true`);
  await expect.poll(() => textsIn(reading.text)).toEqual(["a"]);
  backend.print(id, "b", 2);
  await expect.poll(() => textsIn(reading.text)).toEqual(["a", "b"]);
  reading.leave();
  await expect.poll(() => backend.watching).toBe(0);
});

test("following a task that prints nothing yet answers at once, and then what comes", async () => {
  const id = await newTask();
  const reading = await get(`/v1/tasks/${id}/logs?follow=1`);
  expect(reading.response.statusCode).toBe(200);
  backend.print(id, "late", 1);
  await expect.poll(() => textsIn(reading.text)).toEqual(["late"]);
});

test("output of a task that is not there, or out of reach, is a fault with its status", async () => {
  const id = await newTask();
  const missing = await get("/v1/tasks/1-99/logs");
  await expect.poll(() => missing.ended).toBe(true);
  expect(faultSchema.parse(JSON.parse(missing.text)).code).toBe("not-found");
  expect(missing.response.statusCode).toBe(404);
  backend.weather = "unreachable";
  const cut = await get(`/v1/tasks/${id}/logs`);
  expect(cut.response.statusCode).toBe(503);
});

test("a reader that stops reading stops the source: nothing piles up in the node", async () => {
  const id = await newTask();
  const line = "x".repeat(10_000);
  for (let nth = 0; nth < 5_000; nth++) backend.print(id, line, nth);
  const socket = connect(api.addresses.socketPath);
  socket.pause();
  socket.write(`GET /v1/tasks/${id}/logs?follow=1 HTTP/1.1\r\nHost: a\r\n\r\n`);
  await expect.poll(() => backend.watching).toBe(1);
  const before = await settled(() => backend.taken);
  // 50 MB are there; what the kernel and one response buffer is far less.
  expect(before).toBeGreaterThan(0);
  expect(before).toBeLessThan(1_000);
  socket.resume();
  await expect.poll(() => backend.taken).toBe(5_000);
  socket.destroy();
  await expect.poll(() => backend.watching).toBe(0);
});

/** The figure once it has stayed the same over a number of turns of the event loop. */
async function settled(figure: () => number): Promise<number> {
  let last = -1;
  for (let same = 0; same < 200;) {
    await new Promise((resolve) => setImmediate(resolve));
    same = figure() === last && last > 0 ? same + 1 : 0;
    last = figure();
  }
  return last;
}
