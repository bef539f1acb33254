import { assert } from "../lib/assert.ts";
import type { FrozenState } from "./cluster.ts";
import { ClusterState } from "./cluster.ts";
import { RollingHash } from "./rolling-hash.ts";
import type { Section } from "./snapshot-sections.ts";
import { Restoring, SECTIONS, SpecNumbers } from "./snapshot-sections.ts";
import {
  check,
  checkScalars,
  isInteger,
  isList,
  isObject,
  isText,
  SnapshotError,
} from "./snapshot-shape.ts";

/*
 * A snapshot is a sequence of chunks, each a JSON object in UTF-8:
 *
 *   {"orchSnapshot": 1, …}              the first: the format's number, and what is no table
 *   {"section": "tasks", "rows": […]}   rows of one table; an empty table has no chunk
 *   {"section": "jobs", "part": "…", "last": false}
 *                                       a piece of a row's JSON that is too long for one chunk
 *   {"chunks": 7, "hash": "…"}          the last: how many chunks came before it, and the hash of their texts
 */

/** Raised when a table's rows change. A new table needs no new number: an older orch refuses its section. */
const FORMAT = 1;
/** No chunk is larger. */
export const MAX_CHUNK_BYTES: number = 1024 * 1024;
/** A character of a row takes at most three bytes: with its frame, a chunk has half of the bytes it may have. */
const CHUNK_CHARACTERS = 128 * 1024;
/** Inside of a string a character takes up to twice the room. */
const PART_CHARACTERS = 64 * 1024;

const PARTS_MISSING = "a row's last parts are missing before it";

/**
 * Writes a state: about 128 KiB a chunk, each made when it is asked for, so that the caller can let others work
 * in between. Equal states give equal bytes, also when one of them came from a snapshot.
 */
export function* snapshotChunks(frozen: FrozenState): Generator<Uint8Array> {
  const encoder = new TextEncoder();
  const sum = new RollingHash();
  let chunks = 0;
  for (const text of chunkTexts(frozen)) {
    sum.add(text);
    chunks += 1;
    yield encoder.encode(text);
  }
  yield encoder.encode(JSON.stringify({ chunks, hash: sum.digest() }));
}

function* chunkTexts(frozen: FrozenState): Iterable<string> {
  const { scalars, lastIndex } = frozen;
  yield JSON.stringify({ orchSnapshot: FORMAT, ...scalars, lastIndex });
  const specs = new SpecNumbers();
  for (const [name, section] of Object.entries(SECTIONS)) {
    yield* sectionTexts(name, section.rows(frozen, specs), specs);
  }
}

function* sectionTexts(
  section: string,
  rows: Iterable<string>,
  specs: SpecNumbers,
): Iterable<string> {
  let held: string[] = [];
  let characters = 0;
  for (const row of rows) {
    if (characters + specs.waitingCharacters + row.length > CHUNK_CHARACTERS) {
      yield* specTexts(specs);
      if (held.length > 0) yield rowsText(section, held);
      held = [];
      characters = 0;
    }
    if (row.length > CHUNK_CHARACTERS) {
      yield* partTexts(section, row);
    } else {
      held.push(row);
      characters += row.length + 1;
    }
  }
  yield* specTexts(specs);
  if (held.length > 0) yield rowsText(section, held);
}

/** Nothing refers from specs to specs: there are none waiting while these are written. */
function* specTexts(specs: SpecNumbers): Iterable<string> {
  const waiting = specs.takeWaiting();
  if (waiting.length > 0) yield* sectionTexts("specs", waiting, specs);
}

function rowsText(section: string, rows: readonly string[]): string {
  return `{"section":${JSON.stringify(section)},"rows":[${rows.join(",")}]}`;
}

function* partTexts(section: string, row: string): Iterable<string> {
  for (let from = 0; from < row.length; from += PART_CHARACTERS) {
    const part = row.slice(from, from + PART_CHARACTERS);
    yield JSON.stringify({ section, part, last: from + PART_CHARACTERS >= row.length });
  }
}

const SECTIONS_BY_NAME: ReadonlyMap<string, Section> = new Map(Object.entries(SECTIONS));

/**
 * Reads a state back, chunk by chunk in the order in which they were written; a few milliseconds each. Whatever
 * is missing, damaged or foreign throws SnapshotError, at the latest in `finish`; then nothing more is taken.
 */
