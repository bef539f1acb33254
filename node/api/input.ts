import { z } from "zod";
import { fault } from "../../lib/errors.ts";
import type { Fault } from "../../lib/errors.ts";
import type { ProblemView } from "../core/view-types.ts";

/** What a client may send beside a body: pure parsers of text, and the schemas that name their errors. */

export const DEFAULT_TIMEOUT_MS = 15_000;
/** Longer waits belong to the client: it can send the same idempotency key again. */
export const MAX_TIMEOUT_MS = 600_000;
const MAX_TAIL_LINES = 100_000;

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const DURATION = /^(?:\d{1,9}(?:\.\d{1,3})?(?:ms|s|m|h|d))+$/;

/** Milliseconds of a duration such as "10m", "1h30m" or "1.5s"; null when it is none. */
export function parseDurationMs(text: string): number | null {
  if (text.length > 64 || !DURATION.test(text)) return null;
  let totalMs = 0;
  for (const [, amount = "", unit = ""] of text.matchAll(/([\d.]+)(ms|s|m|h|d)/g)) {
    totalMs += Number(amount) * (UNIT_MS[unit] ?? 0);
  }
  return Math.round(totalMs);
}

/** A moment that a client names: so long ago, or at epoch milliseconds. */
export type Moment =
  | { readonly kind: "ago"; readonly ms: number }
  | { readonly kind: "at"; readonly ms: number };

const rfc3339 = z.iso.datetime({ offset: true });

/** A moment from a duration ("10m": ago), an RFC 3339 time or epoch milliseconds; null when it is none of them. */
export function parseMoment(text: string): Moment | null {
  const ago = parseDurationMs(text);
  if (ago !== null) return { kind: "ago", ms: ago };
  if (/^\d{1,15}$/.test(text)) return { kind: "at", ms: Number(text) };
  if (!rfc3339.safeParse(text).success) return null;
  return { kind: "at", ms: Date.parse(text) };
}

/** The moment in epoch milliseconds, never before 0. */
export function momentMs(moment: Moment, nowMs: number): number {
  return Math.max(0, moment.kind === "ago" ? nowMs - moment.ms : moment.ms);
}

/** How far a client has come in the event log: `seen` events of the entry `index`, and all of those before it. */
export interface EventPosition {
  readonly index: number;
  /** Null: all of them. */
  readonly seen: number | null;
}

/**
 * Reads the id of a server-sent event. One log entry may cause several events: the first has the index
 * as its id, the next `<index>.2`, `<index>.3`, so that a client cut off between them misses none.
 */
export function parseEventId(text: string): EventPosition | null {
  const match = /^(\d{1,15})(?:\.([1-9]\d{0,8}))?$/.exec(text);
  if (match === null) return null;
  return { index: Number(match[1]), seen: Number(match[2] ?? 1) };
}

/** Where the events of an answer begin: after a log index, or at a moment. */
export type EventsFrom =
  | { readonly kind: "after"; readonly index: number }
  | { readonly kind: "since"; readonly moment: Moment };

/** A log index (digits), or a moment as a duration or an RFC 3339 time. */
export function parseEventsFrom(text: string): EventsFrom | null {
  if (/^\d{1,15}$/.test(text)) return { kind: "after", index: Number(text) };
  const moment = parseMoment(text);
  return moment === null ? null : { kind: "since", moment };
}

/** Milliseconds, as digits or as a duration; null when it is neither, below 1 or above the maximum. */
export function parseTimeoutMs(text: string): number | null {
  const timeoutMs = /^\d{1,9}$/.test(text) ? Number(text) : parseDurationMs(text);
  if (timeoutMs === null || timeoutMs < 1 || timeoutMs > MAX_TIMEOUT_MS) return null;
  return timeoutMs;
}

/** A version, bare or as an entity tag: 7 or "7"; null when it is neither. */
export function parseVersion(text: string): number | null {
  const match = /^(?:(\d{1,15})|"(\d{1,15})")$/.exec(text);
  return match === null ? null : Number(match[1] ?? match[2]);
}

