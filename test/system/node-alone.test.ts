import { afterEach, expect, test, vi } from "vitest";
import type { NodeView } from "../../node/core/view-types.ts";
import { killTasks } from "../fixtures/orch-process.ts";
import { patient, RealCluster, sleepers } from "../fixtures/real-cluster.ts";

let cluster: RealCluster | null = null;

afterEach(async () => cluster?.stop());

test("a node that holds no log knows the others by gossip, and lists them when no manager is left", async () => {
  cluster = await RealCluster.start({ nodes: 1, spare: 1 });
  const [founder, member] = [cluster.node(1), cluster.node(2)];
  const { token } = await founder.get<{ token: string }>("/v1/nodes/token");
  member.spawn("join", founder.listen, "--token", token, "--no-vote");
  await member.ready();
  const stale = (): Promise<NodeView[]> => member.get("/v1/nodes?consistency=stale");
  const seen = await vi.waitFor(async () => {
    const nodes = await stale();
    expect(nodes.map(({ name, status }) => [name, status])).toEqual([
      ["n1", "ready"],
      ["n2", "ready"],
    ]);
    for (const { usage } of nodes) expect(usage).not.toBeNull();
    return nodes;
  }, patient);
  for (const { usage, version, tasks } of seen) {
    expect(usage?.memoryMib).toBeGreaterThan(0);
    expect(usage?.diskMib).toBeGreaterThan(0);
    expect(usage?.networkRxBytesPerS).toBeGreaterThanOrEqual(0);
    expect(version).toMatch(/^\d+\.\d+\.\d+$/);
    expect(tasks).toBe(0);
  }
  const [first] = await founder.get<NodeView[]>("/v1/nodes");
  expect(first).toMatchObject({ name: "n1", role: "voter", holdsLog: true, hidden: false });

  await founder.end("SIGKILL");
  const ls = await member.orch("node", "ls");
  expect(ls.code).toBe(0);
  expect(ls.stderr).toMatch(
    /no manager answers: this is what node n2 knows by itself; it heard one \d+s ago\n$/,
  );
  expect(ls.stdout).toMatch(/^n1 +suspect +log holder +- +- +0 +[\d.]+ +\d+ +\d+s +- +-$/m);
  expect(ls.stdout).toMatch(/^n2 +ready +member +- +- +0 +[\d.]+ +\d+ +\d+s +- +-$/m);
  const before = (await stale()).find(({ name }) => name === "n1")?.usage?.ageMs ?? 0;
  await vi.waitFor(async () => {
    const now = (await stale()).find(({ name }) => name === "n1")?.usage?.ageMs ?? 0;
    expect(now).toBeGreaterThan(before);
  }, patient);
});

test("a machine that boots while it is cut off runs what its node was last told to, but for what needs a lease", async () => {
  cluster = await RealCluster.start({ nodes: 1, spare: 1 });
  const [founder, member] = [cluster.node(1), cluster.node(2)];
  const { token } = await founder.get<{ token: string }>("/v1/nodes/token");
  member.spawn("join", founder.listen, "--token", token, "--no-vote");
  await member.ready();
  await cluster.put(founder, "shop", sleepers(4));
  const once = sleepers(4).replace("command:", "x-orch: {partition: at-most-one}\n    command:");
  await cluster.put(founder, "once", once);
  const tasks = [...(await cluster.settled("shop", 4)), ...(await cluster.settled("once", 4))];
  const its = tasks.filter(({ node }) => node === member.id).map(({ slot }) => slot);
  expect(its.filter(isFree)).toHaveLength(2);

  for (const node of [founder, member]) await node.end("SIGKILL");
  killTasks(new Set([founder.id, member.id]));
  member.spawn("start");
  const slots = (): string[] => cluster?.processes(null).map(({ slot }) => slot) ?? [];
  await vi.waitFor(() => expect(slots()).toEqual(its.filter(isFree).toSorted()), patient);

  founder.spawn("start");
  await cluster.settled("shop", 4);
  await cluster.settled("once", 4);
});

/** Needs no lease. */
function isFree(slot: string): boolean {
  return slot.startsWith("shop.");
}
