import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { present } from "../lib/assert.ts";
import { backupText } from "../node/backup.ts";
import { ClusterState } from "../state/cluster.ts";
import type { Finished } from "./test-api.ts";
import { orch, sendJson, TestApi } from "./test-api.ts";

let api: TestApi | null = null;
let folder = "";
let lines: string[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "orch-b-"));
  const state = new ClusterState();
  const envelope = { timeMs: 1, key: null, since: null };
  const found = { clusterId: "c1", joinSecret: "s", featureLevel: 1 } as const;
  state.apply(1, { command: { kind: "cluster-init", ...found }, ...envelope });
  for (const [at, name] of ["app", "web"].entries()) {
    const command = { kind: "config-put", name, data: "YQ", ifVersion: null } as const;
    state.apply(2 + at, { command, ...envelope });
  }
  lines = [];
  for await (const line of backupText(state.freeze(), 3, "0.1.0")) lines.push(`${line}\n`);
});

afterEach(async () => {
  await api?.stop();
  api = null;
  rmSync(folder, { recursive: true, force: true });
});

/** Backs up from a node that sends this and then ends the answer, or breaks the connection. */
async function backedUp(text: string, end: "ends" | "breaks", file: string): Promise<Finished> {
  api = await TestApi.start({
    "POST /v1/cluster/backup": (_seen, response) => {
      response.writeHead(200, { "content-type": "application/x-ndjson" });
      response.write(text, () => (end === "ends" ? response.end() : response.destroy()));
    },
  });
  return orch(["cluster", "backup", file], { ORCH_HOST: api.host });
}

test("a whole backup takes its file's place, for its owner only", async () => {
  const file = join(folder, "b");
  writeFileSync(file, "an older one", { mode: 0o644 });
  expect(await backedUp(lines.join(""), "ends", file)).toMatchObject({ code: 0, stdout: "" });
  expect(readFileSync(file, "utf8")).toBe(lines.join(""));
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder)).toEqual(["b"]);
});

test("two backups to one file at once both succeed, and leave one whole file", async () => {
  const file = join(folder, "b");
  const waiting: (() => void)[] = [];
  api = await TestApi.start({
    "POST /v1/cluster/backup": (_seen, response) => {
      response.writeHead(200, { "content-type": "application/x-ndjson" });
      response.write(lines[0]);
      waiting.push(() => response.end(lines.slice(1).join("")));
      // Both have begun to write when the first of them ends.
      if (waiting.length === 2) for (const finish of waiting) finish();
    },
  });
  const backup = ["cluster", "backup", file];
  const environment = { ORCH_HOST: api.host };
  const both = await Promise.all([orch(backup, environment), orch(backup, environment)]);
  expect(both.map(({ code }) => code)).toEqual([0, 0]);
  expect(readFileSync(file, "utf8")).toBe(lines.join(""));
  expect(readdirSync(folder)).toEqual(["b"]);
});

test.each<[string, (all: readonly string[]) => string, "ends" | "breaks", number, string]>([
  ["breaks off", (all) => all.slice(0, 2).join(""), "breaks", 69, "broke"],
  ["ends too soon", (all) => all.slice(0, -1).join(""), "ends", 1, "before its last one"],
  [
    "ends with the node's fault",
    (all) =>
      `${all[0] ?? ""}${JSON.stringify({ fault: { code: "no-manager", message: "nobody", hint: "", details: {} } })}\n`,
    "ends",
    75,
    "nobody",
  ],
  ["has another head", (all) => all.join("").replace('"0.1.0"', '"0.2.0"'), "ends", 1, "hash"],
])("one that %s leaves no file, and an older one as it was", async (_, change, end, code, said) => {
  const fresh = join(folder, "fresh");
  const failed = await backedUp(change(lines), end, fresh);
  expect(failed).toMatchObject({ code, stdout: "" });
  expect(failed.stderr).toContain(said);
  expect(readdirSync(folder)).toEqual([]);
  await api?.stop();
  const old = join(folder, "old");
  writeFileSync(old, "an older one");
  expect(await backedUp(change(lines), end, old)).toMatchObject({ code });
  expect(readFileSync(old, "utf8")).toBe("an older one");
  expect(readdirSync(folder)).toEqual(["old"]);
});

test("a folder that is not there is said, and nothing is made", async () => {
  const file = join(folder, "no", "b");
  const failed = await backedUp(lines.join(""), "ends", file);
  expect(failed).toMatchObject({ code: 1 });
  expect(failed.stderr).toContain("ENOENT");
  expect(existsSync(file)).toBe(false);
});

test("restore sends what is missing under keys of the backup, goes on after a refusal, and fails in the end", async () => {
  const file = join(folder, "b");
  writeFileSync(file, lines.join(""));
  api = await TestApi.start({
    "GET /v1/jobs": sendJson([]),
    "GET /v1/configs": sendJson([]),
    "GET /v1/configs/web": sendJson({ name: "web", version: 1 }),
    "POST /v1/configs/app/restore": sendJson(
      { code: "too-large", message: "no room", details: {}, hint: "" },
      413,
    ),
    "POST /v1/configs/web/restore": sendJson({ version: 1, changed: true }),
  });
  const restore = ["cluster", "restore", file];
  const done = await orch(restore, { ORCH_HOST: api.host });
  expect(done.code).toBe(1);
  expect(done.stdout).toBe(
    "failed config app, version 1: no room\nrestored config web, version 1\n",
  );
  expect(done.stderr).toContain("1 of 2 could not be restored");
  const keys = (): (string | undefined)[] =>
    present(api, "it runs").seen.flatMap(({ method, key }) => (method === "POST" ? [key] : []));
  await orch(restore, { ORCH_HOST: api.host });
  const [app, web, ...again] = keys();
  expect(again).toEqual([app, web]);
  expect(app).toMatch(/^restore-[0-9a-f]{32}-config-app$/);
});
