import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { freePorts } from "../../cli/dev-ports.ts";
import { present } from "../../lib/assert.ts";
import type {
  ClusterView,
  JobView,
  LocalView,
  NodeView,
  TaskView,
} from "../../node/core/view-types.ts";
import type { Finished } from "../fixtures/orch-process.ts";
import type { RealNode } from "../fixtures/real-cluster.ts";
import { patient, RealCluster, sleepers } from "../fixtures/real-cluster.ts";

let cluster: RealCluster | null = null;
let other: RealCluster | null = null;
let folder = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "orch-t-"));
});

afterEach(async () => {
  await cluster?.stop();
  await other?.stop();
  cluster = null;
  other = null;
  rmSync(folder, { recursive: true, force: true });
});

async function notManager(of: RealCluster): Promise<RealNode> {
  const manager = await of.manager();
  return present(
    of.running.find((node) => node !== manager),
    "several nodes run",
  );
}

test("rotate: nobody joins with the token before, a node that was away comes back without any", async () => {
  cluster = await RealCluster.start({ nodes: 3 });
  const away = await notManager(cluster);
  const before = (await away.orch("node", "token", "-q")).stdout.trim();
  await away.end("SIGKILL");
  const asked = await notManager(cluster);
  const rotated = await asked.orch("node", "token", "--rotate", "-q");
  expect(rotated.code).toBe(0);
  const after = rotated.stdout.trim();
  expect(after).not.toBe(before);
  expect((await (await cluster.manager()).orch("node", "token", "-q")).stdout.trim()).toBe(after);
  await away.restart();
  await vi.waitFor(async () => {
    const nodes = await asked.get<readonly NodeView[]>("/v1/nodes");
    expect(nodes.map(({ status }) => status)).toEqual(["ready", "ready", "ready"]);
  }, patient);
  const [listen, api] = await freePorts(2);
  const addresses = ["--listen", `127.0.0.1:${listen}`, "--api", `127.0.0.1:${api}`];
  const own = ["--data-dir", join(folder, "joiner"), ...addresses, "--detach"];
  const join1 = (token: string): Promise<Finished> =>
    asked.orch("node", "join", asked.listen, "--token", token, ...own);
  const refused = await join1(before);
  expect(refused.code).toBe(77);
  expect(refused.stderr).toMatch(/token|secret/u);
  const joined = await join1(after);
  expect(joined).toMatchObject({ code: 0 });
  const [, pid = ""] = /as process (\d+)/u.exec(joined.stdout) ?? [];
  expect(process.kill(Number(pid), "SIGKILL")).toBe(true);
});

test("transfer: another manages, and what cannot be is refused with its reason", async () => {
  cluster = await RealCluster.start({ nodes: 3 });
  const before = await cluster.manager();
  const target = await notManager(cluster);
  const done = await target.orch("cluster", "transfer", target.name);
  expect(done).toMatchObject({
    code: 0,
    stdout: "",
    stderr: `${target.name} manages now, ${before.name} did before\n`,
  });
  expect(await cluster.manager()).toBe(target);
  const again = await before.orch("cluster", "transfer", target.id, "--json");
  expect(JSON.parse(again.stdout)).toEqual({ from: target.id, manager: target.id, changed: false });
  const any = await before.orch("cluster", "transfer", "-q");
  expect(any.code).toBe(0);
  expect(any.stdout.trim()).not.toBe(target.id);

  const manager = await cluster.manager();
  const { log } = await manager.get<LocalView>("/debug/raft");
  expect(log).toMatchObject({ baseIndex: 0, snapshotIndex: 0, snapshotAt: null, transferee: null });
  expect(log.voters.toSorted()).toEqual(["n1", "n2", "n3"]);
  expect(log.followers).toHaveLength(2);
  for (const follower of log.followers) {
    expect(follower).toMatchObject({ votes: true, state: "replicate", active: true });
    expect(follower.match).toBeGreaterThan(0);
  }
  const status = await before.orch("cluster", "status");
  expect(status.stdout.match(/ \(voter\) has \d+/g)).toHaveLength(2);
  const figures = await manager.metrics();
  expect(figures["orch_leader_changes_total"]).toBeGreaterThanOrEqual(2);
  expect(figures["orch_raft_apply_lag"]).toBe(0);
  expect(figures["orch_disk_write_seconds_count"]).toBeGreaterThan(0);
  expect(figures["orch_raft_log_entries"]).toBe(log.entries);

  // One that stands still does not take over: said once, within an election timeout, and writes go on.
  const frozen = await notManager(cluster);
  frozen.signal("SIGSTOP");
  const late = await manager.orch("cluster", "transfer", frozen.name);
  frozen.signal("SIGCONT");
  expect(late).toMatchObject({ code: 1 });
  expect(late.stderr).toContain("did not take over in time: this manager goes on");
  expect(await cluster.put(manager, "after", sleepers(0))).toMatchObject({ status: 200 });
  const unknown = await before.orch("cluster", "transfer", "nobody");
  expect(unknown).toMatchObject({ code: 1 });
  expect(unknown.stderr).toContain("no node nobody in this cluster");
});

