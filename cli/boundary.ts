import type { Fault } from "../lib/errors.ts";
import { TRANSITIONS } from "../state/task.ts";
import type { TaskView } from "../node/core/view-types.ts";

/** What crosses into this program: errors of the system, answers of nodes. */

/** The system's code of an error (`ENOENT`), also of the first of several; null when it has none. */
export function codeOf(error: unknown): string | null {
  if (error instanceof AggregateError) return codeOf(error.errors[0]);
  if (!(error instanceof Error) || !("code" in error)) return null;
  return typeof error.code === "string" ? error.code : null;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A node's answer. Its shape is not checked: a newer node may add to it, and no other has a reason to answer. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows which path answers what
export function parseAnswer<Shape>(text: string): Shape {
  return JSON.parse(text);
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The problems in a fault's details: a refused file may have several. Empty when it lists none. */
export function problemsOf({ details }: Fault): string[] {
  const { problems, file } = details;
  if (!Array.isArray(problems)) return [];
  const name = typeof file === "string" ? file : "line";
  return problems.filter(isRecord).map((problem) => problemText(problem, name));
}

/** `file:line:column: path: message (hint)`, each part where there is one. */
export function problemText(problem: Readonly<Record<string, unknown>>, file: string): string {
  const { line, column, path, message, hint } = problem;
  const where =
    typeof line === "number" && line > 0 ? `${file}:${line}:${Number(column ?? 0)}: ` : "";
  const subject = typeof path === "string" && path !== "" ? `${path}: ` : "";
  const advice = typeof hint === "string" && hint !== "" ? ` (${hint})` : "";
  return `${where}${subject}${typeof message === "string" ? message : ""}${advice}`;
}

const OVER: ReadonlySet<string> = new Set(
  Object.entries(TRANSITIONS).flatMap(([state, next]) => (next.length === 0 ? [state] : [])),
);

/** Whether a task is over for ever. */
export function isOver(task: TaskView): boolean {
  return OVER.has(task.state);
}
