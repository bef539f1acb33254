import type { Query, UserCommand } from "../../node/core/request.ts";

/**
 * What is written and read in orch: a config of 256 bytes under one of a few thousand names. The bench node hands it to
 * the driver as the API does; the HTTP lane asks for it over the public API.
 */

export function writeCommand(name: string, value: Buffer): UserCommand {
  return { kind: "config-put", name, data: value.toString("base64url"), ifVersion: null };
}

export function readQuery(config: string): Query {
  return { kind: "config", config };
}

export function apiPath(name: string): string {
  return `/v1/configs/${name}`;
}
