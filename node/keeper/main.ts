import { appendFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ownLeader } from "../../runtime/process-shim.ts";
import { pidPath } from "./file.ts";
import { keep } from "./keep.ts";

/** The keeper's own process, started by a node with the folder of its runtime. What ends the node, a signal to its group say, does not end this. */

const [, , folder = ""] = process.argv;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
writeFileSync(`${pidPath(folder)}.new`, JSON.stringify(ownLeader()), { mode: 0o600 });
renameSync(`${pidPath(folder)}.new`, pidPath(folder));
await keep(folder, (line) => {
  try {
    appendFileSync(join(folder, "keeper.log"), `${new Date().toISOString()} ${line}\n`, {
      mode: 0o600,
    });
  } catch {
    // A full disk keeps nobody from ending a task.
  }
});
