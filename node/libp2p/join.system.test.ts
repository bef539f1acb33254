import { randomBytes } from "node:crypto";
import { createServer } from "node:net";
import { once } from "node:events";
import { generateKeyPair } from "@libp2p/crypto/keys";
import type { Connection, PrivateKey } from "@libp2p/interface";
import { multiaddr } from "@multiformats/multiaddr";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type LocalNetwork, LocalNetworks } from "../../test/fixtures/local-network.ts";
import { recorder } from "../../test/compliance/network.ts";
import { fault, OrchError } from "../../lib/errors.ts";
import type { Network, NetworkEvents } from "../network.ts";
import { decodeFault, encodeJson } from "./fault-wire.ts";
import { FrameInbox } from "./frame-inbox.ts";
import { FrameStream } from "./frame-stream.ts";
import { createJoiner, startHost } from "./host.ts";
import { nodeIdOf } from "./identity.ts";
import { requestJoin, type JoinAnswer } from "./join.ts";
import { joinProof } from "./join-proof.ts";
import { createNetwork } from "./libp2p.ts";
import { LIMITS, type Limits } from "./limits.ts";
import { JOIN_FRAME, JOIN_PROTOCOL } from "./protocols.ts";
import type { JoinToken } from "./token.ts";

const patient = { timeout: 20_000, interval: 10 };
const token: JoinToken = { clusterId: "0123456789abcdef", secret: randomBytes(32) };
const hello = Buffer.from("hello, I am new");

const networks = new LocalNetworks();
let key: PrivateKey;

beforeEach(async () => {
  key = await generateKeyPair("Ed25519");
});

afterEach(() => networks.close());

async function server(
  onJoin?: NetworkEvents["onJoin"],
  secret: JoinToken | null = token,
  limits: Limits = LIMITS,
): Promise<LocalNetwork> {
  const opened = await networks.open(limits, recorder(undefined, onJoin));
  const { network } = opened;
  network.admit(new Set([network.self]), secret);
  return opened;
}

function addressOf(network: Network): string {
  return network.addresses()[0] ?? "";
}

function join(
  peer: string,
  with_: JoinToken = token,
  signal: AbortSignal = new AbortController().signal,
): Promise<JoinAnswer> {
  return requestJoin({ key, peer, token: with_, hello, signal });
}

test("who has the token is admitted: hello there, answer back, by host and port too", async () => {
  const joins: string[] = [];
  const { network } = await server((joiner, bytes) => {
    joins.push(`${joiner} ${Buffer.from(bytes).toString()}`);
    return Promise.resolve(Buffer.from("welcome"));
  });
  const port = /tcp\/(\d+)/.exec(addressOf(network))?.[1];
  for (const [peer, address] of [
    [addressOf(network), addressOf(network)],
    [`127.0.0.1:${port}`, addressOf(network)],
    [`localhost:${port}`, `/dns/localhost/tcp/${port}`],
    [`${addressOf(network)}/p2p/${network.self}`, `${addressOf(network)}/p2p/${network.self}`],
  ] as const) {
    expect(await join(peer)).toEqual({
      server: network.self,
      address,
      answer: new Uint8Array(Buffer.from("welcome")),
    });
  }
  expect(joins).toEqual(Array.from({ length: 4 }, () => `${nodeIdOf(key)} hello, I am new`));
  expect(network.counters().strangersRefused).toBe(0);
});

test("IPv6 works as well", async () => {
  const network = await createNetwork({
    key: await generateKeyPair("Ed25519"),
    listen: ["/ip6/::1/tcp/0"],
    announce: [],
    events: recorder(),
  });
  networks.closes(() => network.close());
  network.admit(new Set(), token);
  const port = /tcp\/(\d+)/.exec(addressOf(network))?.[1];
  expect((await join(`[::1]:${port}`)).server).toBe(network.self);
});

test("a large hello and a large answer pass whole", async () => {
  const { network } = await server((_joiner, bytes) =>
    Promise.resolve(Buffer.concat([bytes, Buffer.alloc(1_000_000 - bytes.byteLength, "x")])),
  );
  const big = randomBytes(64 << 10);
  const { answer } = await requestJoin({
    key,
    peer: addressOf(network),
    token,
    hello: big,
    signal: new AbortController().signal,
  });
  expect(answer.byteLength).toBe(1_000_000);
  expect(Buffer.from(answer.subarray(0, big.byteLength)).equals(big)).toBe(true);
});

