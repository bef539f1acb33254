import { expect, test } from "vitest";
import { parseEventStream } from "./event-stream.ts";
import type { ServerEvent } from "./event-stream.ts";

async function* feed(text: string): AsyncGenerator<string> {
  yield* text.split("\n");
}

test("events keep id and kind; comments, retry and a half event are left out", async () => {
  const text =
    'retry: 1000\n\n: still here\n\nid: 7\ndata: {"a":1}\n\nid: 7.2\ndata:x\ndata: y\n\nevent: fault\ndata: z\n\ndata: half';
  const events: ServerEvent[] = [];
  for await (const event of parseEventStream(feed(text))) events.push(event);
  expect(events).toEqual([
    { event: "message", id: "7", data: '{"a":1}' },
    { event: "message", id: "7.2", data: "x\ny" },
    { event: "fault", id: "7.2", data: "z" },
  ]);
});
