import type { Prng } from "../../lib/prng.ts";
import type { UserCommand } from "../../node/core/request.ts";
import type { ClusterState } from "../../state/cluster.ts";
import type { NodeId } from "../../state/ids.ts";
import type { Partition } from "../../state/spec.ts";
import type { Task } from "../../state/task.ts";
import type { Host } from "./host.ts";
import { Violation } from "./violation.ts";
import { ONCE } from "./workload.ts";
import type { World } from "./world.ts";

/** What becomes of the tasks of a node that is away for longer than anybody waits for it. */

const LOOK_MS = 250;
const PLACED_MS = 30_000;
/** Until it is known to be down, another manages, the lease and the grace are over, and what held the slots back is. */
const REPLACED_MS = 60_000;
const AGAIN = "again";
const REPLICAS = 4;

/** What befalls the node: its process ends or stands still, or nobody hears it. */
export type Away = "cut off" | "standing still" | "down";

/** At most one: each slot runs again elsewhere in time. That none ever runs twice is looked at all the while (`once.ts`). */
export function loseLeased(world: World, prng: Prng, away: Away): void {
  const victim = withTasks(world, prng, ONCE, "at-most-one");
  if (victim === null) return;
  take(world, victim, away);
  const isReplaced = (state: ClusterState): boolean =>
    liveOf(state, ONCE).length === REPLICAS &&
    liveOf(state, ONCE).every((task) => task.state === "running" && task.node !== victim.id);
  if (!waitFor(world, victim.id, REPLACED_MS, isReplaced)) {
    throw new Violation("liveness", `${victim.id} is ${away}, and its leased tasks run nowhere`);
  }
}

/** At least one: what took the place of its tasks is stopped once it is back, and its own run on, untouched. */
export function comeBack(world: World, prng: Prng): void {
  const victim = withTasks(world, prng, AGAIN, "at-least-one");
  if (victim === null) return;
  const before = runsOf(victim);
  world.isolate(victim);
  const isReplaced = (state: ClusterState): boolean =>
    liveOf(state, AGAIN).length === REPLICAS &&
    liveOf(state, AGAIN).every((task) => task.state === "running" && task.node !== victim.id);
  const wasReplaced = waitFor(world, victim.id, REPLACED_MS, isReplaced);
  world.network.mend();
  const isBack = (state: ClusterState): boolean => state.nodes.get(victim.id)?.liveness === "ready";
  if (!waitFor(world, null, REPLACED_MS, isBack)) return;
  world.until(world.queue.nowMs + PLACED_MS);
  const downs = stateOf(world, null)?.nodes.get(victim.id)?.downs ?? 0;
  // One that comes and goes has to stay for a while first, and by then its tasks are others'.
  if (!wasReplaced || downs > 2 || !victim.isUp) return;
  const gone = before.find((run) => !runsOf(victim).includes(run));
  if (gone !== undefined) {
    throw new Violation(
      "older wins",
      `${victim.id} is back, and ${gone} does not run there any more`,
    );
  }
}

/** A machine that runs some of the job's tasks by now; null: none came to run. */
function withTasks(world: World, prng: Prng, job: string, partition: Partition): Host | null {
  const manager = managerBut(world, null);
  if (manager === undefined) return null;
  const command = jobPut(job, partition, prng.chance(500));
  manager.request({ kind: "write", key: `put-${job}`, command }, PLACED_MS, () => {});
  const isUp = (state: ClusterState): boolean =>
    liveOf(state, job).filter((task) => task.state === "running").length === REPLICAS;
  if (!waitFor(world, null, PLACED_MS, isUp)) return null;
  const nodes = new Set(liveOf(stateOf(world, null), job).map(({ node }) => node));
  const hosts = world.running().filter(({ id }) => nodes.has(id));
  return hosts.length === 0 ? null : prng.pick(hosts);
}

function take(world: World, victim: Host, away: Away): void {
  if (away === "cut off") world.isolate(victim);
  else if (away === "standing still") victim.pause();
  else world.crash(victim, "a node with leased tasks is down", 2 * REPLACED_MS);
}

function jobPut(name: string, partition: Partition, isStubborn: boolean): UserCommand {
  const service = {
    name: "web",
    type: "service",
    image: "sim",
    driver: null,
    entrypoint: null,
    command: [isStubborn ? "stubborn" : "run"],
    environment: {},
    workingDir: null,
    ports: [],
    volumes: [],
    replicas: REPLICAS,
    reservations: { cpuMilli: 10, memoryMib: 8, diskMib: 0 },
    limits: { cpuMilli: null, memoryMib: null },
    restart: { condition: "any", delayMs: 500, maxAttempts: null, windowMs: 5_000 },
    constraints: [],
    stopGraceMs: 3_000,
    partition,
  } as const;
  return { kind: "job-put", spec: { name, services: [service] }, ifVersion: null };
}

/** Of each of the job's slots the task that counts. */
function liveOf(state: ClusterState | undefined, job: string): readonly Task[] {
  const slots = state?.slotsOfJob(job).get("web")?.values() ?? [];
  return [...slots].flatMap((tasks) => tasks.at(-1) ?? []);
}

/** Its running containers of the job that is to be there again, each with the count of its starts. */
function runsOf({ machine }: Host): string[] {
  return [...machine.containers.values()]
    .filter(({ spec, status }) => spec.job === AGAIN && status.state === "running")
    .map(({ spec, run }) => `${spec.task} in run ${run}`);
}

function managerBut(world: World, victim: NodeId | null): Host | undefined {
  const managers = world.running().filter(({ node, id }) => node?.isManager && id !== victim);
  return managers.toSorted((a, b) => termOf(b) - termOf(a))[0];
}

function termOf({ node }: Host): number {
  return node?.replica.raft.term ?? 0;
}

function stateOf(world: World, victim: NodeId | null): ClusterState | undefined {
  return managerBut(world, victim)?.node?.replica.state;
}

/** Whether it came to that in time, as a manager other than `victim` has it. */
function waitFor(
  world: World,
  victim: NodeId | null,
  withinMs: number,
  holds: (state: ClusterState) => boolean,
): boolean {
  const endMs = world.queue.nowMs + withinMs;
  while (world.queue.nowMs < endMs) {
    world.until(world.queue.nowMs + LOOK_MS);
    const state = stateOf(world, victim);
    if (state !== undefined && holds(state)) return true;
  }
  return false;
}
