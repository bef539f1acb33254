import { listInWords } from "../../lib/words.ts";
import { runsUnseen } from "../../scheduler/fence.ts";
import type { ClusterState, Job } from "../../state/cluster.ts";
import type { ServiceSpec } from "../../state/spec.ts";
import type { Task } from "../../state/task.ts";
import { isTerminal } from "../../state/task.ts";
import { isoTime } from "./iso-time.ts";
import type { JobView, ServiceView } from "./view-types.ts";

/** How the slots of a service stand: each counts once, by its newest task. */
interface Tally {
  running: number;
  healthy: number;
  complete: number;
  /** Over for good: nothing takes its place. */
  failed: number;
  /** On the way up for the first time: no sign of trouble. */
  starting: number;
  /** Replaced because it was rejected, lost or orphaned: it should run, and did not come to it. */
  troubled: number;
  /** Still there though the service wants them no more. */
  stopping: number;
  /** Lost with a node that is not back, and without a lease: nobody can see whether they run on. */
  unseen: Task[];
  /** The first slot that is not as it should be, and why. */
  trouble: string;
}

type Slots = ReadonlyMap<number, readonly Task[]>;

export function jobView(state: ClusterState, job: Job): JobView {
  const slots = state.slotsOfJob(job.name);
  const stopped = new Set(job.stopped);
  const total = { desired: 0, healthy: 0, complete: 0, failed: 0, starting: 0, troubled: 0 };
  const services: ServiceView[] = [];
  for (const service of job.spec.services) {
    const desired = stopped.has(service.name) ? 0 : service.replicas;
    const tally = tallyOf(state, service, slots.get(service.name) ?? NO_SLOTS, desired);
    services.push(serviceView(state, service, tally, desired, stopped.has(service.name)));
    total.desired += desired;
    total.healthy += tally.healthy;
    total.complete += tally.complete;
    total.failed += tally.failed;
    total.starting += tally.starting;
    total.troubled += tally.troubled;
  }
  return {
    name: job.name,
    version: job.version,
    status: stopped.size === job.spec.services.length ? "stopped" : statusOf(total),
    services,
    createdAt: isoTime(job.createdAtMs),
    updatedAt: isoTime(job.updatedAtMs),
  };
}

const NO_SLOTS: Slots = new Map();

function statusOf(total: {
  readonly desired: number;
  readonly healthy: number;
  readonly complete: number;
  readonly failed: number;
  readonly starting: number;
  readonly troubled: number;
}): JobView["status"] {
  if (total.complete === total.desired && total.desired > 0) return "complete";
  if (total.healthy + total.complete === total.desired) return "running";
  if (total.failed + total.complete === total.desired) return "failed";
  if (total.healthy + total.complete + total.starting === total.desired) return "pending";
  return total.healthy + total.failed + total.troubled > 0 ? "degraded" : "pending";
}

function tallyOf(state: ClusterState, service: ServiceSpec, slots: Slots, desired: number): Tally {
  const tally: Tally = {
    running: 0,
    healthy: 0,
    complete: 0,
    failed: 0,
    starting: 0,
    troubled: 0,
    stopping: 0,
    unseen: [],
    trouble: "",
  };
  for (let slot = 1; slot <= desired; slot++) {
    const tasks = slots.get(slot) ?? [];
    const task = tasks.at(-1);
    if (task?.state === "running") tally.running += 1;
    if (task?.state === "running" && task.healthy !== false) tally.healthy += 1;
    else if (task?.state === "complete" && service.restart.condition !== "any") tally.complete += 1;
    else {
      if (task?.state === "failed") tally.failed += 1;
      else if (task !== undefined && isFirstStart(task)) tally.starting += 1;
      else if (tasks.slice(-2).some(cameToNothing)) tally.troubled += 1;
      if (tally.trouble === "") tally.trouble = troubleOf(slot, task);
    }
  }
  for (const [slot, tasks] of slots) {
    tally.unseen.push(...tasks.filter((task) => runsUnseen(state, task)));
    if (slot > desired) tally.stopping += tasks.filter((task) => !isTerminal(task.state)).length;
  }
  return tally;
}

function cameToNothing(task: Task): boolean {
  return task.state === "rejected" || task.state === "lost" || task.state === "orphaned";
}

function isFirstStart(task: Task): boolean {
  const comingUp =
    task.state === "assigned" || task.state === "preparing" || task.state === "starting";
  return comingUp && task.previous === null && task.attempts <= 1;
}

function troubleOf(slot: number, task: Task | undefined): string {
  if (task === undefined) return `slot ${slot} waits to be scheduled`;
  const why = task.message === "" ? "" : `: ${task.message}`;
  const state = task.state === "running" ? "unhealthy" : task.state;
  return `slot ${slot} is ${state}${why}`;
}

function serviceView(
  state: ClusterState,
  service: ServiceSpec,
  tally: Tally,
  desired: number,
  stopped: boolean,
): ServiceView {
  return {
    name: service.name,
    type: service.type,
    image: service.image,
    partition: service.partition,
    replicas: service.replicas,
    running: tally.running,
    healthy: tally.healthy,
    desired,
    message: [messageOf(tally, desired, stopped), unseenText(state, tally.unseen)]
      .filter((text) => text !== "")
      .join("; "),
  };
}

const UNSEEN_NAMED = 3;

function unseenText(state: ClusterState, unseen: readonly Task[]): string {
  if (unseen.length === 0) return "";
  const named = unseen
    .slice(0, UNSEEN_NAMED)
    .map(({ id, node }) => `${id} on ${(node && state.nodes.get(node)?.name) ?? "?"}`);
  const more = unseen.length - named.length;
  const who = listInWords(more === 0 ? named : [...named, `${more} more`]);
  return `may still run where the node is down: ${who}`;
}

function messageOf(tally: Tally, desired: number, stopped: boolean): string {
  if (stopped) return tally.stopping === 0 ? "stopped" : `stopping: ${tally.stopping} left`;
  const missing = desired - tally.healthy;
  if (missing === 0) return "";
  if (missing === tally.complete) return `${missing} of ${desired} complete`;
  return `${missing - tally.complete} of ${desired} not running; ${tally.trouble}`;
}
