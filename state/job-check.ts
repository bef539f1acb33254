import type { Fault } from "../lib/errors.ts";
import { fault } from "../lib/errors.ts";
import type { JobSpec, ServiceSpec } from "./spec.ts";

/** Of jobs and configs. */
export const NAME: RegExp = /^[a-z0-9][a-z0-9_-]{0,62}$/;
export const NAME_RULE = "has 1 to 63 of a-z, 0-9, - and _ and starts with a letter or digit";
/** No dots: a slot is named `<job>.<service>.<n>`. */
const SERVICE_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$/;
/** A worker's assignments travel as one message: hundreds of tasks with a spec of this size still fit. */
const MAX_SERVICE_CHARACTERS = 32 * 1024;
const MAX_SERVICES = 1000;
const MAX_REPLICAS = 100_000;
const MAX_LIST = 1000;
/** Far above any machine, and sums of it stay exact. */
const MAX_AMOUNT = 1_000_000_000_000;
const MAX_DURATION_MS = 7 * 86_400_000;

/**
 * The last check of a job, when its command is applied: names and numbers within bounds. Parsers check more and
 * say where; this holds whoever wrote the command. Returns the first thing that is wrong, or null.
 */
export function checkJob(spec: JobSpec): Fault | null {
  const problem = jobProblem(spec);
  if (problem === null) return null;
  return fault(
    "invalid",
    `job "${spec.name.slice(0, 100)}": ${problem}`,
    "Correct the job and submit it again.",
    {
      job: spec.name,
    },
  );
}

function jobProblem(spec: JobSpec): string | null {
  if (!NAME.test(spec.name)) return `a job's name ${NAME_RULE}`;
  if (spec.services.length === 0) return "it has no services";
  if (spec.services.length > MAX_SERVICES) return `it has more than ${MAX_SERVICES} services`;
  const seen = new Set<string>();
  for (const service of spec.services) {
    if (seen.has(service.name)) return `two services are named "${service.name}"`;
    seen.add(service.name);
    const problem = serviceProblem(service);
    if (problem !== null) return `service "${service.name.slice(0, 100)}": ${problem}`;
  }
  return null;
}

function serviceProblem(service: ServiceSpec): string | null {
  if (!SERVICE_NAME.test(service.name)) {
    return "a service's name has 1 to 63 of letters, digits, - and _ and starts with a letter or digit";
  }
  if (JSON.stringify(service).length > MAX_SERVICE_CHARACTERS) {
    return `service "${service.name}" is larger than 32 KiB: put large values into files of a volume`;
  }
  const { reservations, limits, restart } = service;
  const bounds: readonly (readonly [string, number | null, number, number])[] = [
    ["replicas", service.replicas, 0, MAX_REPLICAS],
    ["the reserved cpu", reservations.cpuMilli, 0, MAX_AMOUNT],
    ["the reserved memory", reservations.memoryMib, 0, MAX_AMOUNT],
    ["the reserved disk", reservations.diskMib, 0, MAX_AMOUNT],
    ["the cpu limit", limits.cpuMilli, 0, MAX_AMOUNT],
    ["the memory limit", limits.memoryMib, 0, MAX_AMOUNT],
    ["the restart delay", restart.delayMs, 0, MAX_DURATION_MS],
    ["the restart window", restart.windowMs, 0, MAX_DURATION_MS],
    ["the restart attempts", restart.maxAttempts, 0, MAX_AMOUNT],
    ["the stop grace", service.stopGraceMs, 0, MAX_DURATION_MS],
  ];
  for (const [what, value, low, high] of bounds) {
    if (!within(value, low, high)) return `${what} must be an integer from ${low} to ${high}`;
  }
  if (service.partition !== "at-least-one" && service.partition !== "at-most-one") {
    return "its partition must be at-least-one or at-most-one";
  }
  if (Math.max(service.volumes.length, service.constraints.length) > MAX_LIST) {
    return `it has more than ${MAX_LIST} volumes or constraints`;
  }
  return portProblem(service);
}

function portProblem(service: ServiceSpec): string | null {
  if (service.ports.length > MAX_LIST) return `it has more than ${MAX_LIST} ports`;
  const hosts = new Set<string>();
  for (const port of service.ports) {
    if (!within(port.container, 1, 65_535) || !within(port.host, 1, 65_535)) {
      return "a port must be an integer from 1 to 65535";
    }
    if (port.host === null) continue;
    const key = `${port.host}/${port.protocol}`;
    if (hosts.has(key)) return `it publishes host port ${key} twice`;
    hosts.add(key);
  }
  return null;
}

/** Null is within any bounds: it means "none". */
function within(value: number | null, low: number, high: number): boolean {
  return value === null || (Number.isSafeInteger(value) && value >= low && value <= high);
}
