import { fault, OrchError } from "../lib/errors.ts";
import { parseDurationMs } from "./duration.ts";
import type { Client } from "./client.ts";

/** The flags that every command takes, as commander hands them over. */
export interface GlobalFlags {
  readonly host?: string;
  readonly token?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly timeout?: string;
}

/** What a command works with. */
export interface Context {
  readonly client: Client;
  readonly json: boolean;
  readonly quiet: boolean;
  /** Null: not given. */
  readonly timeoutMs: number | null;
}

const DEFAULT_TIMEOUT_MS = 30_000;

/** Runs a command with a client, which is closed whatever becomes of it. */
export async function withContext(
  flags: GlobalFlags,
  body: (context: Context) => Promise<void>,
): Promise<void> {
  const [{ Client }, { chooseEndpoints }, { findEndpointSources }, { note }] = await Promise.all([
    import("./client.ts"),
    import("./endpoint.ts"),
    import("./endpoint-sources.ts"),
    import("./output.ts"),
  ]);
  const timeoutMs = flags.timeout === undefined ? null : parseTimeoutMs(flags.timeout);
  const json = flags.json ?? false;
  const quiet = flags.quiet ?? false;
  const client = new Client({
    endpoints: chooseEndpoints(findEndpointSources(flags.host, flags.token)),
    timeoutMs: timeoutMs ?? DEFAULT_TIMEOUT_MS,
    onConnected: ({ devPid }) => {
      if (devPid !== null && !json && !quiet)
        note(`orch: talking to the cluster of \`orch dev\` (pid ${devPid})`);
    },
  });
  try {
    await body({ client, json, quiet, timeoutMs });
  } finally {
    await client.close();
  }
}

function parseTimeoutMs(text: string): number {
  const timeoutMs = parseDurationMs(text);
  if (timeoutMs !== null && timeoutMs > 0) return timeoutMs;
  throw new OrchError(
    fault(
      "usage",
      `--timeout "${text}" is no duration above zero`,
      "Write it as 30s, 2m or 1m30s.",
    ),
  );
}