test("transfer in a cluster of one voter is refused", async () => {
  cluster = await RealCluster.start({ nodes: 1 });
  const alone = await cluster.node(1).orch("cluster", "transfer");
  expect(alone).toMatchObject({ code: 1 });
  expect(alone.stderr).toContain("no other voter is here to take over");
});

test("leave: the manager itself goes, its tasks and its vote first; its process ends with 0", async () => {
  cluster = await RealCluster.start({ nodes: 3, spare: 1 });
  const [, , , spare] = cluster.nodes;
  const late = present(spare, "a spare node");
  const { token } = await cluster.node(1).get<{ token: string }>("/v1/nodes/token");
  late.spawn("join", cluster.node(1).listen, "--token", token);
  await late.ready();
  await cluster.put(cluster.node(1), "shop", sleepers(4));
  await cluster.settled("shop", 4);
  const leaver = await cluster.manager();
  const left = await leaver.orch("node", "leave");
  expect(left).toMatchObject({ code: 0, stdout: "" });
  expect(left.stderr).toMatch(/1 task left, it still votes\n/);
  expect(left.stderr).toMatch(new RegExp(`node ${leaver.name} has left the cluster\n$`));
  expect(await leaver.ended()).toBe(0);
  expect(leaver.logEnd()).toContain("this node has left its cluster");
  const nodes = await (await cluster.manager()).get<NodeView[]>("/v1/nodes");
  expect(nodes.map(({ name }) => name)).not.toContain(leaver.name);
  expect(nodes).toHaveLength(3);
  await cluster.settled("shop", 4);
  await cluster.voting(3);
});

test("leave without waiting shows as draining; rm of a node that is up needs --force; the last does not leave", async () => {
  cluster = await RealCluster.start({ nodes: 3 });
  const asked = await cluster.manager();
  const victim = await notManager(cluster);
  const refused = await asked.orch("node", "rm", victim.name);
  expect(refused).toMatchObject({ code: 1 });
  expect(refused.stderr).toContain("is up: it would be cut off with its tasks running");
  expect(await asked.orch("node", "rm", victim.name, "--force")).toMatchObject({
    code: 0,
    stderr: `node ${victim.name} is removed\n`,
  });
  // A voter that is up is made to leave first: nothing restarts it then.
  expect(await victim.ended()).toBe(0);

  const second = present(
    cluster.running.find((node) => node !== asked),
    "two nodes run",
  );
  // It takes its grace time to stop: long enough to be seen leaving.
  const stubborn = sleepers(2).replace("exec sleep 3600", "trap : TERM; while :; do sleep 1; done");
  await cluster.put(asked, "shop", stubborn);
  await vi.waitFor(async () => {
    const tasks = await asked.get<TaskView[]>("/v1/tasks?job=shop");
    expect(tasks.map(({ state }) => state)).toEqual(["running", "running"]);
    expect(tasks.map(({ node }) => node)).toContain(second.id);
  }, patient);
  // Looked for from before it is told to: on a busy machine the grace time may be over when the command has ended.
  const draining = vi.waitFor(async () => {
    const { status } = await asked.get<NodeView>(`/v1/nodes/${second.id}`);
    expect(status).toBe("draining");
  }, patient);
  expect(await asked.orch("node", "leave", second.name, "--no-wait")).toMatchObject({ code: 0 });
  await draining;
  const last = await asked.orch("node", "leave", "--no-wait");
  expect(last).toMatchObject({ code: 1 });
  expect(last.stderr).toContain("it is the last here that may keep the cluster's log");
  expect(await second.ended()).toBe(0);
});

