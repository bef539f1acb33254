import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadIdentityKey, nodeIdOf } from "./identity.ts";

let folder = "";
let path = "";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "orch-identity-"));
  path = join(folder, "data", "identity.key");
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

test("a key is made once and is the same ever after", async () => {
  const first = await loadIdentityKey(path);
  expect(nodeIdOf(first)).toMatch(/^12D3KooW/);
  expect(nodeIdOf(await loadIdentityKey(path))).toBe(nodeIdOf(first));
});

test("nobody else may read it, and no other file is left", async () => {
  await loadIdentityKey(path);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await readdir(join(folder, "data"))).toEqual(["identity.key"]);
});

test("what a crash left half written does not stop a new start", async () => {
  await mkdir(join(folder, "data"));
  await writeFile(`${path}.tmp`, "half");
  await chmod(`${path}.tmp`, 0o644);
  await loadIdentityKey(path);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test("a damaged file is refused, never replaced", async () => {
  await loadIdentityKey(path);
  const good = await readFile(path);
  const damaged = [
    new Uint8Array(),
    good.subarray(0, 40),
    Buffer.alloc(68),
    Buffer.from("-----BEGIN KEY-----"),
  ];
  for (let at = 4; at < good.length; at += 9) {
    const flipped = Buffer.from(good);
    flipped[at] = (flipped[at] ?? 0) ^ 1;
    damaged.push(flipped);
  }
  for (const bytes of damaged) {
    await writeFile(path, bytes);
    await expect(loadIdentityKey(path)).rejects.toMatchObject({
      fault: { code: "data-damaged", details: { path } },
    });
    expect(await readFile(path)).toEqual(Buffer.from(bytes));
  }
});

test("a place that cannot be written or read says so", async () => {
  await writeFile(join(folder, "data"), "a file where the folder should be");
  await expect(loadIdentityKey(path)).rejects.toMatchObject({ fault: { code: "data-unwritable" } });
  await expect(loadIdentityKey(folder)).rejects.toMatchObject({
    fault: { code: "data-unwritable" },
  });
});
