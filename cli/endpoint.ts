import { fault, OrchError } from "../lib/errors.ts";

/** One way to reach a node's API. */
export interface Endpoint {
  /** As a user would write it after `--host`. */
  readonly host: string;
  /** Null: over TCP. */
  readonly socketPath: string | null;
  /** `http://address:port`; for a socket only the Host header. */
  readonly origin: string;
  /** Null: none known; a socket needs none. */
  readonly token: string | null;
  /** The pid of the `orch dev` that it belongs to, when it was found through that. */
  readonly devPid: number | null;
}

/** What a running `orch dev` leaves for clients. */
export interface DevPointer {
  readonly hosts: readonly string[];
  readonly pid: number;
}

/** What was found around the command, in the order of interest. */
export interface EndpointSources {
  /** `--host`, else ORCH_HOST; separated by commas. */
  readonly hosts: string | null;
  /** `--token`, else ORCH_TOKEN, else the admin token of a data directory. */
  readonly token: string | null;
  /** Sockets that exist in the default data directories. */
  readonly sockets: readonly string[];
  readonly dev: DevPointer | null;
}

const DEFAULT_HOST = "http://127.0.0.1:7401";

/** The endpoints to try, in turn. Throws OrchError `usage` when a host cannot be read. */
export function chooseEndpoints(sources: EndpointSources): readonly Endpoint[] {
  const { hosts, token, sockets, dev } = sources;
  if (hosts !== null) {
    const named = hosts.split(",").flatMap((host) => host.trim() || []);
    if (named.length === 0) throw badHost(hosts);
    return named.map((host) => parseHost(host, token));
  }
  const found = sockets.map((path) => parseHost(`unix://${path}`, null));
  // Without a token TCP only ever answers 401, and would hide the cluster of `orch dev` behind that.
  if (token !== null) found.push(parseHost(DEFAULT_HOST, token));
  for (const host of dev?.hosts ?? []) {
    found.push({ ...parseHost(host, null), devPid: dev?.pid ?? null });
  }
  return found.length > 0 ? found : [parseHost(DEFAULT_HOST, null)];
}

/** Reads `unix:///path` or `http://address[:port]`; the port is 7401 unless given. */
export function parseHost(text: string, token: string | null): Endpoint {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length).replace(/^\/\/+/, "/");
    if (!/^\/./.test(path)) throw badHost(text);
    return {
      host: `unix://${path}`,
      socketPath: path,
      origin: "http://localhost",
      token: null,
      devPid: null,
    };
  }
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) throw badHost(text);
  const url = new URL(text);
  if (url.hostname === "" || url.pathname !== "/" || url.search !== "") throw badHost(text);
  if (url.port === "" && !/:\d+\/?$/.test(text)) url.port = "7401";
  return { host: url.origin, socketPath: null, origin: url.origin, token, devPid: null };
}

function badHost(text: string): OrchError {
  return new OrchError(
    fault(
      "usage",
      `"${text}" is no address of a node's API`,
      "Write unix:///var/lib/orch/orch.sock or http://127.0.0.1:7401; several are separated by commas.",
    ),
  );
}
