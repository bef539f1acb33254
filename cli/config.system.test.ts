import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ERRORS, fault } from "../lib/errors.ts";
import { MAX_CONFIG_BYTES } from "../state/config.ts";
import { finished, orch, sendJson, startOrch, TestApi } from "./test-api.ts";
import type { Answer, Finished } from "./test-api.ts";
import { configView } from "./test-views.ts";

// `orch config` as a child process, talking to a real server.

let api: TestApi | null = null;
let folder = "";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "orch-cli-test-"));
});

afterEach(async () => {
  await api?.stop();
  api = null;
  await rm(folder, { recursive: true, force: true });
});

const written = sendJson({ version: 3, changed: true });

async function serve(answers: Readonly<Record<string, Answer>>): Promise<TestApi> {
  api = await TestApi.start(answers);
  return api;
}

function config(...words: readonly string[]): Promise<Finished> {
  return orch(["config", ...words], { ORCH_HOST: api?.host ?? "unix:///nonexistent" });
}

/** Runs `orch config set app -` with this on its stdin. */
async function pipe(content: string | Uint8Array): Promise<Finished> {
  const child = startOrch(["config", "set", "app", "-"], { ORCH_HOST: api?.host ?? "" }, "pipe");
  // It may end before it has read all of it.
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(content);
  return finished(child);
}

describe("set", () => {
  test("sends the file's bytes, under a key, and says the version", async () => {
    const { seen } = await serve({ "PUT /v1/configs/app": written });
    const file = join(folder, "app.conf");
    await writeFile(file, "a=1\n");
    expect(await config("set", "app", file)).toEqual({
      code: 0,
      stdout: "",
      stderr: "config app is set, version 3\n",
    });
    expect(seen[0]).toMatchObject({
      body: "a=1\n",
      key: expect.stringMatching(/^[0-9a-f-]{36}$/),
      headers: { "content-type": "application/octet-stream", "content-length": "4" },
    });
    expect(seen[0]?.headers["if-match"]).toBeUndefined();
    expect((await config("set", "app", file, "-q")).stdout).toBe("app\n");
    expect(JSON.parse((await config("set", "app", file, "--json")).stdout)).toEqual({
      version: 3,
      changed: true,
    });
  });

  test("takes stdin, and an empty file", async () => {
    const { seen } = await serve({ "PUT /v1/configs/app": written });
    expect((await pipe("from stdin")).code).toBe(0);
    const file = join(folder, "empty");
    await writeFile(file, "");
    expect((await config("set", "app", file)).code).toBe(0);
    expect(seen.map(({ body, headers }) => [body, headers["content-type"]])).toEqual([
      ["from stdin", "application/octet-stream"],
      ["", "application/octet-stream"],
    ]);
  });

  test("compares with --if-version; a mismatch ends with 1", async () => {
    const { status, exit } = ERRORS["version-mismatch"];
    const reason = fault("version-mismatch", "it is at 4, not 3", "Read it again.");
    const { seen } = await serve({ "PUT /v1/configs/app": sendJson(reason, status) });
    const file = join(folder, "app.conf");
    await writeFile(file, "");
    const done = await config("set", "app", file, "--if-version", "3");
    expect(done).toEqual({
      code: exit,
      stdout: "",
      stderr: "orch: it is at 4, not 3\nhint: Read it again.\n",
    });
    await config("set", "app", file, "--if-version", "0");
    expect(seen.map(({ headers }) => headers["if-match"])).toEqual(['"3"', '"0"']);
  });

  test.each(["-1", "x", "1.5", ""])(
    "refuses the version %j before anything is sent",
    async (text) => {
      const { seen } = await serve({ "*": written });
      const done = await config("set", "app", "/dev/null", `--if-version=${text}`);
      expect(done).toMatchObject({ code: 64, stderr: expect.stringContaining("--if-version") });
      expect(seen).toEqual([]);
    },
  );

  test("says why a file cannot be read", async () => {
    await serve({ "*": written });
    expect(await config("set", "app", join(folder, "none"))).toMatchObject({
      code: 64,
      stderr: expect.stringContaining("none: there is no such file"),
    });
    expect(await config("set", "app", folder)).toMatchObject({
      code: 64,
      stderr: expect.stringContaining("it is a folder"),
    });
  });

  test("sends nothing that is too large, and does not read it to its end", async () => {
    const { seen } = await serve({ "*": written });
    const file = join(folder, "large");
    await writeFile(file, new Uint8Array(MAX_CONFIG_BYTES + 1));
    for (const done of [
      await config("set", "app", file),
      await config("set", "app", "/dev/zero"),
      await pipe(new Uint8Array(MAX_CONFIG_BYTES + 1)),
    ]) {
      expect(done).toMatchObject({ code: 1, stderr: expect.stringContaining("512000 bytes") });
    }
    expect(seen).toEqual([]);
  });
});

describe("get", () => {
  test("prints the bytes and nothing more; the API's answer with --json", async () => {
    await serve({ "GET /v1/configs/app": sendJson(configView()) });
    const child = startOrch(["config", "get", "app"], { ORCH_HOST: api?.host ?? "" });
    if (child.stdout === null) throw new Error("the child's output must be piped");
    const exit = once(child, "exit");
    expect([...(await buffer(child.stdout))]).toEqual([0, 10, 255]);
    await exit;
    expect(child.exitCode).toBe(0);
    expect(JSON.parse((await config("get", "app", "--json")).stdout)).toEqual(configView());
  });

  test("hands over what the node says of one that is not there", async () => {
    const reason = fault("not-found", 'no config "apq"', 'Did you mean "app"?');
    await serve({ "GET /v1/configs/apq": sendJson(reason, 404) });
    expect(await config("get", "apq")).toEqual({
      code: 1,
      stdout: "",
      stderr: 'orch: no config "apq"\nhint: Did you mean "app"?\n',
    });
  });
});

test("ls prints a table, names with --quiet, the API's answer with --json", async () => {
  const { data: _data, ...view } = configView();
  await serve({ "GET /v1/configs": sendJson([view, { ...view, name: "db" }]) });
  const table = await config("ls");
  expect(table.stdout).toMatch(/^NAME {2}VERSION {2}BYTES {2}UPDATED\napp {3}3 {8}3 {6}\S+\ndb /);
  expect((await config("ls", "-q")).stdout).toBe("app\ndb\n");
  expect(JSON.parse((await config("ls", "--json")).stdout)).toEqual([
    view,
    { ...view, name: "db" },
  ]);
});

test("rm removes under a key", async () => {
  const gone = { version: null, changed: true };
  const { seen } = await serve({ "DELETE /v1/configs/app": sendJson(gone) });
  expect(await config("rm", "app")).toEqual({
    code: 0,
    stdout: "",
    stderr: "config app is removed\n",
  });
  expect(seen[0]?.key).toMatch(/^[0-9a-f-]{36}$/);
  expect((await config("rm", "app", "-q")).stdout).toBe("app\n");
  expect(JSON.parse((await config("rm", "app", "--json")).stdout)).toEqual(gone);
});
