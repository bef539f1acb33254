import { setTimeout as delay } from "node:timers/promises";
import { fault, OrchError } from "../../lib/errors.ts";
import type { Fault } from "../../lib/errors.ts";
import type { JobView, LogLineView, TaskView } from "../../node/core/view-types.ts";
import { isOver, messageOf, parseAnswer } from "../boundary.ts";
import { pathOf } from "../client.ts";
import type { Client } from "../client.ts";
import type { Context } from "../context.ts";
import { parseSinceMs } from "../duration.ts";
import { newestOfSlots } from "../job-progress.ts";
import { mergeByTime, ResumePoint } from "../log-merge.ts";
import type { SourceLine } from "../log-merge.ts";
import { note, paint, print } from "../output.ts";
import { looksLikeTaskId, parseTarget } from "../target.ts";
import type { Target } from "../target.ts";
import { bySlot } from "../views.ts";

export interface LogFlags {
  readonly follow?: boolean;
  readonly tail?: string;
  readonly since?: string;
  readonly timestamps?: boolean;
}

interface Selection {
  readonly follow: boolean;
  readonly tail: string | null;
  readonly since: string | null;
}

/** Each takes a connection to a node, and as many of the node to others. */
const MAX_TASKS = 100;
/** How often `--follow` looks for tasks that are new. */
const LOOK_EVERY_MS = 1_000;
const MAX_BROKEN_IN_A_ROW = 5;

/** `orch logs JOB|JOB.SERVICE|SLOT|TASK` */
export async function logs(context: Context, text: string, flags: LogFlags): Promise<void> {
  const { client } = context;
  const selection = readFlags(flags);
  const target = parseTarget(text);
  const tasks = await tasksOf(client, target);
  const printLine = linePrinter(context, flags.timestamps ?? false, tasks);
  if (selection.follow) return follow(client, target, tasks, selection, printLine);
  const { signal } = new AbortController();
  const single = tasks.length === 1;
  const streams = tasks.map((task) => {
    const stream = taskLines(client, task, selection, new ResumePoint(), signal);
    return single ? stream : orNote(stream, task);
  });
  for await (const line of mergeByTime(streams)) printLine(line);
}

/** One task that cannot be read (its node is down) must not hide what the others said. */
async function* orNote(
  stream: AsyncGenerator<TaskLine, void>,
  task: TaskView,
): AsyncGenerator<TaskLine, void> {
  try {
    yield* stream;
  } catch (error) {
    note(`orch: ${task.slot} (${task.id}): ${messageOf(error)}`);
    process.exitCode = 1;
  }
}

function readFlags(flags: LogFlags): Selection {
  if (flags.tail !== undefined && !/^\d{1,6}$/.test(flags.tail)) {
    throw new OrchError(
      fault("usage", `--tail "${flags.tail}" is no number of lines`, "Write it as --tail 100."),
    );
  }
  return { follow: flags.follow ?? false, tail: flags.tail ?? null, since: readSince(flags.since) };
}

/** As an absolute time, because a repeated request must not begin later than the first. */
function readSince(text: string | undefined): string | null {
  if (text === undefined) return null;
  const sinceMs = parseSinceMs(text, Date.now());
  if (sinceMs !== null) return new Date(sinceMs).toISOString();
  throw new OrchError(
    fault(
      "usage",
      `--since "${text}" is neither a duration nor a time`,
      "Write it as 10m or 2026-01-31T12:00:00Z.",
    ),
  );
}

/** The tasks that a target names: those that are not over; when all are, each slot's last. */
async function tasksOf(client: Client, target: Target): Promise<readonly TaskView[]> {
  if (target.kind === "slot") return [await client.get<TaskView>(pathOf("tasks", target.slot))];
  if (target.kind === "job-or-task") {
    const task = looksLikeTaskId(target.name)
      ? await client.find<TaskView>(pathOf("tasks", target.name))
      : null;
    if (task !== null) return [task];
  }
  const job = target.kind === "service" ? target.job : target.name;
  const query = new URLSearchParams({
    job,
    ...(target.kind === "service" ? { service: target.service } : {}),
  });
  // Asked first for its own sake: an unknown job is an error, not an empty output.
  const view = await client.get<JobView>(pathOf("jobs", job));
  if (target.kind === "service" && !view.services.some(({ name }) => name === target.service)) {
    const names = view.services.map(({ name }) => `${job}.${name}`).join(", ");
    throw new OrchError(
      fault("not-found", `job ${job} has no service ${target.service}`, `It has ${names}.`),
    );
  }
  query.set("all", "true");
  const all = await client.get<readonly TaskView[]>(`/v1/tasks?${query}`);
  const live = all.filter((task) => !isOver(task) && task.node !== null);
  const tasks = (live.length > 0 ? live : newestOfSlots(all)).toSorted(bySlot);
  if (tasks.length <= MAX_TASKS) return tasks;
  throw new OrchError(
    fault(
      "usage",
      `${job} has ${tasks.length} tasks; logs merges at most ${MAX_TASKS}`,
      "Name a service, a slot or a task.",
    ),
  );
}