test("backup at any node, restore into a fresh cluster: jobs and configs are back, twice changes nothing", async () => {
  cluster = await RealCluster.start({ nodes: 3 });
  const asked = await notManager(cluster);
  await cluster.put(asked, "shop", sleepers(2));
  await cluster.put(asked, "shop", sleepers(3));
  await cluster.put(asked, "idle", sleepers(1));
  await asked.orch("stop", "idle");
  const content = join(folder, "app.conf");
  writeFileSync(content, "a=1\n");
  await asked.orch("config", "set", "app", content);
  await cluster.settled("shop", 3);
  const file = join(folder, "b.jsonl");
  const made = await asked.orch("cluster", "backup", file);
  expect(made).toMatchObject({ code: 0, stdout: "" });
  expect(made.stderr).toContain("2 jobs, 1 configs");
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(existsSync(`${file}.tmp`)).toBe(false);
  const text = readFileSync(file, "utf8");
  const { token } = await asked.get<{ token: string }>("/v1/nodes/token");
  const secret = present(token.split("-")[2], "a token has a secret");
  expect(text.toLowerCase()).not.toContain(secret.toLowerCase());
  expect(text).toContain('"joinSecret":""');
  const piped = await asked.orch("cluster", "backup", "-");
  expect(piped.code).toBe(0);
  expect(piped.stdout.split("\n").length).toBe(text.split("\n").length);

  other = await RealCluster.start({ nodes: 1 });
  const fresh = other.node(1);
  const plan = await fresh.orch("cluster", "restore", file, "--dry-run", "--json");
  expect(JSON.parse(plan.stdout)).toMatchObject([
    { kind: "config", name: "app", outcome: "would restore" },
    { kind: "job", name: "shop", outcome: "would restore", version: 2 },
    { kind: "job", name: "idle", outcome: "would restore", version: 1 },
  ]);
  expect(await fresh.get<JobView[]>("/v1/jobs")).toEqual([]);
  expect(await fresh.orch("cluster", "restore", file)).toMatchObject({ code: 0 });
  await other.settled("shop", 3);
  expect(await fresh.get<JobView>("/v1/jobs/shop")).toMatchObject({ version: 2 });
  expect(await fresh.get<JobView>("/v1/jobs/idle")).toMatchObject({
    version: 1,
    status: "stopped",
  });
  expect((await fresh.orch("config", "get", "app")).stdout).toBe("a=1\n");
  const again = await fresh.orch("cluster", "restore", file, "--json");
  expect(again.code).toBe(0);
  expect(JSON.parse(again.stdout).map(({ outcome }: { outcome: string }) => outcome)).toEqual(
    Array.from({ length: 3 }, () => "skipped"),
  );
  // Removed after a restore: the same backup gives it back.
  await fresh.orch("config", "rm", "app");
  expect(await fresh.orch("cluster", "restore", file)).toMatchObject({ code: 0 });
  expect((await fresh.orch("config", "get", "app")).stdout).toBe("a=1\n");

  for (const broken of [text.slice(0, -20), text.replace('"shop"', '"shap"'), "", text + text]) {
    writeFileSync(content, broken);
    const refused = await fresh.orch("cluster", "restore", content);
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toContain("Use another backup");
  }
});

async function jobsOf(node: RealNode): Promise<string[]> {
  return (await node.get<JobView[]>("/v1/jobs")).map(({ name }) => name);
}

/** Three nodes with six tasks, of which two are killed for good; their tasks run on. */
async function withoutQuorum(): Promise<{ survivor: RealNode; lost: readonly RealNode[] }> {
  const made = await RealCluster.start({ nodes: 3, spare: 1 });
  cluster = made;
  expect(await made.put(made.node(1), "shop", sleepers(6))).toMatchObject({ status: 200 });
  await made.settled("shop", 6);
  const survivor = await notManager(made);
  const lost = made.running.filter((node) => node !== survivor);
  await Promise.all(lost.map((node) => node.end("SIGKILL")));
  return { survivor, lost };
}

