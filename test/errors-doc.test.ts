import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ERRORS } from "../lib/errors.ts";

/** docs/errors.md and the table in lib/errors.ts say the same, both ways. */

interface Listed {
  readonly status: number;
  readonly exit: number;
  readonly retryable: boolean;
}

const text = readFileSync(new URL("../docs/errors.md", import.meta.url), "utf8");
/** What follows each heading, by the heading. */
const sections = text.split(/^### /m).slice(1);

function listed(section: string): [code: string, what: Listed] {
  const match = /^`([a-z-]+)`\n\nHTTP (\d{3}), exit (\d+)(, safe to repeat)?\. /.exec(section);
  if (match === null) throw new Error(`a section has another form:\n${section.slice(0, 100)}`);
  const [, code = "", status, exit, repeat] = match;
  return [code, { status: Number(status), exit: Number(exit), retryable: repeat !== undefined }];
}

test("every code is in the document, and nothing else, with its status and exit code", () => {
  expect(Object.fromEntries(sections.map(listed))).toEqual(ERRORS);
  expect(sections.length, "no code twice").toBe(Object.keys(ERRORS).length);
});

test("every code says what is typical and what to do", () => {
  for (const section of sections) {
    expect(section).toMatch(/^- Typical: .*`/m);
    expect(section).toMatch(/^- Do: .{10}/m);
  }
});

test("every exit code is explained", () => {
  const [, explained = ""] = /^The exit codes: ([^.]*)\./ms.exec(text) ?? [];
  const exits = new Set(Object.values(ERRORS).map(({ exit }) => exit));
  for (const exit of exits) expect(explained).toMatch(new RegExp(`\\b${exit} `));
});
