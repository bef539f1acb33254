import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { orch, sendJson, TestApi } from "./test-api.ts";
import type { Answer } from "./test-api.ts";
import { clusterView, jobView, nodeView, taskView } from "./test-views.ts";

// The real program as a child process, talking to a real server.

const apis: TestApi[] = [];
let folder = "";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "orch-cli-test-"));
});

afterEach(async () => {
  await Promise.all(apis.splice(0).map((api) => api.stop()));
  await rm(folder, { recursive: true, force: true });
});

async function serve(answers: Readonly<Record<string, Answer>>): Promise<TestApi> {
  const api = await TestApi.start(answers);
  apis.push(api);
  return api;
}

function refuse(code: string, status: number): Answer {
  return sendJson({ code, message: `it is ${code}`, details: { a: 1 }, hint: "do this" }, status);
}

const TASKS = [
  taskView({ id: "c-2", slot: "hello.web.10" }),
  taskView({
    id: "c-1",
    slot: "hello.web.2",
    state: "pending",
    nodeName: null,
    ports: [],
    message: "no room",
  }),
];

describe("reads", () => {
  test("ps prints an aligned table, ids with --quiet, the API's answer with --json", async () => {
    const api = await serve({ "GET /v1/tasks": sendJson(TASKS) });
    const environment = { ORCH_HOST: api.host };
    const table = await orch(["ps"], environment);
    expect(table).toMatchObject({ code: 0, stderr: "" });
    const lines = table.stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(3);
    expect(lines[0]).toMatch(/^TASK {2}SLOT {10}STATE {4}NODE {2}AGE +PORTS +MESSAGE$/);
    expect(lines[1]).toMatch(/^c-1 {3}hello\.web\.2 {3}pending {2}- {5}\S+ +- +no room$/);
    expect(lines[2]).toMatch(
      /^c-2 {3}hello\.web\.10 {2}running {2}n1 {4}\S+ +127\.0\.0\.1:20000->8080$/,
    );
    expect(table.stdout).not.toContain("\u001b");

    expect((await orch(["ps", "-q"], environment)).stdout).toBe("c-1\nc-2\n");
    expect(JSON.parse((await orch(["--json", "ps"], environment)).stdout)).toEqual(TASKS);
    expect(JSON.parse((await orch(["ps", "--json"], environment)).stdout)).toEqual(TASKS);
  });

  test("ps asks for what its flags say", async () => {
    const api = await serve({ "GET /v1/tasks": sendJson([]) });
    await orch(["ps", "hello.web", "--all", "--node", "n 1", "--host", api.host], {});
    expect(api.seen.map(({ url }) => url)).toEqual([
      "/v1/tasks?job=hello&service=web&all=true&node=n+1",
    ]);
  });

  test("nodes, jobs, a job's status and the cluster have tables", async () => {
    const cluster = clusterView();
    const api = await serve({
      "GET /v1/nodes": sendJson([nodeView({ manager: true })]),
      "GET /v1/nodes/n1": sendJson(nodeView()),
      "GET /v1/nodes/token": sendJson({ token: "orch-join-1" }),
      "PUT /v1/nodes/token": sendJson({ changed: true, version: null }),
      "GET /v1/jobs": sendJson([jobView()]),
      "GET /v1/jobs/hello": sendJson(jobView()),
      "GET /v1/tasks": sendJson([taskView()]),
      "GET /v1/cluster": sendJson(cluster),
    });
    const run = async (...words: string[]): Promise<string> => {
      const done = await orch(words, { ORCH_HOST: api.host });
      expect(done).toMatchObject({ code: 0, stderr: "" });
      return done.stdout;
    };
    expect(await run("node", "ls")).toMatch(
      /n1 +ready +voter, manager +0\.1\/2 +64\/4096 +1 +- +- +- +process/,
    );
    expect(JSON.parse(await run("node", "inspect", "n1"))).toEqual(nodeView());
    expect(await run("node", "token")).toBe("orch-join-1\n");
    expect(await run("node", "token", "--rotate")).toBe("orch-join-1\n");
    const put = api.seen.find(({ method }) => method === "PUT");
    expect(put).toMatchObject({ url: "/v1/nodes/token" });
    expect(JSON.parse(put?.body ?? "")).toEqual({ secret: expect.stringMatching(/^[\w-]{43}$/) });
    expect(await run("job", "ls")).toMatch(/hello +running +1 +1\/1 +\S+ +web/);
    expect(await run("job", "ls", "-q")).toBe("hello\n");
    expect(await run("job", "status", "hello")).toMatch(
      /^hello: running, version 1[\s\S]+web +1\/1[\s\S]+hello\.web\.1/,
    );
    expect(await run("cluster", "status")).toMatch(
      /Manager: +n1\n[\s\S]+Log: +index 40, term 2; 30 entries kept, snapshot at 20, 1m old\n +n2 \(standby\) has 39, probe\nLevel: +feature level 1\n/,
    );
    expect(JSON.parse(await run("cluster", "status", "--json"))).toEqual(cluster);
  });
});

