import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { keep } from "./keep.ts";

/** The keeper's own process, started by a node with the folder of its runtime. What ends the node, a signal to its group say, does not end this. */

const [, , folder = ""] = process.argv;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
await keep(folder, (line) => {
  try {
    const text = `${new Date().toISOString()} ${line}\n`;
    appendFileSync(join(folder, "keeper.log"), text, { mode: 0o600 });
  } catch {
    // A full disk keeps nobody from ending a task.
  }
});
