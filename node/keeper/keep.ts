import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { DockerDriver } from "../../runtime/docker.ts";
import { readRun } from "../../runtime/process-run.ts";
import { isAlive, type Leader, signalGroup } from "../../runtime/process-shim.ts";
import type { LeasedTask } from "../../runtime/worker-lease.ts";
import type { TaskId } from "../../state/ids.ts";
import { type LeaseNote, readNote, uptimeMs } from "./file.ts";

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
  let note: LeaseNote = { untilMs: 0, tasks: [], docker: null };
  let idleSinceMs = uptimeMs();
  const ending = new Set<TaskId>();
  const say = (line: string): void => {
    idleSinceMs = uptimeMs();
    log(line);
  };
  while (uptimeMs() - idleSinceMs < IDLE_MS) {
    // One that is gone or damaged takes nothing back: what was to end then still is.
    note = readNote(folder) ?? note;
    // Loaded beforehand: when it is needed, the disk may be what has failed.
    if (note.tasks.some(({ task }) => !isProcess(folder, task)))
      await loadDocker().catch((error: unknown) => log(String(error)));
    const isOver = uptimeMs() >= note.untilMs + LAG_MS;
    if (!isOver && note.tasks.length > 0) idleSinceMs = uptimeMs();
    for (const leased of isOver ? note.tasks : []) {
      if (ending.has(leased.task)) continue;
      ending.add(leased.task);
      void endTask(folder, note, leased, say)
        .catch((error: unknown) => say(`${leased.task}: ${String(error)}`))
        .finally(() => ending.delete(leased.task));
    }
    await delay(LOOK_MS);
  }
}

/** Does nothing if it does not run. */
async function endTask(
  folder: string,
  { docker }: LeaseNote,
  leased: LeasedTask,
  say: (line: string) => void,
): Promise<void> {
  if (isProcess(folder, leased.task)) {
    const leader = readRun(join(folder, "tasks", leased.task))?.leader ?? null;
    if (leader !== null && isAlive(leader)) await stopProcess(leader, leased, say);
  } else if (docker !== null) {
    await stopContainer(docker, leased, say);
    // An engine is asked less often than a folder.
    await delay(AGAIN_MS);
  }
}

function isProcess(folder: string, task: TaskId): boolean {
  return existsSync(join(folder, "tasks", task));
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
  const killAtMs = uptimeMs() + leased.graceMs;
  while (isAlive(leader) && uptimeMs() < killAtMs) await delay(Math.min(LOOK_MS, leased.graceMs));
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
