import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { TaskId } from "../state/ids.ts";
import { taskId } from "../state/ids.ts";
import { changedAtMs, readText } from "./process-run.ts";

/**
 * A task's folder under the process driver: all that a later orch needs to adopt it.
 *
 *   spec.json        what was asked; written whole at create
 *   run              number, pid, boot id and start time of the last run, written by the shim
 *   exit             number and exit code of the last run that ended, written by the shim
 *   stdout, stderr   output, with .1 .2 the older part
 *   work             the working directory when the spec names none
 */
const storedTask = z.object({
  slot: z.string(),
  argv: z.array(z.string()),
  environment: z.record(z.string(), z.string()),
  workingDir: z.string().nullable(),
  limits: z.object({ cpuMilli: z.number().nullable(), memoryMib: z.number().nullable() }),
});

/** What a start needs to know of a task. */
export type StoredTask = z.infer<typeof storedTask>;

export interface ExitRecord {
  readonly run: number;
  readonly exitCode: number;
  readonly finishedAtMs: number;
}

/** Makes a task's folder. Only its owner may read it: the environment may hold secrets. */
export function writeTask(folder: string, task: StoredTask): void {
  mkdirSync(join(folder, "work"), { recursive: true, mode: 0o700 });
  const path = join(folder, "spec.json");
  writeFileSync(`${path}.new`, JSON.stringify(task), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** The tasks that have a folder; a folder without a spec is a create that a crash cut short and is removed. */
export function readTasks(tasksFolder: string): TaskId[] {
  mkdirSync(tasksFolder, { recursive: true, mode: 0o700 });
  const found: TaskId[] = [];
  for (const name of readdirSync(tasksFolder)) {
    const folder = join(tasksFolder, name);
    if (readText(join(folder, "spec.json")) === null)
      rmSync(folder, { recursive: true, force: true });
    else found.push(taskId(name));
  }
  return found;
}

/** What was asked for a task; null when the file is damaged, as it may be after a power cut. */
export function readTask(folder: string): StoredTask | null {
  try {
    return storedTask.parse(JSON.parse(readText(join(folder, "spec.json")) ?? ""));
  } catch {
    return null;
  }
}

/** The last exit that was recorded; null when none was. */
export function readExit(folder: string): ExitRecord | null {
  const path = join(folder, "exit");
  const match = /^(\d+) (\d+)\n/u.exec(readText(path) ?? "");
  if (match === null) return null;
  return { run: Number(match[1]), exitCode: Number(match[2]), finishedAtMs: changedAtMs(path) };
}

/** Records an exit that the shim could not, since it was killed with its group. */
export function writeExit(folder: string, run: number, exitCode: number): void {
  writeFileSync(join(folder, "exit"), `${run} ${exitCode}\n`, { mode: 0o600 });
}
