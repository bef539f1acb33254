import type { ServiceSpec } from "../../state/spec.ts";
import { parseCompose, type ParseOutcome } from "./parse.ts";

/** What the tests of this folder share. */

const ENVIRONMENT = { TAG: "1.27", EMPTY: "", COUNT: "3", FLAG: "true", HOME: "/home/u" };

export function parseText(
  text: string,
  environment: Readonly<Record<string, string>> = ENVIRONMENT,
): ParseOutcome {
  return parseCompose(text, { file: "compose.yaml", defaultName: "My Shop!", environment });
}

/** `body` as the keys of a service web, which begin on line 3 in column 5. */
export function webFile(body: string, top = "volumes: {data: }"): string {
  const lines = body.split("\n").map((line) => `    ${line}`);
  return `services:\n  web:\n${lines.join("\n")}\n${top}\n`;
}

/** The service web of `webFile(body)`. */
export function webOf(body: string): ServiceSpec {
  const outcome = parseText(webFile(body));
  if (outcome.kind === "invalid") throw new Error(JSON.stringify(outcome.problems));
  const [web] = outcome.spec.services;
  if (web === undefined) throw new Error("no service");
  return web;
}

/** Each problem as `line:column path: message`; none when the file is taken. */
export function problemsOf(text: string): readonly string[] {
  const outcome = parseText(text);
  if (outcome.kind === "parsed") return [];
  return outcome.problems.map(
    ({ path, line, column, message }) => `${String(line)}:${String(column)} ${path}: ${message}`,
  );
}

/** Each warning as `line:column path: message`. */
export function warningsOf(text: string): readonly string[] {
  const outcome = parseText(text);
  if (outcome.kind === "invalid") throw new Error(JSON.stringify(outcome.problems));
  return outcome.warnings.map(
    ({ path, line, column, message }) => `${String(line)}:${String(column)} ${path}: ${message}`,
  );
}
