import type { Query, UserCommand } from "../../node/core/request.ts";
import type { JobSpec } from "../../state/spec.ts";
import { taskId } from "../../state/ids.ts";

/**
 * What is written and read in orch. The bench node hands it to the driver as the API does; the HTTP lane asks for it
 * over the public API.
 */

/** A write of the value under the key: the one line to change for another command. */
export function writeCommand(_key: string, value: Buffer): UserCommand {
  return { kind: "task-stop", task: taskId(value.toString("base64url")) };
}

/** Nothing by that name to stop: committed and applied like any other command. */
export const REFUSED_WHEN_DONE = "not-found";

export function readQuery(_key: string): Query {
  return { kind: "job", job: JOB };
}

/** What must be there before anything is read. */
export function firstCommand(value: Buffer): UserCommand {
  return { kind: "job-put", spec: jobSpec(value), ifVersion: null };
}

export function apiWrite(
  _key: string,
  value: Buffer,
): { readonly path: string; readonly contentType: string; readonly body: Buffer } {
  return {
    path: `/v1/jobs/${JOB}`,
    contentType: "application/json",
    body: Buffer.from(JSON.stringify({ spec: jobSpec(value) })),
  };
}

export function apiRead(_key: string): string {
  return `/v1/jobs/${JOB}`;
}

const JOB = "bench";

/** A job without tasks that holds the value. */
function jobSpec(value: Buffer): JobSpec {
  return {
    name: JOB,
    services: [
      {
        name: "value",
        type: "service",
        image: value.toString("hex", 0, value.length / 2),
        driver: null,
        entrypoint: null,
        command: null,
        environment: {},
        workingDir: null,
        ports: [],
        volumes: [],
        replicas: 0,
        reservations: { cpuMilli: 0, memoryMib: 0, diskMib: 0 },
        limits: { cpuMilli: null, memoryMib: null },
        restart: { condition: "any", delayMs: 5_000, maxAttempts: null, windowMs: 5_000 },
        constraints: [],
        stopGraceMs: 10_000,
      },
    ],
  };
}
