import type { TaskReport } from "../../state/task.ts";

/** Whether a report says anything that the state does not. */
export function isNews(report: TaskReport, task: Omit<TaskReport, "task">): boolean {
  return (
    report.state !== task.state ||
    report.healthy !== task.healthy ||
    report.attempts !== task.attempts ||
    report.exitCode !== task.exitCode ||
    report.message !== task.message ||
    report.startedAtMs !== task.startedAtMs ||
    report.finishedAtMs !== task.finishedAtMs
  );
}