export class SnapshotReader {
  readonly #into = new Restoring();
  readonly #sum = new RollingHash();
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  #taken = 0;
  #lastIndex: number | null = null;
  /** The row whose parts are coming. */
  #parted: { readonly section: string; readonly text: string } | null = null;
  #stage: "reading" | "whole" | "refused" | "handed out" = "reading";

  add(chunk: Uint8Array): void {
    check(this.#stage === "reading", this.#closed());
    // Whatever is thrown from here on leaves half a state behind.
    this.#stage = "refused";
    try {
      this.#take(chunk);
    } catch (error) {
      if (!(error instanceof SnapshotError)) throw error;
      throw new SnapshotError(`snapshot, chunk ${this.#taken + 1}: ${error.message}`, error.code);
    }
  }

  /** The state, which belongs to the caller; once. Throws SnapshotError unless all has come. */
  finish(): ClusterState {
    assert(this.#stage !== "handed out", "a snapshot is finished once");
    check(this.#stage === "whole", this.#stage === "reading" ? this.#cutOff() : this.#closed());
    const { tables, answers } = this.#into;
    this.#stage = "handed out";
    return new ClusterState(tables, answers, this.#lastIndex ?? 0);
  }

  #closed(): string {
    return this.#stage === "refused"
      ? "snapshot: one of its chunks was refused"
      : "snapshot: more follows its last chunk";
  }

  #cutOff(): string {
    return `snapshot: it ends after ${this.#taken} chunks, before its last one`;
  }

  #take(bytes: Uint8Array): void {
    check(bytes.length <= MAX_CHUNK_BYTES, `it has more than ${MAX_CHUNK_BYTES} bytes`);
    const text = this.#textOf(bytes);
    const chunk = parse(text);
    check(isObject(chunk), "it is no object");
    if (this.#taken === 0) {
      this.#begin(chunk);
    } else if (Object.hasOwn(chunk, "chunks")) {
      this.#end(chunk);
      return;
    } else {
      this.#takeRows(chunk);
    }
    this.#sum.add(text);
    this.#taken += 1;
    this.#stage = "reading";
  }

  #textOf(bytes: Uint8Array): string {
    try {
      return this.#decoder.decode(bytes);
    } catch {
      throw new SnapshotError("it is no text in UTF-8");
    }
  }

  #begin({ orchSnapshot, ...scalars }: Record<string, unknown>): void {
    check(isInteger(orchSnapshot), "it does not begin a snapshot of orch");
    if (orchSnapshot > FORMAT) {
      throw newer(`it is in format ${orchSnapshot}, this orch reads up to ${FORMAT}`);
    }
    check(orchSnapshot === FORMAT, `this orch reads no format ${orchSnapshot}`);
    checkScalars(scalars);
    this.#into.tables.restoreScalars(scalars);
    this.#lastIndex = scalars.lastIndex;
  }

  #takeRows({ section, rows, part, last }: Record<string, unknown>): void {
    check(isText(section), "it names no section");
    if (rows === undefined) {
      check(isText(part) && typeof last === "boolean", "it has neither rows nor a part of one");
      check(this.#parted === null || this.#parted.section === section, PARTS_MISSING);
      const text = (this.#parted?.text ?? "") + part;
      this.#parted = last ? null : { section, text };
      if (last) this.#load(section, [parse(text)]);
      return;
    }
    check(isList(rows), "its rows are no list");
    check(this.#parted === null, PARTS_MISSING);
    this.#load(section, rows);
  }

  #load(name: string, rows: readonly unknown[]): void {
    const section = SECTIONS_BY_NAME.get(name);
    if (section === undefined) throw newer(`it has a section "${name}"`);
    for (const [i, row] of rows.entries()) {
      try {
        section.load(row, this.#into);
      } catch (error) {
        if (!(error instanceof SnapshotError)) throw error;
        throw new SnapshotError(`${name}, row ${i + 1}: ${error.message}`, error.code);
      }
    }
  }

  #end({ chunks, hash }: Record<string, unknown>): void {
    check(
      chunks === this.#taken,
      `${this.#taken} chunks came before it instead of ${String(chunks)}`,
    );
    check(
      hash === this.#sum.digest(),
      "the chunks before it have another hash: they were damaged or changed places",
    );
    check(this.#parted === null, PARTS_MISSING);
    check(this.#into.emptySlots === 0, "a slot has no task");
    this.#stage = "whole";
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new SnapshotError("it is not JSON");
  }
}

function newer(what: string): SnapshotError {
  return new SnapshotError(`${what}: a newer orch wrote it`, "data-newer");
}
