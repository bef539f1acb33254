import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { DockerDriver } from "../../runtime/docker.ts";
import { readRun } from "../../runtime/process-run.ts";
import { isAlive, type Leader, signalGroup } from "../../runtime/process-shim.ts";
import type { LeasedTask } from "../../runtime/worker-lease.ts";
import type { TaskId } from "../../state/ids.ts";
import { machineUptimeMs } from "../clock.ts";
import { type LeaseNote, readNote, removePid, writePid } from "./file.ts";

const LOOK_MS = 200;
const AGAIN_MS = 1_000;
/** The node itself stops them first, if it can. */
const LAG_MS = 1_000;
/** Without anything to keep it ends after this: a node that wants it again until then finds it there. */
const IDLE_MS = 60_000;

/**
 * Sees to it that a node's leased tasks end when their lease is over, whatever has become of the node's process: killed, stopped, or busy. Reads what the
 * node notes in its data folder, and does nothing as long as the lease is renewed there. Returns when there was nothing to keep for a while.
 */
export async function keep(folder: string, log: (line: string) => void): Promise<void> {
  const keeper = new Keeper(folder, log);
  writePid(folder);
  for (;;) {
    while (keeper.look()) await delay(LOOK_MS);
    // A node that notes something now sees that there is no keeper, or this one sees what it notes.
    removePid(folder);
    if (!keeper.look()) return;
    writePid(folder);
  }
}

class Keeper {
  readonly #folder: string;
  readonly #log: (line: string) => void;
  #note: LeaseNote = { untilMs: 0, tasks: [], docker: null };
  #busyAtMs: number = machineUptimeMs();
  readonly #ending: Set<TaskId> = new Set();
  /** The processes of tasks, also of those whose folder has been removed since. */
  readonly #leaders: Map<TaskId, Leader> = new Map();

  constructor(folder: string, log: (line: string) => void) {
    this.#folder = folder;
    this.#log = log;
  }

  /** Reads what is noted, and ends what has to end by now. False: there was nothing to keep for a while. */
  look(): boolean {
    const now = machineUptimeMs();
    // One that is gone or damaged takes nothing back: what was to end then still is.
    this.#note = readNote(this.#folder) ?? this.#note;
    const { tasks } = this.#note;
    for (const leased of tasks) {
      const leader = readRun(join(this.#folder, "tasks", leased.task))?.leader;
      if (leader !== undefined) this.#leaders.set(leased.task, leader);
      // Loaded beforehand: when it is needed, the disk may be what has failed.
      else if (this.#note.docker !== null) void loadDocker().catch(this.#failed);
      if (now < leased.untilMs + LAG_MS) this.#busyAtMs = now;
      else this.#end(leased);
    }
    const known = new Set(tasks.map(({ task }) => task));
    for (const task of this.#leaders.keys()) if (!known.has(task)) this.#leaders.delete(task);
    return now - this.#busyAtMs < IDLE_MS;
  }

  #end(leased: LeasedTask): void {
    const { task } = leased;
    if (this.#ending.has(task)) return;
    this.#ending.add(task);
    const say = (line: string): void => {
      this.#busyAtMs = machineUptimeMs();
      this.#log(line);
    };
    void endTask(this.#leaders.get(task), this.#note, leased, say)
      .catch(this.#failed)
      .finally(() => this.#ending.delete(task));
  }

  readonly #failed = (error: unknown): void => this.#log(String(error));
}

/** Does nothing if it does not run. `leader`: of its processes; undefined: it is a container, or has never run. */
async function endTask(
  leader: Leader | undefined,
  { docker }: LeaseNote,
  leased: LeasedTask,
  say: (line: string) => void,
): Promise<void> {
  if (leader !== undefined) {
    if (isAlive(leader)) await stopProcess(leader, leased, say);
  } else if (docker !== null) {
    await stopContainer(docker, leased, say);
    // An engine is asked less often than a folder.
    await delay(AGAIN_MS);
  }
}

/** Only where there are containers: its client is large. */
async function loadDocker(): Promise<typeof DockerDriver> {
  const module = await import("../../runtime/docker.ts");
  return module.DockerDriver;
}

async function stopProcess(
  leader: Leader,
  leased: LeasedTask,
  say: (line: string) => void,
): Promise<void> {
  say(`the lease is over: ending the processes of ${leased.task}`);
  signalGroup(leader, "SIGTERM");
  const killAtMs = machineUptimeMs() + leased.graceMs;
  while (isAlive(leader) && machineUptimeMs() < killAtMs)
    await delay(Math.min(LOOK_MS, leased.graceMs));
  if (isAlive(leader)) signalGroup(leader, "SIGKILL");
}

async function stopContainer(
  docker: NonNullable<LeaseNote["docker"]>,
  { task, graceMs }: LeasedTask,
  say: (line: string) => void,
): Promise<void> {
  const Docker = await loadDocker();
  const driver = new Docker(docker);
  const isRunning = await new Promise<boolean>((resolve) => {
    driver.list((outcome) => {
      // An engine that does not say may still stop it.
      if (outcome.kind === "failed") resolve(true);
      else resolve(outcome.statuses.some((one) => one.task === task && one.state === "running"));
    });
  });
  if (!isRunning) return;
  say(`the lease is over: stopping the container of ${task}`);
  await new Promise<void>((resolve) => {
    driver.perform({ kind: "stop", task, graceMs }, (outcome) => {
      if (outcome.kind === "failed") say(`${outcome.fault.message} Trying again.`);
      resolve();
    });
  });
}
