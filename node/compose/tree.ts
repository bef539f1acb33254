import type { Position } from "./problem.ts";

/** A YAML document as orch reads it: every node knows its place; aliases, merges and variables are resolved. */
export type Tree = ScalarTree | MapTree | ListTree;

export interface ScalarTree {
  readonly kind: "scalar";
  readonly value: string | number | boolean | null;
  /** As it is written, for what the typed value has lost: `1.10`, `0755`. Empty for an empty value. */
  readonly source: string;
  /** Its text came from a variable or a flag, so its type is whatever the field that reads it takes. */
  readonly untyped: boolean;
  readonly at: Position;
}

export interface MapTree {
  readonly kind: "map";
  readonly entries: ReadonlyMap<string, MapEntry>;
  readonly at: Position;
}

export interface MapEntry {
  readonly keyAt: Position;
  readonly value: Tree;
}

export interface ListTree {
  readonly kind: "list";
  readonly items: readonly Tree[];
  readonly at: Position;
}

const SHOWN_CHARACTERS = 60;

/** A user's text for a message: quoted, on one line, cut when it is long. */
export function quote(text: string): string {
  return JSON.stringify(
    text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text,
  );
}

/** What a tree is, for "must be X, not …". */
export function describeTree(tree: Tree): string {
  if (tree.kind === "map") return "a map";
  if (tree.kind === "list") return "a list";
  const { value } = tree;
  if (value === null) return "nothing";
  if (typeof value === "string") return `the text ${quote(value)}`;
  if (typeof value === "boolean") return `the boolean ${String(value)}`;
  return Number.isInteger(value) ? `the number ${tree.source}` : `the fraction ${tree.source}`;
}
