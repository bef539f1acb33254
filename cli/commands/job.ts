import type { JobView, TaskView } from "../../node/core/view-types.ts";
import { pathOf } from "../client.ts";
import type { Context } from "../context.ts";
import { formatAge } from "../duration.ts";
import { paint, print, printJson } from "../output.ts";
import { bySlot, jobStyle, printJobs, printServices, printTasks } from "../views.ts";

/** `orch job ls` */
export async function jobLs({ client, json, quiet }: Context): Promise<void> {
  const jobs = await client.get<readonly JobView[]>("/v1/jobs");
  if (json) return printJson(jobs);
  if (!quiet) return printJobs(jobs, Date.now());
  for (const job of jobs) print(job.name);
}

/** `orch job status JOB`: with --json the job alone, as `inspect` prints it. */
export async function jobStatus({ client, json, quiet }: Context, name: string): Promise<void> {
  const job = await client.get<JobView>(pathOf("jobs", name));
  if (json) return printJson(job);
  if (quiet) return print(job.status);
  const tasks = await client.get<readonly TaskView[]>(
    `/v1/tasks?${new URLSearchParams({ job: name })}`,
  );
  const nowMs = Date.now();
  const style = jobStyle(job.status);
  const status = style === null ? job.status : paint(style, job.status);
  print(
    `${job.name}: ${status}, version ${job.version}, updated ${formatAge(nowMs - Date.parse(job.updatedAt))} ago`,
  );
  print("");
  printServices(job);
  if (tasks.length === 0) return;
  print("");
  printTasks(tasks.toSorted(bySlot), nowMs);
}

/** `orch job inspect JOB` */
export async function jobInspect({ client, quiet }: Context, name: string): Promise<void> {
  const job = await client.get<JobView>(pathOf("jobs", name));
  if (quiet) print(job.name);
  else printJson(job);
}
