import type { JobView, TaskView } from "../../node/core/view-types.ts";
import { until } from "../fixtures/node-process.ts";
import { environmentOf, runs, taskProcesses } from "../fixtures/orch-process.ts";
import type { ProcessCluster } from "../fixtures/process-cluster.ts";

/** Jobs whose tasks have to move when their nodes go, and whether what runs is what was asked for. */

const FIXED = ["shop", "mail", "maps"] as const;
const REPLICAS = 4;
const SETTLE_MS = 120_000;
/** The variable by which a task shows of which change of its job it is. */
const MARK = "CHAOS_CHANGE";

/** What is to run of a job in the end. */
export interface WantedJob {
  readonly name: string;
  readonly version: number;
  readonly replicas: number;
  /** Of which change its tasks are; null: it has no changes. */
  readonly change: number | null;
  /** A word in the command of the one process of a task that counts; null: all of its processes do. */
  readonly word: string | null;
}

/** Jobs that nobody changes. */
export const FIXED_JOBS: readonly WantedJob[] = FIXED.map((name) => ({
  name,
  version: 1,
  replicas: REPLICAS,
  change: null,
  word: null,
}));

/** Submits those that nobody changes; `lifeSeconds`: no task outlives that, whatever becomes of all else. */
export async function startJobs(cluster: ProcessCluster, lifeSeconds: number): Promise<void> {
  for (const name of FIXED) await submit(cluster, name, sleepers(lifeSeconds, REPLICAS, null));
}

/** At the first node; throws unless it is taken. */
export async function submit(
  cluster: ProcessCluster,
  name: string,
  compose: string,
): Promise<void> {
  const [node] = cluster.nodes;
  if (node === undefined) return;
  const { status, text } = await node.ask({
    method: "PUT",
    path: `/v1/jobs/${name}`,
    headers: { "content-type": "application/json", "orch-timeout": "15000" },
    body: JSON.stringify({ compose }),
    timeoutMs: 20_000,
  });
  if (status !== 200) throw new Error(`job ${name}: ${status} ${text}`);
}

/** One service `web` whose tasks sleep. */
export function sleepers(lifeSeconds: number, replicas: number, change: number | null): string {
  return [
    "services:",
    "  web:",
    `    command: [sh, -c, 'exec sleep ${lifeSeconds}']`,
    ...(change === null ? [] : [`    environment: {${MARK}: "${change}"}`]),
    "    stop_grace_period: 1s",
    `    deploy: {replicas: ${replicas}, resources: {reservations: {cpus: "0.01", memory: 8m}}}`,
    "",
  ].join("\n");
}

/** Waits until each wanted slot runs exactly once, by the cluster and by the machine; throws with what is not so. */
export async function settledJobs(
  cluster: ProcessCluster,
  wanted: readonly WantedJob[],
): Promise<void> {
  let problem = "";
  await until(
    () => `tasks do not settle: ${problem}`,
    async () => {
      try {
        problem = await unsettled(cluster, wanted);
      } catch (error) {
        problem = error instanceof Error ? error.message : "no answer";
      }
      return problem === "" ? true : null;
    },
    SETTLE_MS,
    100,
  );
}

async function unsettled(cluster: ProcessCluster, wanted: readonly WantedJob[]): Promise<string> {
  const [node] = cluster.nodes;
  if (node === undefined) return "no nodes";
  const jobs = await node.get<readonly JobView[]>("/v1/jobs");
  const different = unlike(
    jobs.map((job) => `${job.name} ${job.version} desired ${desiredOf(job)}`),
    wanted.map((job) => `${job.name} ${job.version} desired ${job.replicas}`),
  );
  if (different !== "") return `jobs: ${different}`;
  const tasks = await node.get<readonly TaskView[]>("/v1/tasks");
  const slots = wanted.flatMap(({ name, replicas }) =>
    Array.from({ length: replicas }, (_, n) => `${name}.web.${n + 1} running`),
  );
  const placed = unlike(
    tasks.map(({ slot, state }) => `${slot} ${state}`),
    slots,
  );
  return placed === "" ? foundOtherwise(cluster, tasks, wanted) : `by the cluster: ${placed}`;
}

/** What the machine runs that the cluster does not know of, and the other way round; also on nodes that have left. */
function foundOtherwise(
  cluster: ProcessCluster,
  tasks: readonly TaskView[],
  wanted: readonly WantedJob[],
): string {
  const jobOf = new Map(tasks.map(({ id, job }) => [id, wanted.find(({ name }) => name === job)]));
  const found = taskProcesses(cluster.ids)
    .filter(({ pid, task }) => {
      const word = jobOf.get(task)?.word ?? null;
      return word === null || runs(pid, word);
    })
    .map(({ pid, task, slot, node }) => `${slot} ${task} on ${node}${markOf(pid)}`);
  const known = tasks.map(({ id, slot, node }) => {
    const change = jobOf.get(id)?.change ?? null;
    return `${slot} ${id} on ${node}${change === null ? "" : ` of change ${change}`}`;
  });
  const different = unlike(found, known);
  return different === "" ? "" : `by the machine: ${different}`;
}

function markOf(pid: number): string {
  const mark = environmentOf(pid).find((word) => word.startsWith(`${MARK}=`));
  return mark === undefined ? "" : ` of change ${mark.slice(MARK.length + 1)}`;
}

function desiredOf({ services }: JobView): number {
  return services.reduce((sum, { desired }) => sum + desired, 0);
}

/** What is there and should not be, or the other way round; each as often as it is there. Empty: nothing. */
function unlike(found: readonly string[], wanted: readonly string[]): string {
  const rest = [...wanted];
  const extra = found.filter((each) => {
    const at = rest.indexOf(each);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
  const told = [
    ...extra.toSorted().map((each) => `there is ${each}`),
    ...rest.toSorted().map((each) => `there is no ${each}`),
  ];
  return told.join(", ");
}
