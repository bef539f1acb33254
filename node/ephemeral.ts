import type { EngineStep } from "../runtime/engine.ts";
import type { Assignment } from "../runtime/worker-memory.ts";
import type { TaskId } from "../state/ids.ts";
import type { Engines } from "./engines.ts";

/** A task that nobody knows the grace of gets this long. */
const GRACE_MS = 10_000;

/** Stops and removes every container of this node, all at once, each within its grace. */
export async function endTasks(
  engines: Engines,
  assignments: readonly Assignment[],
): Promise<void> {
  const graceMs = new Map(
    assignments.map((assignment) => [assignment.task, assignment.stopGraceMs]),
  );
  const tasks = await new Promise<TaskId[]>((resolve) => {
    engines.list((outcome) => {
      resolve(
        outcome.kind === "listed" ? outcome.statuses.map(({ task }) => task) : [...graceMs.keys()],
      );
    });
  });
  await Promise.all(
    tasks.map(async (task) => {
      await perform(engines, { kind: "stop", task, graceMs: graceMs.get(task) ?? GRACE_MS });
      await perform(engines, { kind: "remove", task });
    }),
  );
}

function perform(engines: Engines, step: EngineStep): Promise<void> {
  return new Promise((resolve) => {
    engines.perform(step, () => resolve());
  });
}
