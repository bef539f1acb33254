import { Composer, isAlias, isMap, isScalar, isSeq, Lexer, LineCounter, Parser } from "yaml";
import type { CST, Document, Pair, ParsedNode, Scalar, YAMLError, YAMLMap } from "yaml";
import { interpolate } from "./interpolate.ts";
import {
  MAX_DEPTH,
  MAX_DIRECTIVES,
  MAX_EXPANDED_CHARACTERS,
  MAX_FILE_BYTES,
  MAX_KEY_CHARACTERS,
  MAX_LEXEMES,
  MAX_SYNTAX_ERRORS,
} from "./limits.ts";
import { SIZE_PATH, type Position } from "./problem.ts";
import type { Reading } from "./reading.ts";
import { quote, type MapEntry, type Tree } from "./tree.ts";

const SIZE_HINT = "Split it into several jobs.";

/**
 * Parses YAML 1.2 with anchors, aliases, merge keys and Compose's variables. Duplicate keys, tags beyond the
 * core schema, several documents and files over the bounds of limits.ts are refused. Null after a problem
 * that leaves nothing to read; otherwise a tree, perhaps with problems noted.
 */
export function parseTree(text: string, reading: Reading): Tree | null {
  const start: Position = { line: 1, column: 1 };
  const { problems } = reading;
  if (text.length > MAX_FILE_BYTES || Buffer.byteLength(text) > MAX_FILE_BYTES) {
    problems.add(
      SIZE_PATH,
      start,
      `the file is larger than ${String(MAX_FILE_BYTES)} bytes`,
      SIZE_HINT,
    );
    return null;
  }
  if (!text.isWellFormed()) {
    problems.add("", start, "the file is not valid Unicode text", "Save it as UTF-8.");
    return null;
  }
  const lines = new LineCounter();
  const parsed = composeBounded(text, lines);
  if (parsed.kind === "over") {
    problems.add(SIZE_PATH, positionAt(lines, parsed.offset), parsed.message, SIZE_HINT);
    return null;
  }
  const { document } = parsed;
  noteSyntax(reading, text, lines, [...document.errors, ...document.warnings]);
  if (parsed.next !== null) {
    const hint = "Submit each document as a job of its own.";
    problems.add(
      "",
      positionAt(lines, parsed.next),
      "the file holds more than one YAML document",
      hint,
    );
  }
  if (problems.size > 0) return null;
  const contents = document.contents;
  if (contents === null)
    return { kind: "scalar", value: null, source: "", untyped: false, at: start };
  return new TreeBuilder(reading, lines).build(contents, "");
}

/** After the first error the parser finds every further piece unexpected: that noise is left out. */
function noteSyntax(
  reading: Reading,
  text: string,
  lines: LineCounter,
  errors: readonly YAMLError[],
): void {
  for (const [index, { code, pos, message }] of errors.entries()) {
    if (index > 0 && code === "UNEXPECTED_TOKEN") continue;
    const variable = text[pos[0]] === "{" && text[pos[0] - 1] === "$";
    const hint = variable ? VARIABLE_HINT : (SYNTAX_HINTS[code] ?? SYNTAX_HINT);
    reading.problems.add("", positionAt(lines, pos[0]), sentence(message), hint);
  }
}

const VARIABLE_HINT = 'Between brackets a variable needs quotes: "${NAME}".';
const SYNTAX_HINT = "Check the YAML there: indentation, quotes, colons and brackets.";
const SYNTAX_HINTS: Readonly<Partial<Record<string, string>>> = {
  TAB_AS_INDENT: "Indent with spaces.",
  TAG_RESOLVE_FAILED: "orch takes no YAML tags: remove it.",
  BAD_ALIAS: "Name an anchor, as in *name.",
};

function sentence(message: string): string {
  const line = message.split("\n", 1)[0] ?? "";
  return line.length > 200 ? `${line.slice(0, 200)}…` : line;
}

function positionAt(lines: LineCounter, offset: number): Position {
  const { line, col } = lines.linePos(offset);
  // The counter knows nothing before the first line break it was told of: an empty file.
  return line === 0 ? { line: 1, column: offset + 1 } : { line, column: col };
}

type Composed =
  | { readonly kind: "document"; readonly document: Document.Parsed; readonly next: number | null }
  | { readonly kind: "over"; readonly offset: number; readonly message: string };

