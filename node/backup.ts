import { createHash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { type BackupEnd, backupLines } from "../state/backup.ts";
import type { FrozenState } from "../state/cluster.ts";

/** A whole backup, line by line without line ends; the event loop turns between two of them. */
export async function* backupText(
  frozen: FrozenState,
  index: number,
  orchVersion: string,
): AsyncGenerator<string> {
  const sum = createHash("sha256");
  let lines = 0;
  const time = new Date().toISOString();
  for (const line of backupLines(frozen, { index, time, orchVersion })) {
    sum.update(`${line}\n`);
    lines += 1;
    yield line;
    await turn();
  }
  const end: BackupEnd = { lines, sha256: sum.digest("hex") };
  yield JSON.stringify(end);
}
