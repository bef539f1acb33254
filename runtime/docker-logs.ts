import { setTimeout as delay } from "node:timers/promises";
import type Docker from "dockerode";
import { bounded, CALL_MS } from "./docker-client.ts";
import type { LogLine, LogOptions } from "./engine.ts";

/** Before a follower asks again after its container ended: it may be started again. */
const AGAIN_MS = 500;
const HEADER_BYTES = 8;
const STDERR = 2;
/** A longer line is passed on in pieces, so that no line costs unbounded memory. */
const LINE_CHARS = 64 * 1024;

interface StampedLine extends LogLine {
  /** The engine's own time, to the nanosecond: tells lines of one millisecond apart. Empty: it gave none. */
  readonly stamp: string;
}

/** A container's lines; follows it through restarts until the signal aborts or it is gone. Throws the client's errors. */
export async function* dockerLogs(
  container: Docker.Container,
  options: LogOptions,
  exists: () => Promise<boolean>,
): AsyncGenerator<LogLine, void, undefined> {
  let newest = "";
  let sinceMs = options.sinceMs;
  for (let { tail } = options; !options.signal.aborted; tail = null) {
    // Only lines of an earlier round can come twice: within one, the two streams' times may cross.
    const seen = newest;
    try {
      for await (const line of read(container, { ...options, tail, sinceMs })) {
        if (line.stamp !== "" && line.stamp <= seen) continue;
        if (line.stamp > newest) newest = line.stamp;
        yield { stream: line.stream, timeMs: line.timeMs, text: line.text };
      }
      if (newest !== "") sinceMs = Date.parse(newest);
    } catch (error) {
      if (options.signal.aborted) return;
      throw error;
    }
    if (!options.follow) return;
    await delay(AGAIN_MS, undefined, { signal: options.signal }).catch(() => undefined);
    if (!options.signal.aborted && !(await exists())) return;
  }
}

async function* read(
  container: Docker.Container,
  options: LogOptions,
): AsyncGenerator<StampedLine, void, undefined> {
  const stop = new AbortController();
  const abort = (): void => stop.abort();
  options.signal.addEventListener("abort", abort);
  const wanted = {
    stdout: true,
    stderr: true,
    timestamps: true,
    abortSignal: stop.signal,
    ...(options.tail === null ? {} : { tail: options.tail }),
    ...(options.sinceMs === null ? {} : { since: (options.sinceMs / 1000).toFixed(3) }),
  };
  try {
    // Without following the answer is whole, and no longer than the files that the engine keeps: 30 MB.
    const stream = options.follow
      ? await bounded(CALL_MS, () => container.logs({ ...wanted, follow: true }))
      : [await bounded(CALL_MS, () => container.logs({ ...wanted, follow: false }))];
    for await (const line of demultiplex(stream)) {
      if (options.sinceMs === null || line.timeMs >= options.sinceMs) yield line;
    }
  } finally {
    options.signal.removeEventListener("abort", abort);
    stop.abort();
  }
}

/**
 * The lines of the engine's stream: frames of an 8-byte header (stream, three zeros, length) and text, in
 * which each line begins with its time.
 */
export async function* demultiplex(
  chunks: AsyncIterable<string | Buffer> | Iterable<Buffer>,
): AsyncGenerator<StampedLine, void, undefined> {
  const rests = { stdout: "", stderr: "" };
  const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  let buffer: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    buffer = Buffer.concat([buffer, Buffer.from(chunk)]);
    while (buffer.length >= HEADER_BYTES) {
      const end = HEADER_BYTES + buffer.readUInt32BE(4);
      if (buffer.length < end) break;
      const stream = buffer[0] === STDERR ? "stderr" : "stdout";
      const lines = (
        rests[stream] +
        decoders[stream].decode(buffer.subarray(HEADER_BYTES, end), { stream: true })
      ).split("\n");
      buffer = buffer.subarray(end);
      const rest = lines.pop() ?? "";
      if (rest.length > LINE_CHARS) lines.push(rest);
      rests[stream] = rest.length > LINE_CHARS ? "" : rest;
      for (const line of lines) yield stamped(stream, line);
    }
  }
  for (const stream of ["stdout", "stderr"] as const) {
    if (rests[stream] !== "") yield stamped(stream, rests[stream]);
  }
}

function stamped(stream: LogLine["stream"], line: string): StampedLine {
  const space = line.indexOf(" ");
  const stamp = space === -1 ? line : line.slice(0, space);
  const timeMs = Date.parse(stamp);
  // A piece of a line too long for the engine carries no time.
  if (Number.isNaN(timeMs)) return { stream, stamp: "", timeMs: Date.now(), text: line };
  return {
    stream,
    stamp,
    timeMs,
    text: space === -1 ? "" : line.slice(space + 1).replace(/\r$/u, ""),
  };
}
