import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { afterEach, expect, test } from "vitest";
import { orch, sendJson, startOrch, TestApi } from "./test-api.ts";
import type { Answer } from "./test-api.ts";
import { jobView, nodeView, taskView } from "./test-views.ts";

// Endless answers: the real program as a child process, talking to a real server.

const apis: TestApi[] = [];

afterEach(async () => {
  await Promise.all(apis.splice(0).map((api) => api.stop()));
});

async function serve(answers: Readonly<Record<string, Answer>>): Promise<TestApi> {
  const api = await TestApi.start(answers);
  apis.push(api);
  return api;
}

function logLine(time: number, text: string): string {
  return `${JSON.stringify({ stream: "stdout", time: new Date(time).toISOString(), text })}\n`;
}

function sendLines(response: ServerResponse, ...lines: string[]): void {
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  for (const line of lines) response.write(line);
}

function event(index: number, over: object = {}): string {
  const body = {
    index,
    time: "2026-01-31T12:00:00.000Z",
    type: "task",
    job: "hello",
    service: "web",
    slot: "hello.web.1",
    task: "c-1",
    node: "12D3KooWNode1",
    from: "pending",
    to: "assigned",
    message: "most room",
    ...over,
  };
  return `id: ${index}\ndata: ${JSON.stringify(body)}\n\n`;
}

const two = [taskView(), taskView({ id: "c-2", slot: "hello.web.2" })];

test("output of several tasks comes in the order of time", async () => {
  const api = await serve({
    "GET /v1/jobs/hello": sendJson(jobView()),
    "GET /v1/tasks": sendJson(two),
    "GET /v1/tasks/c-1/logs": (_seen, response) => {
      sendLines(response, logLine(1, "a"), logLine(5, "c"));
      response.end();
    },
    "GET /v1/tasks/c-2/logs": (_seen, response) => {
      sendLines(response, logLine(3, "b"));
      response.end();
    },
  });
  const done = await orch(["logs", "hello", "--tail", "5", "-t"], { ORCH_HOST: api.host });
  expect(done.stdout).toBe(
    [
      "hello.web.1 | 1970-01-01T00:00:00.001Z a",
      "hello.web.2 | 1970-01-01T00:00:00.003Z b",
      "hello.web.1 | 1970-01-01T00:00:00.005Z c\n",
    ].join("\n"),
  );
  expect(
    api.seen.filter(({ url }) => url.includes("/logs")).every(({ url }) => url.endsWith("?tail=5")),
  ).toBe(true);
});

test("a stream's last line may say why there is no more", async () => {
  const reason = { code: "unreachable", message: "node n2 is down", details: {}, hint: "wait" };
  const api = await serve({
    "GET /v1/tasks/c-1": sendJson(taskView()),
    "GET /v1/tasks/c-1/logs": (_seen, response) => {
      sendLines(response, logLine(1, "a"));
      response.end(`${JSON.stringify({ fault: { ...reason, code: "conflict" } })}\n`);
    },
  });
  const done = await orch(["logs", "c-1"], { ORCH_HOST: api.host });
  expect(done).toEqual({
    code: 1,
    stdout: "hello.web.1 | a\n",
    stderr: "orch: node n2 is down\nhint: wait\n",
  });
});

test("following goes on after a broken connection without a line twice or lost", async () => {
  let streams = 0;
  const api = await serve({
    "GET /v1/tasks/c-1": sendJson(taskView()),
    "GET /v1/tasks/c-1/logs": (_seen, response, request) => {
      streams += 1;
      if (streams === 1) {
        sendLines(response, logLine(1, "a"), logLine(2, "b"), "");
        setTimeout(() => request.socket.destroy(), 50);
        return;
      }
      sendLines(response, logLine(2, "b"), logLine(2, "c"), logLine(9, "d"));
      response.end();
    },
  });
  const done = await orch(["logs", "-f", "c-1"], { ORCH_HOST: api.host });
  expect(done.code).toBe(0);
  expect(done.stdout).toBe("hello.web.1 | a\nhello.web.1 | b\nhello.web.1 | c\nhello.web.1 | d\n");
  expect(api.seen.at(-1)?.url).toContain("since=1970-01-01T00%3A00%3A00.002Z");
});

