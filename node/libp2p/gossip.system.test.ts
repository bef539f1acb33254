import { generateKeyPair } from "@libp2p/crypto/keys";
import { multiaddr } from "@multiformats/multiaddr";
import { afterEach, expect, test, vi } from "vitest";
import { nodeId } from "../../state/ids.ts";
import { newCounters } from "./counters.ts";
import { Gossip } from "./gossip.ts";
import { createHost, startHost, type Host } from "./host.ts";
import { nodeIdOf } from "./identity.ts";
import { LIMITS } from "./limits.ts";
import { Strangers } from "./strangers.ts";

const patient = { timeout: 20_000, interval: 100 };
const open: Host[] = [];

afterEach(async () => {
  for (const host of open.splice(0)) await host.stop();
});

async function two() {
  const keys = await Promise.all([generateKeyPair("Ed25519"), generateKeyPair("Ed25519")]);
  const members = new Set(keys.map(nodeIdOf));
  const make = async (key: (typeof keys)[number]) => {
    const heard: string[] = [];
    const counters = newCounters();
    const strangers = new Strangers(LIMITS, counters);
    strangers.admit(members, false);
    const host = await createHost(key, ["/ip4/127.0.0.1/tcp/0"], [], strangers, LIMITS);
    open.push(host);
    strangers.watch(host, () => null);
    const gossip = new Gossip(
      host,
      LIMITS,
      counters,
      (peer) => members.has(peer),
      (_, payload) => void heard.push(Buffer.from(payload).toString()),
    );
    await startHost(host, ["/ip4/127.0.0.1/tcp/0"]);
    gossip.start();
    return { host, gossip, heard, counters, members };
  };
  const [a, b] = [await make(keys[0]), await make(keys[1])];
  await a.host.dial(b.host.getMultiaddrs().map((address) => multiaddr(address.toString())));
  const deliver = (text: string): Promise<void> =>
    vi.waitFor(() => {
      a.gossip.publish(Buffer.from(text));
      expect(b.heard).toContain(text);
    }, patient);
  return { a, b, deliver };
}

test("a gossip stream that died while its connection lives is opened again by repair, and only by it", async () => {
  const { a, b, deliver } = await two();
  await deliver("before");
  const connection = a.host.getConnections()[0];
  const stream = connection?.streams.find(
    ({ direction, protocol }) => direction === "outbound" && protocol.startsWith("/meshsub/"),
  );
  if (connection === undefined || stream === undefined) throw new Error("no gossip stream");
  stream.abort(new Error("lost"));
  // Two heartbeats of gossipsub pass and nothing repairs itself.
  for (let beat = 0; beat < 2; beat++) {
    await new Promise((resolve) =>
      a.host.services.pubsub.addEventListener("gossipsub:heartbeat", resolve, { once: true }),
    );
    a.gossip.publish(Buffer.from("lost"));
  }
  expect(b.heard).not.toContain("lost");
  a.gossip.repair(connection, 0);
  a.gossip.repair(connection, 60_000);
  await deliver("after");
  expect(connection.status).toBe("open");
});

test("what is signed by no member is neither heard nor passed on", async () => {
  const { a, b, deliver } = await two();
  await deliver("before");
  b.members.delete(nodeId(a.host.peerId.toString()));
  a.gossip.publish(Buffer.from("removed"));
  await vi.waitFor(() => expect(b.counters.badFrames).toBeGreaterThan(0), patient);
  expect(b.heard).not.toContain("removed");
});

test("a digest that is too long is dropped and counted where it comes from", async () => {
  const { a } = await two();
  a.gossip.publish(Buffer.alloc(LIMITS.gossipBytes + 1));
  expect(a.counters.framesDropped).toBe(1);
});
