import { fault, type ErrorCode, type Fault } from "../../lib/errors.ts";

/** One thing that is wrong with a Compose file, or with a flag of `orch run`. */
export interface Problem {
  /** Where in the file's structure (`services.web.deploy.replicas`, `services.web.ports[0]`), or the flag's name. */
  readonly path: string;
  /** From 1; 0 when it did not come from a file. */
  readonly line: number;
  /** From 1, in UTF-16 code units; 0 when it did not come from a file. */
  readonly column: number;
  readonly message: string;
  readonly hint: string;
}

/** A place in a file, both from 1; both 0 for what did not come from a file. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** The path of the problem that a file is over its size: it makes the fault `too-large`. */
export const SIZE_PATH = "(file size)";

/** More problems than this are counted, not kept: a hostile file could hold one for every byte. */
const MAX_PROBLEMS = 1000;

/** Collects problems up to a bound and gives them back in the file's order. */
export class ProblemList {
  readonly #kept: Problem[] = [];
  readonly #unreadable = new Set<string>();
  #dropped = 0;

  add(path: string, at: Position, message: string, hint: string): void {
    if (this.#unreadable.has(placeOf(at))) return;
    if (this.#kept.length < MAX_PROBLEMS) {
      this.#kept.push({ path, line: at.line, column: at.column, message, hint });
    } else {
      this.#dropped += 1;
    }
  }

  /** As `add`, for a value that cannot be read: what its readers say of it afterwards would be noise. */
  addUnreadable(path: string, at: Position, message: string, hint: string): void {
    this.add(path, at, message, hint);
    this.#unreadable.add(placeOf(at));
  }

  get size(): number {
    return this.#kept.length + this.#dropped;
  }

  /** Whether a further problem would only be counted, so that it need not be worked out. */
  get full(): boolean {
    return this.#kept.length >= MAX_PROBLEMS;
  }

  /** In the order of their places; the last one says how many were left out, if any were. */
  list(): readonly Problem[] {
    const ordered = this.#kept.toSorted((a, b) => a.line - b.line || a.column - b.column);
    const last = ordered.at(-1);
    if (this.#dropped > 0 && last !== undefined) {
      const hint = "Mend those above first.";
      ordered.push({ ...last, message: `and ${String(this.#dropped)} more problems`, hint });
    }
    return ordered;
  }
}

function placeOf(at: Position): string {
  return `${String(at.line)}:${String(at.column)}`;
}

/**
 * The fault for problems of `file`: its message names the first one as `file:line:column: path: …` and how
 * many more there are, `details.problems` holds all. Code `invalid`, or `too-large` for a file over its size.
 */
export function invalidFault(file: string, problems: readonly Problem[]): Fault {
  const first = problems[0];
  const code: ErrorCode = problems.some(({ path }) => path === SIZE_PATH) ? "too-large" : "invalid";
  if (first === undefined) return fault(code, `${file} is not valid.`, "", { file, problems });
  const more = problems.length - 1;
  const rest =
    more === 0 ? "" : ` (and ${String(more)} more ${more === 1 ? "problem" : "problems"})`;
  return fault(code, `${describeProblem(file, first)}${rest}`, first.hint, { file, problems });
}

function describeProblem(file: string, problem: Problem): string {
  const { path, line, column, message } = problem;
  const where = line === 0 ? "" : `${file}:${String(line)}:${String(column)}: `;
  const subject = path === "" || path === SIZE_PATH ? "" : `${path}: `;
  return `${where === "" && subject === "" ? `${file}: ` : where}${subject}${message}`;
}
