import { setTimeout as delay } from "node:timers/promises";
import { fault, faultOf, OrchError } from "../../lib/errors.ts";
import type { LogLine } from "../../runtime/engine.ts";
import type { EventView, LogLineView } from "../core/view-types.ts";
import type { Stream } from "./call.ts";
import type { EventPosition } from "./input.ts";

/** The endless answers as text: server-sent events, and newline-delimited JSON for output. */

/** How soon a browser's EventSource connects again. */
const RETRY_MS = 1_000;
/** Following output that may never come: so long a failure still becomes an error status. */
const FOLLOW_WAIT_MS = 300;

/** Server-sent events, from `events` on. What was `seen` of the entry where it begins is left out. */
export function eventStream(
  events: (signal: AbortSignal) => AsyncIterable<EventView>,
  skip: EventPosition | null,
  sinceMs: number | null,
  headers: Readonly<Record<string, string>>,
): Stream {
  return {
    kind: "stream",
    contentType: "text/event-stream; charset=utf-8",
    headers,
    opening: `retry: ${RETRY_MS}\n\n`,
    keepalive: ": still here\n\n",
    first: { waitMs: 0, strict: false },
    pieces: (signal) => eventPieces(events(signal), skip, sinceMs),
    broken: (error) => `event: fault\ndata: ${JSON.stringify(faultOf(error))}\n\n`,
  };
}

async function* eventPieces(
  events: AsyncIterable<EventView>,
  skip: EventPosition | null,
  sinceMs: number | null,
): AsyncGenerator<string> {
  let index = -1;
  let nth = 0;
  for await (const event of events) {
    nth = event.index === index ? nth + 1 : 1;
    index = event.index;
    if (skip !== null && index === skip.index && nth <= (skip.seen ?? 0)) continue;
    if (sinceMs !== null && Date.parse(event.time) < sinceMs) continue;
    const id = nth === 1 ? String(index) : `${index}.${nth}`;
    yield `id: ${id}\ndata: ${JSON.stringify(event)}\n\n`;
  }
}

/** A task's output, one JSON object a line. Without `follow` it ends; its first line must come within `waitMs`. */
export function logStream(
  lines: (signal: AbortSignal) => AsyncIterable<LogLine>,
  follow: boolean,
  waitMs: number,
  headers: Readonly<Record<string, string>>,
): Stream {
  return {
    kind: "stream",
    contentType: "application/x-ndjson; charset=utf-8",
    headers,
    opening: "",
    keepalive: null,
    first: follow ? { waitMs: FOLLOW_WAIT_MS, strict: false } : { waitMs, strict: true },
    pieces: (signal) => linePieces(lines(signal)),
    broken: (error) => `${JSON.stringify({ fault: faultOf(error) })}\n`,
  };
}

/** A backup, one JSON object a line; its first must come within `waitMs`. */
export function backupStream(
  lines: (signal: AbortSignal) => AsyncIterable<string>,
  waitMs: number,
): Stream {
  return {
    kind: "stream",
    contentType: "application/x-ndjson; charset=utf-8",
    headers: {},
    opening: "",
    keepalive: null,
    first: { waitMs, strict: true },
    pieces: (signal) => withLineEnds(lines(signal)),
    broken: (error) => `${JSON.stringify({ fault: faultOf(error) })}\n`,
  };
}

async function* withLineEnds(lines: AsyncIterable<string>): AsyncGenerator<string> {
  for await (const line of lines) yield `${line}\n`;
}

async function* linePieces(lines: AsyncIterable<LogLine>): AsyncGenerator<string> {
  for await (const { stream, timeMs, text } of lines) {
    const line: LogLineView = { stream, time: new Date(timeMs).toISOString(), text };
    yield `${JSON.stringify(line)}\n`;
  }
}

/** Where pieces go: an HTTP response, or a test's. */
export interface Sink {
  /** False: full, wait for `drained` before the next. */
  write(text: string): boolean;
  /** Resolves once there is room again; rejects when `signal` aborts. */
  drained(signal: AbortSignal): Promise<void>;
}

/** A stream whose first piece has been waited for: what is left is to send it. */
export interface Begun {
  readonly pieces: AsyncIterator<string>;
  readonly first: Promise<IteratorResult<string>>;
}

/**
 * Waits for the first piece as long as the stream asks for. Throws what the stream fails with in that
 * time, or OrchError unreachable when it is strict and nothing came.
 */
export async function begin(stream: Stream, signal: AbortSignal): Promise<Begun> {
  const pieces = stream.pieces(signal)[Symbol.asyncIterator]();
  const first = pieces.next();
  // Awaited again by `send`; a failure between the two must not count as unhandled.
  first.catch(() => undefined);
  const { waitMs, strict } = stream.first;
  if (waitMs === 0) return { pieces, first };
  const over = new AbortController();
  const late = delay(waitMs, "late" as const, { signal: over.signal }).catch(() => "late" as const);
  try {
    if ((await Promise.race([first, late])) === "late" && strict) {
      throw new OrchError(
        fault(
          "unreachable",
          `The node that has it did not answer within ${waitMs} ms.`,
          "See `orch node ls` for the node's status, or wait longer with --timeout.",
        ),
      );
    }
  } finally {
    over.abort();
  }
  return { pieces, first };
}

/**
 * Sends the pieces until there are no more or `signal` aborts, with back pressure: none is taken before
 * there is room for it. A failure midway is sent as the last piece. `stalled`: the sink had no room for
 * `stallMs`, what is left was not sent.
 */
export async function send(
  stream: Stream,
  begun: Begun,
  sink: Sink,
  bounds: { readonly keepaliveMs: number; readonly stallMs: number },
  signal: AbortSignal,
): Promise<"ended" | "stalled"> {
  const { keepalive, opening } = stream;
  let wrote = opening !== "" && !sink.write(opening) ? "full" : "some";
  const timer = setInterval(() => {
    // What is full has something to read; more would only pile up.
    if (keepalive !== null && wrote === "none") wrote = sink.write(keepalive) ? "none" : "full";
    else if (wrote === "some") wrote = "none";
  }, bounds.keepaliveMs);
  try {
    let next = await begun.first;
    while (next.done !== true && !signal.aborted) {
      const room = sink.write(next.value);
      wrote = room ? "some" : "full";
      if (!room && !(await drained(sink, bounds.stallMs, signal))) return "stalled";
      wrote = "some";
      next = await begun.pieces.next();
    }
  } catch (error) {
    if (!signal.aborted) sink.write(stream.broken(error));
  } finally {
    clearInterval(timer);
    // Not awaited: an iterator that hangs in a wait of its own has the signal to end it.
    begun.pieces.return?.().catch(() => undefined);
  }
  return "ended";
}

async function drained(sink: Sink, stallMs: number, signal: AbortSignal): Promise<boolean> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(stallMs)]);
  return sink.drained(bounded).then(
    () => true,
    () => false,
  );
}
