import { readFileSync } from "node:fs";
import { afterEach, expect, test, vi } from "vitest";
import { type LocalNetwork, LocalNetworks } from "../../test/fixtures/local-network.ts";
import { FULL_MESH_NODES, RINGS } from "../core/defaults.ts";
import { connectList } from "../core/members.ts";
import type { Member } from "../core/message.ts";
import { LIMITS } from "./limits.ts";

const patient = { timeout: 30_000, interval: 100 };
/** What nobody wants any more is closed sooner than usual; all else is as it is. */
const QUICK = { ...LIMITS, lingerMs: 500 };
const NODES = 20;

const networks = new LocalNetworks();

afterEach(() => networks.close());

/** The open TCP connections to the networks, as the kernel counts them. */
function openConnections(all: readonly LocalNetwork[]): number {
  const ports = new Set(
    all.map(({ network }) => Number(/\/tcp\/(\d+)/.exec(network.addresses()[0] ?? "")?.[1])),
  );
  const rows = readFileSync("/proc/self/net/tcp", "utf8").split("\n").slice(1);
  return rows.filter((row) => {
    const [, local = "", , state] = row.trim().split(/\s+/);
    return state === "01" && ports.has(Number.parseInt(local.split(":")[1] ?? "", 16));
  }).length;
}

function membersOf(all: readonly LocalNetwork[], holders: readonly LocalNetwork[]): Member[] {
  return all.map(({ network }, i) => ({
    id: network.self,
    raftId: i + 1,
    name: `n${i}`,
    addresses: network.addresses(),
    holdsLog: holders.some((holder) => holder.network === network),
  }));
}

/** The pairs of which one end wants the other, after each was told its plan. */
function plan(all: readonly LocalNetwork[], holders: readonly LocalNetwork[]): Set<string> {
  const members = membersOf(all, holders);
  const ids = new Set(members.map(({ id }) => id));
  const pairs = new Set<string>();
  for (const { network } of all) {
    const wanted = connectList(network.self, members);
    network.admit(ids, null);
    network.connect(wanted.map(({ id, addresses }) => ({ id, addresses })));
    for (const { id } of wanted) pairs.add([network.self, id].toSorted().join());
  }
  return pairs;
}

function connectedPairs(all: readonly LocalNetwork[]): Set<string> {
  const pairs = new Set<string>();
  for (const { network } of all) {
    for (const other of all) {
      if (network.isConnected(other.network.self))
        pairs.add([network.self, other.network.self].toSorted().join());
    }
  }
  return pairs;
}

/** Every wanted pair has one connection, and there is no other. */
async function stands(all: readonly LocalNetwork[], pairs: ReadonlySet<string>): Promise<void> {
  await vi.waitFor(() => {
    const connected = connectedPairs(all);
    const missing = [...pairs].filter((pair) => !connected.has(pair));
    const kept = [...connected].filter((pair) => !pairs.has(pair));
    expect({ missing, kept, open: openConnections(all) }).toEqual({
      missing: [],
      kept: [],
      open: pairs.size,
    });
  }, patient);
}

test("connections are those of the plan, on one host too: opened as it grows, closed as it changes", async () => {
  const all = await Promise.all(Array.from({ length: NODES }, () => networks.open(QUICK)));
  // In steps: all of this is one process, and a handshake is work.
  let mesh = new Set<string>();
  for (const count of [6, 11, FULL_MESH_NODES]) {
    const few = all.slice(0, count);
    mesh = plan(few, few.slice(0, 3));
    expect(mesh.size).toBe((count * (count - 1)) / 2);
    await stands(few, mesh);
  }

  const rings = plan(all, all.slice(0, 3));
  expect([...mesh].filter((pair) => !rings.has(pair)).length).toBeGreaterThan(10);
  await stands(all, rings);
  // Whoever holds no log has its neighbours and the log holders, however many others there are.
  for (const { network } of all.slice(3)) {
    const own = [...rings].filter((pair) => pair.includes(network.self));
    expect(own.length).toBeLessThanOrEqual(2 * RINGS + 3);
  }

  const moved = plan(all, all.slice(-3));
  expect([...rings].filter((pair) => !moved.has(pair)).length).toBeGreaterThan(5);
  await stands(all, moved);

  // What one gossips comes to all over these.
  await vi.waitFor(() => {
    all[0]?.network.gossip(Buffer.from("digest"));
    for (const { log } of all.slice(1)) expect(log.gossip.length).toBeGreaterThan(0);
  }, patient);
});
