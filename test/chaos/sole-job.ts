import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ProcessCluster } from "../fixtures/process-cluster.ts";
import { submit, type WantedJob } from "./jobs.ts";
import { judgeSole, type SoleVerdict } from "./sole.ts";

/** A job whose tasks must never run twice at once, and tell of themselves in one file for all nodes of this machine. */

const SCRIPT = fileURLToPath(new URL("sole-task.sh", import.meta.url));
const JOB = "lock";
const REPLICAS = 2;
const BEATS_PER_SECOND = 10;

/** What is to run of it in the end. */
export const SOLE_JOB: WantedJob = {
  name: JOB,
  version: 1,
  replicas: REPLICAS,
  change: null,
  word: SCRIPT,
};

/** Submits it; `lifeSeconds`: no task outlives that. */
export async function startSole(cluster: ProcessCluster, lifeSeconds: number): Promise<void> {
  writeFileSync(fileOf(cluster), "");
  const command = ["sh", SCRIPT, fileOf(cluster), String(lifeSeconds * BEATS_PER_SECOND)];
  const compose = [
    "services:",
    "  web:",
    `    command: ${JSON.stringify(command)}`,
    "    stop_grace_period: 2s",
    "    x-orch: {partition: at-most-one}",
    `    deploy: {replicas: ${REPLICAS}, resources: {reservations: {cpus: "0.01", memory: 8m}}}`,
    "",
  ].join("\n");
  await submit(cluster, JOB, compose);
}

/** What its tasks told up to now, a line that is being written aside. */
export function soleVerdict(cluster: ProcessCluster): SoleVerdict {
  const text = readFileSync(fileOf(cluster), "utf8");
  return judgeSole(text.slice(0, text.lastIndexOf("\n") + 1));
}

/** Keeps what its tasks told. */
export function keepSole(cluster: ProcessCluster, path: string): void {
  copyFileSync(fileOf(cluster), path);
}

function fileOf({ folder }: ProcessCluster): string {
  return join(folder, "sole.log");
}