const down = {
  code: "unreachable",
  message: "node n2 is down, and the output of c-1 is there",
  details: { node: "n2-id", isDown: true },
  hint: "wait",
};

test("the output of a task whose node is down is refused at once, and not asked for again", async () => {
  const api = await serve({
    "GET /v1/tasks/c-1": sendJson(taskView()),
    "GET /v1/tasks/c-1/logs": sendJson(down, 503),
  });
  const done = await orch(["logs", "c-1"], { ORCH_HOST: api.host });
  expect(done).toEqual({
    code: 69,
    stdout: "",
    stderr: `orch: ${down.message}\nhint: wait\n`,
  });
  expect(api.seen.filter(({ url }) => url.includes("/logs"))).toHaveLength(1);
});

test("following goes on where it was when the node that was down is back", async () => {
  let asked = 0;
  const api = await serve({
    "GET /v1/tasks/c-1": sendJson(taskView()),
    "GET /v1/tasks/c-1/logs": (seen, response, request) => {
      asked += 1;
      if (asked > 1 && asked < 4) {
        sendJson(down, 503)(seen, response, request);
        return;
      }
      sendLines(response, logLine(1, "a"), ...(asked === 1 ? [] : [logLine(2, "b")]));
      if (asked === 1) setTimeout(() => request.socket.destroy(), 50);
      else response.end();
    },
  });
  const done = await orch(["logs", "-f", "c-1"], { ORCH_HOST: api.host });
  expect(done).toEqual({
    code: 0,
    stdout: "hello.web.1 | a\nhello.web.1 | b\n",
    stderr: "",
  });
});

test("following a job takes a task up again that was given up, when it runs again", async () => {
  let asked = 0;
  const api = await serve({
    "GET /v1/jobs/hello": sendJson(jobView()),
    "GET /v1/tasks": (seen, response, request) =>
      sendJson([taskView({ state: asked < 3 ? "running" : "complete" })])(seen, response, request),
    "GET /v1/tasks/c-1/logs": (seen, response, request) => {
      asked += 1;
      if (asked === 2) {
        sendJson({ ...down, code: "conflict" }, 409)(seen, response, request);
        return;
      }
      sendLines(response, logLine(1, "a"), ...(asked === 1 ? [] : [logLine(2, "b")]));
      if (asked === 1) setTimeout(() => request.socket.destroy(), 50);
      else response.end();
    },
  });
  const done = await orch(["logs", "-f", "hello"], { ORCH_HOST: api.host });
  expect(done.stdout).toBe("hello.web.1 | a\nhello.web.1 | b\n");
  expect(done.stderr).toContain(down.message);
});

test("events ends after what there is, of the job that was asked for", async () => {
  const api = await serve({
    "GET /v1/nodes": sendJson([nodeView()]),
    "GET /v1/cluster": sendJson({ commitIndex: 8 }),
    "GET /v1/events": (_seen, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(`retry: 1000\n\n${event(7)}${event(8, { job: "other" })}`);
    },
  });
  const done = await orch(["events", "--job", "hello"], { ORCH_HOST: api.host });
  expect(done).toEqual({
    code: 0,
    stderr: "",
    stdout:
      "2026-01-31T12:00:00.000Z  #7      task hello.web.1 (c-1)  pending → assigned  on n1  most room\n",
  });
});

test("following events goes on after the last one when the connection breaks", async () => {
  let streams = 0;
  const api = await serve({
    "GET /v1/events": (_seen, response, request) => {
      streams += 1;
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(event(streams === 1 ? 7 : 9));
      if (streams === 1) setTimeout(() => request.socket.destroy(), 50);
    },
    "GET /v1/cluster": sendJson({ commitIndex: 8 }),
  });
  const child = startOrch(["events", "-f", "-q", "--since", "6"], { ORCH_HOST: api.host });
  let out = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    out += chunk.toString();
    if (out === "7\n9\n") child.kill("SIGTERM");
  });
  await once(child, "exit");
  expect(out).toBe("7\n9\n");
  const asked = api.seen.map(({ url, headers }) => [url, headers["last-event-id"]]);
  expect(asked).toEqual([
    ["/v1/events?since=6", undefined],
    ["/v1/events?since=6", "7"],
  ]);
});
