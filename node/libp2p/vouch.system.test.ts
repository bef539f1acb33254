import { randomBytes } from "node:crypto";
import { generateKeyPair } from "@libp2p/crypto/keys";
import type { Connection, PrivateKey, Stream } from "@libp2p/interface";
import { multiaddr } from "@multiformats/multiaddr";
import { afterEach, expect, test, vi } from "vitest";
import { type LocalNetwork, LocalNetworks } from "../../test/fixtures/local-network.ts";
import { nodeId, type NodeId } from "../../state/ids.ts";
import type { JoinSecret, Network } from "../network.ts";
import { decodeJson, encodeJson } from "./fault-wire.ts";
import { FrameInbox } from "./frame-inbox.ts";
import { FrameStream } from "./frame-stream.ts";
import { createJoiner, startHost } from "./host.ts";
import { nodeIdOf } from "./identity.ts";
import { requestJoin } from "./join.ts";
import { LIMITS, type Limits } from "./limits.ts";
import { VOUCH_FRAME, VOUCH_PROTOCOL } from "./protocols.ts";
import { vouchProof } from "./vouch-proof.ts";

const patient = { timeout: 20_000, interval: 10 };
const secret: JoinSecret = { clusterId: "0123456789abcdef", secret: randomBytes(32) };
/** Asked as often as it connects. */
const eager: Limits = { ...LIMITS, vouchEveryMs: 0 };

const networks = new LocalNetworks();

afterEach(() => networks.close());

/** A node that knows only itself, with that secret. */
async function side(of: JoinSecret = secret, limits: Limits = LIMITS): Promise<LocalNetwork> {
  const opened = await networks.open(limits);
  const { network } = opened;
  network.admit(new Set([network.self]), of);
  return opened;
}

/** It has `to` on its list, and dials it for ever. */
function dials(
  { network }: LocalNetwork,
  { network: to }: LocalNetwork,
  of: JoinSecret = secret,
): void {
  network.admit(new Set([network.self, to.self]), of);
  network.connect([{ id: to.self, addresses: to.addresses() }]);
}

function addressOf(network: Network): string {
  return network.addresses()[0] ?? "";
}

async function refusedTwiceMore({ network }: LocalNetwork): Promise<void> {
  const before = network.counters().strangersRefused;
  await vi.waitFor(
    () => expect(network.counters().strangersRefused).toBeGreaterThan(before + 1),
    patient,
  );
}

test("a stranger of the cluster vouches for itself, is let in, and is heard", async () => {
  const lost = await side();
  const manager = await side();
  lost.network.seek(true);
  dials(manager, lost);
  const vouched = { by: manager.network.self, list: `the members, for ${lost.network.self}` };
  await vi.waitFor(() => expect(lost.log.vouched).toContainEqual(vouched), patient);
  expect(lost.log.up).toEqual([]);
  lost.network.admit(new Set([lost.network.self, manager.network.self]), secret);
  await vi.waitFor(() => expect(lost.log.up).toEqual([manager.network.self]), patient);
  await vi.waitFor(() => expect(manager.log.up).toEqual([lost.network.self]), patient);
  manager.network.send(lost.network.self, Buffer.from("work"));
  await vi.waitFor(
    () => expect(lost.log.frames).toEqual([{ from: manager.network.self, text: "work" }]),
    patient,
  );
});

test("who seeks nothing asks nobody", async () => {
  const settled = await side(secret, eager);
  const stranger = await side();
  dials(stranger, settled);
  await refusedTwiceMore(settled);
  settled.network.seek(true);
  await vi.waitFor(() => expect(settled.log.vouched).toHaveLength(1), patient);
  settled.network.seek(false);
  await refusedTwiceMore(settled);
  const asked = settled.log.vouched.length;
  await refusedTwiceMore(settled);
  expect(settled.log.vouched).toHaveLength(asked);
});

