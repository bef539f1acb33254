import type { FileHandle } from "node:fs/promises";
import { copyFile, open, rename, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { LogLine, LogOptions } from "./engine.ts";

/**
 * A task's output: two files that its processes append to, cut by copying the full one aside and
 * emptying it (lines written between the two are lost). Lines carry no time of their own: `tend` notes
 * how long each file was when it last changed, so a line's time is that of the write it was noticed
 * with, at most TEND_MS late, and never too early. For lines that no tend of this process saw it is the time of the
 * file's last change.
 */
export interface LogBound {
  /** A file longer than this is cut. */
  readonly maxBytes: number;
  /** Files kept for each stream, the present one included. At least 2. */
  readonly files: number;
}

/** How often the driver tends the logs: keeps times exact to two seconds and overlong files rare. */
export const TEND_MS = 2_000;
const FOLLOW_MS = 200;
const CHUNK_BYTES = 64 * 1024;
/** A longer line is passed on in pieces, so that no line costs unbounded memory. */
const LINE_BYTES = 64 * 1024;
const MARKS = 1_000;
const LINE_END = 10;

/** Where a reader stands in one stream. */
interface Position {
  offset: number;
  rotations: number;
}

export class TaskLogs {
  readonly #streams: readonly StreamLog[];

  constructor(folder: string, bound: LogBound) {
    this.#streams = [
      new StreamLog(folder, "stdout", bound),
      new StreamLog(folder, "stderr", bound),
    ];
  }

  /** Notes times and cuts overlong files. Errors (a folder just removed, a full disk) leave all as it is. */
  async tend(): Promise<void> {
    for (const stream of this.#streams) await stream.tend().catch(() => undefined);
  }

  /** The lines there are, in order of time; then those to come until the signal aborts or `state` is "gone". */
  async *read(
    options: LogOptions,
    state: () => "running" | "ended" | "gone",
  ): AsyncGenerator<LogLine, void, undefined> {
    const places = this.#streams.map((stream) => ({ stream, at: stream.oldest() }));
    let tail = options.tail;
    for (;;) {
      // Read before the files, so that what was written before the end is not taken for a part of a line.
      const final = !options.follow || state() !== "running";
      const sources = places.map(({ stream, at }) => stream.lines(at, final));
      const lines = sinceOnly(merge(sources), options.sinceMs);
      yield* tail === null ? lines : await last(lines, tail);
      tail = null;
      if (!options.follow || options.signal.aborted || state() === "gone") return;
      await delay(FOLLOW_MS, undefined, { signal: options.signal }).catch(() => undefined);
    }
  }
}

class StreamLog {
  readonly #name: "stdout" | "stderr";
  readonly #path: string;
  readonly #bound: LogBound;
  /** How long the file was when it last changed, oldest first. */
  #marks: { readonly offset: number; readonly timeMs: number }[] = [];
  #rotations = 0;

  constructor(folder: string, name: "stdout" | "stderr", bound: LogBound) {
    this.#name = name;
    this.#path = join(folder, name);
    this.#bound = bound;
  }

  /** The position before everything that is still there. */
  oldest(): Position {
    return { offset: 0, rotations: this.#rotations - this.#bound.files + 1 };
  }

  async tend(): Promise<void> {
    const { size, mtimeMs } = await stat(this.#path);
    const marked = this.#marks.at(-1)?.offset ?? 0;
    if (size < marked) this.#marks = [];
    if (size > marked) this.#marks.push({ offset: size, timeMs: Math.floor(mtimeMs) });
    if (this.#marks.length > MARKS) this.#marks = this.#marks.filter((_, index) => index % 2 === 1);
    if (size <= this.#bound.maxBytes) return;
    for (let age = this.#bound.files - 1; age > 1; age--) {
      await rename(this.#aged(age - 1), this.#aged(age)).catch(() => undefined);
    }
    await copyFile(this.#path, this.#aged(1));
    await truncate(this.#path, 0);
    this.#rotations += 1;
    this.#marks = [];
  }

  /** The lines after a position, which it moves on; with `final` also the unfinished line at the end. */
  async *lines(at: Position, final: boolean): AsyncGenerator<LogLine, void, undefined> {
    const behind = Math.min(this.#rotations - at.rotations, this.#bound.files - 1);
    for (let age = behind; age >= 0; age--) {
      const handle = await open(this.#aged(age), "r").catch(() => null);
      if (handle === null) continue;
      try {
        yield* this.#linesOf(handle, at, { final: final || age > 0, marked: age === 0 });
      } finally {
        await handle.close();
      }
      if (age > 0) at.offset = 0;
    }
    at.rotations = this.#rotations;
  }

  async *#linesOf(
    handle: FileHandle,
    at: Position,
    how: { readonly final: boolean; readonly marked: boolean },
  ): AsyncGenerator<LogLine, void, undefined> {
    const { size, mtimeMs } = await handle.stat();
    if (size < at.offset) at.offset = 0;
    const marks = how.marked ? this.#marks : [];
    let mark = 0;
    let rest: Buffer = Buffer.alloc(0);
    const take = (bytes: number): LogLine => {
      const text = rest
        .subarray(0, bytes)
        .toString("utf8")
        .replace(/\r?\n$/u, "");
      rest = rest.subarray(bytes);
      at.offset += bytes;
      while ((marks[mark]?.offset ?? Infinity) < at.offset) mark += 1;
      return { stream: this.#name, timeMs: marks[mark]?.timeMs ?? Math.floor(mtimeMs), text };
    };
    for (let position = at.offset; position < size;) {
      const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, size - position));
      const { bytesRead } = await handle.read(chunk, 0, chunk.length, position);
      if (bytesRead === 0) break;
      position += bytesRead;
      rest = Buffer.concat([rest, chunk.subarray(0, bytesRead)]);
      for (let end = rest.indexOf(LINE_END); end !== -1; end = rest.indexOf(LINE_END))
        yield take(end + 1);
      if (rest.length > LINE_BYTES) yield take(rest.length);
    }
    if (how.final && rest.length > 0) yield take(rest.length);
  }

  /** The file that was cut `age` rotations ago; 0: the present one. */
  #aged(age: number): string {
    return age === 0 ? this.#path : `${this.#path}.${age}`;
  }
}

/** Several sources, each in order of time, as one. */
async function* merge(
  sources: readonly AsyncGenerator<LogLine>[],
): AsyncGenerator<LogLine, void, undefined> {
  const heads = await Promise.all(sources.map((source) => source.next()));
  try {
    for (;;) {
      let first = -1;
      let firstLine: LogLine | null = null;
      for (const [index, head] of heads.entries()) {
        if (head.done === true || (firstLine !== null && firstLine.timeMs <= head.value.timeMs))
          continue;
        first = index;
        firstLine = head.value;
      }
      const source = sources[first];
      if (source === undefined || firstLine === null) return;
      yield firstLine;
      heads[first] = await source.next();
    }
  } finally {
    // A reader that stops early must not leave the files open.
    for (const source of sources) await source.return(undefined);
  }
}

async function* sinceOnly(
  lines: AsyncGenerator<LogLine>,
  sinceMs: number | null,
): AsyncGenerator<LogLine, void, undefined> {
  for await (const line of lines) if (sinceMs === null || line.timeMs >= sinceMs) yield line;
}

async function last(lines: AsyncGenerator<LogLine>, count: number): Promise<LogLine[]> {
  const kept: LogLine[] = [];
  for await (const line of lines) {
    kept.push(line);
    if (kept.length > count) kept.shift();
  }
  return kept;
}
