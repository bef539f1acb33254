import type { Position, ProblemList } from "./problem.ts";
import { closest, type Section } from "./sections.ts";
import { describeTree, quote, type ScalarTree, type Tree } from "./tree.ts";

/** What every reader of one file shares. Readers note problems here and answer null for what they refused. */
export interface Reading {
  readonly problems: ProblemList;
  readonly warnings: ProblemList;
  /** What variables and bare environment keys are taken from. */
  readonly environment: Readonly<Record<string, string>>;
}

/** A value, with what a problem about it must name. */
export interface Field {
  readonly path: string;
  /** The value's place; its key's when the value is empty. */
  readonly at: Position;
  readonly tree: Tree;
}

export type Fields = ReadonlyMap<string, Field>;

/** A text turned into a value, or what is wrong with it. */
export type Parsed<T> =
  | { readonly kind: "ok"; readonly value: T }
  | { readonly kind: "bad"; readonly message: string; readonly hint: string };

export function ok<T>(value: T): Parsed<T> {
  return { kind: "ok", value };
}

export function bad(
  message: string,
  hint: string,
): { readonly kind: "bad"; message: string; hint: string } {
  return { kind: "bad", message, hint };
}

export function refuse(reading: Reading, field: Field, message: string, hint: string): null {
  reading.problems.add(field.path, field.at, message, hint);
  return null;
}

export function warn(reading: Reading, field: Field, message: string, hint: string): void {
  reading.warnings.add(field.path, field.at, message, hint);
}

const DOCS_HINT = "Remove it; docs/compose.md lists what is supported.";

/** The supported keys of a map; the others are noted as problems, `x-…` ones skipped. Nothing counts as empty. */
export function readSection(reading: Reading, field: Field, section: Section): Fields {
  const found = new Map<string, Field>();
  for (const [key, { keyAt, field: value }] of mapEntries(reading, field)) {
    const { path } = value;
    if (section.supported.includes(key)) {
      found.set(key, value);
    } else if (Object.hasOwn(section.refused, key)) {
      const hint = section.refused[key] ?? "";
      const message = `${key} is not supported by this version of orch`;
      reading.problems.add(path, keyAt, message, hint === "" ? DOCS_HINT : hint);
    } else if (key === "x-orch") {
      reading.problems.add(path, keyAt, "x-orch does not belong here", "It goes on a service.");
    } else if (key.startsWith("x-")) {
      if (key.length > 5 && closest(key, ["x-orch"]) !== null) {
        // Ignored it could take away what keeps a service from running twice.
        const hint = "Did you mean x-orch? For a key that is to be ignored, choose another name.";
        reading.problems.add(path, keyAt, `${key} is no key of orch's`, hint);
      }
    } else {
      unknownKey(reading, path, keyAt, key, section);
    }
  }
  return found;
}

function unknownKey(
  reading: Reading,
  path: string,
  at: Position,
  key: string,
  section: Section,
): void {
  const known = [...section.supported, ...Object.keys(section.refused)];
  const guess = reading.problems.full ? null : closest(key, known);
  const choice =
    section.supported.length === 0
      ? "No key is read here."
      : `Known here: ${section.supported.join(", ")}.`;
  const hint = guess === null ? choice : `Did you mean ${guess}?`;
  reading.problems.add(path, at, `unknown key ${quote(key)}`, hint);
}

/** Every entry of a map whose keys are the user's own names. Nothing counts as empty. */
export function mapEntries(
  reading: Reading,
  field: Field,
): readonly (readonly [string, { readonly keyAt: Position; readonly field: Field }])[] {
  if (isNothing(field)) return [];
  if (field.tree.kind !== "map") {
    refuse(
      reading,
      field,
      `must be a map, not ${describeTree(field.tree)}`,
      "Write one `key: value` a line.",
    );
    return [];
  }
  return [...field.tree.entries].map(([key, { keyAt, value }]) => {
    const path = field.path === "" ? key : `${field.path}.${key}`;
    const at = isNothing({ tree: value }) ? keyAt : value.at;
    return [key, { keyAt, field: { path, at, tree: value } }] as const;
  });
}