describe("errors", () => {
  test("usage is 64, with a suggestion; --json makes it a fault on stderr", async () => {
    const typo = await orch(["pss"], {});
    expect(typo).toEqual({
      code: 64,
      stdout: "",
      stderr: "orch: unknown command 'pss'\nhint: Did you mean ps?\n",
    });
    const json = await orch(["logs", "a.b.c.d", "--json"], {});
    expect(json.code).toBe(64);
    expect(JSON.parse(json.stderr)).toMatchObject({ code: "usage" });
  });

  test.each([
    ["conflict", 409, 1],
    ["forbidden", 403, 77],
    ["bug", 500, 70],
  ])("%s is told with its hint and ends with its code", async (code, status, exit) => {
    const api = await serve({ "GET /v1/jobs/hello": refuse(code, status) });
    const done = await orch(["job", "inspect", "hello"], { ORCH_HOST: api.host });
    expect(done).toEqual({
      code: exit,
      stdout: "",
      stderr: `orch: it is ${code}\nhint: do this\n`,
    });
    const json = await orch(["job", "inspect", "hello", "--json"], { ORCH_HOST: api.host });
    expect(JSON.parse(json.stderr)).toEqual({
      code,
      message: `it is ${code}`,
      details: { a: 1 },
      hint: "do this",
    });
  });

  test("nobody there is 69 at once, and says what was tried", async () => {
    const done = await orch(["ps"], { ORCH_HOST: `unix://${folder}/none.sock,http://127.0.0.1:1` });
    expect(done.code).toBe(69);
    expect(done.stderr).toContain(
      "none.sock (no such socket), http://127.0.0.1:1 (connection refused)",
    );
  });

  test("every problem of a file is listed", async () => {
    const problem = { path: "services.web", line: 2, column: 3, message: "bad", hint: "" };
    const problems = [problem, { ...problem, line: 5, message: "worse", hint: "drop it" }];
    const body = {
      code: "invalid",
      message: "c.yaml:2:3: bad",
      hint: "",
      details: { file: "c.yaml", problems },
    };
    const api = await serve({ "PUT /v1/jobs/-": sendJson(body, 400) });
    const file = join(folder, "c.yaml");
    await writeFile(file, "services: {}");
    const done = await orch(["run", file], { ORCH_HOST: api.host });
    expect(done.code).toBe(1);
    expect(done.stderr).toBe(
      "orch: c.yaml:2:3: bad\nalso: c.yaml:5:3: services.web: worse (drop it)\n",
    );
  });
});

