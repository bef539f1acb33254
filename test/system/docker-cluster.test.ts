import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { present } from "../../lib/assert.ts";
import type { ClusterView, EventView, JobView, TaskView } from "../../node/core/view-types.ts";
import { connect } from "../../runtime/docker-client.ts";
import type { DockerEngine } from "../fixtures/docker-engine.ts";
import { startDockerEngine } from "../fixtures/docker-engine.ts";

import { patient, RealCluster, type RealNode } from "../fixtures/real-cluster.ts";

const IMAGE = "orch-test/httpd:1";
const SITE = [
  "services:",
  "  web:",
  `    image: ${IMAGE}`,
  "    command:",
  "      - sh",
  "      - -c",
  "      - echo hello from $$ORCH_SLOT >/tmp/index.html; exec httpd -f -p 8080 -h /tmp",
  '    ports: ["8080"]',
  "    stop_grace_period: 1s",
  "    deploy:",
  "      replicas: 3",
  '      resources: {limits: {cpus: "0.5", memory: 32m}}',
  "      restart_policy: {delay: 500ms}",
  "",
].join("\n");

let engine: DockerEngine | null = null;
let cluster: RealCluster | null = null;

beforeAll(async () => {
  engine = await startDockerEngine();
  await engine.importBusybox(IMAGE);
  const { address } = engine;
  const host =
    address.kind === "socket" ? `unix://${address.path}` : `tcp://${address.host}:${address.port}`;
  cluster = await RealCluster.start({
    nodes: 3,
    flags: ["--driver", "docker"],
    environment: { DOCKER_HOST: host },
  });
});

afterAll(async () => {
  for (const container of await containers("all").catch(() => []))
    await docker().getContainer(container.id).remove({ force: true });
  await cluster?.stop();
  await engine?.stop();
});

function docker(): ReturnType<typeof connect> {
  return connect(present(engine, "an engine runs").address);
}

interface Container {
  readonly id: string;
  readonly cluster: string;
  readonly node: string;
  readonly task: string;
}

/** The containers of this test's nodes. */
async function containers(which: "running" | "all"): Promise<Container[]> {
  const own = new Set(cluster?.nodes.map(({ id }) => id));
  const listed = await docker().listContainers({ all: which === "all" });
  return listed
    .map(({ Id, Labels }) => ({
      id: Id,
      cluster: Labels["orch.cluster"] ?? "",
      node: Labels["orch.node"] ?? "",
      task: Labels["orch.task"] ?? "",
    }))
    .filter(({ node }) => own.has(node));
}

async function answerOf(task: TaskView): Promise<string> {
  const [port] = task.ports;
  const { address, host } = present(port, `${task.slot} has a port`);
  const answer = await fetch(`http://${address}:${host}/`, { signal: AbortSignal.timeout(2_000) });
  return answer.text();
}

/** Waits until three tasks run, each in the one running container there is for it, and answer. */
function served(of: RealCluster): Promise<readonly TaskView[]> {
  return vi.waitFor(async () => {
    const asked = present(of.running[0], "a node runs");
    const tasks = await asked.get<TaskView[]>("/v1/tasks?job=site");
    expect(tasks.map(({ state }) => state)).toEqual(["running", "running", "running"]);
    const found = await containers("running");
    expect(found.map(({ task, node }) => `${task} on ${node}`).toSorted()).toEqual(
      tasks.map(({ id, node }) => `${id} on ${node}`).toSorted(),
    );
    for (const task of tasks) expect(await answerOf(task)).toBe(`hello from ${task.slot}\n`);
    return tasks;
  }, patient);
}

/** How often others declared the node down so far. */
async function timesDown({ running }: RealCluster, { id }: RealNode): Promise<number> {
  const { stdout } = await present(running[0], "a node runs").orch("events", "--json");
  const events = stdout.trim().split("\n");
  return events
    .map((line): EventView => JSON.parse(line))
    .filter(({ type, node, to }) => type === "node" && node === id && to === "down").length;
}

function ids(of: readonly { readonly id: string }[]): string[] {
  return of.map(({ id }) => id).toSorted();
}

/**
 * A node that is started again keeps its containers, unless that took so long that others had to replace them: a
 * machine that is busy with other things gets another try.
 */
