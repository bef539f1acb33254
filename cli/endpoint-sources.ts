import { lstatSync, readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { codeOf, isRecord } from "./boundary.ts";
import type { DevPointer, EndpointSources } from "./endpoint.ts";

/** Looks around for nodes: flags, environment, the default data directories, a running `orch dev`. */
export function findEndpointSources(
  host: string | undefined,
  token: string | undefined,
): EndpointSources {
  const environment = process.env;
  const folders = dataFolders();
  return {
    hosts: host ?? nonEmpty(environment["ORCH_HOST"]),
    token: token ?? nonEmpty(environment["ORCH_TOKEN"]) ?? adminToken(folders),
    sockets: folders.map((folder) => join(folder, "orch.sock")).filter(isSocket),
    dev: readDevPointer(),
  };
}

/**
 * Where `orch dev` says how to reach its nodes: `current.json` in a folder that is this user's alone,
 * because whoever writes it decides whom the user's commands talk to.
 */
export function devPointerFolder(): string {
  const base = nonEmpty(process.env["XDG_RUNTIME_DIR"]) ?? "/tmp";
  return join(base, `orch-dev-${process.getuid?.() ?? 0}`);
}

/** The running `orch dev` of this user; null when there is none, or its note cannot be trusted. */
export function readDevPointer(): DevPointer | null {
  const folder = devPointerFolder();
  try {
    const stat = lstatSync(folder);
    if (!stat.isDirectory() || stat.uid !== process.getuid?.()) return null;
    const pointer: unknown = JSON.parse(readFileSync(join(folder, "current.json"), "utf8"));
    return isDevPointer(pointer) && isAlive(pointer.pid) ? pointer : null;
  } catch {
    return null;
  }
}

function isDevPointer(value: unknown): value is DevPointer {
  if (!isRecord(value)) return false;
  const { hosts, pid } = value;
  return (
    Array.isArray(hosts) &&
    hosts.every((host) => typeof host === "string") &&
    typeof pid === "number"
  );
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}

function dataFolders(): string[] {
  const chosen = nonEmpty(process.env["ORCH_DATA_DIR"]);
  return [
    ...(chosen === null ? [] : [chosen]),
    "/var/lib/orch",
    join(homedir(), ".local/share/orch"),
  ];
}

function adminToken(folders: readonly string[]): string | null {
  for (const folder of folders) {
    try {
      const token = readFileSync(join(folder, "admin.token"), "utf8").trim();
      if (token !== "") return token;
    } catch {
      // Absent or not this user's to read: the next folder may have one.
    }
  }
  return null;
}

function isSocket(path: string): boolean {
  try {
    return statSync(path).isSocket();
  } catch {
    // Absent, or in a folder that this user may not look into.
    return false;
  }
}

function nonEmpty(text: string | undefined): string | null {
  return text === undefined || text === "" ? null : text;
}