describe("which node", () => {
  test("a data directory's socket is found; a token goes to TCP only", async () => {
    const api = await serve({ "GET /v1/jobs": sendJson([]) });
    expect((await orch(["job", "ls"], { ORCH_DATA_DIR: api.folder, ORCH_TOKEN: "t" })).code).toBe(
      0,
    );
    expect(api.seen[0]?.headers.authorization).toBeUndefined();
  });

  test("the cluster of orch dev is the last resort, and that is said", async () => {
    const api = await serve({ "GET /v1/jobs": sendJson([]) });
    const pointer = join(folder, `orch-dev-${process.getuid?.() ?? 0}`);
    await mkdir(pointer);
    await writeFile(
      join(pointer, "current.json"),
      JSON.stringify({ hosts: [api.host], pid: process.pid }),
    );
    const done = await orch(["job", "ls"], { XDG_RUNTIME_DIR: folder });
    expect(done.code).toBe(0);
    expect(done.stderr).toBe(`orch: talking to the cluster of \`orch dev\` (pid ${process.pid})\n`);
    expect((await orch(["job", "ls", "--json"], { XDG_RUNTIME_DIR: folder })).stderr).toBe("");
  });
});

describe("writes", () => {
  const written = sendJson({ version: 2, changed: true });

  test("a write that is cut goes to the next node under the same key", async () => {
    const cut = await serve({
      "POST /v1/jobs/hello/stop": (_seen, _response, request) => {
        request.socket.destroy();
      },
    });
    const good = await serve({ "POST /v1/jobs/hello/stop": written });
    const done = await orch(["stop", "hello"], { ORCH_HOST: `${cut.host},${good.host}` });
    expect(done).toMatchObject({ code: 0, stderr: "job hello is stopping\n" });
    expect(cut.seen[0]?.key).toMatch(/^[0-9a-f-]{36}$/);
    expect(good.seen.map(({ key }) => key)).toEqual([cut.seen[0]?.key]);
  });

  test("503 is repeated with the same key until there is a manager", async () => {
    let calls = 0;
    const api = await serve({
      "POST /v1/jobs/hello/stop": (...args) => {
        calls += 1;
        return (calls < 3 ? refuse("no-manager", 503) : written)(...args);
      },
    });
    expect((await orch(["stop", "hello.web"], { ORCH_HOST: api.host })).code).toBe(0);
    expect(new Set(api.seen.map(({ key }) => key)).size).toBe(1);
    expect(api.seen.map(({ body }) => body)).toEqual(
      Array.from({ length: 3 }, () => '{"service":"web"}'),
    );
  });

  test("no manager in time is 75 with the node's own words; a hanging node is unknown", async () => {
    const api = await serve({
      "POST /v1/jobs/a/stop": refuse("no-manager", 503),
      "POST /v1/jobs/b/stop": () => undefined,
    });
    const refused = await orch(["stop", "a", "--timeout", "1s"], { ORCH_HOST: api.host });
    expect(refused).toMatchObject({ code: 75, stderr: "orch: it is no-manager\nhint: do this\n" });
    const hanging = await orch(["stop", "b", "--timeout", "1s", "--json"], { ORCH_HOST: api.host });
    expect(hanging.code).toBe(75);
    expect(JSON.parse(hanging.stderr)).toMatchObject({ code: "unknown" });
  });

  test("a name like a task's is a task unless only the job exists; both is refused", async () => {
    const api = await serve({
      "GET /v1/tasks/c-1": sendJson(taskView()),
      "POST /v1/tasks/c-1/stop": written,
      "GET /v1/jobs/web-1": sendJson(jobView()),
      "POST /v1/jobs/web-1/stop": written,
      "GET /v1/tasks/x-1": sendJson(taskView()),
      "GET /v1/jobs/x-1": sendJson(jobView()),
      "GET /v1/tasks/hello.web.1": sendJson(taskView()),
    });
    const environment = { ORCH_HOST: api.host };
    expect((await orch(["stop", "c-1"], environment)).stderr).toBe(
      "task c-1 (hello.web.1) is stopping\n",
    );
    expect((await orch(["stop", "hello.web.1", "-q"], environment)).stdout).toBe("c-1\n");
    expect((await orch(["stop", "web-1"], environment)).stderr).toBe("job web-1 is stopping\n");
    expect((await orch(["stop", "x-1"], environment)).stderr).toContain(
      '"x-1" is a job and a task',
    );
  });
});