test("one without the secret, and one of another cluster, stay out", async () => {
  const others = [
    { ...secret, secret: randomBytes(32) },
    { ...secret, clusterId: "ffffffffffffffff" },
  ];
  for (const other of others) {
    const lost = await side(secret, eager);
    const stranger = await side();
    lost.network.seek(true);
    dials(stranger, lost, other);
    await refusedTwiceMore(lost);
    expect([lost.log.vouched, lost.log.up, stranger.log.up]).toEqual([[], [], []]);
  }
});

test("only a member gets an answer", async () => {
  const member = await side();
  const { connection } = await raw(member.network, await generateKeyPair("Ed25519"), null);
  const stream = await connection.newStream(VOUCH_PROTOCOL).catch(() => null);
  await vi.waitFor(() => expect(member.network.counters().strangersRefused).toBe(1), patient);
  await vi.waitFor(() => expect(stream?.status).not.toBe("open"), patient);
});

test("a lost node still admits who joins by it", async () => {
  const lost = await side();
  lost.network.seek(true);
  const key = await generateKeyPair("Ed25519");
  const { answer } = await requestJoin({
    key,
    peer: addressOf(lost.network),
    token: secret,
    hello: Buffer.from("new"),
    signal: AbortSignal.timeout(20_000),
  });
  expect(Buffer.from(answer).toString()).toBe(`${nodeIdOf(key)} new`);
  expect(lost.network.counters().strangersRefused).toBe(0);
});

test("a question that is none is counted and gets no answer", async () => {
  const member = await side();
  const key = await generateKeyPair("Ed25519");
  member.network.admit(new Set([member.network.self, nodeIdOf(key)]), secret);
  const { connection } = await raw(member.network, key, null);
  const good = { clusterId: secret.clusterId, nonce: randomBytes(32).toString("base64url") };
  const questions = [
    [VOUCH_FRAME.question, encodeJson({ ...good, nonce: "short" })],
    [VOUCH_FRAME.question, encodeJson({ nonce: good.nonce })],
    [VOUCH_FRAME.question, Buffer.from("{")],
    [VOUCH_FRAME.question, Buffer.alloc(2 << 10, "x")],
    [VOUCH_FRAME.answer, encodeJson(good)],
  ] as const;
  for (const [count, [type, payload]] of questions.entries()) {
    const { frames, inbox } = framed(await connection.newStream(VOUCH_PROTOCOL));
    await frames.write(type, payload);
    await expect(inbox.next(AbortSignal.timeout(10_000))).rejects.toThrow(/stream/);
    expect(member.network.counters().badFrames).toBe(count + 1);
  }
  const { frames, inbox } = framed(await connection.newStream(VOUCH_PROTOCOL));
  await frames.write(VOUCH_FRAME.question, encodeJson(good));
  expect((await inbox.next(AbortSignal.timeout(10_000))).type).toBe(VOUCH_FRAME.answer);
});

interface Question {
  readonly clusterId: string;
  readonly nonce: Uint8Array;
  readonly asker: NodeId;
  readonly voucher: NodeId;
}

type Answer = (question: Question) => readonly [type: number, payload: Uint8Array];

function framed(stream: Stream): { readonly frames: FrameStream; readonly inbox: FrameInbox } {
  const inbox = new FrameInbox();
  const frames = new FrameStream(stream, 1 << 20, { onFrame: inbox.push, onClosed: inbox.fail });
  return { frames, inbox };
}

/** A node that answers what it likes when it is asked to vouch; connected. */
async function raw(
  network: Network,
  key: PrivateKey,
  answer: Answer | null,
): Promise<{ readonly connection: Connection; readonly questions: Question[] }> {
  const node = await createJoiner(key, LIMITS);
  networks.closes(() => node.stop());
  await startHost(node, []);
  const questions: Question[] = [];
  if (answer !== null) {
    await node.handle(VOUCH_PROTOCOL, async (stream, connection) => {
      const { frames, inbox } = framed(stream);
      const { payload } = await inbox.next(AbortSignal.timeout(10_000));
      const said = decodeJson(payload);
      const question = {
        clusterId: String(said?.["clusterId"]),
        nonce: Buffer.from(String(said?.["nonce"]), "base64url"),
        asker: nodeId(connection.remotePeer.toString()),
        voucher: nodeIdOf(key),
      };
      questions.push(question);
      await frames.write(...answer(question));
    });
  }
  return { connection: await node.dial(multiaddr(addressOf(network))), questions };
}

