import { setTimeout as delay } from "node:timers/promises";
import { fault, OrchError } from "../../lib/errors.ts";
import type { Fault } from "../../lib/errors.ts";
import type { ClusterView, EventView, NodeView } from "../../node/core/view-types.ts";
import { parseAnswer } from "../boundary.ts";
import type { Client } from "../client.ts";
import type { Context } from "../context.ts";
import { parseSinceMs } from "../duration.ts";
import { parseEventStream } from "../event-stream.ts";
import type { ServerEvent } from "../event-stream.ts";
import { paint, print } from "../output.ts";
import { plain } from "../table.ts";

export interface EventFlags {
  readonly follow?: boolean;
  readonly since?: string;
  readonly job?: string;
}

/** What there is comes at once and without a gap; so long a silence is its end. */
const QUIET_MS = 300;
/** The same before the first event: the node may have to read the log from its disk. */
const FIRST_QUIET_MS = 1_500;
const MAX_BROKEN_IN_A_ROW = 5;

/** `orch events` */
export async function events({ client, json, quiet }: Context, flags: EventFlags): Promise<void> {
  const follow = flags.follow ?? false;
  const names = json || quiet ? new Map<string, string>() : await nodeNames(client);
  const abort = new AbortController();
  const last = follow
    ? Number.POSITIVE_INFINITY
    : (await client.get<ClusterView>("/v1/cluster")).commitIndex;
  for await (const event of follow
    ? resumed(client, flags, abort.signal)
    : upTo(client, flags, last, abort)) {
    if (flags.job !== undefined && event.job !== flags.job) continue;
    if (json) print(JSON.stringify(event));
    else if (quiet) print(String(event.index));
    else print(eventLine(event, names));
  }
}

/** All events up to a log index, or until none come. */
async function* upTo(
  client: Client,
  flags: EventFlags,
  last: number,
  abort: AbortController,
): AsyncGenerator<EventView> {
  const end = (): void => {
    abort.abort();
  };
  let timer = setTimeout(end, FIRST_QUIET_MS);
  try {
    const lines = await client.lines(eventsPath(flags), {}, abort.signal);
    for await (const sent of parseEventStream(lines)) {
      const event = eventOf(sent);
      if (event.index > last) return;
      yield event;
      clearTimeout(timer);
      timer = setTimeout(end, QUIET_MS);
    }
  } finally {
    clearTimeout(timer);
    end();
  }
}

/** Events without end: a broken connection goes on at another node after the last one that came. */
async function* resumed(
  client: Client,
  flags: EventFlags,
  signal: AbortSignal,
): AsyncGenerator<EventView> {
  let lastId: string | null = null;
  for (let broken = 0; ;) {
    const headers: Record<string, string> = lastId === null ? {} : { "last-event-id": lastId };
    try {
      const lines = await client.lines(eventsPath(flags), headers, signal);
      for await (const sent of parseEventStream(lines)) {
        const event = eventOf(sent);
        lastId = sent.id;
        broken = 0;
        yield event;
      }
    } catch (error) {
      if (!(error instanceof OrchError) || error.fault.code !== "unreachable") throw error;
      if (broken >= MAX_BROKEN_IN_A_ROW) throw error;
    }
    // Also an orderly end: the node is stopping, another one goes on.
    broken += 1;
    await delay(200 * broken);
  }
}

function eventOf({ event, data }: ServerEvent): EventView {
  if (event === "fault") throw new OrchError(parseAnswer<Fault>(data));
  return parseAnswer<EventView>(data);
}

function eventsPath(flags: EventFlags): string {
  if (flags.since === undefined) return "/v1/events?since=0";
  return `/v1/events?${new URLSearchParams({ since: readSince(flags.since) })}`;
}

function readSince(text: string): string {
  if (/^\d+$/.test(text)) return text;
  const sinceMs = parseSinceMs(text, Date.now());
  if (sinceMs !== null) return new Date(sinceMs).toISOString();
  throw new OrchError(
    fault(
      "usage",
      `--since "${text}" is neither a log index, nor a duration, nor a time`,
      "Write it as 120, 10m or 2026-01-31T12:00:00Z.",
    ),
  );
}

async function nodeNames(client: Client): Promise<Map<string, string>> {
  const nodes = await client.get<readonly NodeView[]>("/v1/nodes");
  return new Map(nodes.map((node) => [node.id, node.name]));
}

/** `time  #index  what  change  on node  why` */
function eventLine(event: EventView, names: ReadonlyMap<string, string>): string {
  const parts = [paint("dim", event.time), `#${event.index}`.padEnd(6), eventSubject(event, names)];
  if (event.to !== null) parts.push(event.from === null ? event.to : `${event.from} → ${event.to}`);
  if (event.type === "task" && event.node !== null)
    parts.push(`on ${names.get(event.node) ?? event.node}`);
  if (event.message !== "") parts.push(paint("dim", plain(event.message)));
  return parts.join("  ");
}

function eventSubject(event: EventView, names: ReadonlyMap<string, string>): string {
  if (event.type === "task") return `task ${event.slot ?? "-"} (${event.task ?? "-"})`;
  if (event.type === "node") return `node ${names.get(event.node ?? "") ?? event.node ?? "-"}`;
  if (event.type === "config") return `config ${event.config ?? "-"}`;
  if (event.type === "cluster") return "cluster";
  return `job ${event.job ?? "-"}${event.service === null ? "" : `.${event.service}`}`;
}