describe("run", () => {
  const put = sendJson({ version: 1, changed: true, name: "hello", warnings: [] });

  test("submits the file with the variables that it mentions, waits, and prints where it answers", async () => {
    let looks = 0;
    const api = await serve({
      "PUT /v1/jobs/-": put,
      "GET /v1/jobs/hello": (...args) => {
        looks += 1;
        return sendJson(looks < 3 ? jobView({ status: "pending" }, { running: 0 }) : jobView())(
          ...args,
        );
      },
      "GET /v1/tasks": (...args) =>
        sendJson([looks < 3 ? taskView({ state: "starting" }) : taskView()])(...args),
    });
    const file = join(folder, "compose.yaml");
    const compose = "services:\n  web:\n    command: [serve, $PORT, $FROM_FILE]\n";
    await writeFile(file, compose);
    await writeFile(join(folder, ".env"), "FROM_FILE=x\nPORT=overridden\n");
    const done = await orch(["run", file], { ORCH_HOST: api.host, PORT: "80", SECRET: "s" });
    expect(done.code).toBe(0);
    expect(done.stdout).toBe("http://127.0.0.1:20000/  hello.web.1 on n1\n");
    expect(done.stderr).toMatch(
      /^hello\.web\.1 starting on n1\nhello\.web\.1 running on n1\nhello runs: version 1, 1 task, after \d+\.\d s\n$/,
    );
    const sent: unknown = JSON.parse(api.seen[0]?.body ?? "");
    expect(sent).toMatchObject({ compose, file, environment: { PORT: "80", FROM_FILE: "x" } });
    expect(api.seen[0]?.body).not.toContain("SECRET");
  });

  test("a job that cannot run ends with 1 and each culprit's message", async () => {
    const failed = taskView({
      state: "failed",
      exitCode: 3,
      message: "exit code 3",
      finishedAt: "2026-01-31T12:00:02.000Z",
    });
    const api = await serve({
      "PUT /v1/jobs/hello": put,
      "GET /v1/jobs/hello": sendJson(jobView({ status: "failed" }, { running: 0 })),
      "GET /v1/tasks": sendJson([failed]),
    });
    const done = await orch(
      ["run", "--name", "hello", "--image", "web", "--", "serve", "--port", "80"],
      { ORCH_HOST: api.host },
    );
    expect(done.code).toBe(1);
    expect(done.stderr).toContain(
      "hello does not run: the job is failed\n  hello.web.1 failed on n1 (exit 3): exit code 3\n",
    );
    expect(api.seen[0]?.body).toContain(String.raw`\"--port\"`);
  });

  test("--no-wait returns at once, --json prints the job, warnings go to stderr", async () => {
    const warning = {
      path: "services.web.build",
      line: 4,
      column: 5,
      message: "ignored",
      hint: "",
    };
    const api = await serve({
      "PUT /v1/jobs/hello": sendJson({
        version: 1,
        changed: true,
        name: "hello",
        warnings: [warning],
      }),
      "GET /v1/jobs/hello": sendJson(jobView()),
    });
    const words = ["run", "--no-wait", "--name", "hello", "--image", "web"];
    const plain = await orch(words, { ORCH_HOST: api.host });
    expect(plain).toEqual({
      code: 0,
      stdout: "",
      stderr: "warning: orch run:4:5: services.web.build: ignored\nhello is submitted, version 1\n",
    });
    const json = await orch([...words, "--json"], { ORCH_HOST: api.host });
    expect(JSON.parse(json.stdout)).toEqual(jobView());
    expect(json.stderr).toBe("");
  });
});
