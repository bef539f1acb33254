import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import type Docker from "dockerode";
import type { TaskId } from "../state/ids.ts";
import { taskId } from "../state/ids.ts";
import { bounded, CALL_MS } from "./docker-client.ts";
import type { Owner } from "./docker-spec.ts";
import { ownLabels, TASK_LABEL } from "./docker-spec.ts";
import type { ContainerStatus } from "./engine.ts";
import { exitMessage } from "./exit-message.ts";

/** The wait before the events are asked for again: doubled with each failure. */
const RECONNECT_MS = { first: 100, most: 5_000 } as const;
/** Engines drop events of listeners that are slow: what they dropped is noticed this much later. */
const RELIST_MS = 60_000;

const event = z.object({
  Action: z.string(),
  time: z.number().optional(),
  Actor: z.object({ ID: z.string(), Attributes: z.record(z.string(), z.string()) }),
});

/** How the watcher asks about containers: the driver's own way of doing it. */
export interface Sight {
  /** Null: there is no such container. */
  inspect(containerId: string, task: TaskId): Promise<ContainerStatus | null>;
  find(task: TaskId): Promise<ContainerStatus | null>;
  all(): Promise<ContainerStatus[]>;
}

/**
 * What the node was last told of each task. A container's start time names the run, so that the same
 * end seen twice (as an event and in a list, or before and after a reconnect) is told once.
 */
export class Told {
  readonly #last = new Map<TaskId, ContainerStatus>();

  /** Whether a status is news; from then on it is not. */
  note(status: ContainerStatus): boolean {
    const last = this.#last.get(status.task);
    if (status.state === "gone") this.#last.delete(status.task);
    else if (last !== undefined && order(status) <= order(last)) return false;
    else this.#last.set(status.task, status);
    return status.state !== "gone" || last !== undefined;
  }

  get(task: TaskId): ContainerStatus | undefined {
    return this.#last.get(task);
  }

  all(): ContainerStatus[] {
    return [...this.#last.values()];
  }
}

/** Later runs after earlier ones; within a run the end after the start. */
function order(status: ContainerStatus): number {
  return (status.startedAtMs ?? 0) * 2 + (status.state === "exited" ? 1 : 0);
}

/**
 * Tells every start and end of the owner's containers until the signal aborts, whatever happens to the
 * engine: after each reconnect, and now and then, it compares what is there with what was told.
 */
export async function watchContainers(
  client: Docker,
  owner: Owner,
  sight: Sight,
  told: Told,
  tell: (status: ContainerStatus) => void,
  signal: AbortSignal,
): Promise<void> {
  const news = (status: ContainerStatus): void => {
    if (!signal.aborted && told.note(status) && status.state !== "created") tell(status);
  };
  const relist = setInterval(
    () => void compare(sight, told, news).catch(() => undefined),
    RELIST_MS,
  );
  relist.unref();
  signal.addEventListener("abort", () => clearInterval(relist));
  let waitMs: number = RECONNECT_MS.first;
  while (!signal.aborted) {
    try {
      for await (const line of eventLines(client, owner, signal, () =>
        compare(sight, told, news),
      )) {
        waitMs = RECONNECT_MS.first;
        await hear(line, sight, told, news);
      }
    } catch {
      // The engine is away: asking again is all there is to do, steps say it to the user.
    }
    await delay(waitMs, undefined, { signal, ref: false }).catch(() => undefined);
    waitMs = Math.min(waitMs * 2, RECONNECT_MS.most);
  }
}

/** The engine's events from now on, one JSON text each. `connected` runs when they flow, before the first. */
async function* eventLines(
  client: Docker,
  owner: Owner,
  signal: AbortSignal,
  connected: () => Promise<void>,
): AsyncGenerator<string, void, undefined> {
  const stop = new AbortController();
  const abort = (): void => stop.abort();
  signal.addEventListener("abort", abort);
  try {
    const filters = JSON.stringify({ type: ["container"], label: ownLabels(owner, null) });
    const stream = await bounded(CALL_MS, () =>
      client.getEvents({ filters, abortSignal: stop.signal }),
    );
    await connected();
    let rest = "";
    for await (const chunk of stream) {
      const lines = (rest + chunk.toString()).split("\n");
      rest = lines.pop() ?? "";
      yield* lines.filter((line) => line.trim() !== "");
    }
  } finally {
    signal.removeEventListener("abort", abort);
    stop.abort();
  }
}

async function compare(
  sight: Sight,
  told: Told,
  news: (status: ContainerStatus) => void,
): Promise<void> {
  const before = told.all();
  const present = await sight.all();
  for (const status of present) news(status);
  const tasks = new Set(present.map((status) => status.task));
  for (const status of before) {
    // Asked again, since it may have been made after the list was.
    if (!tasks.has(status.task) && (await sight.find(status.task)) === null) news(goneAs(status));
  }
}

async function hear(
  line: string,
  sight: Sight,
  told: Told,
  news: (status: ContainerStatus) => void,
): Promise<void> {
  const parsed = event.safeParse(JSON.parse(line));
  const task = taskId(parsed.data?.Actor.Attributes[TASK_LABEL] ?? "");
  if (!parsed.success || task === "") return;
  const { Action: action, Actor: actor, time } = parsed.data;
  const last = told.get(task);
  if (action === "destroy" || action === "remove") {
    const nothing = { task, exitCode: null, startedAtMs: null, finishedAtMs: null };
    news(last === undefined ? { ...nothing, message: "", state: "gone" } : goneAs(last));
  } else if (action === "start") {
    const status = await sight.inspect(actor.ID, task);
    // A short run may be over already: its end is told by the event that follows.
    if (status !== null)
      news({ ...status, state: "running", exitCode: null, message: "", finishedAtMs: null });
  } else if (action === "die" || action === "died") {
    const status = await sight.inspect(actor.ID, task);
    if (status?.state === "exited") return news(status);
    // Started again, or removed, since: what the event itself says must do.
    const exitCode = Number(actor.Attributes["exitCode"] ?? 137);
    const startedAtMs = last?.startedAtMs ?? null;
    const finishedAtMs = time === undefined ? null : time * 1000;
    news({
      task,
      state: "exited",
      exitCode,
      message: exitMessage(exitCode),
      startedAtMs,
      finishedAtMs,
    });
  }
}

function goneAs(status: ContainerStatus): ContainerStatus {
  return { ...status, state: "gone", exitCode: null, message: "" };
}
