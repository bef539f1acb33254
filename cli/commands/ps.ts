import type { TaskView } from "../../node/core/view-types.ts";
import type { Context } from "../context.ts";
import { note, print, printJson } from "../output.ts";
import { fault, OrchError } from "../../lib/errors.ts";
import { parseTarget } from "../target.ts";
import { bySlot, printTasks } from "../views.ts";

export interface PsFlags {
  readonly job: string | null;
  readonly all: boolean;
  readonly node: string | null;
}

/** `orch ps [JOB|JOB.SERVICE]` */
export async function ps({ client, json, quiet }: Context, flags: PsFlags): Promise<void> {
  const tasks = await client.get<readonly TaskView[]>(`/v1/tasks${psQuery(flags)}`);
  if (json) return printJson(tasks);
  const sorted = tasks.toSorted(bySlot);
  if (quiet) {
    for (const task of sorted) print(task.id);
    return;
  }
  printTasks(sorted, Date.now());
  if (tasks.length === 0 && !flags.all)
    note("No tasks. `orch ps --all` lists those that are over, too.");
}

function psQuery({ job, all, node }: PsFlags): string {
  const query = new URLSearchParams();
  if (job !== null) {
    const target = parseTarget(job);
    if (target.kind === "slot") {
      throw new OrchError(
        fault(
          "usage",
          `"${job}" is one slot; ps lists jobs and services`,
          `Try \`orch ps ${target.job}.${target.service}\`.`,
        ),
      );
    }
    query.set("job", target.kind === "service" ? target.job : target.name);
    if (target.kind === "service") query.set("service", target.service);
  }
  if (all) query.set("all", "true");
  if (node !== null) query.set("node", node);
  return query.size === 0 ? "" : `?${query.toString()}`;
}
