import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { ScenarioEnvironment } from "./environment.ts";

const FOLDER = import.meta.dirname;
const scenarios = readdirSync(FOLDER).filter((name) => name.endsWith(".txt"));

/** The transcript again, with what each command (a line that starts with `> `) brings about now. */
function replay(transcript: string): string {
  const environment = new ScenarioEnvironment();
  const lines: string[] = [];
  for (const line of transcript.split("\n")) {
    if (line.startsWith("> ")) lines.push(line, ...environment.run(line.slice(2)));
    else if (line.startsWith("#") || line === "") lines.push(line);
  }
  return lines.join("\n");
}

describe("scenarios: UPDATE=1 rewrites them, to be read as a diff", () => {
  it.each(scenarios)("%s", (name) => {
    const file = path.join(FOLDER, name);
    const before = readFileSync(file, "utf8");
    const after = replay(before);
    const isUpdate = process.env["UPDATE"] === "1";
    if (isUpdate) writeFileSync(file, after);
    expect(after).toBe(isUpdate ? after : before);
  });

  it("there are some", () => {
    expect(scenarios.length).toBeGreaterThan(10);
  });
});
