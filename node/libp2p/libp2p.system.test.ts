import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectSocket, createServer } from "node:net";
import { generateKeyPair } from "@libp2p/crypto/keys";
import { multiaddr } from "@multiformats/multiaddr";
import { afterEach, expect, test, vi } from "vitest";
import { type LocalNetwork, LocalNetworks } from "../../test/fixtures/local-network.ts";
import { collect, introduce, recorder } from "../../test/compliance/network.ts";
import type { Network, NetworkEvents } from "../network.ts";
import { createJoiner, startHost } from "./host.ts";
import { nodeIdOf } from "./identity.ts";
import { createNetwork } from "./libp2p.ts";
import { LIMITS, type Limits } from "./limits.ts";

const patient = { timeout: 20_000, interval: 10 };
const networks = new LocalNetworks();

afterEach(() => networks.close());

function member(limits?: Limits, onBulk?: NetworkEvents["onBulk"]): Promise<LocalNetwork> {
  return networks.open(limits, recorder(onBulk));
}

async function pair(
  limits: Limits = LIMITS,
  onBulk?: NetworkEvents["onBulk"],
): Promise<[LocalNetwork, LocalNetwork]> {
  const [a, b] = [await member(limits, onBulk), await member(limits, onBulk)];
  introduce([a.network, b.network]);
  await vi.waitFor(() => expect([a.log.up.length, b.log.up.length]).toEqual([1, 1]), patient);
  return [a, b];
}

function until(condition: () => boolean): Promise<void> {
  return vi.waitFor(() => {
    if (!condition()) throw new Error("not yet");
  }, patient);
}

/** Resolves when a value has been the same for half a second. */
async function settled(value: () => number): Promise<void> {
  let last = value();
  let sinceMs = performance.now();
  await until(() => {
    if (value() !== last) {
      last = value();
      sinceMs = performance.now();
    }
    return performance.now() - sinceMs > 500;
  });
}

function portOf(network: Network): number {
  return Number(/\/tcp\/(\d+)/.exec(network.addresses()[0] ?? "")?.[1]);
}

test("100 MB of bulk to a slow reader are never far ahead of it", async () => {
  const chunk = Buffer.alloc(1_000_000, "x");
  let sent = 0;
  const [a, b] = await pair(LIMITS, async function* () {
    for (let i = 0; i < 100; i++) {
      sent += chunk.byteLength;
      yield chunk;
    }
  });
  let got = 0;
  let furthest = 0;
  for await (const piece of a.network.bulk(
    b.network.self,
    Buffer.from("x"),
    new AbortController().signal,
  )) {
    got += piece.byteLength;
    if (got === 1_000_000 || got === 50_000_000) {
      // The reader stops until the sender has stopped too; frames do not wait behind the bulk meanwhile.
      await settled(() => sent);
      b.network.send(a.network.self, Buffer.from("beside"));
      await until(() => a.log.frames.length === (got === 1_000_000 ? 1 : 2));
    }
    furthest = Math.max(furthest, sent - got);
  }
  expect(got).toBe(100_000_000);
  expect(furthest).toBeLessThan(16_000_000);
});

test("bulk chunks larger than a frame may be arrive in pieces", async () => {
  const whole = randomBytes(5 << 20);
  const [a, b] = await pair(LIMITS, async function* () {
    yield await Promise.resolve(whole);
  });
  const pieces: Uint8Array[] = [];
  for await (const piece of a.network.bulk(
    b.network.self,
    Buffer.from("x"),
    new AbortController().signal,
  ))
    pieces.push(piece);
  expect(Buffer.concat(pieces).equals(whole)).toBe(true);
  expect(pieces.length).toBe(5);
});

test("32 bulk streams run at once, more are refused as overloaded, and room comes back", async () => {
  const release = Promise.withResolvers<void>();
  let begun = 0;
  const [a, b] = await pair(LIMITS, async function* (_from, request) {
    begun++;
    await release.promise;
    yield request;
  });
  const read = (text: string): Promise<string[]> =>
    collect(a.network.bulk(b.network.self, Buffer.from(text), new AbortController().signal));
  const running = Array.from({ length: 32 }, (_, i) => read(`${i}`));
  await vi.waitFor(() => expect(begun).toBe(32), patient);
  await expect(read("one more")).rejects.toMatchObject({ fault: { code: "overloaded" } });
  release.resolve();
  expect((await Promise.all(running)).flat()).toEqual(Array.from({ length: 32 }, (_, i) => `${i}`));
  await vi.waitFor(async () => expect(await read("again")).toEqual(["again"]), patient);
});

