import type { Fault } from "../lib/errors.ts";
import { fault } from "../lib/errors.ts";
import type { Job, Outcome } from "./cluster.ts";
import type { Command } from "./command.ts";
import { same } from "./equal.ts";
import { checkJob } from "./job-check.ts";
import type { JobSpec, ServiceSpec } from "./spec.ts";
import { didYouMean } from "./suggest.ts";
import type { Change, Tables } from "./tables.ts";
import type { Task } from "./task.ts";
import { isTerminal } from "./task.ts";

type Of<Kind extends Command["kind"]> = Extract<Command, { kind: Kind }>;

/** A new job, or a new version of one; every service of it is wanted from now on, also those that were stopped. */
export function applyJobPut(tables: Tables, command: Of<"job-put">, change: Change): Outcome {
  const { spec, ifVersion } = command;
  const problem = checkJob(spec);
  if (problem !== null) return { kind: "refused", fault: problem };
  const old = tables.jobs.get(spec.name);
  const current = old?.version ?? 0;
  if (ifVersion !== null && ifVersion !== current) {
    return { kind: "refused", fault: versionMismatch(spec.name, ifVersion, current) };
  }
  if (old !== undefined && old.stopped.length === 0 && same(old.spec, spec)) {
    return { kind: "done", changed: false, version: current };
  }
  const version = current + 1;
  const job: Job = {
    name: spec.name,
    version,
    spec,
    stopped: [],
    serviceVersions: serviceVersions(old, spec, version),
    createdAtMs: old?.createdAtMs ?? change.timeMs,
    updatedAtMs: change.timeMs,
    modifiedIndex: change.index,
  };
  tables.putJob(job, change, null, `version ${version} was submitted`);
  return { kind: "done", changed: true, version };
}

/** Makes a job as it was in a backup; what was stopped stays stopped. */
export function applyJobRestore(
  tables: Tables,
  command: Of<"job-restore">,
  change: Change,
): Outcome {
  const { spec, version } = command;
  const problem = checkJob(spec) ?? checkRestored(tables, command);
  if (problem !== null) return { kind: "refused", fault: problem };
  const names = spec.services.map((service) => service.name);
  const job: Job = {
    name: spec.name,
    version,
    spec,
    stopped: names.filter((name) => command.stopped.includes(name)),
    serviceVersions: Object.fromEntries(names.map((name) => [name, version])),
    createdAtMs: change.timeMs,
    updatedAtMs: change.timeMs,
    modifiedIndex: change.index,
  };
  tables.putJob(job, change, null, `version ${version} was restored from a backup`);
  return { kind: "done", changed: true, version };
}

function checkRestored(tables: Tables, command: Of<"job-restore">): Fault | null {
  const { spec, stopped, version } = command;
  const details = { job: spec.name, version };
  if (tables.jobs.has(spec.name)) {
    const message = `job "${spec.name}" exists already: it was not restored`;
    const hint = "Restore into a cluster that has no job of this name.";
    return fault("conflict", message, hint, details);
  }
  const hint = "Use a backup that orch made.";
  if (!Number.isSafeInteger(version) || version < 1) {
    const message = `job "${spec.name}": its version must be an integer from 1 on`;
    return fault("invalid", message, hint, details);
  }
  const unknown = stopped.find((name) => !spec.services.some((service) => service.name === name));
  if (unknown === undefined) return null;
  const message = `job "${spec.name}": it has no service "${unknown}" that could be stopped`;
  return fault("invalid", message, hint, { ...details, service: unknown });
}

/** A service keeps its version while nothing but its number of replicas changes; a stopped one starts afresh. */
function serviceVersions(
  old: Job | undefined,
  spec: JobSpec,
  version: number,
): Job["serviceVersions"] {
  const before = new Map<string, ServiceSpec>();
  for (const service of old?.spec.services ?? []) {
    if (old?.stopped.includes(service.name) === false) before.set(service.name, service);
  }
  return Object.fromEntries(
    spec.services.map((service) => {
      const previous = before.get(service.name);
      const unchanged =
        previous !== undefined && same({ ...previous, replicas: service.replicas }, service);
      return [service.name, unchanged ? (old?.serviceVersions[service.name] ?? version) : version];
    }),
  );
}

function versionMismatch(job: string, expected: number, actual: number): Fault {
  const message =
    actual === 0
      ? `job "${job}" does not exist; version ${expected} was expected`
      : expected === 0
        ? `job "${job}" exists already, at version ${actual}`
        : `job "${job}" is at version ${actual}, not ${expected}`;
  return fault("version-mismatch", message, "Read the job again and decide anew.", {
    job,
    expected,
    actual,
  });
}

/** Stops a job or one service of it: its tasks are told at once, and nothing takes their place. */
export function applyJobStop(tables: Tables, command: Of<"job-stop">, change: Change): Outcome {
  const job = tables.jobs.get(command.job);
  if (job === undefined) {
    const hint = didYouMean(command.job, tables.jobs.keys(), "orch job ls");
    const details = { job: command.job };
    return { kind: "refused", fault: fault("not-found", `no job "${command.job}"`, hint, details) };
  }
  const names = job.spec.services.map((service) => service.name);
  const service = command.service;
  if (service !== null && !names.includes(service)) {
    const hint = didYouMean(service, names, `orch job status ${job.name}`);
    const message = `job "${job.name}" has no service "${service}"`;
    const details = { job: job.name, service };
    return { kind: "refused", fault: fault("not-found", message, hint, details) };
  }
  const stopped =
    service === null
      ? names
      : names.filter((name) => name === service || job.stopped.includes(name));
  if (stopped.length === job.stopped.length)
    return { kind: "done", changed: false, version: job.version };
  const next: Job = { ...job, stopped, updatedAtMs: change.timeMs, modifiedIndex: change.index };
  tables.putJob(
    next,
    change,
    service,
    service === null ? "stopped" : `service ${service} was stopped`,
  );
  const why = `${service === null ? "its job" : "its service"} was stopped`;
  for (const task of tables.tasks.ofJob(job.name)) {
    if (service === null || task.service === service) stopTask(tables, task, why, change);
  }
  return { kind: "done", changed: true, version: job.version };
}

/**
 * Stops one task for good. Its slot gets a new one while its service wants it (restart condition `none` apart):
 * that is what stopping one task of a running service means; `job-stop` ends a service.
 */
export function applyTaskStop(tables: Tables, command: Of<"task-stop">, change: Change): Outcome {
  const task = tables.tasks.all.get(command.task);
  if (task === undefined) {
    const details = { task: command.task };
    const reason = fault("not-found", `no task "${command.task}"`, "See `orch ps --all`.", details);
    return { kind: "refused", fault: reason };
  }
  return {
    kind: "done",
    changed: stopTask(tables, task, "stopped by a user", change),
    version: null,
  };
}

/** Tells a task to stop; one that was never placed is over at once. Returns whether that changed anything. */
export function stopTask(tables: Tables, task: Task, why: string, change: Change): boolean {
  if (isTerminal(task.state) || task.desired === "stopped") return false;
  const told = { ...task, desired: "stopped" as const, modifiedIndex: change.index };
  if (task.state !== "pending") {
    tables.putTask(told, change, `told to stop: ${why}`);
    return true;
  }
  tables.putTask(
    { ...told, state: "stopped", message: why, finishedAtMs: change.timeMs },
    change,
    why,
  );
  return true;
}