type TaskLine = SourceLine<TaskView>;

/**
 * A task's lines; goes on where it was when the connection breaks, and with `follow` also when its node is away for a moment. Throws OrchError
 * with the node's reason.
 */
async function* taskLines(
  client: Client,
  task: TaskView,
  selection: Selection,
  resume: ResumePoint,
  signal: AbortSignal,
): AsyncGenerator<TaskLine, void> {
  let failingSinceMs: number | null = null;
  for (let broken = 0; ;) {
    const query = new URLSearchParams();
    if (selection.follow) query.set("follow", "true");
    const since = resume.since ?? selection.since;
    if (since !== null) query.set("since", since);
    if (selection.tail !== null && resume.since === null) query.set("tail", selection.tail);
    resume.restart();
    let isOpen = false;
    try {
      const lines = await client.lines(`${pathOf("tasks", task.id, "/logs")}?${query}`, {}, signal);
      isOpen = true;
      for await (const text of lines) {
        if (text === "") continue;
        const line = parseAnswer<LogLineView | { readonly fault: Fault }>(text);
        if ("fault" in line) throw new OrchError(line.fault);
        broken = 0;
        failingSinceMs = null;
        if (resume.accept(line.time)) yield { source: task, ...line };
      }
      return;
    } catch (error) {
      broken += 1;
      const passing = error instanceof OrchError && error.fault.code === "unreachable";
      failingSinceMs ??= performance.now();
      // What could not be opened was tried for as long as the client waits.
      const isTimeUp = selection.follow
        ? performance.now() - failingSinceMs >= client.timeoutMs
        : !isOpen || broken > MAX_BROKEN_IN_A_ROW;
      if (!passing || isTimeUp) throw error;
      await delay(Math.min(200 * broken, LOOK_EVERY_MS), undefined, { signal }).catch(
        () => undefined,
      );
    }
  }
}

/** Prints lines as they come, also of tasks that start later; returns when all that can speak has spoken. */
async function follow(
  client: Client,
  target: Target,
  first: readonly TaskView[],
  selection: Selection,
  printLine: (line: TaskLine) => void,
): Promise<void> {
  const abort = new AbortController();
  const begun = new Map<string, { readonly from: Selection; readonly resume: ResumePoint }>();
  const open = new Map<string, Promise<void>>();
  // A task whose output ended may go on: its node is back, and it was never over.
  const start = (task: TaskView, selected: Selection): void => {
    if (open.has(task.id)) return;
    const { from, resume } = begun.get(task.id) ?? { from: selected, resume: new ResumePoint() };
    begun.set(task.id, { from, resume });
    const lines = orNote(taskLines(client, task, from, resume, abort.signal), task);
    open.set(
      task.id,
      printAll(lines, printLine).finally(() => open.delete(task.id)),
    );
  };
  for (const task of first) start(task, selection);
  const single = target.kind === "job-or-task" && first.some((task) => task.id === target.name);
  try {
    for (;;) {
      if (single) {
        await Promise.all(open.values());
        return;
      }
      await delay(LOOK_EVERY_MS);
      const tasks = await tasksOf(client, target);
      // What a new task said before it was seen belongs to it: all of its lines.
      for (const task of tasks) if (!isOver(task)) start(task, { ...selection, tail: null });
      if (open.size === 0 && tasks.every((task) => isOver(task))) return;
    }
  } finally {
    abort.abort();
  }
}

async function printAll(
  lines: AsyncGenerator<TaskLine, void>,
  printLine: (line: TaskLine) => void,
): Promise<void> {
  for await (const line of lines) printLine(line);
}

const COLOURS = [
  "cyan",
  "yellow",
  "green",
  "magenta",
  "blue",
  "cyanBright",
  "yellowBright",
  "greenBright",
] as const;

function linePrinter(
  context: Context,
  timestamps: boolean,
  tasks: readonly TaskView[],
): (line: TaskLine) => void {
  if (context.json) {
    return ({ source, stream, time, text }) => {
      print(JSON.stringify({ task: source.id, slot: source.slot, stream, time, text }));
    };
  }
  const prefixWidth = Math.max(0, ...tasks.map((task) => task.slot.length));
  const colours = new Map<string, (typeof COLOURS)[number]>();
  return ({ source, time, text }) => {
    const { slot } = source;
    if (!colours.has(slot)) colours.set(slot, COLOURS[colours.size % COLOURS.length] ?? "cyan");
    const prefix = context.quiet
      ? ""
      : `${paint(colours.get(slot) ?? "cyan", `${slot.padEnd(prefixWidth)} |`)} `;
    print(`${prefix}${timestamps ? `${time} ` : ""}${text}`);
  };
}