test("recover: one survivor goes on as another cluster; its tasks run on, and the old voters never mix with it", async () => {
  const { survivor, lost } = await withoutQuorum();
  const made = present(cluster, "it runs");
  const before = await survivor.get<{ clusterId: string }>("/debug/raft");
  const status = await survivor.orch("cluster", "status");
  expect(status.code).toBe(75);
  expect(status.stdout).toContain("Quorum:    no: 2 of 3 voters are needed\n");
  expect(status.stdout).toContain(`${survivor.name} (this node)`);
  for (const node of lost) expect(status.stdout).toMatch(new RegExp(` ${node.name} at /\\S+, `));
  const read = await survivor.orch("ps", "--timeout", "1s");
  expect(read).toMatchObject({ code: 75, stdout: "" });
  expect(read.stderr).toContain("orch: no manager answered in time\n");
  const running = await survivor.orch(
    "cluster",
    "recover",
    "--data-dir",
    survivor.dataDir,
    "--yes",
  );
  expect(running).toMatchObject({ code: 1, stdout: "" });
  expect(running.stderr).toContain("is in use by process");

  const own = made.processes("shop").filter(({ node }) => node === survivor.id);
  expect(own).toHaveLength(2);
  await survivor.end("SIGKILL");
  const unasked = await survivor.orch("cluster", "recover", "--data-dir", survivor.dataDir);
  expect(unasked).toMatchObject({ code: 64 });
  expect(unasked.stderr).toContain("Say --yes");
  const done = await survivor.orch("cluster", "recover", "--data-dir", survivor.dataDir, "--yes");
  expect(done).toMatchObject({ code: 0, stderr: "" });
  expect(done.stdout).toContain(`Cluster:      ${before.clusterId}`);
  for (const node of lost)
    expect(done.stdout).toContain(`${node.name} (voter, 2 tasks) ${node.id}`);
  const token = present(/--token (\S+)/.exec(done.stdout)?.[1], "a token is printed");

  await survivor.restart();
  const view = await survivor.get<ClusterView>("/v1/cluster");
  expect(view).toMatchObject({ nodes: 1, manager: survivor.id, voters: [survivor.id] });
  expect(view.id).not.toBe(before.clusterId);
  const tasks = await vi.waitFor(async () => {
    const found = await survivor.get<TaskView[]>("/v1/tasks?job=shop");
    expect(found.map(({ state, node }) => [state, node])).toEqual(
      Array.from({ length: 6 }, () => ["running", survivor.id]),
    );
    return found;
  }, patient);
  // What ran here is the same process still; the four others are new.
  const now = made.processes("shop").filter(({ node }) => node === survivor.id);
  expect(now).toHaveLength(6);
  for (const { task, pid } of own) {
    expect(now).toContainEqual(expect.objectContaining({ task, pid }));
    expect(tasks.find(({ id }) => id === task)).toMatchObject({ attempts: 1 });
  }

  // The two others are a majority of the old cluster: they go on as it, and neither sees the other.
  await Promise.all(lost.map((node) => node.restart()));
  const [first] = lost;
  const old = present(first, "two were lost");
  await vi.waitFor(async () => {
    const nodes = await old.get<NodeView[]>("/v1/nodes");
    expect(nodes.find(({ id }) => id === survivor.id)?.status).toBe("down");
  }, patient);
  expect(await made.put(old, "old-only", sleepers(0))).toMatchObject({ status: 200 });
  expect(await made.put(survivor, "new-only", sleepers(0))).toMatchObject({ status: 200 });
  expect(await jobsOf(old)).toEqual(["old-only", "shop"]);
  expect(await jobsOf(survivor)).toEqual(["new-only", "shop"]);
  expect(await survivor.get<ClusterView>("/v1/cluster")).toMatchObject({ id: view.id, nodes: 1 });
  expect(await old.get<ClusterView>("/v1/cluster")).toMatchObject({ id: before.clusterId });

  // A new machine joins with the new token, and not with that of the old cluster.
  const spare = made.node(4);
  const { token: oldToken } = await old.get<{ token: string }>("/v1/nodes/token");
  spare.spawn("join", survivor.listen, "--token", oldToken);
  expect(await spare.ended()).toBe(77);
  spare.spawn("join", survivor.listen, "--token", token);
  await spare.ready();
  const nodes = await spare.get<NodeView[]>("/v1/nodes");
  expect(nodes.map(({ id }) => id).toSorted()).toEqual([survivor.id, spare.id].toSorted());
});
