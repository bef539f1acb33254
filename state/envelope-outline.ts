import { assert, unreachable } from "../lib/assert.ts";
import type { Command, Envelope } from "./command.ts";

type FieldType =
  | "string"
  | "boolean"
  | "integer"
  | "object"
  | "array"
  | "integer or null"
  | "string or null"
  | "liveness";

/** The fields of each command and what they are. */
const OUTLINES: Readonly<Record<Command["kind"], Readonly<Record<string, FieldType>>>> = {
  "cluster-init": { clusterId: "string", joinSecret: "string", featureLevel: "integer" },
  "cluster-recover": { clusterId: "string", joinSecret: "string", node: "string" },
  "join-secret-put": { joinSecret: "string" },
  "feature-level": { level: "integer" },
  "node-admit": { node: "string", facts: "object" },
  "node-facts": { node: "string", facts: "object" },
  "node-liveness": { node: "string", liveness: "liveness", claims: "array", reason: "string" },
  "node-leave": { node: "string" },
  "node-remove": { node: "string", force: "boolean" },
  "brake-release": {},
  "job-put": { spec: "object", ifVersion: "integer or null" },
  "job-stop": { job: "string", service: "string or null" },
  "job-restore": { spec: "object", stopped: "array", version: "integer" },
  "task-stop": { task: "string" },
  "config-put": { name: "string", data: "string", ifVersion: "integer or null" },
  "config-remove": { name: "string", ifVersion: "integer or null" },
  "config-restore": { name: "string", data: "string", version: "integer" },
  plan: { steps: "array" },
  "task-reports": { node: "string", reports: "array" },
};

/**
 * Stops the process unless the value has an envelope's outline. It comes from this cluster's own log: anything
 * else was written by a newer orch or damaged, and a node that skipped it would differ from the others.
 */
export function checkOutline(value: unknown): asserts value is Envelope {
  assert(isObject(value), "a log entry is an object");
  assert(Number.isSafeInteger(value["timeMs"]), "a log entry has its time in whole milliseconds");
  assert(fits(value["key"], "string or null"), "a log entry's key is text or null");
  assert(fits(value["since"], "integer or null"), "a log entry's since is an index or null");
  const command = value["command"];
  assert(isObject(command), "a log entry has a command");
  const kind = command["kind"];
  assert(
    isKind(kind),
    `this orch does not know the command ${JSON.stringify(kind)}: was it written by a newer one?`,
  );
  for (const [field, type] of Object.entries(OUTLINES[kind])) {
    assert(fits(command[field], type), `the command ${kind} has a field ${field} that is ${type}`);
  }
}

function isKind(kind: unknown): kind is Command["kind"] {
  return typeof kind === "string" && Object.hasOwn(OUTLINES, kind);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fits(value: unknown, type: FieldType): boolean {
  switch (type) {
    case "string":
      return typeof value === "string";
    case "integer":
      return Number.isSafeInteger(value);
    case "boolean":
      return typeof value === "boolean";
    case "object":
      return isObject(value);
    case "array":
      return Array.isArray(value);
    case "integer or null":
      return value === null || Number.isSafeInteger(value);
    case "string or null":
      return value === null || typeof value === "string";
    case "liveness":
      return value === "ready" || value === "down";
    default:
      return unreachable(type);
  }
}
