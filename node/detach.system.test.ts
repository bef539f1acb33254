import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { freePorts, publishPlans } from "../cli/dev-ports.ts";
import { present } from "../lib/assert.ts";
import { orch, type Finished } from "../test/fixtures/orch-process.ts";

const RUNS = /^orch runs as process (\d+); its log: (.+)\n$/;

let folder = "";
let dataDir = "";
let flags: string[] = [];
const pids: number[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "orch-d-"));
  dataDir = join(folder, "n1");
  flags = await ownFlags();
});

afterEach(async () => {
  for (const pid of pids.splice(0)) await end(pid, "SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

/** Of a node with free ports, in this test's data folder. */
async function ownFlags(): Promise<string[]> {
  const [listen, api] = await freePorts(2);
  const plan = present((await publishPlans(1))[0], "one was asked for");
  const own = {
    "data-dir": dataDir,
    driver: "process",
    listen: `127.0.0.1:${listen}`,
    api: `127.0.0.1:${api}`,
    publish: plan.address,
    "port-range": `${plan.firstPort}-${plan.lastPort}`,
  };
  return Object.entries(own).flatMap(([flag, value]) => [`--${flag}`, value]);
}

function started(done: Finished): number {
  expect(done).toMatchObject({ code: 0, stderr: "" });
  const pid = Number(RUNS.exec(done.stdout)?.[1]);
  expect(pid).toBeGreaterThan(1);
  pids.push(pid);
  return pid;
}

function runs(pid: number): boolean {
  try {
    // A zombie has no command line.
    return readFileSync(`/proc/${pid}/cmdline`, "latin1") !== "";
  } catch {
    return false;
  }
}

async function end(pid: number, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  if (runs(pid)) process.kill(pid, signal);
  await vi.waitFor(() => expect(runs(pid)).toBe(false), { timeout: 20_000, interval: 20 });
}

test("--detach of a folder in use tells the child's own failure, and the node that runs goes on", async () => {
  const pid = started(await orch(["node", "init", "--detach", ...flags]));
  const other = await ownFlags();
  for (const words of [["init"], ["start"], ["join", "127.0.0.1:1", "--token", "x"]]) {
    const again = await orch(["node", ...words, "--detach", ...other]);
    expect(again).toMatchObject({ code: 1, stdout: "" });
    expect(again.stderr).toContain(`is in use by process ${pid}`);
    expect(again.stderr).toContain("hint: Stop that node");
    // What the first run wrote to the same log is not this run's.
    expect(again.stderr).not.toContain("founded cluster");
  }
  expect(runs(pid)).toBe(true);
  const status = await orch(["cluster", "status", "-q", "--host", `unix://${dataDir}/orch.sock`]);
  expect(status.code).toBe(0);
});

test("--detach ends with the node's own code, and shows no lines of earlier runs", async () => {
  await end(started(await orch(["node", "init", "--detach", ...flags])), "SIGTERM");
  const known = await orch(["node", "init", "--detach", ...flags]);
  expect(known).toMatchObject({ code: 1, stdout: "" });
  expect(known.stderr).toContain("already holds node");
  expect(known.stderr).not.toContain("founded cluster");
  // It is once more the same node, in the background.
  await end(started(await orch(["node", "start", "--detach", ...flags])), "SIGTERM");
  dataDir = join(folder, "n2");
  const joining = ["node", "join", "127.0.0.1:1", "--token", "nonsense", "--detach"];
  const refused = await orch([...joining, ...(await ownFlags())]);
  expect(refused).toMatchObject({ code: 77, stdout: "" });
  expect(refused.stderr).not.toContain("already holds node");
});
