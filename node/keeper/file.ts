import { readFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { uptime } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import type { EngineAddress } from "../../runtime/docker-address.ts";
import { bootId } from "../../runtime/process-shim.ts";
import type { LeaseGuard } from "../../runtime/worker-lease.ts";
import type { TaskId } from "../../state/ids.ts";

/**
 * What a node and its keeper tell each other, in files of the data folder: they outlive both. Nothing here is synced: after a power cut no container runs.
 */

/** What has to end with the lease, where it runs, and when that is. */
export interface LeaseNote extends LeaseGuard {
  /** Whose containers, and with which engine; null: the node has no engine. */
  readonly docker: {
    readonly address: EngineAddress;
    readonly clusterId: string;
    readonly nodeId: string;
  } | null;
}

const noteShape = z.object({
  boot: z.string().nullable(),
  untilUptimeMs: z.number(),
  tasks: z.array(
    z.object({
      task: z.custom<TaskId>((value) => typeof value === "string"),
      graceMs: z.number(),
    }),
  ),
  docker: z
    .object({
      address: z.discriminatedUnion("kind", [
        z.object({ kind: z.literal("socket"), path: z.string() }),
        z.object({
          kind: z.literal("tcp"),
          host: z.string(),
          port: z.number(),
          certFolder: z.string().nullable(),
        }),
      ]),
      clusterId: z.string(),
      nodeId: z.string(),
    })
    .nullable(),
});

/** Milliseconds since the machine started: the same for all processes, and it counts on while the machine sleeps. */
export function uptimeMs(): number {
  return Math.floor(uptime() * 1000);
}

function notePath(folder: string): string {
  return join(folder, "lease.json");
}

/** `untilMs` of the note: on the clock of `uptimeMs`. One write at a time. */
export async function writeNote(folder: string, note: LeaseNote): Promise<void> {
  const { untilMs, tasks, docker } = note;
  const text = JSON.stringify({ boot: bootId(), untilUptimeMs: untilMs, tasks, docker });
  const path = notePath(folder);
  await writeFile(`${path}.new`, text, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/** Null: there is none, it cannot be read, or it is of before the machine started. */
export function readNote(folder: string): LeaseNote | null {
  try {
    const parsed = noteShape.parse(JSON.parse(readFileSync(notePath(folder), "utf8")));
    if (parsed.boot !== bootId()) return null;
    return { untilMs: parsed.untilUptimeMs, tasks: parsed.tasks, docker: parsed.docker };
  } catch {
    return null;
  }
}

/** Where the keeper says which process it is. */
export function pidPath(folder: string): string {
  return join(folder, "keeper.pid");
}