/** A schema of text whose output is what `parse` makes of it; `expected` completes "expected …". */
function parsed<T extends object | number>(
  parse: (text: string) => T | null,
  expected: string,
): z.ZodType<T, string> {
  return z.string().transform((text, context) => {
    const value = parse(text);
    if (value !== null) return value;
    context.addIssue({ code: "custom", message: `expected ${expected}` });
    return z.NEVER;
  });
}

const timeout = parsed(
  parseTimeoutMs,
  "milliseconds or a duration such as 30s, at most 10 minutes",
);
const flag = z
  .enum(["true", "false", "1", "0"])
  .transform((text) => text === "true" || text === "1");
const name = z.string().min(1).max(256);

/** Query parameters, by name. */
export const QUERY = {
  timeout: timeout
    .optional()
    .describe(
      "How long to wait for the cluster: milliseconds or a duration; default 15s, at most 10m",
    ),
  consistency: z
    .enum(["linearizable", "stale"])
    .optional()
    .describe("stale: answer from what this node knows, without asking the manager"),
  job: name.optional().describe("Only tasks of this job"),
  service: name.optional().describe("Only tasks of services of this name"),
  node: name.optional().describe("Only tasks on this node: id or name"),
  all: flag.optional().describe("Also tasks that are over"),
  force: flag.optional().describe("Also a node that is up and was not told to leave"),
  follow: flag.optional().describe("Stay and send what comes"),
  tail: parsed(
    (text) => (/^\d{1,6}$/.test(text) && Number(text) <= MAX_TAIL_LINES ? Number(text) : null),
    `a number of lines, at most ${MAX_TAIL_LINES}`,
  )
    .optional()
    .describe("Only the last lines of what is there"),
  since: parsed(parseMoment, "a duration such as 10m, an RFC 3339 time or epoch milliseconds")
    .optional()
    .describe(
      "Only lines from then on: a duration (10m ago), an RFC 3339 time or epoch milliseconds",
    ),
  eventsSince: parsed(parseEventsFrom, "a log index, a duration such as 10m or an RFC 3339 time")
    .optional()
    .describe("Only events after this log index, or from a time on: a duration or RFC 3339"),
} as const;

/** Request headers that the API reads, by their lower-case name. */
export const HEADERS = {
  "orch-timeout": timeout.optional().describe("As the query parameter timeout, which wins"),
  "idempotency-key": z
    .string()
    .regex(/^[\x20-\x7e]{1,128}$/, "expected 1 to 128 printable ASCII characters")
    .optional()
    .describe("Makes the write safe to repeat: the same key is applied once and answered alike"),
  "if-match": parsed(parseVersion, 'a version: 7 or "7"')
    .optional()
    .describe("The version that the job or config must have now; 0: it must not exist"),
  "if-none-match": z
    .literal("*", "expected *")
    .optional()
    .describe("As If-Match: 0, the config must not exist; not together with If-Match"),
  "last-event-id": parsed(parseEventId, "the id of an event of this stream")
    .optional()
    .describe("The id of the last event that was received; wins over since"),
} as const;

export type HeaderName = keyof typeof HEADERS;

/** The fault for input that its schema refuses. `where`: "query", "body", "header"; every problem is in the details. */
export function inputFault(where: string, error: z.ZodError): Fault {
  const problems: ProblemView[] = error.issues.slice(0, 100).map((issue) => ({
    path: issue.path.map(String).join("."),
    line: 0,
    column: 0,
    message: issue.message,
    hint: "",
  }));
  const [first] = problems;
  const at = first === undefined || first.path === "" ? "" : `${first.path}: `;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  return fault(
    "invalid",
    `${where}: ${at}${first?.message ?? "not valid"}${more}`,
    "GET /v1/openapi.json describes what each route takes.",
    { problems },
  );
}