/** Stops as soon as the text is over a bound: the parser itself would take seconds and overflow its stack. */
function composeBounded(text: string, lines: LineCounter): Composed {
  let over: string | null = null;
  const parser = new Parser(lines.addNewLine);
  lines.addNewLine(0);
  function* tokens(): Generator<CST.Token, void> {
    let lexemes = 0;
    let directives = 0;
    let errors = 0;
    for (const lexeme of new Lexer().lex(text)) {
      lexemes += 1;
      if (lexemes > MAX_LEXEMES) over = `the file has more than ${String(MAX_LEXEMES)} elements`;
      if (parser.stack.length > MAX_DEPTH)
        over = `the file nests more than ${String(MAX_DEPTH)} levels deep`;
      if (directives > MAX_DIRECTIVES)
        over = `the file has more than ${String(MAX_DIRECTIVES)} directives`;
      // With an error noted the file is refused anyway, so what follows may be left unread.
      if (over !== null || errors > MAX_SYNTAX_ERRORS) return;
      for (const token of parser.next(lexeme)) {
        if (token.type === "directive") directives += 1;
        if (token.type === "error") errors += 1;
        yield token;
      }
    }
    yield* parser.end();
  }
  // Duplicate keys are found by the tree builder: the parser's own check takes quadratic time.
  const composer = new Composer({ schema: "core", resolveKnownTags: false, uniqueKeys: false });
  let first: Document.Parsed | null = null;
  let next: number | null = null;
  for (const document of composer.compose(tokens(), true, text.length)) {
    if (first !== null) next = document.range[0];
    if (next !== null) break;
    first = document;
  }
  if (over !== null || first === null) {
    return { kind: "over", offset: parser.offset, message: over ?? "the file holds no document" };
  }
  return { kind: "document", document: first, next };
}

/** Resolves aliases by sharing, so that a file of nested aliases costs no more than its text. */
class TreeBuilder {
  readonly #reading: Reading;
  readonly #lines: LineCounter;
  /** The anchors so far; null while the anchored node itself is being built. */
  readonly #anchors = new Map<string, Tree | null>();
  /** Characters of each tree once everything in it is written out. */
  readonly #weights = new Map<Tree, number>();
  readonly #warned = new Set<string>();
  #interpolated = 0;
  #merged = 0;
  #overweight = false;

  constructor(reading: Reading, lines: LineCounter) {
    this.#reading = reading;
    this.#lines = lines;
  }

  build(node: ParsedNode, path: string): Tree | null {
    const tree = this.#node(node, path);
    return this.#overweight ? null : tree;
  }

