import { chmod, lstat, mkdtemp, rename, rm } from "node:fs/promises";
import type { Server } from "node:http";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import { fault, OrchError } from "../../lib/errors.ts";

/** The unix socket: made private before anyone can connect, and never taken from a living process. */

/** What Linux holds in sun_path, less its NUL; macOS has 103. */
const MAX_PATH_BYTES = process.platform === "linux" ? 107 : 103;
const PROBE_MS = 1_000;

/**
 * Lets `server` listen at `path` with mode 0600. A socket that nobody listens at any more is replaced.
 * Throws OrchError data-in-use when somebody does, data-unwritable or invalid when the path cannot be used.
 * Returns what removes the socket again, unless another process has put its own there since.
 */
export async function listenOnSocket(server: Server, path: string): Promise<() => Promise<void>> {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new OrchError(
      fault(
        "invalid",
        `The path of the API's socket is longer than the ${MAX_PATH_BYTES} bytes that the system allows: ${path}`,
        "Choose a data directory with a shorter path (--data-dir).",
        { path },
      ),
    );
  }
  await refuseLiving(path);
  // Bound in a folder that only we may enter, then moved: at no moment can others connect to it.
  // The folder's name is as long as "orch.sock", so that the path's limit is the same.
  const folder = await mkdtemp(`${dirname(path)}/.`).catch(unwritable(path));
  try {
    const bound = join(folder, "s");
    await listenAt(server, bound).catch(unwritable(path));
    await chmod(bound, 0o600);
    await rename(bound, path).catch(unwritable(path));
  } catch (error) {
    server.close();
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const { ino } = await lstat(path);
  return async () => {
    const now = await lstat(path).catch(() => null);
    if (now?.ino === ino) await rm(path, { force: true });
  };
}

async function refuseLiving(path: string): Promise<void> {
  const found = await lstat(path).catch(() => null);
  if (found === null) return;
  if (!found.isSocket()) {
    throw new OrchError(
      fault(
        "data-unwritable",
        `There is a file where the API's socket belongs: ${path}`,
        "Move it away; orch removes only sockets of its own.",
        { path },
      ),
    );
  }
  if (await answers(path)) {
    throw new OrchError(
      fault(
        "data-in-use",
        `Another orch node answers at ${path}`,
        "Stop it first, or give this node a data directory of its own (--data-dir).",
        { path },
      ),
    );
  }
}

/** Whether a process listens there. One that does not answer in time counts: its backlog is full. */
async function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const decide = (living: boolean): void => {
      socket.destroy();
      resolve(living);
    };
    socket.setTimeout(PROBE_MS, () => decide(true));
    socket.once("connect", () => decide(true));
    socket.once("error", (error: NodeJS.ErrnoException) => {
      decide(error.code !== "ECONNREFUSED" && error.code !== "ENOENT");
    });
  });
}

async function listenAt(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

function unwritable(path: string): (error: unknown) => never {
  return (error) => {
    const reason = error instanceof Error ? error.message : String(error);
    throw new OrchError(
      fault(
        "data-unwritable",
        `Cannot make the API's socket ${path}: ${reason}`,
        "Check that the data directory exists and that this user may write to it.",
        { path },
      ),
      error,
    );
  };
}