async function keepsItsContainers(busy: RealCluster, node: RealNode): Promise<void> {
  for (let tries = 0; tries < 5; tries++) {
    const tasks = await served(busy);
    const before = await containers("running");
    const downs = await timesDown(busy, node);
    await node.end("SIGKILL");
    await node.restart();
    const after = await served(busy);
    if ((await timesDown(busy, node)) > downs) continue;
    expect(ids(after)).toEqual(ids(tasks));
    expect(ids(await containers("running"))).toEqual(ids(before));
    return;
  }
  throw new Error("it was never back in time");
}

test("containers on three nodes answer by HTTP, survive the manager and the engine, and leave nothing", async () => {
  const busy = present(cluster, "a cluster runs");
  expect(await busy.put(busy.node(2), "site", SITE)).toMatchObject({ status: 200 });
  const tasks = await served(busy);
  // On each node one, at the node's own address, in a container with its owner's name and its limits.
  for (const node of busy.nodes) {
    const [task] = tasks.filter((one) => one.node === node.id);
    expect(task?.ports).toMatchObject([{ container: 8080, address: node.publish }]);
  }
  const { id } = await busy.node(3).get<ClusterView>("/v1/cluster");
  for (const container of await containers("all")) {
    expect(container.cluster).toBe(id);
    const { HostConfig: config } = await docker().getContainer(container.id).inspect();
    expect(config.Memory).toBe(32 * 1024 * 1024);
    expect(config.NanoCpus).toBe(500_000_000);
  }

  const manager = await busy.manager();
  const follower = present(
    busy.nodes.find((node) => node !== manager),
    "two only follow",
  );
  await keepsItsContainers(busy, follower);

  // The manager's machine is gone: its task runs elsewhere; when it comes back, its old task stays.
  await manager.end("SIGKILL");
  await vi.waitFor(async () => {
    const now = await follower.get<TaskView[]>("/v1/tasks?job=site");
    expect(now.map(({ state }) => state)).toEqual(["running", "running", "running"]);
    expect(now.map(({ node }) => node)).not.toContain(manager.id);
    for (const task of now) expect(await answerOf(task)).toBe(`hello from ${task.slot}\n`);
  }, patient);
  await manager.restart();
  await served(busy);

  const ours = present(engine, "an engine runs");
  if (ours.isPrivate) {
    await ours.kill();
    await ours.restart();
    await served(busy);
  }

  expect(await busy.node(1).orch("stop", "site")).toMatchObject({ code: 0 });
  await vi.waitFor(async () => {
    expect(await busy.node(1).get<TaskView[]>("/v1/tasks?job=site")).toEqual([]);
    expect(await containers("running")).toEqual([]);
  }, patient);
});

test("an image that does not exist: the task says so, the job is degraded, and it stops", async () => {
  const busy = present(cluster, "a cluster runs");
  const image = "127.0.0.1:9/no-such-image:1";
  const words = ["run", "--image", image, "--name", "bad", "--timeout", "15s"];
  const run = await busy.node(1).orch(...words);
  expect(run.code).toBe(1);
  expect(run.stderr).toContain(image);
  const [task] = await busy.node(2).get<TaskView[]>("/v1/tasks?job=bad&all=true");
  expect(task?.message).toMatch(
    /^The image "127.0.0.1:9\/no-such-image:1" of bad\.\S+ is not on this node and cannot be pulled: ./u,
  );
  const job = await busy.node(3).get<JobView>("/v1/jobs/bad");
  expect(job).toMatchObject({ status: "degraded" });
  expect(job.services[0]?.message).toContain(image);
  expect(await busy.node(1).orch("stop", "bad")).toMatchObject({ code: 0 });
  await vi.waitFor(async () => {
    expect(await busy.node(1).get<JobView>("/v1/jobs/bad")).toMatchObject({ status: "stopped" });
    expect(await containers("running")).toEqual([]);
  }, patient);

  // Containers that are over stay for their logs; nodes that end for good take them along.
  expect(await containers("all")).not.toEqual([]);
  await Promise.all(busy.nodes.map((node) => node.end("SIGTERM")));
  expect(await containers("all")).toEqual([]);
});
