import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { present } from "../../lib/assert.ts";
import type { NodeView, TaskView } from "../../node/core/view-types.ts";
import { Nat, type NatPlace } from "../fixtures/nat.ts";
import { NodeProcess } from "../fixtures/node-process.ts";
import { type Finished, killTasks, orch } from "../fixtures/orch-process.ts";

/** Nodes behind NAT: nobody can dial them, and they cannot reach each other. What they dial is all that they have. */

const READY_MS = 60_000;
/** Three tries to dial back, a manager that is not new, and half a minute without another change. */
const SETTLED_MS = 110_000;
const patient = { timeout: 60_000, interval: 100 } as const;
const lacking = Nat.lacks();
if (lacking !== null) process.stderr.write(`nodes behind NAT are not tested: ${lacking}\n`);

function planned(folder: string, { host, namespace }: NatPlace, name: string): NodeProcess {
  return new NodeProcess({
    name,
    folder,
    listen: `${host}:7400`,
    api: "127.0.0.1:7401",
    publish: host,
    portRange: "20000-20100",
    flags: [],
    namespace,
    docker: null,
  });
}

function orchAt(node: NodeProcess, ...words: readonly string[]): Promise<Finished> {
  return orch(words, { ORCH_HOST: `unix://${join(node.dataDir, "orch.sock")}` });
}

/** What `orch logs` says of a task, asked there. */
async function logs(at: NodeProcess, task: TaskView | undefined): Promise<string> {
  const { code, stdout, stderr } = await orchAt(at, "logs", present(task, "it has a task").slot);
  return code === 0 ? stdout : `exit ${code}: ${stderr}`;
}

async function managerSeenBy(node: NodeProcess): Promise<string> {
  const views = await node.get<NodeView[]>("/v1/nodes");
  return views.find(({ manager }) => manager)?.name ?? "nobody";
}