test("frames over the queue's bound are dropped, the newest first, and counted", async () => {
  const small = { ...LIMITS, maxQueueBytes: 1 << 20 };
  const [a, b] = await pair(small);
  // All in one turn, so nothing can leave meanwhile: ten fit.
  for (let i = 0; i < 20; i++)
    a.network.send(b.network.self, Buffer.concat([Buffer.from(`${i} `), Buffer.alloc(100_000)]));
  await vi.waitFor(() => expect(b.log.frames.length).toBe(10), patient);
  expect(b.log.frames.map(({ text }) => Number.parseInt(text, 10))).toEqual([
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
  ]);
  expect(a.network.counters()).toMatchObject({ framesOut: 10, framesDropped: 10 });
  expect(a.log.lost).toEqual([]);
});

test("a frame that is too long ends the stream, which is opened again", async () => {
  const [a, b] = [await member(), await member({ ...LIMITS, maxFrameBytes: 1 << 20 })];
  introduce([a.network, b.network]);
  await vi.waitFor(() => expect([a.log.up.length, b.log.up.length]).toEqual([1, 1]), patient);
  a.network.send(b.network.self, Buffer.alloc(2 << 20));
  await vi.waitFor(() => expect([a.log.lost.length, b.log.lost.length]).toEqual([1, 1]), patient);
  await vi.waitFor(() => expect([a.log.up.length, b.log.up.length]).toEqual([2, 2]), patient);
  expect(b.network.counters().badFrames).toBe(1);
  expect(b.log.frames).toEqual([]);
  a.network.send(b.network.self, Buffer.from("short"));
  await vi.waitFor(() => expect(b.log.frames.map(({ text }) => text)).toEqual(["short"]), patient);
  // What the sender itself finds too long never leaves.
  b.network.send(a.network.self, Buffer.alloc(2 << 20));
  expect(b.network.counters().framesDropped).toBe(1);
});

test("two that dial each other at the same moment end up with one stream, again and again", async () => {
  const hasty = { ...LIMITS, patienceMs: 0, backoffFirstMs: 0 };
  for (let round = 0; round < 15; round++) {
    const [a, b] = [await member(hasty), await member(hasty)];
    introduce([a.network, b.network]);
    await vi.waitFor(
      () =>
        expect([a.log.up.length - a.log.lost.length, b.log.up.length - b.log.lost.length]).toEqual([
          1, 1,
        ]),
      patient,
    );
    for (let i = 0; i < 20; i++) {
      a.network.send(b.network.self, Buffer.from(`${i}`));
      b.network.send(a.network.self, Buffer.from(`${i}`));
    }
    const all = Array.from({ length: 20 }, (_, i) => `${i}`);
    await vi.waitFor(() => {
      expect(a.log.frames.map(({ text }) => text)).toEqual(all);
      expect(b.log.frames.map(({ text }) => text)).toEqual(all);
    }, patient);
    await Promise.all([a.network.close(), b.network.close()]);
  }
});

test.each([0, 1])(
  "one that knows the other's address is enough, whoever has the smaller id (%i)",
  async (dialler) => {
    const two = [await member(), await member()].toSorted((x, y) =>
      x.network.self < y.network.self ? -1 : 1,
    );
    const [one, other] = dialler === 0 ? two : two.toReversed();
    if (one === undefined || other === undefined) throw new Error("two members");
    const members = new Set([one.network.self, other.network.self]);
    one.network.admit(members, null);
    other.network.admit(members, null);
    one.network.connect([{ id: other.network.self, addresses: other.network.addresses() }]);
    await vi.waitFor(
      () => expect([one.log.up, other.log.up]).toEqual([[other.network.self], [one.network.self]]),
      patient,
    );
  },
);

