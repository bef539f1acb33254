import { spawn } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseAnswer } from "./boundary.ts";
import { finished, orch, ORCH } from "./test-api.ts";

let folder = "";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "orch-bin-test-"));
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("bin/orch", () => {
  test("works through symlinks, and its pid becomes the node's", async () => {
    const checkout = join(folder, "checkout");
    for (const part of ["bin", "cli", "node", "links"])
      await mkdir(join(checkout, part), { recursive: true });
    await copyFile(ORCH, join(checkout, "bin/orch"));
    for (const file of ["main.ts", "become-node.ts"]) {
      await copyFile(new URL(file, import.meta.url), join(checkout, "cli", file));
    }
    await symlink(
      new URL("../node_modules", import.meta.url).pathname,
      join(checkout, "node_modules"),
    );
    await writeFile(join(checkout, "package.json"), '{"type":"module"}');
    await writeFile(
      join(checkout, "node/main.ts"),
      "process.stdout.write(JSON.stringify([process.pid, ...process.argv.slice(2)]));",
    );
    await symlink("../bin/orch", join(checkout, "links/one"));
    await symlink(join(checkout, "links/one"), join(folder, "two"));
    const child = spawn(join(folder, "two"), ["node", "start", "--name", "a b", "--help", "--"]);
    const { stdout, stderr } = await finished(child);
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toEqual([child.pid, "start", "--name", "a b", "--help", "--"]);
  });

  test("says so when npm ci has not been run", async () => {
    await mkdir(join(folder, "bin"));
    await copyFile(ORCH, join(folder, "bin/orch"));
    const done = await finished(spawn(join(folder, "bin/orch"), ["ps"]));
    expect(done.code).toBe(70);
    expect(done.stderr).toContain(`hint: run 'npm ci' in ${folder}`);
  });

  test("the version is the package's", async () => {
    const text = await readFile(new URL("../package.json", import.meta.url), "utf8");
    const { version } = parseAnswer<{ version: string }>(text);
    expect(JSON.parse((await orch(["version", "--json"], {})).stdout)).toMatchObject({ version });
    expect((await orch(["--version"], {})).stdout).toBe(`${version}\n`);
  });
});
