import { fault, OrchError } from "../../lib/errors.ts";
import type { JobView, TaskView, WriteView } from "../../node/core/view-types.ts";
import { pathOf } from "../client.ts";
import type { Client } from "../client.ts";
import type { Context } from "../context.ts";
import { note, print, printJson } from "../output.ts";
import { looksLikeTaskId, parseTarget } from "../target.ts";

interface Stopping {
  readonly path: string;
  readonly body: { readonly service?: string };
  /** For the message. */
  readonly what: string;
  readonly name: string;
}

/** `orch stop JOB|JOB.SERVICE|SLOT|TASK` */
export async function stop({ client, json, quiet }: Context, text: string): Promise<void> {
  const stopping = await resolve(client, text);
  const written = await client.write<WriteView>("POST", stopping.path, stopping.body);
  if (json) return printJson(written);
  if (quiet) return print(stopping.name);
  note(
    written.changed ? `${stopping.what} is stopping` : `${stopping.what} had been stopped before`,
  );
}

async function resolve(client: Client, text: string): Promise<Stopping> {
  const target = parseTarget(text);
  if (target.kind === "job-or-task") return resolveName(client, target.name);
  if (target.kind === "slot")
    return stoppingTask(await client.get<TaskView>(pathOf("tasks", target.slot)));
  const path = pathOf("jobs", target.job, "/stop");
  return { path, body: { service: target.service }, what: `service ${text}`, name: text };
}

/** A job may be named like a task: what exists decides, and nothing is stopped while both do. */
async function resolveName(client: Client, name: string): Promise<Stopping> {
  const job: Stopping = {
    path: pathOf("jobs", name, "/stop"),
    body: {},
    what: `job ${name}`,
    name,
  };
  if (!looksLikeTaskId(name)) return job;
  const [jobView, task] = await Promise.all([
    client.find<JobView>(pathOf("jobs", name)),
    client.find<TaskView>(pathOf("tasks", name)),
  ]);
  if (task === null) return job;
  if (jobView === null) return stoppingTask(task);
  throw new OrchError(
    fault(
      "conflict",
      `"${name}" is a job and a task`,
      `Name the task by its slot (${task.slot}), or the job's services (${name}.<service>).`,
    ),
  );
}

function stoppingTask(task: TaskView): Stopping {
  return {
    path: pathOf("tasks", task.id, "/stop"),
    body: {},
    what: `task ${task.id} (${task.slot})`,
    name: task.id,
  };
}
