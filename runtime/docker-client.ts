import { readFileSync } from "node:fs";
import { Agent } from "node:http";
import { Agent as TlsAgent } from "node:https";
import { join } from "node:path";
import Docker from "dockerode";
import type { Fault } from "../lib/errors.ts";
import { fault, OrchError } from "../lib/errors.ts";

/** Where an engine listens. */
export type EngineAddress =
  | { readonly kind: "socket"; readonly path: string }
  /** `certFolder` holds ca.pem, cert.pem and key.pem; null: no TLS. */
  | {
      readonly kind: "tcp";
      readonly host: string;
      readonly port: number;
      readonly certFolder: string | null;
    };

/** Any call that takes longer means that the engine hangs. Pulls and stops have bounds of their own. */
export const CALL_MS = 15_000;
const FIND_MS = 2_000;

/**
 * Where an engine may listen on this machine, likeliest first: DOCKER_HOST alone when it is set (as the
 * docker command does), otherwise the sockets of Docker, rootless Docker, Docker Desktop and Podman.
 * Throws OrchError engine-refused for a DOCKER_HOST that cannot be used.
 */
export function engineAddresses(
  env: Readonly<Record<string, string | undefined>>,
): EngineAddress[] {
  const { DOCKER_HOST: host, HOME: home, XDG_RUNTIME_DIR: runtime } = env;
  if (host !== undefined && host !== "") return [parseHost(host, env)];
  const paths = ["/var/run/docker.sock"];
  if (runtime !== undefined) paths.push(join(runtime, "docker.sock"));
  if (home !== undefined) paths.push(join(home, ".docker/run/docker.sock"));
  paths.push("/run/podman/podman.sock");
  if (runtime !== undefined) paths.push(join(runtime, "podman/podman.sock"));
  return paths.map((path) => ({ kind: "socket", path }));
}

/** The first engine that answers within two seconds; null when none does. */
export async function findDocker(
  env: Readonly<Record<string, string | undefined>>,
): Promise<EngineAddress | null> {
  for (const address of engineAddresses(env)) {
    try {
      const client = connect(address);
      await bounded(FIND_MS, (abortSignal) => client.listContainers({ limit: 1, abortSignal }));
      return address;
    } catch {
      // Not this one.
    }
  }
  return null;
}

/** A client for that engine; connects at the first call. Throws OrchError when its certificates cannot be read. */
export function connect(address: EngineAddress): Docker {
  if (address.kind === "socket") {
    // No kept connections: one to an engine that has since restarted would fail the next call.
    const options = {
      socketPath: address.path,
      host: undefined,
      protocol: "http" as const,
      agent: new Agent(),
    };
    return new Docker(options);
  }
  const { host, port, certFolder } = address;
  if (certFolder === null) {
    const options = { host, port, protocol: "http" as const, agent: new Agent() };
    return new Docker(options);
  }
  try {
    const [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map((name) =>
      readFileSync(join(certFolder, name)),
    );
    const options = {
      host,
      port,
      protocol: "https" as const,
      ca,
      cert,
      key,
      agent: new TlsAgent(),
    };
    return new Docker(options);
  } catch (error) {
    throw new OrchError(
      fault(
        "engine-unavailable",
        `Cannot read the certificates for ${nameOf(address)} in ${certFolder}: ${textOf(error)}.`,
        "Correct DOCKER_CERT_PATH.",
      ),
      error,
    );
  }
}

export function nameOf(address: EngineAddress): string {
  return address.kind === "socket" ? address.path : `${address.host}:${address.port}`;
}

/** One call of the engine, ended after `limitMs` whether the engine answers or not. */
export async function bounded<T>(
  limitMs: number,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`no answer within ${limitMs / 1000} s`));
      limit.abort();
    }, limitMs);
  });
  try {
    // The client does not notice an engine that dies in the middle of an answer: hence the race.
    return await Promise.race([call(limit.signal), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The HTTP status of an engine's refusal; null when it did not answer at all. */
export function statusOf(error: unknown): number | null {
  const status = error instanceof Error && "statusCode" in error ? error.statusCode : null;
  return typeof status === "number" ? status : null;
}

/** The engine's own words, without the client's frame around them. */
export function textOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const json: unknown = error instanceof Error && "json" in error ? error.json : null;
  if (
    typeof json === "object" &&
    json !== null &&
    "message" in json &&
    typeof json.message === "string"
  ) {
    return json.message.trim();
  }
  return text.replace(/^\(HTTP code \d+\) [^-]*- /u, "").trim();
}

/** Says that the engine does not answer, or not now. */
export function unavailable(address: EngineAddress, what: string, error: unknown): Fault {
  return fault(
    "engine-unavailable",
    `The engine at ${nameOf(address)} cannot ${what} now: ${textOf(error)}.`,
    "Is it running? Try `docker info` on that node. Orch tries again by itself.",
    { engine: nameOf(address) },
  );
}

function parseHost(host: string, env: Readonly<Record<string, string | undefined>>): EngineAddress {
  if (host.startsWith("unix://")) return { kind: "socket", path: host.slice("unix://".length) };
  const match = /^(?:tcp|https?):\/\/(?<name>[^/:]+|\[[^\]]+\])(?::(?<port>\d+))?\/?$/u.exec(host);
  const name = match?.groups?.["name"];
  if (name === undefined) {
    throw new OrchError(
      fault(
        "engine-refused",
        `DOCKER_HOST is "${host}", which orch cannot use.`,
        "Write unix:///path/to/docker.sock or tcp://host:port.",
      ),
    );
  }
  const { DOCKER_TLS_VERIFY: verify, DOCKER_CERT_PATH: certPath, HOME: home } = env;
  const tls = host.startsWith("https:") || (verify !== undefined && verify !== "");
  const certFolder = tls ? (certPath ?? join(home ?? "/", ".docker")) : null;
  return {
    kind: "tcp",
    host: name,
    port: Number(match?.groups?.["port"] ?? (tls ? 2376 : 2375)),
    certFolder,
  };
}
