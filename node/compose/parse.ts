import type { JobSpec, ServiceSpec } from "../../state/spec.ts";
import { MAX_SERVICES } from "./limits.ts";
import { ProblemList, type Problem } from "./problem.ts";
import {
  isNothing,
  mapEntries,
  readSection,
  readText,
  refuse,
  warn,
  type Field,
  type Reading,
} from "./reading.ts";
import { TOP, TOP_X_ORCH } from "./sections.ts";
import { parseName, readService, type JobScope } from "./service.ts";
import { readVolumeNames } from "./volumes.ts";
import { parseTree } from "./yaml-tree.ts";

export interface ParseOptions {
  /** The file's name, for messages. */
  readonly file: string;
  /** The job's name when the file gives none, often its folder's; put into the form of a name first. */
  readonly defaultName: string;
  /** For variables (`${VAR}`) and environment keys without a value. */
  readonly environment: Readonly<Record<string, string>>;
}

export type ParseOutcome =
  | { readonly kind: "parsed"; readonly spec: JobSpec; readonly warnings: readonly Problem[] }
  | { readonly kind: "invalid"; readonly problems: readonly Problem[] };

/**
 * Reads a Compose file as a job. Every key is either taken over or refused by name, with its line and column;
 * all problems are found, not only the first. Never throws, whatever the text.
 */
export function parseCompose(text: string, options: ParseOptions): ParseOutcome {
  const reading = newReading(options.environment);
  const tree = parseTree(text, reading);
  if (tree === null) return { kind: "invalid", problems: reading.problems.list() };
  const root: Field = { path: "", at: tree.at, tree };
  if (isNothing(root)) refuse(reading, root, `${options.file} is empty`, "Add services.");
  const fields = readSection(reading, root, TOP);
  const version = fields.get("version");
  if (version !== undefined)
    warn(reading, version, "version is obsolete and ignored", "Remove it.");
  const orch = fields.get("x-orch");
  if (orch !== undefined) readSection(reading, orch, TOP_X_ORCH);
  const volumes = fields.get("volumes");
  const scope: JobScope = {
    volumes: volumes === undefined ? new Set() : readVolumeNames(reading, volumes),
    ports: new Map(),
  };
  const name = readJobName(reading, root, fields.get("name"), options.defaultName);
  const services = fields.get("services");
  if (services === undefined && !isNothing(root) && root.tree.kind === "map") {
    refuse(reading, root, "the file has no services", "Add services with at least one service.");
  }
  const specs = services === undefined ? [] : readServices(reading, services, scope);
  return finish(reading, { name, services: specs });
}

export function newReading(environment: Readonly<Record<string, string>>): Reading {
  return { problems: new ProblemList(), warnings: new ProblemList(), environment };
}

/** The spec, unless a problem was noted. */
export function finish(reading: Reading, spec: JobSpec): ParseOutcome {
  if (reading.problems.size > 0) return { kind: "invalid", problems: reading.problems.list() };
  return { kind: "parsed", spec, warnings: reading.warnings.list() };
}

function readServices(reading: Reading, field: Field, scope: JobScope): readonly ServiceSpec[] {
  const entries = mapEntries(reading, field);
  if (entries.length === 0 && (isNothing(field) || field.tree.kind === "map")) {
    refuse(reading, field, "there are no services", "Add at least one service.");
  }
  if (entries.length > MAX_SERVICES) {
    const message = `there are ${String(entries.length)} services, at most ${String(MAX_SERVICES)} may be`;
    refuse(reading, field, message, "Split the file into several jobs.");
  }
  return entries.slice(0, MAX_SERVICES).map(([name, { keyAt, field: service }]) => {
    const parsed = parseName(name);
    if (parsed.kind === "bad")
      reading.problems.add(service.path, keyAt, parsed.message, parsed.hint);
    return readService(reading, name, service, scope);
  });
}

function readJobName(
  reading: Reading,
  root: Field,
  field: Field | undefined,
  defaultName: string,
): string {
  if (field !== undefined) {
    const text = readText(reading, field);
    const parsed = text === null ? null : parseName(text);
    if (parsed?.kind === "bad") refuse(reading, field, parsed.message, parsed.hint);
    return text ?? "";
  }
  const name = normaliseName(defaultName);
  if (name === "")
    refuse(reading, root, "the job has no name", "Add `name: …` to the top of the file.");
  return name;
}

/** `text` in the form of a job's name: small letters, other characters as `-`; empty when nothing is left. */
export function normaliseName(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(/[^a-z0-9_-]+/g, "-")
    .replace(/^[_-]+/, "")
    .slice(0, 63)
    .replace(/-+$/, "");
}
