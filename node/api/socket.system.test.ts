import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { OrchError } from "../../lib/errors.ts";
import { listenOnSocket } from "./socket.ts";

let folder: string;
let path: string;
const servers: Server[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "orch-socket-"));
  path = join(folder, "orch.sock");
});

afterEach(async () => {
  for (const server of servers.splice(0)) server.close();
  await chmod(folder, 0o700);
  await rm(folder, { recursive: true, force: true });
});

function newServer(): Server {
  const server = createServer((_request, response) => response.end("hello"));
  servers.push(server);
  return server;
}

async function refusal(at: string): Promise<string> {
  try {
    await listenOnSocket(newServer(), at);
    return "it listens";
  } catch (error) {
    if (error instanceof OrchError) return error.fault.code;
    throw error;
  }
}

async function connects(at: string): Promise<boolean> {
  const socket = connect(at);
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

test("it listens with mode 0600, leaves nothing else in the folder, and removes itself", async () => {
  const release = await listenOnSocket(newServer(), path);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await readdir(folder)).toEqual(["orch.sock"]);
  expect(await connects(path)).toBe(true);
  await release();
  expect(await readdir(folder)).toEqual([]);
});

test("the socket of a living process is not taken", async () => {
  await listenOnSocket(newServer(), path);
  expect(await refusal(path)).toBe("data-in-use");
  expect(await connects(path)).toBe(true);
});

test("the socket of a process that was killed is replaced", async () => {
  const script = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.stdout.write("up"))`;
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  try {
    await once(child.stdout, "data");
    expect(await refusal(path)).toBe("data-in-use");
  } finally {
    child.kill("SIGKILL");
    await exited;
  }
  expect((await stat(path)).isSocket()).toBe(true);
  await listenOnSocket(newServer(), path);
  expect(await connects(path)).toBe(true);
});

test("a file that is no socket is left alone", async () => {
  await writeFile(path, "mine");
  expect(await refusal(path)).toBe("data-unwritable");
  expect((await stat(path)).size).toBe(4);
});

test("the longest path that the system allows works, one byte more is told", async () => {
  const deep = join(folder, "d".repeat(107 - "/orch.sock".length - Buffer.byteLength(folder) - 1));
  await mkdir(deep);
  const longest = join(deep, "orch.sock");
  expect(Buffer.byteLength(longest)).toBe(107);
  await listenOnSocket(newServer(), longest);
  expect(await readdir(deep)).toEqual(["orch.sock"]);
  expect(await connects(longest)).toBe(true);
  expect(await refusal(`${longest}x`)).toBe("invalid");
});

test("a folder that is not there, or a path that is too long, is told", async () => {
  expect(await refusal(join(folder, "none", "orch.sock"))).toBe("data-unwritable");
  expect(await refusal(join(folder, "x".repeat(120)))).toBe("invalid");
});

test("what another process has put there since is not removed", async () => {
  const release = await listenOnSocket(newServer(), path);
  await rm(path);
  const releaseSecond = await listenOnSocket(newServer(), path);
  await release();
  expect(await connects(path)).toBe(true);
  await releaseSecond();
  await release();
  expect(await readdir(folder)).toEqual([]);
});