const list = Buffer.from("whoever I like");

function proved(of: Question, said: Uint8Array = list, by = secret.secret): Uint8Array {
  return Buffer.concat([vouchProof(by, { ...of, list: said }), said]);
}

test("an answer of another's making is counted, and nothing else", async () => {
  const lost = await side(secret, eager);
  lost.network.seek(true);
  const key = await generateKeyPair("Ed25519");
  const other = nodeIdOf(await generateKeyPair("Ed25519"));
  const earlier: Question[] = [];
  const answers: Record<string, Answer> = {
    "another secret": (of) => [VOUCH_FRAME.answer, proved(of, list, randomBytes(32))],
    "another nonce": (of) => [VOUCH_FRAME.answer, proved({ ...of, nonce: randomBytes(32) })],
    "another cluster": (of) => [VOUCH_FRAME.answer, proved({ ...of, clusterId: "f".repeat(16) })],
    "what another proved of itself": (of) => [
      VOUCH_FRAME.answer,
      proved({ ...of, voucher: other }),
    ],
    "what was proved to another": (of) => [VOUCH_FRAME.answer, proved({ ...of, asker: other })],
    "a proof of another list": (of) => [
      VOUCH_FRAME.answer,
      Buffer.concat([proved(of).subarray(0, 32), Buffer.from("whoever I lik")]),
    ],
    "an answer to an earlier question": (of) => [VOUCH_FRAME.answer, proved(earlier[0] ?? of)],
    "no proof": () => [VOUCH_FRAME.answer, new Uint8Array()],
    "a frame of another type": (of) => [VOUCH_FRAME.question, proved(of)],
    "too much": (of) => [VOUCH_FRAME.answer, proved(of, Buffer.alloc(100 << 10, "x"))],
  };
  const first = await raw(lost.network, key, (of) => [VOUCH_FRAME.answer, proved(of)]);
  await vi.waitFor(() => expect(lost.log.vouched).toHaveLength(1), patient);
  expect(lost.log.vouched).toEqual([{ by: nodeIdOf(key), list: "whoever I like" }]);
  expect(first.questions[0]).toMatchObject({
    clusterId: secret.clusterId,
    asker: lost.network.self,
  });
  earlier.push(...first.questions);
  let refused = lost.network.counters().strangersRefused;
  for (const [what, answer] of Object.entries(answers)) {
    await raw(lost.network, key, answer);
    refused += 1;
    await vi.waitFor(
      () => expect([what, lost.network.counters().strangersRefused]).toEqual([what, refused]),
      patient,
    );
  }
  expect(lost.log.vouched).toHaveLength(1);
});

function wrong(): ReturnType<Answer> {
  return [VOUCH_FRAME.answer, randomBytes(64)];
}

test("a stranger is asked only now and then, however often it connects", async () => {
  const lost = await side();
  lost.network.seek(true);
  const key = await generateKeyPair("Ed25519");
  const first = await raw(lost.network, key, wrong);
  await vi.waitFor(() => expect(lost.network.counters().strangersRefused).toBe(1), patient);
  for (let again = 0; again < 3; again++) {
    const { connection, questions } = await raw(lost.network, key, wrong);
    // Refused at once: a question would have come first.
    const before = lost.network.counters().strangersRefused;
    await connection.newStream("/orch/rpc/1").catch(() => null);
    await vi.waitFor(
      () => expect(lost.network.counters().strangersRefused).toBe(before + 1),
      patient,
    );
    expect(questions).toEqual([]);
  }
  expect(first.questions).toHaveLength(1);
});