/** The items of a list, at most `max`. Nothing counts as empty. */
export function listItems(reading: Reading, field: Field, max: number): readonly Field[] {
  if (isNothing(field)) return [];
  if (field.tree.kind !== "list") {
    refuse(
      reading,
      field,
      `must be a list, not ${describeTree(field.tree)}`,
      "Write one `- item` a line.",
    );
    return [];
  }
  const { items } = field.tree;
  if (items.length > max)
    refuse(reading, field, `has ${String(items.length)} items, at most ${String(max)} may be`, "");
  return items
    .slice(0, max)
    .map((tree, index) => ({ path: `${field.path}[${String(index)}]`, at: tree.at, tree }));
}

export function isNothing(field: { readonly tree: Tree }): boolean {
  return field.tree.kind === "scalar" && field.tree.value === null;
}

/** Text only: a number or a boolean is refused, as Compose does. Null when refused. */
export function readText(reading: Reading, field: Field): string | null {
  const { tree } = field;
  if (tree.kind === "scalar" && typeof tree.value === "string") return tree.value;
  const quotable = tree.kind === "scalar" && tree.value !== null;
  const hint = quotable ? `Quote it: "${tree.source}".` : "Write a text.";
  return refuse(reading, field, `must be text, not ${describeTree(tree)}`, hint);
}

/** A text, or a number as it is written, given to `parse`. Null when refused. */
export function readParsed<T>(
  reading: Reading,
  field: Field,
  parse: (text: string) => Parsed<T>,
): T | null {
  const { tree } = field;
  if (tree.kind !== "scalar" || tree.value === null || typeof tree.value === "boolean") {
    const result = parse("");
    const hint = result.kind === "bad" ? result.hint : "";
    return refuse(reading, field, `must be a text or a number, not ${describeTree(tree)}`, hint);
  }
  const result = parse(writtenText(tree));
  return result.kind === "ok" ? result.value : refuse(reading, field, result.message, result.hint);
}

/** A number as it was written, a text as it is. */
export function writtenText(tree: ScalarTree): string {
  return typeof tree.value === "string" ? tree.value : tree.source;
}

/** A whole number within the bounds; text counts only when a variable or a flag gave it. Null when refused. */
export function readInteger(
  reading: Reading,
  field: Field,
  bounds: { readonly min: number; readonly max: number },
): number | null {
  const { tree } = field;
  const written =
    tree.kind === "scalar" && tree.untyped && typeof tree.value === "string" ? tree.value : null;
  const typed = tree.kind === "scalar" && typeof tree.value === "number" ? tree.value : null;
  const value = written !== null && /^[+-]?\d{1,15}$/.test(written) ? Number(written) : typed;
  const hint = `Write a whole number from ${String(bounds.min)} to ${String(bounds.max)}, without quotes.`;
  if (value === null || !Number.isInteger(value)) {
    return refuse(reading, field, `must be a whole number, not ${describeTree(tree)}`, hint);
  }
  if (value < bounds.min || value > bounds.max) {
    const bound =
      value < bounds.min ? `at least ${String(bounds.min)}` : `at most ${String(bounds.max)}`;
    return refuse(reading, field, `must be ${bound}, not ${String(value)}`, hint);
  }
  return value;
}

/** `true` or `false`; text counts only when a variable gave it. Null when refused. */
export function readBoolean(reading: Reading, field: Field): boolean | null {
  const { tree } = field;
  if (tree.kind === "scalar") {
    if (typeof tree.value === "boolean") return tree.value;
    if (tree.untyped && (tree.value === "true" || tree.value === "false"))
      return tree.value === "true";
  }
  return refuse(
    reading,
    field,
    `must be true or false, not ${describeTree(tree)}`,
    "Write true or false, without quotes.",
  );
}

/** One of `choices`, or what `others` says to a text that is none of them. Null when refused. */
export function readChoice<T extends string>(
  reading: Reading,
  field: Field,
  choices: readonly T[],
  others: (text: string) => { readonly message: string; readonly hint: string } | null = () => null,
): T | null {
  const { tree } = field;
  const known = `Known: ${choices.join(", ")}.`;
  if (tree.kind !== "scalar" || typeof tree.value !== "string")
    return refuse(reading, field, `must be text, not ${describeTree(tree)}`, known);
  const text = tree.value;
  const choice = choices.find((candidate) => candidate === text);
  if (choice !== undefined) return choice;
  const reason = others(text) ?? { message: `must not be ${quote(text)}`, hint: known };
  return refuse(reading, field, reason.message, reason.hint);
}
