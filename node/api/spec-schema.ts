import { z } from "zod";
import { parseName } from "../compose/service.ts";
import { MAX_REPLICAS, MAX_SERVICES } from "../compose/limits.ts";
import type { JobSpec, ServiceSpec } from "../../state/spec.ts";

/** A job spec as a client may send it instead of a Compose file: the border checks all that types cannot. */

const MAX_LIST = 1_000;
const MAX_MS = 7 * 24 * 3_600_000;

const NAME_RULE = "expected 1 to 63 of a-z, 0-9, _ and -, a letter or digit first";

const text = z
  .string()
  .max(32_768)
  .refine((value) => !value.includes("\0"), "expected no NUL");
const filled = text.min(1);
const nameRule = z
  .string()
  .refine((value) => parseName(value).kind === "ok", NAME_RULE)
  .meta({ pattern: "^[a-z0-9][a-z0-9_-]{0,62}$" });
const volumeName = z
  .string()
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/, "expected letters, digits, _, . and -, at most 63");
const amount = z.int().min(0).max(1_000_000_000);
const delayMs = z.int().min(0).max(MAX_MS);
const port = z.int().min(1).max(65_535);
const path = filled.startsWith("/", "expected an absolute path");

const volume = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("named"),
    name: volumeName,
    target: path,
    readOnly: z.boolean(),
  }),
  z.strictObject({ kind: z.literal("bind"), source: path, target: path, readOnly: z.boolean() }),
  z.strictObject({ kind: z.literal("tmpfs"), target: path, sizeMib: amount.min(1).nullable() }),
]);

const service = z
  .strictObject({
    name: nameRule,
    type: z.literal("service"),
    image: filled.nullable(),
    driver: z.enum(["docker", "process", "memory"]).nullable(),
    entrypoint: z.array(text).max(MAX_LIST).nullable(),
    command: z.array(text).max(MAX_LIST).nullable(),
    environment: z.record(z.string().regex(/^[^=\0]+$/, "expected a name without ="), text),
    workingDir: filled.nullable(),
    ports: z
      .array(
        z.strictObject({
          container: port,
          host: port.nullable(),
          protocol: z.enum(["tcp", "udp"]),
        }),
      )
      .max(MAX_LIST),
    volumes: z.array(volume).max(MAX_LIST),
    replicas: z.int().min(0).max(MAX_REPLICAS),
    reservations: z.strictObject({ cpuMilli: amount, memoryMib: amount, diskMib: amount }),
    limits: z.strictObject({
      cpuMilli: amount.min(1).nullable(),
      memoryMib: amount.min(1).nullable(),
    }),
    restart: z.strictObject({
      condition: z.enum(["none", "on-failure", "any"]),
      delayMs,
      maxAttempts: z.int().min(0).max(1_000_000).nullable(),
      windowMs: delayMs,
    }),
    constraints: z
      .array(
        z.strictObject({
          attribute: z
            .string()
            .max(256)
            .regex(
              /^node\.(id|name|datacenter|platform\.os|platform\.arch|labels\..+)$/,
              "expected node.id, node.name, node.datacenter, node.platform.os, node.platform.arch or node.labels.<x>",
            ),
          operator: z.enum(["==", "!="]),
          value: text,
        }),
      )
      .max(MAX_LIST),
    stopGraceMs: delayMs,
    partition: z.enum(["at-least-one", "at-most-one"]).default("at-least-one"),
  })
  .refine(
    (spec: ServiceSpec) =>
      spec.image !== null || (spec.entrypoint?.length ?? 0) + (spec.command?.length ?? 0) > 0,
    "expected an image, or a command to run without one",
  );

/** The name of a job, in a URL or a spec. */
export const jobNameSchema: z.ZodType<string> = nameRule;

export const jobSpecSchema: z.ZodType<JobSpec> = z.strictObject({
  name: nameRule,
  services: z
    .array(service)
    .min(1)
    .max(MAX_SERVICES)
    .refine(
      (services) => new Set(services.map((each) => each.name)).size === services.length,
      "expected service names that differ",
    ),
});