test("the new member connects at once, and gossip reaches it and comes from it", async () => {
  let admitted: Network | undefined;
  const one = await server((joiner) => {
    admitted?.admit(new Set([admitted.self, joiner]), token);
    return Promise.resolve(Buffer.from("welcome"));
  });
  admitted = one.network;
  await join(addressOf(one.network));
  const log = recorder();
  const network = await createNetwork({
    key,
    listen: ["/ip4/127.0.0.1/tcp/0"],
    announce: [],
    events: log,
  });
  networks.closes(() => network.close());
  network.admit(new Set([one.network.self, network.self]), token);
  network.connect([{ id: one.network.self, addresses: one.network.addresses() }]);
  await vi.waitFor(
    () => expect([one.log.up, log.up]).toEqual([[network.self], [one.network.self]]),
    patient,
  );
  await vi.waitFor(
    () => {
      network.gossip(Buffer.from("new"));
      one.network.gossip(Buffer.from("old"));
      expect(one.log.gossip).toContainEqual({ from: network.self, text: "new" });
      expect(log.gossip).toContainEqual({ from: one.network.self, text: "old" });
    },
    { ...patient, interval: 200 },
  );
});

test("a node that did not know the newcomer yet takes it as soon as it does", async () => {
  const { network, log } = await server();
  const newcomer = await createNetwork({
    key,
    listen: ["/ip4/127.0.0.1/tcp/0"],
    announce: [],
    events: recorder(),
  });
  networks.closes(() => newcomer.close());
  newcomer.admit(new Set([newcomer.self, network.self]), token);
  newcomer.connect([{ id: network.self, addresses: network.addresses() }]);
  await vi.waitFor(() => expect(network.counters().strangersRefused).toBeGreaterThan(1), patient);
  expect(log.up).toEqual([]);
  network.admit(new Set([newcomer.self, network.self]), token);
  await vi.waitFor(() => expect(log.up).toEqual([newcomer.self]), patient);
});

test("a server that does not know the secret is found out before it learns anything", async () => {
  const joins: string[] = [];
  const { network } = await server(
    (joiner) => {
      joins.push(joiner);
      return Promise.resolve(new Uint8Array());
    },
    { clusterId: token.clusterId, secret: randomBytes(32) },
  );
  await expect(join(addressOf(network))).rejects.toMatchObject({
    fault: {
      code: "token-refused",
      message: "that node could not prove that it belongs to the cluster",
    },
  });
  expect(joins).toEqual([]);
});

test("a token of another cluster is told apart from a wrong one", async () => {
  const { network } = await server();
  await expect(
    join(addressOf(network), { clusterId: "ffffffffffffffff", secret: token.secret }),
  ).rejects.toMatchObject({
    fault: { code: "wrong-cluster" },
  });
  expect(network.counters().strangersRefused).toBe(1);
});

test("the cluster's own refusal arrives as it is", async () => {
  const { network } = await server(() =>
    Promise.reject(new OrchError(fault("no-manager", "there is no manager now", "Try again."))),
  );
  await expect(join(addressOf(network))).rejects.toMatchObject({
    fault: { code: "no-manager", message: "there is no manager now" },
  });
});

test("an answer that takes too long is given up, with a word", async () => {
  const { network } = await server(() => new Promise(() => {}), token, {
    ...LIMITS,
    joinAnswerMs: 200,
  });
  await expect(join(addressOf(network))).rejects.toMatchObject({ fault: { code: "unknown" } });
});

test("a node that admits nobody, one that is not there and one that is no node are unreachable by name", async () => {
  const { network } = await server(undefined, null);
  await expect(join(addressOf(network))).rejects.toMatchObject({ fault: { code: "unreachable" } });
  expect(network.counters().strangersRefused).toBe(1);
  await expect(join("127.0.0.1:1")).rejects.toMatchObject({
    fault: { code: "unreachable", message: expect.stringContaining("127.0.0.1:1") },
  });
  const other = createServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
  other.listen(0, "127.0.0.1");
  await once(other, "listening");
  const address = other.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  await expect(join(`127.0.0.1:${port}`)).rejects.toMatchObject({ fault: { code: "unreachable" } });
  other.close();
  await expect(join("not an address")).rejects.toMatchObject({ fault: { code: "usage" } });
});

