import { spawn } from "node:child_process";
import { mkdirSync, openSync, closeSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Client } from "undici";
import { fault, OrchError } from "../lib/errors.ts";

/** How long a node may take until it is ready: a large log is read and applied first. */
const READY_MS = 60_000;
const LOOK_MS = 100;

/** Starts the node in the background, its output in `<data-dir>.log`, and waits until it is ready. */
export async function startDetached(dataDir: string, words: readonly string[]): Promise<void> {
  const folder = resolve(dataDir);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // Beside the folder's own files would count as a foreign one in a new data directory.
  const logPath = `${folder}.log`;
  const log = openSync(logPath, "a", 0o600);
  const program = process.argv[1] ?? "";
  const child = spawn(process.execPath, [...process.execArgv, program, ...words], {
    detached: true,
    stdio: ["ignore", log, log],
  });
  closeSync(log);
  const ending: { how: string | null } = { how: null };
  child.once("exit", (code, signal) => {
    ending.how = signal ?? `exit ${code ?? 0}`;
  });
  const deadline = performance.now() + READY_MS;
  while (ending.how === null && performance.now() < deadline) {
    if (await isReady(join(folder, "orch.sock"))) {
      process.stdout.write(`orch runs as process ${child.pid ?? 0}; its log: ${logPath}\n`);
      child.unref();
      return;
    }
    await delay(LOOK_MS);
  }
  const end = readFileSync(logPath, "utf8").trimEnd().split("\n").slice(-10).join("\n");
  const what = ending.how === null ? "is not ready yet" : `ended (${ending.how})`;
  const hint =
    ending.how === null ? "It goes on starting; watch its log." : "Mend what the log says.";
  throw new OrchError(
    fault("unreachable", `the node ${what}; the end of ${logPath}:\n${end}`, hint),
  );
}

async function isReady(socketPath: string): Promise<boolean> {
  const client = new Client("http://localhost", { connect: { socketPath } });
  try {
    const { statusCode, body } = await client.request({ path: "/readyz", method: "GET" });
    await body.dump();
    return statusCode === 200;
  } catch {
    return false;
  } finally {
    await client.destroy();
  }
}
