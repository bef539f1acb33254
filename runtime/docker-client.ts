import { readFileSync } from "node:fs";
import { Agent } from "node:http";
import { Agent as TlsAgent } from "node:https";
import { join } from "node:path";
import Docker from "dockerode";
import type { Fault } from "../lib/errors.ts";
import { fault, OrchError } from "../lib/errors.ts";
import { type EngineAddress, engineAddresses, nameOf } from "./docker-address.ts";

/** Any call that takes longer means that the engine hangs. Pulls and stops have bounds of their own. */
export const CALL_MS = 15_000;
const FIND_MS = 2_000;

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
