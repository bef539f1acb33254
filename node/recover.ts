import { existsSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { randomBytes } from "node:crypto";
import { fault, OrchError } from "../lib/errors.ts";
import { ClusterState, decodeEnvelope } from "../state/cluster.ts";
import { nodeId } from "../state/ids.ts";
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
import { epochMs } from "./clock.ts";
import { hostPortOf } from "./join-target.ts";
import { formatToken } from "./libp2p/token.ts";
import { clearRemoved } from "./removed.ts";
import { readState } from "./snapshot-transfer.ts";
import type { Disk, DiskImage, Identity } from "./storage.ts";
import { orchVersion } from "./version.ts";

export interface RecoverFlags {
  readonly dataDir: string;
  /** Not to ask. */
  readonly yes: boolean;
}

/** The exit code of a program that Ctrl-C ended. */
const INTERRUPTED = 130;

/**
 * `orch cluster recover`: makes another cluster of one survivor's data folder, whose node must not run. Shows
 * first what the data hold, and asks. A folder whose node has not run since it was recovered is left as it is.
 * Returns the exit code: 0, or 130 after Ctrl-C. Throws OrchError; then, as after Ctrl-C, nothing was changed.
 */
export async function recoverCluster({ dataDir, yes }: RecoverFlags): Promise<number> {
  if (!existsSync(dataDir)) {
    const hint = "Name the folder of a survivor's node with --data-dir.";
    throw new OrchError(fault("not-initialized", `there is no data folder ${dataDir}`, hint));
  }
  const folder = await openDataDir(dataDir, orchVersion());
  try {
    const { disk, image } = await openDisk(folder);
    try {
      return await recover(disk, image, dataDir, yes, () => clearRemoved(folder.path));
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
): Promise<number> {
  const state =
    image.snapshot === null ? new ClusterState() : await readState(disk, image.snapshot);
  const found = surveyRecovery(image, state);
  if ("code" in found) throw new OrchError(found);
  const { self } = found.survey;
  const address = hostPortOf(state.nodes.get(nodeId(self.id))?.addresses[0]);
  if (isRecovered(image)) {
    // Another token would make the one that was handed out worthless.
    say(`${dataDir} was recovered already, and its node has not run since: nothing was changed.`);
    for (const line of nextSteps(found.identity, self.name, dataDir, address)) say(line);
    return 0;
  }
  for (const line of surveyLines(found.survey, dataDir)) say(line);
  if (!yes && (await ask()) === "interrupted") {
    process.stderr.write("\norch: nothing was changed\n");
    return INTERRUPTED;
  }
  const clusterId = newClusterId();
  const joinSecret = randomBytes(32).toString("base64url");
  begin();
  await disk.write(recoveryWrite(found, clusterId, joinSecret, epochMs()));
  say("");
  const identity = { ...found.identity, clusterId, joinSecret };
  for (const line of nextSteps(identity, self.name, dataDir, address)) say(line);
  return 0;
}

/** Whether the log ends with the recovery that made this cluster: a node that ran since has written more. */
function isRecovered({ identity, entries }: DiskImage): boolean {
  const last = entries.at(-1);
  if (last === undefined || last.kind !== "normal" || last.data.length === 0) return false;
  const { command } = decodeEnvelope(last.data);
  return command.kind === "cluster-recover" && command.clusterId === identity?.clusterId;
}

function nextSteps(
  { clusterId, joinSecret }: Pick<Identity, "clusterId" | "joinSecret">,
  name: string,
  dataDir: string,
  address: string,
): string[] {
  const secret = new Uint8Array(Buffer.from(joinSecret, "base64url"));
  const token = formatToken({ clusterId, secret });
  return [
    `This is cluster ${clusterId} now, with ${name} as its only node.`,
    `  run it:         orch node start --data-dir ${dataDir}`,
    `  add a machine:  orch node join ${address} --token ${token}`,
    "The other machines must join anew, each with an empty data folder. Stop their nodes and what",
    "they still run first: this cluster cannot reach them, and starts their tasks elsewhere.",
  ];
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

async function ask(): Promise<"agreed" | "interrupted"> {
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
  const answer = await answerAt(process.stdin, process.stderr);
  if (answer === "interrupted") return answer;
  if (answer?.trim() === "yes") return "agreed";
  const hint = "Run the command again and answer yes.";
  throw new OrchError(fault("conflict", "nothing was changed", hint));
}

/** What a person at this terminal answers; null: nothing, the input ended. "interrupted": by Ctrl-C. */
export async function answerAt(
  input: NodeJS.ReadableStream,
  output: NodeJS.WritableStream,
): Promise<string | null> {
  const terminal = createInterface({ input, output, terminal: true });
  const over = new Promise<string | null>((resolve) => {
    terminal.once("SIGINT", () => resolve("interrupted"));
    terminal.once("close", () => resolve(null));
  });
  try {
    const question = "Make a cluster of its own of this node? (yes/no) ";
    return await Promise.race([terminal.question(question), over]);
  } finally {
    terminal.close();
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
