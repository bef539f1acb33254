import { stripVTControlCharacters } from "node:util";

const GAP = "  ";

/**
 * Lines of aligned columns, the header first; no line has blanks at its end. `widthLimit`: what a
 * terminal shows in a line, so that the last column is cut there instead of wrapping; null cuts nothing.
 */
export function renderTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  widthLimit: number | null,
): string[] {
  const lines = [header, ...rows].map((row) => row.map(plain));
  const last = header.length - 1;
  const widths = header.map((_, column) =>
    column === last ? 0 : Math.max(...lines.map((row) => row[column]?.length ?? 0)),
  );
  return lines.map((row) => {
    const line = row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join(GAP)
      .trimEnd();
    return widthLimit !== null && line.length > widthLimit
      ? `${line.slice(0, Math.max(1, widthLimit - 1))}…`
      : line;
  });
}

/** Text from elsewhere (a task's message, a label) without what would move the cursor or colour the terminal. */
export function plain(text: string): string {
  return stripVTControlCharacters(text).replaceAll(/\p{Cc}+/gu, " ");
}
