import { existsSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { randomBytes } from "node:crypto";
import { fault, OrchError } from "../lib/errors.ts";
import { ClusterState } from "../state/cluster.ts";
import { newClusterId } from "./cluster-id.ts";
import {
  type RecoveredMember,
  type RecoverySurvey,
  recoveryWrite,
  surveyRecovery,
} from "./core/recover.ts";
import { isoTime } from "./core/iso-time.ts";
import { openDataDir } from "./data-dir.ts";
import { openDisk } from "./disk.ts";
import { epochMs } from "./driver.ts";
import { formatToken } from "./libp2p/token.ts";
import { clearRemoved } from "./removed.ts";
import { readState } from "./snapshot-transfer.ts";
import type { Disk, DiskImage } from "./storage.ts";
import { orchVersion } from "./version.ts";

export interface RecoverFlags {
  readonly dataDir: string;
  /** Not to ask. */
  readonly yes: boolean;
}

/**
 * `orch cluster recover`: makes another cluster of one survivor's data folder, whose node must not run. Shows
 * first what the data hold, and asks. Throws OrchError; then nothing was changed.
 */
export async function recoverCluster({ dataDir, yes }: RecoverFlags): Promise<void> {
  if (!existsSync(dataDir)) {
    const hint = "Name the folder of a survivor's node with --data-dir.";
    throw new OrchError(fault("not-initialized", `there is no data folder ${dataDir}`, hint));
  }
  const folder = await openDataDir(dataDir, orchVersion());
  try {
    const { disk, image } = await openDisk(folder);
    try {
      await recover(disk, image, dataDir, yes, () => clearRemoved(folder.path));
    } finally {
      await disk.close();
    }
  } finally {
    folder.release();
  }
}

/** `begin`: to be done before anything is written, so that a crash after it leaves a folder that can be run. */
async function recover(
  disk: Disk,
  image: DiskImage,
  dataDir: string,
  yes: boolean,
  begin: () => void,
): Promise<void> {
  const state =
    image.snapshot === null ? new ClusterState() : await readState(disk, image.snapshot);
  const found = surveyRecovery(image, state);
  if ("code" in found) throw new OrchError(found);
  for (const line of surveyLines(found.survey, dataDir)) say(line);
  if (!yes) await ask();
  const clusterId = newClusterId();
  const secret = randomBytes(32);
  const joinSecret = secret.toString("base64url");
  begin();
  await disk.write(recoveryWrite(found, clusterId, joinSecret, epochMs()));
  const token = formatToken({ clusterId, secret: new Uint8Array(secret) });
  say("");
  say(`This is cluster ${clusterId} now, with ${found.survey.self.name} as its only node.`);
  say(`  run it:         orch node start --data-dir ${dataDir}`);
  say(`  add a machine:  orch node join <this machine> --token ${token}`);
  say(
    "The other machines must join anew, each with an empty data folder. Stop their nodes and what",
  );
  say("they still run first: this cluster cannot reach them, and starts their tasks elsewhere.");
}

/** For a person who has to decide now. */
export function surveyLines(survey: RecoverySurvey, dataDir: string): string[] {
  const { self, others, lastTimeMs, uncommitted, commitIndex, lastIndex, isSoleVoter } = survey;
  const beyond =
    uncommitted === 0
      ? "none beyond"
      : `${uncommitted} more beyond, which are kept: some may have been acknowledged`;
  const lost = isSoleVoter
    ? "nothing: this node was the only voter"
    : "whatever the other voters wrote after the last entry here, if there is any";
  return [
    `Data folder:  ${dataDir}`,
    `Cluster:      ${survey.clusterId}`,
    `Survivor:     ${describe(self)}`,
    `Last entry:   index ${lastIndex} of term ${survey.lastTerm}${lastTimeMs === null ? "" : `; the last command was written ${isoTime(lastTimeMs)}`}`,
    `Committed:    known up to index ${commitIndex}; ${beyond}`,
    `Term:         ${survey.term}`,
    `Holds:        ${survey.jobs} jobs, ${survey.configs} configs, ${survey.tasks} tasks that are not over`,
    `May be lost:  ${lost}`,
    others.length === 0
      ? "Cut off:      nobody, it is the only node"
      : `Cut off:      ${others.map(describe).join("\n              ")}`,
  ];
}

function describe({ id, name, role, tasks }: RecoveredMember): string {
  return `${name} (${role}, ${tasks} tasks) ${id}`;
}

async function ask(): Promise<void> {
  if (!process.stdin.isTTY) {
    throw new OrchError(
      fault(
        "usage",
        "recovery cuts the other nodes off for good, and nobody is at a terminal to agree",
        "Say --yes to go on without being asked.",
      ),
    );
  }
  say("");
  say("This cannot be undone. If a majority of the voters can be brought back, do that instead.");
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question("Make a cluster of its own of this node? (yes/no) ");
    if (answer.trim() === "yes") return;
  } finally {
    terminal.close();
  }
  const hint = "Run the command again and answer yes.";
  throw new OrchError(fault("conflict", "nothing was changed", hint));
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
