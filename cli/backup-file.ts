import { createHash } from "node:crypto";
import { fault, OrchError } from "../lib/errors.ts";
import { type BackupHead, BackupReader } from "../state/backup.ts";
import type { ClusterState } from "../state/cluster.ts";
import { SnapshotError } from "../state/snapshot-shape.ts";
import { isRecord, parseAnswer } from "./boundary.ts";
import { parseFault } from "./client.ts";

export interface Backup {
  readonly head: BackupHead;
  readonly state: ClusterState;
  /** Of all lines but the last, in hexadecimal: names the backup. */
  readonly sha256: string;
}

/**
 * Reads a backup to its end and checks all of it; `each` gets every line before the next is read. Throws
 * OrchError data-damaged or data-newer, or the node's own fault when it broke off. `name` is for messages.
 */
export async function readBackup(
  lines: AsyncIterable<string>,
  name: string,
  each: (line: string) => Promise<void>,
): Promise<Backup> {
  const reader = new BackupReader();
  const sum = createHash("sha256");
  let sha256 = "";
  try {
    for await (const line of lines) {
      if (line.startsWith('{"fault":')) throw brokenOff(line, name);
      const end = reader.add(line);
      if (end === null) {
        sum.update(`${line}\n`);
      } else {
        sha256 = sum.digest("hex");
        if (sha256 !== end.sha256) throw new SnapshotError("backup: its lines have another hash");
      }
      await each(line);
    }
    return { ...reader.finish(), sha256 };
  } catch (error) {
    if (!(error instanceof SnapshotError)) throw error;
    const code = error.code === "data-newer" ? "data-newer" : "data-damaged";
    const hint =
      code === "data-newer"
        ? "Use the orch that made the backup, or a newer one."
        : "Use another backup: nothing was taken from this one.";
    throw new OrchError(fault(code, `${name}: ${error.message}`, hint), error);
  }
}

/** The node could not go on. */
function brokenOff(line: string, name: string): OrchError {
  const value = parseAnswer<unknown>(line);
  const reason = isRecord(value) ? JSON.stringify(value["fault"]) : "";
  return new OrchError(parseFault(503, reason, { host: name }));
}
