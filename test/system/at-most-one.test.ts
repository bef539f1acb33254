import { existsSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { present } from "../../lib/assert.ts";
import type { TaskView } from "../../node/core/view-types.ts";
import { fenceMs, LEASE_MS } from "../../state/lease.ts";
import { type NodeProcess, until } from "../fixtures/node-process.ts";
import { type TaskProcess, taskProcesses } from "../fixtures/orch-process.ts";
import { ProcessCluster } from "../fixtures/process-cluster.ts";

/** A service that must never run twice, on nodes whose processes are killed or stand still while their tasks run on. */

const GRACE_MS = 1_000;
const COMPOSE = [
  "services:",
  "  one:",
  "    command: [sh, -c, 'exec sleep 600']",
  `    stop_grace_period: ${GRACE_MS / 1_000}s`,
  "    x-orch: {partition: at-most-one}",
  "",
].join("\n");
const READY_MS = 60_000;
/** Until it is known to be down, what held the slot back, and a busy machine. */
const REPLACED_MS = fenceMs(GRACE_MS) + 30_000;
const lacking = existsSync("/usr/bin/setpriv") ? null : "needs /usr/bin/setpriv";
if (lacking !== null) process.stderr.write(`at most one task is not tested: ${lacking}\n`);

describe.runIf(lacking === null)("a task that must never run twice", () => {
  let started: ProcessCluster | null = null;
  const cluster = (): ProcessCluster => present(started, "the cluster runs");

  beforeAll(async () => {
    started = await ProcessCluster.start({
      nodes: 3,
      flags: [],
      parent: null,
      places: null,
      docker: null,
    });
    const { status, text } = await any().ask({
      method: "PUT",
      path: "/v1/jobs/once",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ compose: COMPOSE }),
      timeoutMs: 20_000,
    });
    if (status !== 200) throw new Error(`${status}: ${text}`);
    await placed(null);
  }, READY_MS + 60_000);
  afterAll(() => started?.destroy());

  const any = (): NodeProcess =>
    present(
      cluster().nodes.find(({ state }) => state === "up"),
      "one node runs",
    );

  /** Its one process, on another node than that one; whatever happens meanwhile, there are never two. */
  async function placed(elsewhere: string | null): Promise<TaskProcess> {
    return until(
      () => `it runs nowhere: ${JSON.stringify(taskProcesses(cluster().ids))}`,
      async () => {
        const found = taskProcesses(cluster().ids);
        expect(found.length, `it runs twice: ${JSON.stringify(found)}`).toBeLessThanOrEqual(1);
        const [only] = found;
        if (only === undefined || only.node === elsewhere) return null;
        const tasks = await any()
          .get<TaskView[]>("/v1/tasks")
          .catch(() => []);
        return tasks.some(({ id, state }) => id === only.task && state === "running") ? only : null;
      },
      REPLACED_MS,
    );
  }

  async function gone(task: TaskProcess): Promise<number> {
    const beganMs = performance.now();
    await until(
      () => "it runs on",
      () => (taskProcesses(cluster().ids).some(({ pid }) => pid === task.pid) ? null : true),
      LEASE_MS + GRACE_MS + 20_000,
    );
    return performance.now() - beganMs;
  }

  const nodeOf = ({ node }: TaskProcess): NodeProcess =>
    present(
      cluster().nodes.find(({ id }) => id === node),
      "it runs on a node",
    );

  test("runs on untouched when its node's process is killed and starts again", async () => {
    const before = await placed(null);
    const node = nodeOf(before);
    node.signal("SIGKILL");
    await node.gone(READY_MS);
    node.start("start");
    await node.ready(READY_MS);
    // Longer than the lease that the killed process held.
    const untilMs = performance.now() + LEASE_MS + 3_000;
    await until(
      () => "time passes",
      async () => {
        expect((await placed(null)).pid).toBe(before.pid);
        return performance.now() > untilMs ? true : null;
      },
      2 * LEASE_MS + READY_MS,
    );
  });

  test("is ended by its keeper when its node's process stays away, and only then runs elsewhere", async () => {
    const before = await placed(null);
    const node = nodeOf(before);
    node.signal("SIGKILL");
    await node.gone(READY_MS);
    expect(await gone(before)).toBeGreaterThan(LEASE_MS / 2);
    const after = await placed(before.node);
    expect(after.slot).toBe(before.slot);
    node.start("start");
    await node.ready(READY_MS);
    expect((await placed(before.node)).pid, "nothing moves back").toBe(after.pid);
  });

  test("also when its node's process stands still, which finds it gone when it goes on", async () => {
    const before = await placed(null);
    const node = nodeOf(before);
    node.signal("SIGSTOP");
    const after = await placed(before.node);
    node.signal("SIGCONT");
    await node.ready(READY_MS);
    expect((await placed(before.node)).pid).toBe(after.pid);
  });
});
