import { styleText } from "node:util";
import type { Fault } from "../lib/errors.ts";
import { problemsOf } from "./boundary.ts";
import { plain, renderTable } from "./table.ts";

type Style = Parameters<typeof styleText>[0];

/** A result, to stdout, with a line end. */
export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** What the API answered, as it answered it. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2));
}

/** Everything that is not a result, to stderr, with a line end. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Coloured where `stream` is a terminal and NO_COLOR is not set; else the text alone. */
export function paint(
  style: Style,
  text: string,
  stream: NodeJS.WriteStream = process.stdout,
): string {
  return styleText(style, text, { stream });
}

/** A table to stdout, cut to the terminal's width if there is one. */
export function printTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  rowStyle: (row: number) => Style | null = () => null,
): void {
  const width = process.stdout.isTTY ? process.stdout.columns : 0;
  const [head = "", ...lines] = renderTable(header, rows, width > 0 ? width : null);
  print(paint("bold", head));
  for (const [row, line] of lines.entries()) {
    const style = rowStyle(row);
    print(style === null ? line : paint(style, line));
  }
}

/** An error, to stderr: for people, or the fault itself with `--json`. */
export function printFault(reason: Fault, json: boolean): void {
  if (json) {
    note(JSON.stringify(reason, null, 2));
    return;
  }
  note(
    `${paint("red", "orch:", process.stderr)} ${reason.message.split("\n").map(plain).join("\n")}`,
  );
  if (reason.hint !== "") note(`hint: ${reason.hint}`);
  // The message holds the first of them.
  const [, ...further] = problemsOf(reason);
  for (const problem of further.slice(0, MAX_PROBLEMS)) note(`also: ${plain(problem)}`);
  if (further.length > MAX_PROBLEMS) note(`and ${further.length - MAX_PROBLEMS} more problems`);
}

const MAX_PROBLEMS = 20;
