import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startDevCluster } from "./dev-cluster.ts";
import { freePorts, publishPlans } from "./dev-ports.ts";

// Real node processes.

let base = "";

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "orch-t-"));
});

afterEach(async () => {
  await rm(base, { recursive: true, force: true });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test("three nodes start, one survives kill -9 by a restart, and nothing is left at the end", async () => {
  const folder = join(base, "cluster");
  const cluster = await startDevCluster({ nodes: 3, driver: "process", folder });
  const pids = cluster.nodes.map((node) => node.pid ?? 0);
  expect(pids.every(isAlive)).toBe(true);
  expect(cluster.nodes.every((node) => existsSync(node.socketPath))).toBe(true);

  const [, , third] = cluster.nodes;
  const deaths: string[] = [];
  third?.onDeath((how) => deaths.push(how));
  expect(third?.kill("SIGKILL")).toBe(true);
  await third?.exited();
  expect(third?.pid).toBeNull();
  await third?.restart();
  expect(third?.pid).not.toBe(pids[2]);
  expect(deaths).toEqual([]);

  process.kill(third?.pid ?? 0, "SIGKILL");
  await vi.waitFor(() => {
    expect(deaths).toEqual(["killed by SIGKILL"]);
  });

  expect(await cluster.stop()).toEqual([]);
  expect(pids.some(isAlive)).toBe(false);
  expect(existsSync(folder)).toBe(false);
});

test("a node that cannot start is told with its log, and the others are ended", async () => {
  const folder = join(base, "cluster");
  // Not a data folder of orch: the second node refuses it.
  await mkdir(join(folder, "n2"), { recursive: true });
  await writeFile(join(folder, "n2", "thesis.txt"), "");
  await expect(startDevCluster({ nodes: 2, driver: "process", folder })).rejects.toThrow(
    /node n2 did not start: exit 1; the end of its log:\norch: .*thesis\.txt/,
  );
  expect(await readdir(base)).toEqual([]);
});

test("an abort while it starts ends what was started", async () => {
  const folder = join(base, "cluster");
  const abort = new AbortController();
  const starting = startDevCluster({ nodes: 3, driver: "process", folder, signal: abort.signal });
  await vi.waitFor(() => {
    expect(existsSync(join(folder, "n1.log"))).toBe(true);
  });
  abort.abort();
  await expect(starting).rejects.toThrow(/abort/i);
  expect(existsSync(folder)).toBe(false);
});

test("ports are free and different; published ranges step aside for others", async () => {
  const ports = await freePorts(6);
  expect(new Set(ports).size).toBe(6);
  const [first, second] = await publishPlans(2);
  expect((second?.firstPort ?? 0) - (first?.firstPort ?? 0)).toBe(500);
  const taken = createServer().listen(first?.firstPort ?? 0, first?.address);
  await once(taken, "listening");
  try {
    const [other] = await publishPlans(2);
    expect(other?.firstPort).toBeGreaterThan(second?.lastPort ?? 0);
  } finally {
    taken.close();
  }
});