describe.runIf(lacking === null)("two nodes behind NAT, each of its own", () => {
  const folder = mkdtempSync(join(tmpdir(), "orch-nat-"));
  let nat: Nat | null = null;
  let nodes: readonly NodeProcess[] = [];

  /** The n-th node that all can reach, from 1. */
  const open = (n: number): NodeProcess => present(nodes[n - 1], "three nodes can be reached");
  const hidden = (n: number): NodeProcess => present(nodes[n + 2], "two are behind NAT");

  beforeAll(async () => {
    nat = new Nat({ open: 3, hidden: 2 });
    nodes = [
      ...nat.open.map((place, at) => planned(folder, place, `open${at + 1}`)),
      ...nat.hidden.map((place, at) => planned(folder, place, `hidden${at + 1}`)),
    ];
    const founder = open(1);
    founder.start("init");
    await founder.ready(READY_MS);
    const { token } = await founder.get<{ token: string }>("/v1/nodes/token");
    // Those behind NAT first: by their age they would vote before the others.
    for (const group of [nodes.slice(3), nodes.slice(1, 3)]) {
      for (const node of group) node.start("join", founder.plan.listen, "--token", token);
      await Promise.all(group.map((node) => node.ready(READY_MS)));
    }
  });

  afterAll(() => {
    for (const node of nodes) node.destroy();
    killTasks(new Set(nodes.map(({ id }) => id).filter((id) => id !== "")));
    nat?.remove();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });

  async function put(job: string, says: string): Promise<void> {
    const compose = [
      "services:",
      "  web:",
      `    command: [sh, -c, 'echo ${says} on $$ORCH_NODE_NAME; exec sleep 3600']`,
      "    stop_grace_period: 2s",
      '    deploy: {replicas: 5, resources: {reservations: {cpus: "0.01", memory: 8m}}}',
      "",
    ].join("\n");
    const { status, text } = await open(1).ask({
      method: "PUT",
      path: `/v1/jobs/${job}`,
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ compose }),
      timeoutMs: 20_000,
    });
    if (status !== 200) throw new Error(`${status} ${text}`);
  }

  /** The job's running task on each node, by node id: when each has one, and no other task is left. */
  function spread(job: string, version: number): Promise<ReadonlyMap<string, TaskView>> {
    return vi.waitFor(async () => {
      const tasks = await open(2).get<TaskView[]>(`/v1/tasks?job=${job}`);
      const running = tasks.filter((task) => task.state === "running" && task.version === version);
      const byNode = new Map(running.map((task) => [task.node ?? "", task]));
      const said = tasks.map(
        ({ slot, nodeName, state, message }) => `${slot} ${nodeName} ${state} ${message}`,
      );
      if (byNode.size !== 5 || tasks.length !== 5) throw new Error(said.join("\n"));
      return byNode;
    }, patient);
  }

  test("hand over when one of them has come to manage, since the other cannot reach it", async () => {
    await vi.waitFor(async () => {
      const { code, stderr } = await orchAt(open(1), "cluster", "transfer", "hidden1");
      if (code !== 0) throw new Error(stderr);
      expect(await managerSeenBy(open(2))).toBe("hidden1");
    }, patient);
    await vi.waitFor(
      async () => {
        expect(await managerSeenBy(open(2))).toMatch(/^open/);
        const views = await open(2).get<NodeView[]>("/v1/nodes");
        expect(views.map(({ status }) => status)).toEqual(Array(5).fill("ready"));
      },
      { timeout: SETTLED_MS, interval: 500 },
    );
  }, 180_000);

  test("run tasks, take updates, and are watched without being accused", async () => {
    await put("web", "first");
    const first = await spread("web", 1);
    for (const task of first.values()) expect(await logs(open(3), task)).toContain("first on");
    await put("web", "second");
    await spread("web", 2);
    // Long enough for every observer to miss, to ask others and to accuse.
    const endMs = performance.now() + 30_000;
    while (performance.now() < endMs) {
      const views = await open(2).get<NodeView[]>("/v1/nodes");
      const accused = views.map(({ name, status, missedBy }) => ({ name, status, missedBy }));
      expect(accused).toEqual(views.map(({ name }) => ({ name, status: "ready", missedBy: [] })));
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  });

  test("leave the votes to those that can be dialled, though they came first", async () => {
    await vi.waitFor(
      async () => {
        const views = await open(1).get<NodeView[]>("/v1/nodes");
        const holders = views.filter(({ role }) => role !== "member");
        const names = holders.map(({ name, role }) => `${name} ${role}`).toSorted();
        expect(names).toEqual(["open1 voter", "open2 voter", "open3 voter"]);
        const said = views.filter((view) => view.hidden).map(({ name }) => name);
        expect(said.toSorted()).toEqual(["hidden1", "hidden2"]);
      },
      { timeout: SETTLED_MS, interval: 500 },
    );
  }, 180_000);

  test("tell the logs of their tasks to all, also to each other", async () => {
    const tasks = await spread("web", 2);
    const one = tasks.get(hidden(1).id);
    for (const asked of nodes)
      expect.soft(await logs(asked, one), asked.name).toContain("second on hidden1");
  });

  test("have a session with each next manager", async () => {
    const before = await spread("web", 2);
    const all = await open(1).get<NodeView[]>("/v1/nodes");
    const { id } = present(
      all.find((view) => view.manager),
      "somebody manages",
    );
    const manager = present(
      nodes.find((node) => node.id === id),
      "it is one of these",
    );
    expect(manager.name).toMatch(/^open/);
    manager.signal("SIGKILL");
    const asked = present(
      nodes.find((node) => node !== manager),
      "others",
    );
    await vi.waitFor(async () => {
      const views = await asked.get<NodeView[]>("/v1/nodes");
      const down = views.filter(({ status }) => status !== "ready").map(({ name }) => name);
      expect(down).toEqual([manager.name]);
    }, patient);
    const tasks = await asked.get<TaskView[]>("/v1/tasks?job=web");
    for (const node of [hidden(1), hidden(2)]) {
      const kept = tasks.find((task) => task.id === before.get(node.id)?.id);
      expect(kept).toMatchObject({ state: "running", node: node.id });
    }
  });
});
