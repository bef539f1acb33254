import { afterEach, expect, test } from "vitest";
import type { BrakeView, LocalView } from "../node/core/view-types.ts";
import type { Answer } from "./test-api.ts";
import { orch, sendJson, TestApi } from "./test-api.ts";
import { clusterView, nodeView } from "./test-views.ts";

let api: TestApi | null = null;

afterEach(async () => {
  await api?.stop();
  api = null;
});

const VOTERS = ["12D3KooWNode1", "12D3KooWNode2", "12D3KooWNode3"];
const CLUSTER = { ...clusterView(), manager: null, voters: VOTERS, quorum: false };
const NODES = VOTERS.map((id, at) =>
  nodeView({ id, name: `n${at + 1}`, addresses: [`/ip4/10.0.0.${at + 1}/tcp/7400`] }),
);
const LOCAL: LocalView = {
  id: "12D3KooWNode1",
  name: "n1",
  clusterId: "cl",
  addresses: [],
  raftId: 1,
  role: "pre-candidate",
  term: 7,
  vote: 1,
  commitIndex: 40,
  appliedIndex: 40,
  lastIndex: 42,
  leader: 0,
  manager: null,
  managerAgeMs: 12_000,
  voters: [1, 2, 3],
  learners: [],
  log: CLUSTER.log,
  stateHash: "0",
  ready: false,
  version: "0.1.0",
};

const NO_N9 = { code: "not-found", message: "no node n9", hint: "", details: {} };

/** As a node does whose cluster has no manager: it waits for one until the caller gives up. */
function unlessStale(body: unknown): Answer {
  return (seen, response, request) => {
    if (seen.url.endsWith("?consistency=stale")) return sendJson(body)(seen, response, request);
    const late = { code: "no-manager", message: "nobody", hint: "", details: {} };
    setTimeout(
      () => sendJson(late, 503)(seen, response, request),
      Number(seen.headers["orch-timeout"]),
    );
  };
}

async function survivor(local: LocalView): Promise<string> {
  api = await TestApi.start({
    "GET /v1/cluster": unlessStale(CLUSTER),
    "GET /v1/nodes": unlessStale(NODES),
    "GET /v1/nodes/n2": unlessStale(NODES[1]),
    "GET /v1/nodes/n9": (...call) =>
      (call[0].url.endsWith("stale") ? sendJson(NO_N9, 404) : unlessStale(null))(...call),
    "GET /debug/raft": sendJson(local),
  });
  return api.host;
}

test("status without a manager says within seconds what the asked node knows, and where to read on", async () => {
  const host = await survivor(LOCAL);
  const begunMs = performance.now();
  const done = await orch(["cluster", "status"], { ORCH_HOST: host });
  // Not the half minute that other commands look for a manager.
  expect(performance.now() - begunMs).toBeLessThan(15_000);
  expect(done.code).toBe(75);
  expect(done.stdout).toBe(
    [
      "No manager answers. What n1 knows by itself:",
      "Cluster:   cl",
      "Manager:   none",
      "Quorum:    no: 2 of 3 voters are needed",
      "Voters:    n1 (this node)",
      "           n2 at /ip4/10.0.0.2/tcp/7400, recorded last as ready",
      "           n3 at /ip4/10.0.0.3/tcp/7400, recorded last as ready",
      "This node: pre-candidate, term 7; committed up to index 40, log ends at 42",
      "",
    ].join("\n"),
  );
  expect(done.stderr).toContain("orch: no manager answers: node n1 knows only what it has itself");
  expect(done.stderr).toContain("docs/operations.md, 'The quorum is lost'");
  expect(done.stderr).not.toContain("orch cluster status");
});