test("the caller may give up at any time", async () => {
  const reached = Promise.withResolvers<void>();
  const { network } = await server(() => {
    reached.resolve();
    return new Promise(() => {});
  });
  const control = new AbortController();
  const asking = join(addressOf(network), token, control.signal);
  void reached.promise.then(() => control.abort(new Error("enough")));
  await expect(asking).rejects.toThrow("enough");
});

interface Talk {
  readonly connection: Connection;
  readonly frames: FrameStream;
  readonly next: () => Promise<{ readonly type: number; readonly payload: Uint8Array }>;
}

/** A joiner that says what it likes. */
async function talk(network: Network, own: PrivateKey = key): Promise<Talk> {
  const node = await createJoiner(own, LIMITS);
  networks.closes(() => node.stop());
  await startHost(node, []);
  const connection = await node.dial(multiaddr(addressOf(network)));
  const inbox = new FrameInbox();
  const frames = new FrameStream(await connection.newStream(JOIN_PROTOCOL), 1 << 20, {
    onFrame: inbox.push,
    onClosed: inbox.fail,
  });
  return { connection, frames, next: () => inbox.next(AbortSignal.timeout(10_000)) };
}

const joinerNonce = randomBytes(32);
const offer = encodeJson({ clusterId: token.clusterId, nonce: joinerNonce.toString("base64url") });

/** Offers, and gives the proof that the server wants. */
async function offerAndProve(
  { frames, next }: Talk,
  network: Network,
  own: PrivateKey,
): Promise<Uint8Array> {
  await frames.write(JOIN_FRAME.offer, offer);
  const { payload } = await next();
  const of = {
    clusterId: token.clusterId,
    joinerNonce,
    serverNonce: payload.subarray(0, 32),
    joiner: nodeIdOf(own),
    server: network.self,
  };
  return Buffer.concat([joinProof(token.secret, "joiner", of), hello]);
}

test("a proof that was good once is refused when it is replayed, even by its owner", async () => {
  const joins: string[] = [];
  const { network } = await server((joiner) => {
    joins.push(joiner);
    return Promise.resolve(new Uint8Array());
  });
  const first = await talk(network);
  const proof = await offerAndProve(first, network, key);
  await first.frames.write(JOIN_FRAME.joinerProof, proof);
  expect((await first.next()).type).toBe(JOIN_FRAME.answer);
  first.connection.abort(new Error("done"));
  for (const own of [key, await generateKeyPair("Ed25519")]) {
    const again = await talk(network, own);
    await again.frames.write(JOIN_FRAME.offer, offer);
    expect((await again.next()).type).toBe(JOIN_FRAME.serverProof);
    await again.frames.write(JOIN_FRAME.joinerProof, proof);
    const { type, payload } = await again.next();
    expect(type).toBe(JOIN_FRAME.fault);
    expect(decodeFault(payload)).toMatchObject({ code: "token-refused" });
  }
  expect(joins).toEqual([nodeIdOf(key)]);
});

test("the server's own proof cannot be handed back as the joiner's", async () => {
  const { network } = await server();
  const { frames, next } = await talk(network);
  await frames.write(JOIN_FRAME.offer, offer);
  const { payload } = await next();
  await frames.write(JOIN_FRAME.joinerProof, Buffer.concat([payload.subarray(32), hello]));
  expect(decodeFault((await next()).payload)).toMatchObject({ code: "token-refused" });
});

test("an address that guesses has to wait", async () => {
  const { network } = await server();
  const outcomes: string[] = [];
  for (let i = 0; i < 8; i++) {
    const { frames, next, connection } = await talk(network);
    await frames.write(JOIN_FRAME.offer, offer);
    const first = await next();
    if (first.type === JOIN_FRAME.fault) outcomes.push(decodeFault(first.payload).code);
    else {
      await frames.write(JOIN_FRAME.joinerProof, randomBytes(64));
      outcomes.push(decodeFault((await next()).payload).code);
    }
    connection.abort(new Error("done"));
  }
  expect(outcomes.slice(0, 6)).toEqual(Array.from({ length: 6 }, () => "token-refused"));
  expect(outcomes.slice(6)).toContain("overloaded");
});

