/** Judges what tasks that must never run twice at once have told of themselves in a shared file, see sole-task.sh. */

interface Line {
  readonly kind: "start" | "beat" | "stop";
  readonly slot: string;
  /** One run of one task: its task's id, and the process that it is. */
  readonly run: string;
  /** Since the machine was started, in seconds. */
  readonly at: string;
}

/** How often a slot was run, and how often two runs of one slot were alive at once. */
export interface SoleVerdict {
  readonly runs: number;
  /** Runs that told of their end; the others were killed. */
  readonly stopped: number;
  readonly violations: readonly string[];
}

/**
 * The lines stand in the order in which they were written, each by a process that lived then. So two runs of a slot were
 * alive at once exactly when a line of the one stands between two of the other. A run that does not tell its end is known
 * to have lived until its last line.
 */
export function judgeSole(text: string): SoleVerdict {
  const lines = text.split("\n");
  // A write that was under way when the file was read.
  if (lines.pop() !== "") throw new Error("the last line has no end");
  /** Of each slot: the runs that may still live, with their first and last lines so far. */
  const spans = new Map<string, { readonly first: number; last: number; readonly line: Line }>();
  const ended = new Set<string>();
  const violations: string[] = [];
  for (const [at, said] of lines.entries()) {
    const line = parse(said);
    const span = spans.get(line.run);
    if (line.kind === "start" && span !== undefined) throw new Error(`it starts twice: ${said}`);
    if (line.kind !== "start" && span === undefined) throw new Error(`it has not begun: ${said}`);
    if (ended.has(line.run)) violations.push(`it goes on after its end: ${said}`);
    if (line.kind === "stop") ended.add(line.run);
    if (span === undefined) spans.set(line.run, { first: at, last: at, line });
    else span.last = at;
  }
  const all = [...spans.values()];
  for (const slot of new Set(all.map(({ line }) => line.slot))) {
    violations.push(
      ...overlaps(
        all.filter(({ line }) => line.slot === slot),
        lines,
      ),
    );
  }
  return { runs: spans.size, stopped: ended.size, violations };
}

/** The runs of one slot, in the order of their starts: each has to be over when the next begins. */
function overlaps(
  spans: readonly { readonly first: number; readonly last: number }[],
  lines: readonly string[],
): string[] {
  const found: string[] = [];
  let latest: { readonly first: number; readonly last: number } | null = null;
  for (const span of spans) {
    if (latest !== null && latest.last > span.first) {
      const said = [latest.first, span.first, latest.last, span.last].map((at) => lines[at] ?? "");
      found.push(`two runs of one slot at once:\n${said.map((line) => `    ${line}`).join("\n")}`);
    }
    if (latest === null || span.last > latest.last) latest = span;
  }
  return found;
}

function parse(text: string): Line {
  const [kind, slot = "", task = "", process = "", at = "", ...more] = text.split(" ");
  if ((kind !== "start" && kind !== "beat" && kind !== "stop") || at === "" || more.length > 0) {
    throw new Error(`no line of a task: "${text}"`);
  }
  return { kind, slot, run: `${task} ${process}`, at };
}
