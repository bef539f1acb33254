import { MAX_CPU_MILLI, MAX_DURATION_MS, MAX_SIZE_MIB } from "./limits.ts";
import { bad, ok, type Parsed } from "./reading.ts";
import { quote } from "./tree.ts";

/** Texts of the file format that stand for quantities, and command lines. */

const NANOSECONDS = new Map<string, bigint>([
  ["us", 1000n],
  ["µs", 1000n],
  ["ms", 1_000_000n],
  ["s", 1_000_000_000n],
  ["m", 60_000_000_000n],
  ["h", 3_600_000_000_000n],
]);
const DURATION_HINT = 'Write a number with a unit (us, ms, s, m, h), as in "1m30s" or "500ms".';

/** Compose's durations (`1m30s`, `500ms`, `1.5h`, `0`) in whole milliseconds, rounded up; at most a day. */
export function parseDurationMs(text: string): Parsed<number> {
  if (text === "0") return ok(0);
  if (!/^(?:\d{1,12}(?:\.\d{1,9})?(?:us|µs|ms|s|m|h))+$/.test(text)) {
    return bad(`${quote(text)} is not a duration`, DURATION_HINT);
  }
  let total = 0n;
  for (const [, whole = "", fraction = "", unit = ""] of text.matchAll(
    /(\d+)(?:\.(\d+))?(us|µs|ms|s|m|h)/g,
  )) {
    const scale = NANOSECONDS.get(unit) ?? 0n;
    total += BigInt(whole) * scale + (BigInt(fraction.padEnd(9, "0")) * scale) / 1_000_000_000n;
  }
  const durationMs = Number((total + 999_999n) / 1_000_000n);
  if (durationMs > MAX_DURATION_MS)
    return bad(`${quote(text)} is longer than a day`, "At most 24h.");
  return ok(durationMs);
}

const SIZE_UNITS = new Map<string, bigint>([
  ["", 1n],
  ["b", 1n],
  ["k", 1024n],
  ["kb", 1024n],
  ["m", 1024n ** 2n],
  ["mb", 1024n ** 2n],
  ["g", 1024n ** 3n],
  ["gb", 1024n ** 3n],
]);
const MIB = 1024n * 1024n;

/** Compose's byte values (`64m`, `1.5gb`, a bare number of bytes) in whole MiB, rounded up; above 0, at most 1 PiB. */
export function parseSizeMib(text: string): Parsed<number> {
  const hint = 'Write a number with a unit (b, k, m, g; kb, mb, gb), as in "512m".';
  const match = /^(\d{1,18})(?:\.(\d{1,9}))? ?([a-z]{0,2})$/.exec(text.toLowerCase());
  const scale = SIZE_UNITS.get(match?.[3] ?? "");
  if (match === null || scale === undefined) return bad(`${quote(text)} is not a size`, hint);
  const [, whole = "", fraction = ""] = match;
  const bytes = BigInt(whole) * scale + (BigInt(fraction.padEnd(9, "0")) * scale) / 1_000_000_000n;
  const sizeMib = Number((bytes + MIB - 1n) / MIB);
  if (bytes <= 0n) return bad("a size must be above 0", "Leave it out for the default.");
  if (sizeMib > MAX_SIZE_MIB) return bad(`${quote(text)} is more than 1 PiB`, hint);
  return ok(sizeMib);
}

/** CPUs (`0.5`, `2`) in thousandths; above 0, at most three decimals. */
export function parseCpuMilli(text: string): Parsed<number> {
  const hint = 'Write a number of CPUs, as in "0.5" or "2".';
  const match = /^(\d{0,9})(?:\.(\d{1,18}))?$/.exec(text);
  if (match === null || text === "") return bad(`${quote(text)} is not a number of CPUs`, hint);
  const [, whole = "", decimals = ""] = match;
  const digits = decimals.replace(/0+$/, "");
  if (digits.length > 3)
    return bad(`${quote(text)} has more than three decimals`, "The smallest part is 0.001.");
  const cpuMilli = Number(whole) * 1000 + Number(digits.padEnd(3, "0"));
  if (cpuMilli === 0) return bad("a number of CPUs must be above 0", hint);
  if (cpuMilli > MAX_CPU_MILLI)
    return bad(`${quote(text)} is more than ${String(MAX_CPU_MILLI / 1000)} CPUs`, hint);
  return ok(cpuMilli);
}

export interface CommandLine {
  readonly words: readonly string[];
  /** The shell's operators among the words: passed on as plain words, as there is no shell. */
  readonly operators: readonly string[];
}

const OPERATOR = /^(?:&&?|\|\|?|;|[0-9]?>>?|<)$/;

/**
 * Splits a command line into words as Compose does: blanks part them, single and double quotes and backslashes
 * hold them together, and nothing else is special: no shell runs.
 */
export function splitCommandLine(text: string): Parsed<CommandLine> {
  const words: string[] = [];
  const operators: string[] = [];
  let position = 0;
  while (position < text.length) {
    if (/\s/.test(text[position] ?? "")) {
      position += 1;
      continue;
    }
    const word = readWord(text, position);
    if (word === null) {
      return bad(
        `${quote(text)} ends inside quotes or after a backslash`,
        "Close the quotes, or write a list of words.",
      );
    }
    words.push(word.value);
    if (!word.quoted && OPERATOR.test(word.value)) operators.push(word.value);
    position = word.end;
  }
  return ok({ words, operators });
}

interface Word {
  readonly value: string;
  readonly end: number;
  readonly quoted: boolean;
}

function readWord(text: string, start: number): Word | null {
  let value = "";
  let quoted = false;
  let open = "";
  let position = start;
  for (; position < text.length; position += 1) {
    const character = text[position] ?? "";
    if (open === "" && /\s/.test(character)) break;
    if (character === "\\" && open !== "'") {
      const next = text[position + 1];
      if (next === undefined) return null;
      // In double quotes a backslash is itself except before what it can escape.
      const literal = open === '"' && next !== '"' && next !== "\\";
      value += literal ? `\\${next}` : next;
      quoted = true;
      position += 1;
    } else if (open === "" && (character === "'" || character === '"')) {
      open = character;
      quoted = true;
    } else if (character === open) {
      open = "";
    } else {
      value += character;
    }
  }
  return open === "" ? { value, end: position, quoted } : null;
}
