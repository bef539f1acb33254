import { z } from "zod";
import { MAX_CONFIG_BYTES } from "../../state/config.ts";
import type { Answer, Done, Route } from "./call.ts";
import { json, route } from "./call.ts";
import { QUERY } from "./input.ts";
import { configContentSchema, writeSchema } from "./schemas.ts";
import { jobNameSchema } from "./spec-schema.ts";

/** Configs: the content comes as raw bytes and goes out as JSON, as all else does. */

const reading = z.strictObject({ timeout: QUERY.timeout, consistency: QUERY.consistency });
const writing = z.strictObject({ timeout: QUERY.timeout });
const named = z.strictObject({ name: z.string().min(1).max(256) });

export const CONFIG_ROUTES: readonly Route[] = [
  route({
    id: "listConfigs",
    method: "GET",
    path: "/v1/configs",
    summary: "All configs, without their content",
    params: z.strictObject({}),
    query: reading,
    headers: ["orch-timeout"],
    body: null,
    answer: { kind: "list", shape: "Config" },
    faults: ["no-manager"],
    run: async ({ cluster }) => {
      const { body, headers } = await cluster.read({ kind: "configs" });
      return json(body, headers);
    },
  }),
  route({
    id: "getConfig",
    method: "GET",
    path: "/v1/configs/{name}",
    summary: "One config with its content; its version is the ETag",
    params: named,
    query: reading,
    headers: ["orch-timeout"],
    body: null,
    answer: { kind: "one", shape: "ConfigContent" },
    faults: ["not-found", "no-manager"],
    run: async ({ cluster, params }) => {
      const done = await cluster.read({ kind: "config", config: params.name });
      return tagged(done, configContentSchema.parse(done.body).version);
    },
  }),
  route({
    id: "putConfig",
    method: "PUT",
    path: "/v1/configs/{name}",
    summary: "Sets a config's content; with If-Match or If-None-Match only if nobody was faster",
    params: z.strictObject({ name: jobNameSchema }),
    query: writing,
    headers: ["orch-timeout", "idempotency-key", "if-match", "if-none-match"],
    body: null,
    maxBytes: MAX_CONFIG_BYTES,
    answer: { kind: "one", shape: "Write" },
    faults: ["too-large", "version-mismatch", "conflict", "no-manager", "unknown"],
    run: async ({ cluster, params, bytes, key, ifVersion }) => {
      const data = Buffer.from(bytes).toString("base64url");
      const command = { kind: "config-put", name: params.name, data, ifVersion } as const;
      const done = await cluster.write(command, key);
      const headers = { ...done.headers, "idempotency-key": key };
      return tagged({ ...done, headers }, writeSchema.parse(done.body).version);
    },
  }),
  route({
    id: "deleteConfig",
    method: "DELETE",
    path: "/v1/configs/{name}",
    summary: "Removes a config; with If-Match only at that version",
    params: named,
    query: writing,
    headers: ["orch-timeout", "idempotency-key", "if-match"],
    body: null,
    answer: { kind: "one", shape: "Write" },
    faults: ["not-found", "version-mismatch", "conflict", "no-manager", "unknown"],
    run: async ({ cluster, params, key, ifVersion }) => {
      const command = { kind: "config-remove", name: params.name, ifVersion } as const;
      const done = await cluster.write(command, key);
      return json(done.body, { ...done.headers, "idempotency-key": key });
    },
  }),
];

/** With the version as the entity tag, ready for If-Match. */
function tagged({ body, headers }: Done, version: number | null): Answer {
  return json(body, version === null ? headers : { ...headers, etag: `"${version}"` });
}
