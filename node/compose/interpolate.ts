import { unreachable } from "../../lib/assert.ts";
import { quote } from "./tree.ts";

export type Interpolation =
  | {
      readonly kind: "done";
      readonly text: string;
      /** Whether any variable stood in it; `$$` alone is none. */
      readonly substituted: boolean;
      /** Variables that were taken as empty, having neither a value nor a default. */
      readonly unset: readonly string[];
    }
  | { readonly kind: "bad"; readonly message: string; readonly hint: string }
  /** The text would be longer than it may. */
  | { readonly kind: "too-long" };

interface Variable {
  readonly name: string;
  readonly operator: Operator | null;
  /** What stands behind the operator; may hold variables itself. */
  readonly rest: readonly Part[];
}
type Part = string | Variable;
type Operator = (typeof OPERATORS)[number];

/** Two-character ones first, so that `:-` is not read as an unknown `:`. */
const OPERATORS = [":-", ":?", ":+", "-", "?", "+"] as const;
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const MAX_NESTING = 16;

class TooLong extends Error {}

class Refusal extends Error {
  readonly hint: string;
  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

/**
 * Compose's variables in `text`: `$VAR`, `${VAR}`, `${VAR:-x}`, `${VAR-x}`, `${VAR:?e}`, `${VAR?e}`, `${VAR:+x}`,
 * `${VAR+x}`, nested in each other's defaults, and `$$` for a dollar sign. Refuses to grow past `maxLength`.
 */
export function interpolate(
  text: string,
  environment: Readonly<Record<string, string>>,
  maxLength: number,
): Interpolation {
  if (!text.includes("$")) return { kind: "done", text, substituted: false, unset: [] };
  const unset: string[] = [];
  try {
    const parts = new TemplateParser(text).parse(0);
    const result = evaluate(parts, environment, unset, maxLength);
    return {
      kind: "done",
      text: result,
      substituted: parts.some((part) => typeof part !== "string"),
      unset,
    };
  } catch (error) {
    if (error instanceof TooLong) return { kind: "too-long" };
    if (error instanceof Refusal) return { kind: "bad", message: error.message, hint: error.hint };
    throw error;
  }
}

class TemplateParser {
  readonly #text: string;
  #position = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Up to the end, or inside braces (`nesting` > 0) up to and with the closing one. */
  parse(nesting: number): readonly Part[] {
    const parts: Part[] = [];
    let literal = "";
    for (;;) {
      const character = this.#text[this.#position];
      if (character === undefined || (nesting > 0 && character === "}")) {
        if (character === undefined && nesting > 0) throw this.#unclosed();
        this.#position += 1;
        if (literal !== "") parts.push(literal);
        return parts;
      }
      if (character !== "$") {
        literal += character;
        this.#position += 1;
      } else if (this.#text[this.#position + 1] === "$") {
        literal += "$";
        this.#position += 2;
      } else {
        if (literal !== "") parts.push(literal);
        literal = "";
        parts.push(this.#variable(nesting));
      }
    }
  }

  #variable(nesting: number): Variable {
    this.#position += 1;
    if (this.#text[this.#position] !== "{") return { name: this.#name(), operator: null, rest: [] };
    if (nesting >= MAX_NESTING) {
      throw new Refusal(
        `variables are nested more than ${String(MAX_NESTING)} deep`,
        "Give the value itself.",
      );
    }
    this.#position += 1;
    const name = this.#name();
    if (this.#text[this.#position] === "}") {
      this.#position += 1;
      return { name, operator: null, rest: [] };
    }
    const operator = OPERATORS.find((candidate) =>
      this.#text.startsWith(candidate, this.#position),
    );
    if (operator === undefined) {
      if (this.#position >= this.#text.length) throw this.#unclosed();
      const found = quote(this.#text.slice(this.#position, this.#position + 8));
      throw new Refusal(
        `after \${${name} comes ${found}, which is no operator`,
        "Known are :- - (default), :? ? (required) and :+ + (replacement).",
      );
    }
    this.#position += operator.length;
    return { name, operator, rest: this.parse(nesting + 1) };
  }

  #name(): string {
    NAME.lastIndex = this.#position;
    const name = NAME.exec(this.#text)?.[0];
    if (name === undefined) {
      throw new Refusal(
        "a $ is followed by no variable name",
        "Write $$ for a dollar sign, or ${NAME} for a variable.",
      );
    }
    this.#position += name.length;
    return name;
  }

  #unclosed(): Refusal {
    return new Refusal(
      "a ${ has no closing }",
      "Close it, or write $${ for the characters themselves.",
    );
  }
}

function evaluate(
  parts: readonly Part[],
  environment: Readonly<Record<string, string>>,
  unset: string[],
  maxLength: number,
): string {
  let text = "";
  for (const part of parts) {
    text += typeof part === "string" ? part : substitute(part, environment, unset, maxLength);
    if (text.length > maxLength) throw new TooLong();
  }
  return text;
}

function substitute(
  variable: Variable,
  environment: Readonly<Record<string, string>>,
  unset: string[],
  maxLength: number,
): string {
  const { name, operator, rest } = variable;
  // Object.hasOwn: `$constructor` is a variable like any other, not what every object inherits.
  const value = Object.hasOwn(environment, name) ? environment[name] : undefined;
  const given =
    operator?.startsWith(":") === true ? value !== undefined && value !== "" : value !== undefined;
  const otherwise = (): string => evaluate(rest, environment, unset, maxLength);
  switch (operator) {
    case null:
      if (value === undefined) unset.push(name);
      return value ?? "";
    case ":-":
    case "-":
      return given ? (value ?? "") : otherwise();
    case ":+":
    case "+":
      return given ? otherwise() : "";
    case ":?":
    case "?":
      if (given) return value ?? "";
      throw required(name, otherwise());
    default:
      return unreachable(operator);
  }
}

function required(name: string, reason: string): Refusal {
  return new Refusal(
    `the variable ${name} is required${reason === "" ? "" : `: ${reason}`}`,
    `Set ${name} in the environment of orch run.`,
  );
}
