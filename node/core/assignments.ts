import type { Assignment } from "../../runtime/worker-memory.ts";
import type { TaskId } from "../../state/ids.ts";
import { slotName } from "../../state/ids.ts";
import type { NodeRecord } from "../../state/node-record.ts";
import { type Task, isTerminal } from "../../state/task.ts";

/** Whether a worker should know of this task: what it runs, and what it ran and keeps the output of. */
function concernsWorker(task: Task): boolean {
  return task.state !== "lost" && task.state !== "orphaned" && task.state !== "rejected";
}

/** What a worker is told to do about a task. The words for people and programs inside come from here. */
function assignmentOf(task: Task, node: NodeRecord): Assignment {
  const { spec } = task;
  const isProcess = spec.image === null;
  const slot = slotName(task.job, task.service, task.slot);
  const ports = task.ports.map(({ container, host }): [string, string] => [
    `ORCH_PORT_${container}`,
    // A process shares the machine's ports; a container has its own.
    String(isProcess ? host : container),
  ]);
  return {
    task: task.id,
    desired: desiredOf(task),
    container: {
      task: task.id,
      slot,
      job: task.job,
      service: task.service,
      image: spec.image,
      entrypoint: spec.entrypoint,
      command: spec.command,
      environment: {
        ...spec.environment,
        ...Object.fromEntries(ports),
        ORCH_JOB: task.job,
        ORCH_SERVICE: task.service,
        ORCH_SLOT: slot,
        ORCH_TASK: task.id,
        ORCH_NODE: node.id,
        ORCH_NODE_NAME: node.name,
        ORCH_PUBLISH_ADDRESS: isProcess ? node.publishAddress : "0.0.0.0",
      },
      workingDir: spec.workingDir,
      ports: task.ports,
      publishAddress: node.publishAddress,
      volumes: spec.volumes,
      limits: spec.limits,
    },
    restart: spec.restart,
    stopGraceMs: spec.stopGraceMs,
    leased: spec.partition === "at-most-one",
  };
}

function desiredOf(task: Task): "running" | "stopped" {
  return isTerminal(task.state) ? "stopped" : task.desired;
}

export interface AssignmentChange {
  readonly upsert: readonly Assignment[];
  readonly remove: readonly TaskId[];
}

/** What one session has been told: of each task, whether it should run. All else of a task never changes. */
export type Told = Map<TaskId, "running" | "stopped">;

/** What a worker must be told beyond what it was, and notes that it was told. Null: nothing. */
export function assignmentChange(
  told: Told,
  node: NodeRecord,
  tasks: readonly Task[],
): AssignmentChange | null {
  const upsert: Assignment[] = [];
  const current = new Set<TaskId>();
  for (const task of tasks) {
    if (!concernsWorker(task)) continue;
    current.add(task.id);
    const desired = desiredOf(task);
    if (told.get(task.id) === desired) continue;
    told.set(task.id, desired);
    upsert.push(assignmentOf(task, node));
  }
  const remove = [...told.keys()].filter((id) => !current.has(id));
  for (const id of remove) told.delete(id);
  return upsert.length === 0 && remove.length === 0 ? null : { upsert, remove };
}