test("an address that leads to another member is not taken for the peer", async () => {
  const three = [await member(), await member(), await member()];
  const [a, b, c] = three;
  if (a === undefined || b === undefined || c === undefined) throw new Error("three members");
  const members = new Set(three.map(({ network }) => network.self));
  for (const { network } of three) network.admit(members, null);
  const addressOfC = c.network.addresses()[0] ?? "";
  a.network.connect([
    {
      id: b.network.self,
      addresses: [
        addressOfC,
        `${addressOfC}/p2p/${c.network.self}`,
        "nonsense",
        ...b.network.addresses(),
      ],
    },
  ]);
  await vi.waitFor(() => expect(a.log.up).toEqual([b.network.self]), patient);
  a.network.send(b.network.self, Buffer.from("for b"));
  await vi.waitFor(() => expect(b.log.frames.map(({ text }) => text)).toEqual(["for b"]), patient);
  expect([c.log.up, c.log.frames]).toEqual([[], []]);
});

test("a connection that neither end wants any more goes, one that either wants stays", async () => {
  const quick = { ...LIMITS, lingerMs: 200, tickMs: 20 };
  const [a, b] = await pair(quick);
  a.network.connect([]);
  // Long enough for it to go if b did not want it: a hundred frames, each in a turn of its own.
  for (let i = 1; i <= 100; i++) {
    a.network.send(b.network.self, Buffer.from("still here"));
    await vi.waitFor(() => expect(b.log.frames.length).toBe(i), { timeout: 5_000, interval: 4 });
  }
  expect(a.log.lost).toEqual([]);
  b.network.connect([]);
  await vi.waitFor(() => expect([a.log.lost.length, b.log.lost.length]).toEqual([1, 1]), patient);
});

test("garbage on the port changes counters only", async () => {
  const quick = { ...LIMITS, upgradeMs: 500 };
  const [a, b] = await pair(quick);
  const port = portOf(a.network);
  const throwAway = async (bytes: Uint8Array): Promise<void> => {
    const socket = connectSocket(port, "127.0.0.1");
    socket.on("error", () => {});
    const closed = new Promise((resolve) => socket.on("close", resolve));
    socket.write(bytes);
    await closed;
  };
  const garbage = [
    randomBytes(1),
    randomBytes(64),
    randomBytes(1 << 20),
    Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
    Buffer.from("\x13/multistream/1.0.0\n\x07/noise\n"),
    Buffer.concat([Buffer.from("\x13/multistream/1.0.0\n\x07/noise\n"), randomBytes(4096)]),
    Buffer.alloc(0),
  ];
  await Promise.all(garbage.map(throwAway));
  await vi.waitFor(
    () => expect(a.network.counters().strangersRefused).toBe(garbage.length),
    patient,
  );
  expect([a.log.lost, b.log.lost, a.log.frames]).toEqual([[], [], []]);
  b.network.send(a.network.self, Buffer.from("unmoved"));
  await vi.waitFor(
    () => expect(a.log.frames.map(({ text }) => text)).toEqual(["unmoved"]),
    patient,
  );
});

test("garbage on a member's streams is counted and ends them only", async () => {
  const [a, b] = await pair();
  const key = await generateKeyPair("Ed25519");
  const rogue = await createJoiner(key, LIMITS);
  await startHost(rogue, []);
  a.network.admit(new Set([a.network.self, b.network.self, nodeIdOf(key)]), null);
  const connection = await rogue.dial(multiaddr(a.network.addresses()[0] ?? ""));
  for (const protocol of ["/orch/rpc/1", "/orch/bulk/1", "/meshsub/1.1.0", "/ipfs/id/push/1.0.0"]) {
    const bad = a.network.counters().badFrames;
    const live =
      connection.status === "open"
        ? connection
        : await rogue.dial(multiaddr(a.network.addresses()[0] ?? ""));
    const stream = await live.newStream(protocol).catch(() => null);
    if (stream === null) continue;
    stream.send(Buffer.concat([Buffer.from([0xff, 0xff, 0xff, 0xff]), randomBytes(100_000)]));
    if (protocol.startsWith("/orch/")) await until(() => a.network.counters().badFrames > bad);
  }
  await rogue.stop();
  b.network.send(a.network.self, Buffer.from("unmoved"));
  await vi.waitFor(
    () => expect(a.log.frames.map(({ text }) => text)).toEqual(["unmoved"]),
    patient,
  );
  expect([a.log.lost, b.log.lost]).toEqual([[], []]);
});