test("with --json the fault holds it; a node without a copy of the state says so", async () => {
  const host = await survivor({ ...LOCAL, role: "none" });
  const args = ["cluster", "status", "--timeout", "1s"];
  const json = await orch([...args, "--json"], { ORCH_HOST: host });
  expect(json).toMatchObject({ code: 75, stdout: "" });
  expect(JSON.parse(json.stderr)).toMatchObject({
    code: "no-manager",
    details: { local: { name: "n1", term: 7 }, cluster: null },
  });
  const plain = await orch(args, { ORCH_HOST: host });
  expect(plain.code).toBe(75);
  expect(plain.stdout).toContain("neither voter nor standby");
  expect(plain.stdout).toContain(
    "Ask:       n1 at /ip4/10.0.0.1/tcp/7400, with --host\n           n2 at /ip4/10.0.0.2/tcp/7400",
  );
});

test("node ls and inspect without a manager show what the asked node knows, and say so with its age", async () => {
  const host = await survivor({ ...LOCAL, role: "none" });
  const ls = await orch(["node", "ls", "--timeout", "1s"], { ORCH_HOST: host });
  expect(ls.code).toBe(0);
  expect(ls.stdout.split("\n").map((line) => line.split(/\s+/)[0])).toEqual([
    "NAME",
    "n1",
    "n2",
    "n3",
    "",
  ]);
  expect(ls.stderr).toBe(
    "no manager answers: this is what node n1 knows by itself; it heard one 12s ago\n",
  );
  const json = await orch(["node", "ls", "--json", "--timeout", "1s"], { ORCH_HOST: host });
  expect(JSON.parse(json.stdout)).toEqual(NODES);
  expect(json.stderr).toContain("no manager answers");
  const one = await orch(["node", "inspect", "n2", "--timeout", "1s"], { ORCH_HOST: host });
  expect([one.code, JSON.parse(one.stdout)]).toEqual([0, NODES[1]]);
  const none = await orch(["node", "inspect", "n9", "--timeout", "1s"], { ORCH_HOST: host });
  expect([none.code, none.stdout]).toEqual([1, ""]);
  expect(none.stderr).toContain("no node n9");
});

test("a node that knows nothing either leaves it at the manager's silence", async () => {
  const late = { code: "no-manager", message: "nobody answered", hint: "", details: {} };
  api = await TestApi.start({
    "GET /v1/nodes": sendJson(late, 503),
    "GET /debug/raft": sendJson({ ...LOCAL, managerAgeMs: null }),
  });
  const done = await orch(["node", "ls", "--timeout", "1s"], { ORCH_HOST: api.host });
  expect([done.code, done.stdout]).toEqual([75, ""]);
  expect(done.stderr).toContain("nobody answered");
});

test("cluster status says that the brake is on; cluster release says what it held", async () => {
  const times = { since: "2026-01-31T03:07:32.000Z", until: "2026-01-31T03:12:45.000Z" };
  let brake: BrakeView | null = { down: 4, nodes: 6, held: 1, ...times };
  api = await TestApi.start({
    "GET /v1/nodes": sendJson([nodeView()]),
    "GET /v1/cluster": (...call) => sendJson({ ...clusterView(), brake })(...call),
    "POST /v1/cluster/release": (...call) => {
      const changed = brake !== null;
      brake = null;
      sendJson({ version: null, changed })(...call);
    },
  });
  const { host, seen } = api;
  const run = async (...words: string[]) => orch(words, { ORCH_HOST: host });
  expect((await run("cluster", "status")).stdout).toContain(
    "\nBrake:    4 of 6 nodes went down within a minute, 1 task held back until 2026-01-31T03:12:45.000Z: see orch cluster release\n",
  );
  const released = "the brake is released: 1 task of 4 nodes can be placed now\n";
  expect(await run("cluster", "release")).toEqual({ code: 0, stdout: "", stderr: released });
  const idle = "the brake is off: nothing was held back\n";
  expect(await run("cluster", "release")).toEqual({ code: 0, stdout: "", stderr: idle });
  const json = await run("cluster", "release", "--json");
  expect(JSON.parse(json.stdout)).toEqual({ changed: false, brake: null });
  expect((await run("cluster", "status")).stdout).not.toContain("Brake");
  const writes = seen.filter(({ method }) => method === "POST");
  expect(new Set(writes.map(({ headers }) => headers["idempotency-key"])).size).toBe(3);
});
