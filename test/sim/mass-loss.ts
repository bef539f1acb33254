import { isVoter } from "../../consensus/membership.ts";
import type { Prng } from "../../lib/prng.ts";
import { BRAKE_PERCENT } from "../../node/core/defaults.ts";
import { BRAKE_HOLD_MS, BRAKE_WINDOW_MS, brakeOf } from "../../state/brake.ts";
import type { ClusterState } from "../../state/cluster.ts";
import type { UserCommand } from "../../node/core/request.ts";
import type { Host } from "./host.ts";
import { Violation } from "./violation.ts";
import type { World } from "./world.ts";

/** Most nodes are lost at once: what ran there waits for the brake, and is placed when it ends. */

const LOOK_MS = 250;
/** Until all tasks of the drill's job are placed. */
const PLACED_MS = 10_000;
/** Until the last of them is known to be down: messages may be lost, disks slow. */
const DOWN_MS = 15_000;
/** How long a hold is watched that is going to be released. */
const WATCH_MS = 5_000;
/** Clocks run up to a twentieth slow. */
const HOLD_MAX_MS = 1.1 * (BRAKE_HOLD_MS + BRAKE_WINDOW_MS);

const JOB = "mass";

/** Nothing is done where the nodes beside a quorum are too few to count as many. */
export function loseMost(world: World, prng: Prng, manager: Host): void {
  const fallen = besideQuorum(world, prng, manager);
  if (fallen.length < 3 || fallen.length * 100 <= world.hosts.size * BRAKE_PERCENT) return;
  write(manager, "mass-put", jobPut(2 * world.hosts.size));
  const isRunning = (state: ClusterState): boolean =>
    fallen.every(({ id }) => state.allocated(id).tasks > 0);
  if (!waitFor(world, manager, PLACED_MS, isRunning)) return;
  for (const host of fallen) world.crash(host, "mass loss", 2 * HOLD_MAX_MS);
  const isBraked = (state: ClusterState): boolean => {
    const brake = brakeOf(state, BRAKE_PERCENT, manager.now());
    return fallen.every(({ id }) => brake?.down.has(id) === true) && heldIn(state).length > 0;
  };
  if (!waitFor(world, manager, DOWN_MS, isBraked)) {
    if (!leads(manager)) return;
    throw new Violation("brake", `${fallen.length} nodes fell, and it is not on`);
  }
  const releases = prng.chance(500);
  watch(world, manager, releases ? WATCH_MS : HOLD_MAX_MS);
  if (!leads(manager)) return;
  if (releases) write(manager, "mass-release", { kind: "brake-release" });
  if (waitFor(world, manager, PLACED_MS, (state) => heldIn(state).length === 0)) return;
  if (leads(manager)) throw new Violation("brake", `it has ended, and tasks are still held back`);
}

/** What is held stays so until the brake's time is over: by its manager's clock, and as long as that manages. */
function watch(world: World, manager: Host, mostMs: number): void {
  const endMs = world.queue.nowMs + mostMs;
  const held = heldIn(stateOf(manager));
  while (world.queue.nowMs < endMs) {
    world.until(world.queue.nowMs + LOOK_MS);
    if (!leads(manager)) return;
    const state = stateOf(manager);
    if (state === undefined || brakeOf(state, BRAKE_PERCENT, manager.now()) === null) return;
    const now = new Set(heldIn(state));
    const placed = held.find((task) => !now.has(task));
    if (placed === undefined) continue;
    throw new Violation("brake", `${placed} is held back no more, while the brake is on`);
  }
}

/** Every node but the manager and as many voters as it needs. */
function besideQuorum(world: World, prng: Prng, manager: Host): readonly Host[] {
  const membership = manager.node?.replica.membership;
  if (membership === undefined) return [];
  const others = prng.shuffle(world.running().filter((host) => host !== manager));
  const voters = others.filter((host) => isVoter(membership, host.node?.replica.raftId ?? 0));
  const needed = new Set(voters.slice(0, Math.floor(membership.voters.length / 2)));
  return others.filter((host) => !needed.has(host));
}

function write(host: Host, key: string, command: UserCommand): void {
  host.request({ kind: "write", key, command }, PLACED_MS, () => {});
}

function jobPut(replicas: number): UserCommand {
  const service = {
    name: "web",
    type: "service",
    image: "sim",
    driver: null,
    entrypoint: null,
    command: ["run"],
    environment: {},
    workingDir: null,
    ports: [],
    volumes: [],
    replicas,
    reservations: { cpuMilli: 10, memoryMib: 8, diskMib: 0 },
    limits: { cpuMilli: null, memoryMib: null },
    restart: { condition: "any", delayMs: 500, maxAttempts: null, windowMs: 5_000 },
    constraints: [],
    stopGraceMs: 1_000,
    partition: "at-least-one",
  } as const;
  return { kind: "job-put", spec: { name: JOB, services: [service] }, ifVersion: null };
}

/** Ids of the job's tasks that the brake keeps pending. */
function heldIn(state: ClusterState | undefined): readonly string[] {
  const tasks = state?.tasksOfJob(JOB) ?? [];
  return tasks
    .filter(({ state: now, message }) => now === "pending" && message.startsWith("held back"))
    .map(({ id }) => id);
}

function stateOf({ node }: Host): ClusterState | undefined {
  return node?.replica.state;
}

function leads({ node }: Host): boolean {
  return node?.isManager === true;
}

/** Whether it came to that in time, on this manager. */
function waitFor(
  world: World,
  manager: Host,
  withinMs: number,
  holds: (state: ClusterState) => boolean,
): boolean {
  const endMs = world.queue.nowMs + withinMs;
  while (world.queue.nowMs < endMs) {
    world.until(world.queue.nowMs + LOOK_MS);
    const state = stateOf(manager);
    if (!leads(manager) || state === undefined) return false;
    if (holds(state)) return true;
  }
  return false;
}
