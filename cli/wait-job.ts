import { setTimeout as delay } from "node:timers/promises";
import { fault, OrchError } from "../lib/errors.ts";
import type { JobView, TaskView } from "../node/core/view-types.ts";
import { pathOf } from "./client.ts";
import type { Client } from "./client.ts";
import { assess, changeLines } from "./job-progress.ts";
import type { Assessment } from "./job-progress.ts";
import { note } from "./output.ts";
import { startSpinner } from "./spinner.ts";
import type { Spinner } from "./spinner.ts";
import { plain } from "./table.ts";

export interface JobSnapshot {
  readonly job: JobView;
  /** Those that are not over. */
  readonly tasks: readonly TaskView[];
}

export interface WaitOptions {
  readonly name: string;
  /** Older answers are not about what was submitted. */
  readonly version: number;
  readonly timeoutMs: number;
  /** Whether to say on stderr what goes on. */
  readonly progress: boolean;
  readonly signal: AbortSignal | null;
}

const LOOK_EVERY_MS = 200;
/** A task that ends sooner than this after its start has not come to run. */
const SETTLE_MS = 1_000;

/** Waits until all of a job runs and stays so for a moment. Throws OrchError when it cannot, or the time is up. */
export async function waitForJob(client: Client, options: WaitOptions): Promise<JobSnapshot> {
  const { name, version, timeoutMs, signal } = options;
  const report = startReport(name, options.progress);
  const deadlineMs = performance.now() + timeoutMs;
  let settledOn = "";
  let settledMs = 0;
  try {
    for (;;) {
      const [job, tasks] = await Promise.all([
        client.get<JobView>(pathOf("jobs", name)),
        client.get<readonly TaskView[]>(
          `/v1/tasks?${new URLSearchParams({ job: name, all: "true" })}`,
        ),
      ]);
      const assessment: Assessment =
        job.version < version ? { kind: "waiting", summary: "" } : assess(job, tasks);
      report.look(tasks, assessment);
      if (assessment.kind === "failed") throw failure(name, assessment);
      const nowMs = performance.now();
      if (assessment.kind === "running") {
        if (settledOn !== assessment.fingerprint) {
          settledOn = assessment.fingerprint;
          settledMs = nowMs;
        } else if (nowMs - settledMs >= SETTLE_MS) {
          return { job, tasks: tasks.filter((task) => task.state === "running") };
        }
      } else {
        settledOn = "";
      }
      if (nowMs > deadlineMs) throw tooLate(name, timeoutMs, tasks);
      await delay(LOOK_EVERY_MS, undefined, signal === null ? {} : { signal });
    }
  } finally {
    report.end();
  }
}

interface Report {
  look(tasks: readonly TaskView[], assessment: Assessment): void;
  end(): void;
}

/** On a terminal one line that changes in place; else a line for each change of a task. */
function startReport(name: string, wanted: boolean): Report {
  const seen = new Map<string, string>();
  const spinner: Spinner | null =
    wanted && process.stderr.isTTY ? startSpinner(`${name}: submitted`) : null;
  let first = true;
  return {
    look(tasks, assessment) {
      if (!wanted) return;
      const lines = changeLines(tasks, seen);
      if (spinner === null) {
        // What was over before this command began is no news.
        if (!first || tasks.some((task) => task.finishedAt === null)) {
          for (const line of lines)
            if (!first || !/ (failed|stopped|complete|lost|rejected)\b/.test(line))
              note(plain(line));
        }
      } else if (assessment.kind !== "failed") {
        const text =
          assessment.kind === "waiting"
            ? assessment.summary
            : "running, making sure that it stays so";
        spinner.update(`${name}: ${text || "submitted"}`);
      }
      first = false;
    },
    end() {
      spinner?.end();
    },
  };
}

function failure(name: string, { culprits, reason }: Assessment & { kind: "failed" }): OrchError {
  return new OrchError(
    fault(
      "cannot-place",
      [`${name} does not run: ${reason}`, ...culprits.slice(0, 10).map(culpritLine)].join("\n"),
      `See its output with \`orch logs ${name}\`, its history with \`orch events --job ${name}\`; end it with \`orch stop ${name}\`.`,
      {
        job: name,
        tasks: culprits.map(({ id, slot, state, message, exitCode }) => ({
          id,
          slot,
          state,
          message,
          exitCode,
        })),
      },
    ),
  );
}

function tooLate(name: string, timeoutMs: number, tasks: readonly TaskView[]): OrchError {
  const waiting = tasks.filter((task) => task.finishedAt === null && task.state !== "running");
  return new OrchError(
    fault(
      "cannot-place",
      [
        `${name} does not run after ${Math.round(timeoutMs / 1_000)} s`,
        ...waiting.slice(0, 10).map(culpritLine),
      ].join("\n"),
      `It goes on trying: watch it with \`orch job status ${name}\`, or end it with \`orch stop ${name}\`.`,
      {
        job: name,
        tasks: waiting.map(({ id, slot, state, message }) => ({ id, slot, state, message })),
      },
    ),
  );
}

function culpritLine(task: TaskView): string {
  const where = task.nodeName === null ? "" : ` on ${task.nodeName}`;
  const exit = task.exitCode === null ? "" : ` (exit ${task.exitCode})`;
  const starts = task.attempts > 1 ? `, started ${task.attempts} times` : "";
  return `  ${task.slot} ${task.state}${where}${exit}${starts}${task.message === "" ? "" : `: ${task.message}`}`;
}
