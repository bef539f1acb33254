import type { TaskId } from "../state/ids.ts";
import type { ContainerSpec } from "./engine.ts";
import type { RestartPolicy } from "../state/spec.ts";
import type { TaskReport } from "../state/task.ts";

/** One task as its worker is told to run it. */
export interface Assignment {
  readonly task: TaskId;
  readonly desired: "running" | "stopped";
  readonly container: ContainerSpec;
  readonly restart: RestartPolicy;
  readonly stopGraceMs: number;
  /** It may run only while its node holds a lease: see `Partition` in state/spec.ts. */
  readonly leased: boolean;
}

/** What a worker keeps through a restart: it goes on with it before, and without, any manager. */
export interface WorkerMemory {
  readonly assignments: readonly Assignment[];
  /** What it last reported of each: so that attempts are counted, and ends remembered, through a restart. */
  readonly reports: readonly TaskReport[];
  /** Leased tasks that no assignment names any more, until their containers are gone: nobody else may be there to end them. */
  readonly ending: readonly { readonly task: TaskId; readonly graceMs: number }[];
}
