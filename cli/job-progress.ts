import { isOver } from "./boundary.ts";
import type { JobView, TaskView } from "../node/core/view-types.ts";

/** What one look at a job tells whoever waits for it. */
export type Assessment =
  /** All of it runs. `fingerprint` stays the same as long as no task was replaced or restarted. */
  | { readonly kind: "running"; readonly fingerprint: string }
  | { readonly kind: "waiting"; readonly summary: string }
  /** It will not come to run without a change: `culprits` say why. */
  | { readonly kind: "failed"; readonly culprits: readonly TaskView[]; readonly reason: string };

/** As many starts or tasks of one slot that came to nothing are no accident. */
const HOPELESS = 3;

/** Judges a job by all its tasks, also those that are over; only tasks of its newest version count as failures. */
export function assess(job: JobView, tasks: readonly TaskView[]): Assessment {
  if (job.status === "failed" || job.status === "stopped") {
    return {
      kind: "failed",
      culprits: newestOfSlots(tasks).filter(isFailure),
      reason: `the job is ${job.status}`,
    };
  }
  if (job.status === "complete") return { kind: "running", fingerprint: "complete" };
  const live = tasks.filter((task) => !isOver(task));
  const looping = live.filter((task) => task.attempts >= HOPELESS && task.version === job.version);
  if (looping.length > 0)
    return { kind: "failed", culprits: looping, reason: "it ends as often as it is started" };
  const givenUp = hopelessSlots(job, tasks);
  if (givenUp.length > 0)
    return { kind: "failed", culprits: givenUp, reason: "its tasks fail again and again" };

  const complete = job.services.every((service) => service.running >= service.desired);
  const steady = live.every(
    (task) => task.state === "running" && task.healthy !== false && task.desired === "running",
  );
  if (complete && steady) {
    const fingerprint = live
      .map((task) => `${task.id}/${task.attempts}`)
      .toSorted()
      .join(" ");
    return { kind: "running", fingerprint };
  }
  return { kind: "waiting", summary: summary(job, live) };
}

/** For a line that is drawn again and again: counts, and why the first slot waits. */
function summary(job: JobView, live: readonly TaskView[]): string {
  const counts = job.services
    .map((service) => `${service.name} ${service.running}/${service.desired}`)
    .join(", ");
  const reason =
    live.find((task) => task.state === "pending" && task.message !== "")?.message ??
    job.services.find((service) => service.message !== "")?.message;
  return reason === undefined ? counts : `${counts}: ${reason}`;
}

function isFailure(task: TaskView): boolean {
  return task.state === "failed" || task.state === "rejected";
}

function hopelessSlots(job: JobView, tasks: readonly TaskView[]): TaskView[] {
  const failures = new Map<string, TaskView[]>();
  for (const task of tasks) {
    if (!isFailure(task) || task.version !== job.version) continue;
    failures.set(task.slot, [...(failures.get(task.slot) ?? []), task]);
  }
  return [...failures.values()]
    .filter((list) => list.length >= HOPELESS)
    .flatMap((list) => newestOfSlots(list));
}

/** Each slot's newest task. */
export function newestOfSlots(tasks: readonly TaskView[]): TaskView[] {
  const newest = new Map<string, TaskView>();
  for (const task of tasks) {
    const known = newest.get(task.slot);
    if (known === undefined || known.createdAt <= task.createdAt) newest.set(task.slot, task);
  }
  return [...newest.values()];
}

/** The changes from one look to the next, a line each. `seen` is brought up to date. */
export function changeLines(tasks: readonly TaskView[], seen: Map<string, string>): string[] {
  const lines = [];
  for (const task of tasks) {
    const now = `${task.state} ${task.message}`;
    if (seen.get(task.id) === now) continue;
    seen.set(task.id, now);
    const where = task.nodeName === null ? "" : ` on ${task.nodeName}`;
    const why = task.message === "" ? "" : `: ${task.message}`;
    lines.push(`${task.slot} ${task.state}${where}${why}`);
  }
  return lines;
}
