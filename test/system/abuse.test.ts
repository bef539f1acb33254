import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import type { LocalView, NodeView } from "../../node/core/view-types.ts";
import { Abuser } from "../fixtures/abuse.ts";
import { AckedWrites } from "../fixtures/acked-writes.ts";
import type { RealNode } from "../fixtures/real-cluster.ts";
import { patient, RealCluster, sleepers } from "../fixtures/real-cluster.ts";

const MIB = 1024 * 1024;
/** What garbage may cost a node's memory: its buffers are bounded, but the collector takes its time. */
const GROWTH_MIB = 150;

let cluster: RealCluster | null = null;
let writes: AckedWrites | null = null;
const abusers: Abuser[] = [];

afterEach(async () => {
  for (const abuser of abusers) abuser.end();
  await writes?.end();
  await cluster?.stop();
});

function abuserOf(address: string): Abuser {
  const abuser = new Abuser(address);
  abusers.push(abuser);
  return abuser;
}

/** What must not change. */
async function standing(of: RealCluster): Promise<readonly string[]> {
  const views = await Promise.all(of.nodes.map((node) => node.get<LocalView>("/debug/raft")));
  return views.map((view, index) =>
    [of.nodes[index]?.pid, view.id, view.term, view.manager, view.voters.join()].join(" "),
  );
}

/** Bodies and headers that no route takes; the statuses of the answers. */
async function badRequests(node: RealNode): Promise<number[]> {
  const token = readFileSync(join(node.dataDir, "admin.token"), "utf8").trim();
  const json = "application/json";
  const huge = `${" ".repeat(3 * MIB)}{}`;
  const bodies: readonly (readonly [string, string])[] = [
    [huge, json],
    [JSON.stringify({ compose: "x".repeat(1.5 * MIB) }), json],
    [`${"[".repeat(500_000)}${"]".repeat(500_000)}`, json],
    ['{"compose":', json],
    [JSON.stringify({ compose: "a: &a [*a, *a]\n" }), json],
    [JSON.stringify({ compose: `x: ${"[".repeat(20_000)}\n` }), json],
    [JSON.stringify({ compose: 5 }), json],
    [JSON.stringify({ spec: { name: "x", services: [{ replicas: 1e300 }] } }), json],
    ["compose=x", "application/x-www-form-urlencoded"],
    ['{"__proto__":{"compose":"x"}}', json],
    ["null", json],
  ];
  const statuses: number[] = [];
  for (const [body, type] of bodies) {
    for (const authorization of [`Bearer ${token}`, "Bearer no"]) {
      const answer = await fetch(`http://${node.api}/v1/jobs/bad`, {
        method: "PUT",
        headers: { authorization, "content-type": type },
        body,
        signal: AbortSignal.timeout(10_000),
      }).catch(() => null);
      // A body that is far too large may be cut off before its end, and the answer with it.
      const cutOff = body === huge ? (authorization.endsWith("no") ? 401 : 413) : 0;
      statuses.push(answer?.status ?? cutOff);
    }
  }
  return statuses;
}

test("garbage on every port changes counters and nothing else", async () => {
  const busy = await RealCluster.start({ nodes: 3 });
  cluster = busy;
  expect(await busy.put(busy.node(1), "shop", sleepers(3))).toMatchObject({ status: 200 });
  const tasks = await busy.settled("shop", 3);
  const before = await standing(busy);
  writes = new AckedWrites(busy, "w");
  await writes.more(20);
  const manager = await busy.manager();
  const metrics = await manager.metrics();

  // The port of the nodes among themselves: noise, half a handshake, silence, broken connections.
  const peers = abuserOf(manager.listen);
  peers.say(60, () => randomBytes(64 * 1024));
  peers.say(40, () => "\u0013/multistream/1.0.0\n");
  peers.say(40, () =>
    Buffer.concat([Buffer.from("\u0013/multistream/1.0.0\n\u0007/noise\n"), randomBytes(4096)]),
  );
  peers.say(40, () => "");
  for (let round = 0; round < 5; round += 1) await peers.breakOff(40, 32 * 1024);
  await writes.more(20);

  // The API: requests that never end, that are none, that are too large, and bodies that nothing can read.
  const callers = abuserOf(manager.api);
  callers.say(60, () => "GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ");
  callers.say(40, () => randomBytes(16 * 1024));
  callers.say(20, () => `GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ${"x".repeat(64 * 1024)}\r\n\r\n`);
  // Refused at once; the body that never comes is waited for as long as for any other.
  const patientCallers = abuserOf(manager.api);
  const endless =
    "Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 99999999999";
  patientCallers.say(20, () => `PUT /v1/jobs/x HTTP/1.1\r\n${endless}\r\n\r\n{`);
  const statuses = await badRequests(manager);
  expect(statuses.length).toBe(22);
  expect(statuses.filter((status) => ![400, 401, 413].includes(status))).toEqual([]);
  expect(statuses.slice(0, 4)).toEqual([413, 401, 413, 401]);
  await writes.more(20);

  // Whoever says nothing useful is sent away, also without being asked to go.
  await vi.waitFor(() => {
    expect([peers.open, callers.open]).toEqual([0, 0]);
  }, patient);
  expect(callers.answers.filter((answer) => /^HTTP\/1\.1 4(?:00|13) /u.test(answer))).toHaveLength(
    120,
  );
  expect(
    patientCallers.answers.filter((answer) => answer.startsWith("HTTP/1.1 401 ")),
  ).toHaveLength(20);
  await writes.more(20);

  expect(await standing(busy)).toEqual(before);
  expect(await busy.settled("shop", 3)).toEqual(tasks);
  const nodes = await manager.get<NodeView[]>("/v1/nodes");
  expect(nodes.map(({ status }) => status)).toEqual(["ready", "ready", "ready"]);
  expect(await writes.lost()).toEqual([]);
  expect(await manager.request("/v1/jobs/bad")).toMatchObject({ status: 404 });
  const after = await manager.metrics();
  const grown = (name: string): number => (after[name] ?? Number.NaN) - (metrics[name] ?? 0);
  expect(grown("orch_api_refused_total")).toBeGreaterThanOrEqual(statuses.length);
  expect(grown("orch_api_too_large_total")).toBeGreaterThanOrEqual(1);
  expect(grown("orch_api_unauthorized_total")).toBeGreaterThanOrEqual(9);
  expect(grown("orch_raft_commit_index")).toBeGreaterThanOrEqual(60);
  expect(grown("process_resident_memory_bytes") / MIB).toBeLessThan(GROWTH_MIB);
  expect(manager.logEnd()).not.toContain("    at ");
});
