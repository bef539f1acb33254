import type {
  ConfigView,
  JobView,
  NodeView,
  ResourcesView,
  TaskView,
} from "../node/core/view-types.ts";
import { formatAge } from "./duration.ts";
import { printTable } from "./output.ts";

/** The tables of nodes, jobs, configs and tasks: one form, whichever command shows them. */

export function printNodes(nodes: readonly NodeView[]): void {
  const { header, rows } = nodeTable(nodes);
  printTable(header, rows, (row) => (nodes[row]?.status === "ready" ? null : "yellow"));
}

/** CPU and MEM MIB are what is reserved of what there is; USED is what was measured, AGE how long ago. */
export function nodeTable(nodes: readonly NodeView[]): {
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
} {
  return {
    header: [
      "NAME",
      "STATUS",
      "ROLE",
      "CPU",
      "MEM MIB",
      "TASKS",
      "USED CPU",
      "USED MIB",
      "AGE",
      "DRIVER",
      "DATACENTER",
    ],
    rows: nodes.map((node) => [
      node.name,
      node.status ?? "unknown",
      roleText(node),
      share(node, (resources) => resources.cpuMilli / 1_000),
      share(node, (resources) => resources.memoryMib),
      String(node.tasks ?? "-"),
      ...usedTexts(node),
      node.driver ?? "-",
      node.datacenter ?? "-",
    ]),
  };
}

function roleText({ role, holdsLog, manager, hidden }: NodeView): string {
  const known = role ?? (holdsLog ? "log holder" : "member");
  return [known, ...(manager ? ["manager"] : []), ...(hidden ? ["hidden"] : [])].join(", ");
}

function usedTexts({ usage }: NodeView): readonly string[] {
  if (usage === null) return ["-", "-", "-"];
  const age = usage.ageMs === null ? "-" : formatAge(usage.ageMs);
  return [round(usage.cpuMilli / 1_000), String(usage.memoryMib), age];
}

/** `allocated/there is` */
function share(
  { allocated, resources }: NodeView,
  pick: (resources: ResourcesView) => number,
): string {
  if (allocated === null || resources === null) return "-";
  return `${round(pick(allocated))}/${round(pick(resources))}`;
}

function round(value: number): string {
  return String(Math.round(value * 100) / 100);
}

export function printJobs(jobs: readonly JobView[], nowMs: number): void {
  printTable(
    ["NAME", "STATUS", "VERSION", "RUNNING", "UPDATED", "SERVICES"],
    jobs.map((job) => [
      job.name,
      job.status,
      String(job.version),
      `${total(job, "running")}/${total(job, "desired")}`,
      formatAge(nowMs - Date.parse(job.updatedAt)),
      job.services.map((service) => service.name).join(", "),
    ]),
    (row) => jobStyle(jobs[row]?.status),
  );
}

function total(job: JobView, count: "running" | "desired"): number {
  return job.services.reduce((sum, service) => sum + service[count], 0);
}

export function jobStyle(status: JobView["status"] | undefined): "red" | "yellow" | null {
  if (status === "failed") return "red";
  return status === "degraded" || status === "pending" ? "yellow" : null;
}

export function printServices(job: JobView): void {
  printTable(
    ["SERVICE", "RUNNING", "PARTITION", "IMAGE", "MESSAGE"],
    job.services.map((service) => [
      service.name,
      `${service.running}/${service.desired}`,
      service.partition,
      service.image ?? "-",
      service.message,
    ]),
    (row) => {
      const service = job.services[row];
      return service !== undefined && service.running < service.desired ? "yellow" : null;
    },
  );
}

export function printConfigs(configs: readonly ConfigView[], nowMs: number): void {
  printTable(
    ["NAME", "VERSION", "BYTES", "UPDATED"],
    configs.map((config) => [
      config.name,
      String(config.version),
      String(config.sizeBytes),
      formatAge(nowMs - Date.parse(config.updatedAt)),
    ]),
  );
}

export function printTasks(tasks: readonly TaskView[], nowMs: number): void {
  printTable(
    ["TASK", "SLOT", "STATE", "NODE", "AGE", "PORTS", "MESSAGE"],
    tasks.map((task) => [
      task.id,
      task.slot,
      stateText(task),
      task.nodeName ?? "-",
      formatAge(nowMs - Date.parse(task.createdAt)),
      portsText(task) || "-",
      task.message,
    ]),
    (row) => taskStyle(tasks[row]?.state),
  );
}

/** A task's state with what is known of its health and its restarts. */
export function stateText(task: TaskView): string {
  const notes = [];
  if (task.healthy !== null && task.state === "running")
    notes.push(task.healthy ? "healthy" : "unhealthy");
  if (task.attempts > 1) notes.push(`${task.attempts} starts`);
  if (task.exitCode !== null && task.state !== "running" && task.exitCode !== 0)
    notes.push(`exit ${task.exitCode}`);
  return notes.length === 0 ? task.state : `${task.state} (${notes.join(", ")})`;
}

function taskStyle(state: string | undefined): "red" | "yellow" | "dim" | null {
  if (state === "failed" || state === "rejected" || state === "lost" || state === "orphaned")
    return "red";
  if (state === "complete" || state === "stopped") return "dim";
  return state === "running" ? null : "yellow";
}

function portsText(task: TaskView): string {
  return task.ports
    .map(({ address, host, container, protocol }) => {
      const end = `${bracketed(address)}:${host}->${container}`;
      return protocol === "tcp" ? end : `${end}/${protocol}`;
    })
    .join(", ");
}

/** Where the published TCP ports of running tasks answer. */
export function taskUrls(
  tasks: readonly TaskView[],
): { readonly url: string; readonly task: TaskView }[] {
  return tasks
    .filter((task) => task.state === "running")
    .flatMap((task) =>
      task.ports
        .filter(({ protocol }) => protocol === "tcp")
        .map(({ address, host }) => ({ url: `http://${bracketed(address)}:${host}/`, task })),
    );
}

function bracketed(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}

/** By job, service, then number of the slot: 2 before 10. */
export function bySlot(a: TaskView, b: TaskView): number {
  return (
    compare(a.job, b.job) ||
    compare(a.service, b.service) ||
    slotNumber(a) - slotNumber(b) ||
    compare(b.createdAt, a.createdAt)
  );
}

function slotNumber(task: TaskView): number {
  return Number(task.slot.slice(task.slot.lastIndexOf(".") + 1)) || 0;
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