test("a member's connection that nothing but gossip uses is closed, the one that is used is not", async () => {
  const [a, b] = await pair({ ...LIMITS, unusedMs: 500 });
  const key = await generateKeyPair("Ed25519");
  const idler = await createJoiner(key, LIMITS);
  networks.closes(() => idler.stop());
  await startHost(idler, []);
  const members = new Set([a.network.self, b.network.self, nodeIdOf(key)]);
  a.network.admit(members, null);
  const connection = await idler.dial(multiaddr(a.network.addresses()[0] ?? ""));
  await connection.newStream("/meshsub/1.1.0");
  await until(() => connection.status !== "open");
  b.network.send(a.network.self, Buffer.from("unmoved"));
  await vi.waitFor(
    () => expect(a.log.frames.map(({ text }) => text)).toEqual(["unmoved"]),
    patient,
  );
  expect([a.log.lost, b.log.lost]).toEqual([[], []]);
});

test("a port that is taken is named, with the flag that changes it", async () => {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const key = await generateKeyPair("Ed25519");
  const listen = (where: string): Promise<Network> =>
    createNetwork({ key, listen: [where], announce: [], events: recorder() });
  await expect(listen(`/ip4/127.0.0.1/tcp/${address.port}`)).rejects.toMatchObject({
    fault: {
      code: "port-in-use",
      message: expect.stringContaining(`127.0.0.1:${address.port}`),
      hint: expect.stringContaining("--listen"),
    },
  });
  server.close();
  await once(server, "close");
  const network = await listen(`/ip4/127.0.0.1/tcp/${address.port}`);
  networks.closes(() => network.close());
  expect(network.addresses()).toEqual([`/ip4/127.0.0.1/tcp/${address.port}`]);
});

test("an address that is not this machine's is the user's mistake", async () => {
  const key = await generateKeyPair("Ed25519");
  await expect(
    createNetwork({ key, listen: ["/ip4/192.0.2.1/tcp/7400"], announce: [], events: recorder() }),
  ).rejects.toMatchObject({ fault: { code: "usage", hint: expect.stringContaining("--listen") } });
});

test("the one address that is right is found behind others that take a call and do not answer", async () => {
  const quick = { ...LIMITS, dialMs: 900, backoffLastMs: 100 };
  const [a, b] = [await member(quick), await member()];
  const { port, calls } = await networks.trap();
  const members = new Set([a.network.self, b.network.self]);
  for (const { network } of [a, b]) network.admit(members, null);
  const dead = Array.from({ length: 8 }, (_, i) => `/ip4/127.0.0.${i + 1}/tcp/${port}`);
  a.network.connect([{ id: b.network.self, addresses: [...dead, ...b.network.addresses()] }]);
  await until(() => a.log.up.length === 1);
  expect(calls()).toBeGreaterThanOrEqual(3);
});

test("who dials others and cannot be dialled is told so, until it can be", async () => {
  const limits = { ...LIMITS, dialBackFirstMs: 100, dialBackLastMs: 200 };
  const [a, b] = [await member(limits), await member(limits)];
  for (const { network } of [a, b]) network.admit(new Set([a.network.self, b.network.self]), null);
  // Nobody listens there: the discard port.
  const nowhere = ["/ip4/127.0.0.1/tcp/9"];
  a.network.dialBack([b.network.self]);
  b.network.dialBack([a.network.self]);
  a.network.connect([{ id: b.network.self, addresses: nowhere }]);
  b.network.connect([{ id: a.network.self, addresses: a.network.addresses() }]);
  await vi.waitFor(
    () => expect(a.log.dialable).toEqual([{ peer: b.network.self, dialable: false }]),
    patient,
  );
  a.network.connect([{ id: b.network.self, addresses: b.network.addresses() }]);
  await vi.waitFor(
    () => expect(a.log.dialable.slice(1)).toEqual([{ peer: b.network.self, dialable: true }]),
    patient,
  );
  // The other way round there was nothing to find out, and the stream has borne it all.
  expect(b.log.dialable).toEqual([]);
  expect([a.log.up, a.log.lost, b.log.lost]).toEqual([[b.network.self], [], []]);
});
