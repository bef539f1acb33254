import { expect, test } from "vitest";
import { fault, OrchError } from "../../lib/errors.ts";
import type { EventView } from "../core/view-types.ts";
import type { Stream } from "./call.ts";
import { begin, eventStream, logStream, send } from "./streams.ts";
import type { Sink } from "./streams.ts";

/** A sink that holds `room` texts; more are room once `take` is called. */
class SmallSink implements Sink {
  readonly texts: string[] = [];
  readonly #room: number;
  #held = 0;
  #waiting: (() => void)[] = [];

  constructor(room: number) {
    this.#room = room;
  }

  write(text: string): boolean {
    this.texts.push(text);
    this.#held++;
    return this.#held < this.#room;
  }

  async drained(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push(resolve);
      signal.addEventListener("abort", () => reject(new Error("aborted")));
    });
  }

  take(): void {
    this.#held = 0;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

const BOUNDS = { keepaliveMs: 60_000, stallMs: 60_000 };
const NEVER = new AbortController().signal;

function event(index: number, message: string): EventView {
  const nobody = { job: null, service: null, slot: null, task: null, node: null, config: null };
  return {
    index,
    time: "2026-01-01T00:00:00Z",
    type: "job",
    ...nobody,
    from: null,
    to: null,
    message,
  };
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

async function textsOf(stream: Stream): Promise<string[]> {
  const sink = new SmallSink(1_000);
  expect(await send(stream, await begin(stream, NEVER), sink, BOUNDS, NEVER)).toBe("ended");
  return sink.texts;
}

function idsIn(texts: readonly string[]): (string | undefined)[] {
  return texts
    .filter((text) => text.startsWith("id:"))
    .map((text) => /^id: (.*)$/m.exec(text)?.[1]);
}

test("events carry the log index as id, further ones of the same entry a number", async () => {
  const events = [event(4, "a"), event(5, "b"), event(5, "c"), event(5, "d"), event(7, "e")];
  const texts = await textsOf(eventStream(() => each(events), null, null, {}));
  expect(idsIn(texts)).toEqual(["4", "5", "5.2", "5.3", "7"]);
  expect(texts[0]).toBe("retry: 1000\n\n");
  expect(texts[1]).toBe(`id: 4\ndata: ${JSON.stringify(events[0])}\n\n`);
});

test.each([
  [{ index: 5, seen: 1 }, ["5.2", "5.3", "7"]],
  [{ index: 5, seen: 2 }, ["5.3", "7"]],
  [{ index: 5, seen: 3 }, ["7"]],
])("a client that saw %j gets exactly the rest", async (seen, rest) => {
  const events = [event(5, "b"), event(5, "c"), event(5, "d"), event(7, "e")];
  expect(idsIn(await textsOf(eventStream(() => each(events), seen, null, {})))).toEqual(rest);
});

test("a failure midway is the last piece", async () => {
  const stream = logStream(
    async function* failing() {
      yield { stream: "stderr" as const, timeMs: 0, text: "x" };
      throw new OrchError(fault("unreachable", "gone", ""));
    },
    true,
    1_000,
    {},
  );
  const texts = await textsOf(stream);
  expect(texts.map((text) => JSON.parse(text) as unknown)).toEqual([
    { stream: "stderr", time: "1970-01-01T00:00:00.000Z", text: "x" },
    { fault: fault("unreachable", "gone", "") },
  ]);
});

test("a failure before the first piece is thrown, so that it can be a status", async () => {
  const stream = logStream(
    // oxlint-disable-next-line require-yield -- it fails before it has anything
    async function* failing() {
      throw new OrchError(fault("engine-unavailable", "no engine", ""));
    },
    false,
    1_000,
    {},
  );
  await expect(begin(stream, NEVER)).rejects.toThrow("no engine");
});

/** Gives nothing until it is told to end. */
function silent(signal: AbortSignal): AsyncIterable<never> {
  return {
    [Symbol.asyncIterator]: () => ({
      next: async () =>
        new Promise((resolve) => {
          signal.addEventListener("abort", () => resolve({ done: true, value: undefined }));
        }),
    }),
  };
}

test("output that does not come in time is unreachable, unless it is followed", async () => {
  await expect(begin(logStream(silent, false, 20, {}), NEVER)).rejects.toMatchObject({
    fault: { code: "unreachable" },
  });
  const over = new AbortController();
  const followed = logStream(silent, true, 20, {});
  const begun = await begin(followed, over.signal);
  const sent = send(followed, begun, new SmallSink(9), BOUNDS, over.signal);
  over.abort();
  expect(await sent).toBe("ended");
});

test("nothing is taken from the source before there is room for it", async () => {
  let taken = 0;
  const source = async function* source(): AsyncGenerator<EventView> {
    for (let index = 1; index <= 10; index++) {
      taken++;
      yield event(index, "");
    }
  };
  const stream = eventStream(source, null, null, {});
  const sink = new SmallSink(3);
  const sent = send(stream, await begin(stream, NEVER), sink, BOUNDS, NEVER);
  await expect.poll(() => sink.texts.length).toBe(3);
  expect(taken).toBe(2);
  for (let rounds = 0; rounds < 20; rounds++) {
    sink.take();
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await sent).toBe("ended");
  expect(taken).toBe(10);
  expect(sink.texts).toHaveLength(11);
});

test("a sink that has no room for too long ends it", async () => {
  const stream = eventStream(() => each([event(1, ""), event(2, "")]), null, null, {});
  const sink = new SmallSink(2);
  const begun = await begin(stream, NEVER);
  const end = await send(stream, begun, sink, { keepaliveMs: 60_000, stallMs: 20 }, NEVER);
  expect(end).toBe("stalled");
  expect(sink.texts).toHaveLength(2);
});

test("silence is filled with comments, but not into a full sink", async () => {
  const over = new AbortController();
  const source = async function* source(): AsyncGenerator<EventView> {
    yield event(1, "");
    await new Promise((resolve) => over.signal.addEventListener("abort", resolve));
  };
  const stream = eventStream(source, null, null, {});
  const sink = new SmallSink(5);
  const begun = await begin(stream, over.signal);
  const sent = send(stream, begun, sink, { keepaliveMs: 5, stallMs: 60_000 }, over.signal);
  await expect.poll(() => sink.texts.length).toBe(5);
  expect(sink.texts.slice(2)).toEqual([": still here\n\n", ": still here\n\n", ": still here\n\n"]);
  over.abort();
  expect(await sent).toBe("ended");
  expect(sink.texts).toHaveLength(5);
});