test("a stranger that talks nonsense, too much or not at all is cut off", async () => {
  const quick = { ...LIMITS, strangerMs: 300, joinHandshakeMs: 300 };
  const { network } = await server(undefined, token, quick);
  const nonsense = await talk(network);
  await nonsense.frames.write(JOIN_FRAME.offer, Buffer.from("{}"));
  await expect(nonsense.next()).rejects.toThrow(/stream/);
  const tooMuch = await talk(network);
  await tooMuch.frames.write(JOIN_FRAME.offer, Buffer.alloc(200 << 10)).catch(() => {});
  await expect(tooMuch.next()).rejects.toThrow(/stream/);
  const slow = await talk(network);
  await slow.frames.write(JOIN_FRAME.offer, offer);
  await slow.next();
  const silent = await createJoiner(await generateKeyPair("Ed25519"), LIMITS);
  networks.closes(() => silent.stop());
  await startHost(silent, []);
  const connection = await silent.dial(multiaddr(addressOf(network)));
  await vi.waitFor(
    () =>
      expect(
        [nonsense, tooMuch, slow]
          .map(({ connection: { status } }) => status)
          .concat(connection.status),
      ).not.toContain("open"),
    patient,
  );
});

test("a connection that began as a stranger's ends when the stranger is admitted, or nobody is any more", async () => {
  const { network } = await server();
  for (const [members, secret] of [
    [new Set([network.self, nodeIdOf(key)]), token],
    [new Set([network.self]), null],
  ] as const) {
    network.admit(new Set([network.self]), token);
    const node = await createJoiner(key, LIMITS);
    networks.closes(() => node.stop());
    await startHost(node, []);
    const connection = await node.dial(multiaddr(addressOf(network)));
    // A refused stream proves that the connection stands at the other end too.
    const refused = network.counters().strangersRefused;
    await connection.newStream("/orch/rpc/1").catch(() => null);
    await vi.waitFor(() => expect(network.counters().strangersRefused).toBe(refused + 1), patient);
    expect(connection.status).toBe("open");
    network.admit(members, secret);
    await vi.waitFor(() => expect(connection.status).not.toBe("open"), {
      timeout: 5_000,
      interval: 10,
    });
  }
});

test("a stranger gets no other protocol", async () => {
  const { network, log } = await server();
  const node = await createJoiner(key, LIMITS);
  networks.closes(() => node.stop());
  await startHost(node, []);
  const connection = await node.dial(multiaddr(addressOf(network)));
  for (const [count, protocol] of [
    "/orch/rpc/1",
    "/orch/bulk/1",
    "/meshsub/1.2.0",
    "/meshsub/1.1.0",
    "/ipfs/id/1.0.0",
  ].entries()) {
    const stream = await connection.newStream(protocol).catch(() => null);
    if (stream?.status === "open") stream.send(randomBytes(100));
    await vi.waitFor(() => expect(network.counters().strangersRefused).toBe(count + 1), patient);
    await vi.waitFor(() => expect(stream?.status).not.toBe("open"), patient);
  }
  expect([log.up, log.frames]).toEqual([[], []]);
});

test("strangers beyond a number are not let in", async () => {
  const { network } = await server(undefined, token, { ...LIMITS, maxStrangers: 2 });
  const statuses: Connection[] = [];
  for (let i = 0; i < 4; i++) {
    const node = await createJoiner(await generateKeyPair("Ed25519"), LIMITS);
    networks.closes(() => node.stop());
    await startHost(node, []);
    const connection = await node.dial(multiaddr(addressOf(network))).catch(() => null);
    if (connection !== null) statuses.push(connection);
  }
  await vi.waitFor(
    () => expect(statuses.filter(({ status }) => status === "open").length).toBe(2),
    patient,
  );
  expect(network.counters().strangersRefused).toBe(2);
});
