/** One server-sent event. */
export interface ServerEvent {
  /** Its kind: `message` when the server names none. */
  readonly event: string;
  readonly id: string;
  readonly data: string;
}

/** Reads a text/event-stream's lines: events with data; comments and `retry` are left out. */
export async function* parseEventStream(lines: AsyncIterable<string>): AsyncGenerator<ServerEvent> {
  let id = "";
  let event = "message";
  let data: string[] = [];
  for await (const line of lines) {
    if (line === "") {
      if (data.length > 0) yield { event, id, data: data.join("\n") };
      data = [];
      event = "message";
      continue;
    }
    const colon = line.indexOf(":");
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "id") id = value;
    else if (field === "event") event = value;
    else if (field === "data") data.push(value);
  }
}
