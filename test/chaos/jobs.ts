import type { JobView, TaskView } from "../../node/core/view-types.ts";
import { until } from "../fixtures/node-process.ts";
import { taskProcesses } from "../fixtures/orch-process.ts";
import type { ProcessCluster } from "../fixtures/process-cluster.ts";

/** A few jobs whose tasks have to move when their nodes go. */

const JOBS = ["shop", "mail", "maps"] as const;
const REPLICAS = 4;
const SETTLE_MS = 120_000;

/** Submits them; `lifeSeconds`: no task outlives that, whatever becomes of all else. */
export async function startJobs(cluster: ProcessCluster, lifeSeconds: number): Promise<void> {
  const [node] = cluster.nodes;
  if (node === undefined) return;
  for (const name of JOBS) {
    const { status, text } = await node.ask({
      method: "PUT",
      path: `/v1/jobs/${name}`,
      headers: { "content-type": "application/json", "orch-timeout": "15000" },
      body: JSON.stringify({ compose: compose(lifeSeconds) }),
      timeoutMs: 20_000,
    });
    if (status !== 200) throw new Error(`job ${name}: ${status} ${text}`);
  }
}

function compose(lifeSeconds: number): string {
  return [
    "services:",
    "  web:",
    `    command: [sh, -c, 'exec sleep ${lifeSeconds}']`,
    "    stop_grace_period: 1s",
    `    deploy: {replicas: ${REPLICAS}, resources: {reservations: {cpus: "0.01", memory: 8m}}}`,
    "",
  ].join("\n");
}

/** Waits until each wanted slot runs exactly once, by the cluster and by the machine; throws with what is not so. */
export async function settledJobs(cluster: ProcessCluster): Promise<void> {
  let problem = "";
  await until(
    () => `tasks do not settle: ${problem}`,
    async () => {
      try {
        problem = await unsettled(cluster);
      } catch (error) {
        problem = error instanceof Error ? error.message : "no answer";
      }
      return problem === "" ? true : null;
    },
    SETTLE_MS,
    100,
  );
}

async function unsettled(cluster: ProcessCluster): Promise<string> {
  const [node] = cluster.nodes;
  if (node === undefined) return "no nodes";
  const jobs = await node.get<readonly JobView[]>("/v1/jobs");
  if (jobs.length !== JOBS.length) return `${jobs.length} jobs, ${JOBS.length} were submitted`;
  const tasks = await node.get<readonly TaskView[]>("/v1/tasks");
  const slots = tasks.map(({ slot, state }) => `${slot} ${state}`).toSorted();
  const wanted = JOBS.flatMap((job) =>
    Array.from({ length: REPLICAS }, (_, n) => `${job}.web.${n + 1} running`),
  ).toSorted();
  if (slots.join() !== wanted.join()) return `by the cluster: ${slots.join(", ")}`;
  const found = taskProcesses(cluster.ids).map(({ task, node: on }) => `${task} on ${on}`);
  const placed = tasks.map(({ id, node: on }) => `${id} on ${on}`);
  return found.toSorted().join() === placed.toSorted().join()
    ? ""
    : `by the machine: ${found.toSorted().join(", ")}; by the cluster: ${placed.toSorted().join(", ")}`;
}
