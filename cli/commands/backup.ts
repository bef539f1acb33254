import { once } from "node:events";
import { open, rename, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { fault, OrchError } from "../../lib/errors.ts";
import { type Backup, readBackup } from "../backup-file.ts";
import { messageOf } from "../boundary.ts";
import type { Context } from "../context.ts";
import { note, print, printJson } from "../output.ts";

/** `orch cluster backup FILE|-` */
export async function clusterBackup({ client, json, quiet }: Context, file: string): Promise<void> {
  const lines = client.backup(new AbortController().signal);
  const backup = file === "-" ? await toStdout(lines) : await toFile(lines, file);
  const { head, state, sha256 } = backup;
  const jobs = state.jobs.size;
  const configs = state.configs.size;
  if (file !== "-" && json) return printJson({ file, ...head, jobs, configs, sha256 });
  if (file !== "-" && quiet) return print(file);
  if (json || quiet) return;
  note(
    `${file === "-" ? "the backup" : file} holds cluster ${head.clusterId} as of log index ${head.index}: ${jobs} jobs, ${configs} configs`,
  );
  note(
    "It does not hold the join token and the nodes' keys. Jobs may hold passwords: keep it safe.",
  );
}

/** Written as it comes: a reader must look at its end, as `orch cluster restore` does. */
function toStdout(lines: AsyncIterable<string>): Promise<Backup> {
  return readBackup(lines, "the node's answer", async (line) => {
    if (!process.stdout.write(`${line}\n`)) await once(process.stdout, "drain");
  });
}

/** The file is whole, checked and durable, or as it was before. Readable by its owner only. */
async function toFile(lines: AsyncIterable<string>, file: string): Promise<Backup> {
  const path = resolve(file);
  // Another backup to the same file may be under way.
  const temporary = `${path}.${process.pid}.tmp`;
  const handle = await create(temporary, file);
  try {
    const backup = await writeAll(handle, lines);
    await rename(temporary, path);
    await syncFolder(dirname(path));
    return backup;
  } catch (error) {
    await rm(temporary, { force: true });
    if (error instanceof OrchError) throw error;
    throw unwritable(file, error);
  }
}

async function writeAll(handle: FileHandle, lines: AsyncIterable<string>): Promise<Backup> {
  try {
    const backup = await readBackup(lines, "the node's answer", async (line) => {
      await handle.write(`${line}\n`);
    });
    await handle.sync();
    return backup;
  } finally {
    await handle.close();
  }
}

async function create(temporary: string, file: string): Promise<FileHandle> {
  try {
    // What an earlier try left may have another mode, or be a link to elsewhere.
    await rm(temporary, { force: true });
    return await open(temporary, "wx", 0o600);
  } catch (error) {
    throw unwritable(file, error);
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function unwritable(file: string, error: unknown): OrchError {
  const hint = "Name a file in a folder that may be written and has room, or - for stdout.";
  return new OrchError(fault("data-unwritable", `${file}: ${messageOf(error)}`, hint), error);
}