  #node(node: ParsedNode | null, path: string): Tree {
    const at = positionAt(this.#lines, node?.range[0] ?? 0);
    if (node === null) return this.#weigh(emptyScalar(at), 1);
    if (isAlias(node)) return this.#alias(node.source, path, at);
    const anchor = node.anchor;
    if (anchor === undefined) return this.#content(node, path, at);
    this.#anchors.set(anchor, null);
    const tree = this.#content(node, path, at);
    // An anchor of the same name inside this one came later in the text, so it keeps the name.
    if (this.#anchors.get(anchor) === null) this.#anchors.set(anchor, tree);
    return tree;
  }

  #alias(name: string, path: string, at: Position): Tree {
    const tree = this.#anchors.get(name);
    if (tree !== undefined && tree !== null) return tree;
    const message =
      tree === null
        ? `*${name} is inside the anchor that it names`
        : `no anchor &${name} before this`;
    this.#reading.problems.addUnreadable(
      path,
      at,
      message,
      "An alias repeats an anchored node that stands before it.",
    );
    return this.#weigh(unreadable(at), 1);
  }

  #content(node: ParsedNode, path: string, at: Position): Tree {
    if (isMap(node)) return this.#map(node, path, at);
    if (isSeq(node)) {
      const items = node.items.map((item, index) => this.#node(item, `${path}[${String(index)}]`));
      const weight = items.reduce((sum, item) => sum + this.#weightOf(item), 1);
      return this.#weigh({ kind: "list", items, at }, weight);
    }
    return isScalar(node) ? this.#scalar(node, path, at) : this.#weigh(emptyScalar(at), 1);
  }

  #map(node: YAMLMap<ParsedNode, ParsedNode | null>, path: string, at: Position): Tree {
    const entries = new Map<string, MapEntry>();
    let merge: { readonly value: Tree; readonly at: Position } | null = null;
    let weight = 1;
    for (const pair of node.items) {
      const keyAt = positionAt(this.#lines, pair.key.range[0]);
      const key = this.#key(pair, path, keyAt);
      if (key === null) continue;
      const first = entries.get(key.text)?.keyAt ?? (key.merge ? merge?.at : undefined);
      if (first !== undefined) {
        const message = `the key ${quote(key.text)} stands here twice, first on line ${String(first.line)}`;
        this.#reading.problems.add(
          joinPath(path, key.text),
          keyAt,
          message,
          "Keep one of the two.",
        );
        continue;
      }
      const value = this.#node(pair.value, joinPath(path, key.text));
      if (key.merge) {
        merge = { value, at: keyAt };
      } else {
        entries.set(key.text, { keyAt, value });
        weight += key.text.length + this.#weightOf(value);
      }
    }
    if (merge !== null) weight += this.#merge(merge.value, entries, joinPath(path, "<<"), merge.at);
    return this.#weigh({ kind: "map", entries, at }, weight);
  }

  #key(
    pair: Pair<ParsedNode, ParsedNode | null>,
    path: string,
    at: Position,
  ): { text: string; merge: boolean } | null {
    const { key } = pair;
    if (!isScalar(key) || key.value === null) {
      const message = isScalar(key) ? "a key is empty" : "a key is not plain text";
      this.#reading.problems.add(
        path,
        at,
        message,
        "Write keys as plain words, as in `image: nginx`.",
      );
      return null;
    }
    const text = typeof key.value === "string" ? key.value : (key.source ?? "");
    if (text.length > MAX_KEY_CHARACTERS) {
      this.#reading.problems.add(
        path,
        at,
        `the key ${quote(text)} is too long`,
        "Use a shorter one.",
      );
      return null;
    }
    if (key.anchor !== undefined) this.#anchors.set(key.anchor, this.#scalar(key, path, at));
    return { text, merge: text === "<<" && key.type === "PLAIN" };
  }

  /** The keys that `entries` lacks, from one map or from several, of which the first wins; gives their weight. */
  #merge(value: Tree, entries: Map<string, MapEntry>, path: string, at: Position): number {
    let weight = 0;
    for (const source of value.kind === "list" ? value.items : [value]) {
      if (source.kind !== "map") {
        this.#reading.problems.add(
          path,
          at,
          "<< takes a map or a list of maps",
          "Name an anchored map: `<<: *name`.",
        );
        continue;
      }
      for (const [key, entry] of source.entries) {
        this.#merged += 1;
        if (this.#merged > MAX_EXPANDED_CHARACTERS) return Number.POSITIVE_INFINITY;
        if (entries.has(key)) continue;
        entries.set(key, entry);
        weight += key.length + this.#weightOf(entry.value);
      }
    }
    return weight;
  }

  #scalar(node: Scalar, path: string, at: Position): Tree {
    const source = node.source ?? "";
    const value = typedValue(node.value, source);
    if (typeof value !== "string") {
      return this.#weigh({ kind: "scalar", value, source, untyped: false, at }, 1 + source.length);
    }
    const { problems, warnings, environment } = this.#reading;
    const result = interpolate(value, environment, MAX_EXPANDED_CHARACTERS - this.#interpolated);
    if (result.kind === "too-long") return this.#weigh(unreadable(at), Number.POSITIVE_INFINITY);
    if (result.kind === "bad") {
      problems.addUnreadable(path, at, result.message, result.hint);
      return this.#weigh(unreadable(at), 1);
    }
    const { text, substituted } = result;
    if (substituted) this.#interpolated += text.length;
    for (const name of result.unset) {
      if (this.#warned.has(name)) continue;
      this.#warned.add(name);
      const hint = `Set ${name}, or write \${${name}:-default}.`;
      warnings.add(path, at, `the variable ${name} is not set: taken as empty`, hint);
    }
    if (text.includes("\0") || !text.isWellFormed()) {
      problems.add(path, at, "the text holds a NUL or broken Unicode", "Remove it.");
    }
    return this.#weigh(
      { kind: "scalar", value: text, source: text, untyped: substituted, at },
      1 + text.length,
    );
  }

  #weigh(tree: Tree, weight: number): Tree {
    this.#weights.set(tree, weight);
    if (weight > MAX_EXPANDED_CHARACTERS && !this.#overweight) {
      this.#overweight = true;
      const message = `aliases and variables expand the file past ${String(MAX_EXPANDED_CHARACTERS)} characters`;
      this.#reading.problems.add(SIZE_PATH, tree.at, message, SIZE_HINT);
    }
    return tree;
  }

  #weightOf(tree: Tree): number {
    return this.#weights.get(tree) ?? 1;
  }
}

function emptyScalar(at: Position): Tree {
  return { kind: "scalar", value: null, source: "", untyped: false, at };
}

/** Stands for a value whose problem is already noted. */
function unreadable(at: Position): Tree {
  return { kind: "scalar", value: "", source: "", untyped: true, at };
}

function typedValue(value: unknown, source: string): string | number | boolean | null {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  // `.inf` and `.nan` are numbers to YAML only.
  return typeof value === "number" && Number.isFinite(value) ? value : source;
}

function joinPath(path: string, key: string): string {
  return path === "" ? key : `${path}.${key}`;
}
