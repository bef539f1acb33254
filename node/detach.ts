import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, fstatSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Client } from "undici";
import { fault, OrchError } from "../lib/errors.ts";

/** How long a node may take until it is ready: a large log is read and applied first. */
const READY_MS = 60_000;
const LOOK_MS = 100;

/** What the node says to its starter when it holds the folder and serves its socket. */
const SERVING = "serving";

/** In the node: says to the process that started it in the background, if one did, that it serves. */
export function tellStarter(): void {
  // The starter may be gone: nobody is left to tell.
  process.send?.(SERVING, undefined, undefined, () => undefined);
}

/**
 * Starts the node in the background, its output in `<data-dir>.log`, and waits until it is ready. Returns the exit
 * code: 0, or that of a node that ended instead (128 and the signal's number if one ended it), with its output on
 * stderr. Throws OrchError unreachable when the node runs and is not ready in time.
 */
export async function startDetached(dataDir: string, words: readonly string[]): Promise<number> {
  const folder = resolve(dataDir);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // Beside the folder's own files would count as a foreign one in a new data directory.
  const logPath = `${folder}.log`;
  const log = openSync(logPath, "a", 0o600);
  const program = process.argv[1] ?? "";
  const from = fstatSync(log).size;
  const child = spawn(process.execPath, [...process.execArgv, program, ...words], {
    detached: true,
    stdio: ["ignore", log, log, "ipc"],
  });
  closeSync(log);
  // Another node may hold the folder and answer at its socket: only the child can say that it is its own.
  const heard: unknown[] = [];
  child.on("message", (said) => heard.push(said));
  const deadline = performance.now() + READY_MS;
  while (!hasEnded(child) && performance.now() < deadline) {
    if (heard.includes(SERVING) && (await isReady(join(folder, "orch.sock")))) {
      process.stdout.write(`orch runs as process ${child.pid ?? 0}; its log: ${logPath}\n`);
      release(child);
      return 0;
    }
    await delay(LOOK_MS);
  }
  const output = readFileSync(logPath).subarray(from).toString("utf8").trimEnd();
  if (hasEnded(child)) return ended(child, output, logPath);
  release(child);
  const end = output.split("\n").slice(-10).join("\n");
  throw new OrchError(
    fault(
      "unreachable",
      `the node is not ready yet; the end of ${logPath}:\n${end}`,
      "It goes on starting; watch its log.",
    ),
  );
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

function release(child: ChildProcess): void {
  if (child.connected) child.disconnect();
  child.unref();
}

/** As in the foreground: what the node said, and its own exit code. */
function ended({ exitCode, signalCode }: ChildProcess, output: string, logPath: string): number {
  if (output !== "") process.stderr.write(`${output}\n`);
  if (exitCode !== null && exitCode !== 0) return exitCode;
  if (exitCode === 0) process.stderr.write("orch: the node ended before it was ready\n");
  else process.stderr.write(`orch: the node was ended by ${signalCode}\n`);
  process.stderr.write(`hint: its output is in ${logPath}; start it again.\n`);
  return signalCode === null ? 1 : 128 + constants.signals[signalCode];
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
