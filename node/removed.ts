import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Fault, fault, OrchError } from "../lib/errors.ts";
import type { Identity } from "./storage.ts";

/** The file that says why the node of a data folder is no member of its cluster any more. */
const REMOVED_FILE = "removed";

interface Endings {
  readonly fatal: (reason: Fault) => void;
  readonly left: () => void;
}

/**
 * The same endings, which also note in the folder that the node is a member no longer, so that its next start
 * says so instead of knocking at nodes that do not let it in.
 */
export function notingRemoval(dataDir: string, identity: Identity, endings: Endings): Endings {
  return {
    fatal: (reason) => {
      if (reason.code === "removed") note(dataDir, identity, reason.message);
      endings.fatal(reason);
    },
    left: () => {
      note(dataDir, identity, "it left on request");
      endings.left();
    },
  };
}

function note(dataDir: string, { node, clusterId }: Identity, why: string): void {
  const line = `node ${node} of cluster ${clusterId}, ${new Date().toISOString()}: ${why}\n`;
  try {
    writeFileSync(join(dataDir, REMOVED_FILE), line, { mode: 0o600 });
  } catch {
    // Without it the next start is only less clear; the disk may be what ails it.
  }
}

/** The folder's node belongs to a cluster again. */
export function clearRemoved(dataDir: string): void {
  rmSync(join(dataDir, REMOVED_FILE), { force: true });
}

/** Throws OrchError removed when the folder's node was removed from its cluster. */
export function refuseRemoved(dataDir: string): void {
  let line: string;
  try {
    line = readFileSync(join(dataDir, REMOVED_FILE), "utf8").trim();
  } catch {
    return;
  }
  throw new OrchError(
    fault(
      "removed",
      `the node of ${dataDir} is no member of its cluster any more (${line})`,
      "To bring the machine back, join it again with an empty --data-dir; this folder may be deleted.",
      { dir: dataDir },
    ),
  );
}
