import { lstat, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fault, OrchError } from "../lib/errors.ts";
import { devPointerFolder, readDevPointer } from "./endpoint-sources.ts";

/** Tells this user's other commands how to reach the cluster; an earlier `orch dev` steps back. */
export async function writeDevPointer(hosts: readonly string[]): Promise<void> {
  const folder = devPointerFolder();
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const stat = await lstat(folder);
  if (!stat.isDirectory() || stat.uid !== process.getuid?.()) {
    throw new OrchError(
      fault(
        "data-unwritable",
        `${folder} belongs to someone else`,
        "Remove it, or set XDG_RUNTIME_DIR to a folder of yours.",
      ),
    );
  }
  const path = join(folder, `${process.pid}.json`);
  await writeFile(path, JSON.stringify({ hosts, pid: process.pid }), { mode: 0o600 });
  await rename(path, join(folder, "current.json"));
}

/** Takes it back, unless another `orch dev` has put its own there. */
export async function removeDevPointer(): Promise<void> {
  const pointer = readDevPointer();
  if (pointer !== null && pointer.pid === process.pid) {
    await rm(devPointerFolder(), { recursive: true, force: true }).catch(() => undefined);
  }
}
