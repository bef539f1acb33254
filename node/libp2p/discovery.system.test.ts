import { generateKeyPair } from "@libp2p/crypto/keys";
import type { PrivateKey } from "@libp2p/interface";
import { afterEach, expect, test, vi } from "vitest";
import { type LocalNetwork, LocalNetworks } from "../../test/fixtures/local-network.ts";
import { nodeId } from "../../state/ids.ts";
import { labelOf, serviceOf, writeAnnouncement } from "./announcement.ts";
import { nodeIdOf } from "./identity.ts";
import { LIMITS, type Limits } from "./limits.ts";
import { decodePacket, encodeAnswer, encodeQuestions, type MdnsPacket } from "./mdns.ts";
import { Multicast } from "./multicast.ts";

const patient = { timeout: 20_000, interval: 10 };
const LOOPBACK = [{ family: 4, name: "lo", address: "127.0.0.1" }] as const;
const networks = new LocalNetworks();
let clusters = 0;

afterEach(() => networks.close());

/** Another one for each test: all tests of this machine share one network. */
function newCluster(): string {
  clusters += 1;
  return `discovery-${process.pid}-${clusters}`;
}

function open(
  clusterId: string | null,
  key: PrivateKey,
  listen = "/ip4/127.0.0.1/tcp/0",
  limits: Limits = LIMITS,
): Promise<LocalNetwork> {
  const discovery = clusterId === null ? {} : { discovery: { clusterId, log: () => undefined } };
  return networks.openAs({ key, listen: [listen], ...discovery }, limits);
}

/** Members that know each other's ids, and nobody's address. */
function acquaint(...all: readonly LocalNetwork[]): void {
  const members = new Set(all.map(({ network }) => network.self));
  for (const { network } of all) {
    network.admit(members, null);
    network.connect([...members].map((id) => ({ id, addresses: [] })));
  }
}

/** Somebody else on the network, and all that it hears of the cluster. */
async function bystander(clusterId: string): Promise<{ line: Multicast; heard: MdnsPacket[] }> {
  const heard: MdnsPacket[] = [];
  const line = new Multicast((bytes) => {
    const packet = decodePacket(serviceOf(clusterId), bytes);
    if (packet !== null) heard.push(packet);
  });
  networks.closes(() => line.close());
  expect(await line.use(LOOPBACK)).toBeNull();
  return { line, heard };
}

test("members that know no address of each other meet; others of another cluster do not", async () => {
  const clusterId = newCluster();
  const keys = await Promise.all([1, 2, 3].map(() => generateKeyPair("Ed25519")));
  const [a, b, c] = await Promise.all(
    keys.map((key, i) => open(i < 2 ? clusterId : newCluster(), key)),
  );
  if (a === undefined || b === undefined || c === undefined) throw new Error("three");
  const startMs = performance.now();
  acquaint(a, b, c);
  await vi.waitFor(() => {
    expect([a.log.up, b.log.up]).toEqual([[b.network.self], [a.network.self]]);
  }, patient);
  expect(performance.now() - startMs).toBeLessThan(3_000);
  expect(c.log.up).toEqual([]);
});

test("one that comes back elsewhere is found, also by those that missed its announcement", async () => {
  const clusterId = newCluster();
  const [one, other] = await Promise.all([1, 2].map(() => generateKeyPair("Ed25519")));
  if (one === undefined || other === undefined) throw new Error("two");
  const a = await open(clusterId, one);
  const first = await open(clusterId, other);
  acquaint(a, first);
  await vi.waitFor(() => expect(a.log.up).toHaveLength(1), patient);
  await first.network.close();
  await vi.waitFor(() => expect(a.log.lost).toHaveLength(1), patient);
  const second = await open(clusterId, other, "/ip4/127.0.0.2/tcp/0");
  second.network.admit(new Set([a.network.self, second.network.self]), null);
  await vi.waitFor(() => expect(a.log.up).toHaveLength(2), patient);
  await a.network.close();
  await vi.waitFor(() => expect(second.log.lost).toHaveLength(1), patient);
  // This one starts when the other has said for long where it is, and asks.
  const { heard } = await bystander(clusterId);
  const third = await open(clusterId, one, "/ip4/127.0.0.3/tcp/0");
  third.network.admit(new Set([third.network.self, second.network.self]), null);
  third.network.connect([{ id: second.network.self, addresses: [] }]);
  await vi.waitFor(() => expect(third.log.up).toEqual([second.network.self]), patient);
  expect(heard.flatMap(({ questions }) => questions)).toContain(
    labelOf(clusterId, second.network.self),
  );
});

test("a stranger that announces a member does no harm: nobody goes there", async () => {
  const clusterId = newCluster();
  const keys = await Promise.all([1, 2, 3].map(() => generateKeyPair("Ed25519")));
  const [one, other, stranger] = keys;
  if (one === undefined || other === undefined || stranger === undefined) throw new Error("three");
  const { line } = await bystander(clusterId);
  const { port, calls } = await networks.trap();
  const member = nodeIdOf(other);
  const a = await open(clusterId, one);
  a.network.admit(new Set([a.network.self, member]), null);
  a.network.connect([{ id: member, addresses: [] }]);
  const addresses = [`/ip4/127.0.0.1/tcp/${port}`];
  // Later than anything that the member will say, and it says so over and over.
  const forged = await writeAnnouncement(stranger, clusterId, { atMs: 9e15, addresses });
  const lie = encodeAnswer(serviceOf(clusterId), labelOf(clusterId, member), forged);
  const liar = setInterval(() => line.send(lie), 20);
  networks.closes(() => clearInterval(liar));
  const b = await open(clusterId, other);
  b.network.admit(new Set([a.network.self, member]), null);
  await vi.waitFor(() => expect(a.log.up).toEqual([member]), patient);
  expect(calls()).toBe(0);
});

test("a stranger that repeats where a member was does not keep it from being found where it is", async () => {
  const clusterId = newCluster();
  const [one, other] = await Promise.all([1, 2].map(() => generateKeyPair("Ed25519")));
  if (one === undefined || other === undefined) throw new Error("two");
  const { line, heard } = await bystander(clusterId);
  const { port, calls } = await networks.trap();
  const member = nodeIdOf(other);
  const a = await open(clusterId, one, "/ip4/127.0.0.1/tcp/0", { ...LIMITS, dialMs: 1_500 });
  const addresses = Array.from({ length: 12 }, (_, i) => `/ip4/127.0.0.${i + 1}/tcp/${port}`);
  const past = await writeAnnouncement(other, clusterId, { atMs: 1_000, addresses });
  const old = encodeAnswer(serviceOf(clusterId), labelOf(clusterId, member), past);
  a.network.admit(new Set([a.network.self, member]), null);
  a.network.connect([{ id: member, addresses: [] }]);
  const repeat = setInterval(() => line.send(old), 50);
  networks.closes(() => clearInterval(repeat));
  // It is tried, as it may be true.
  await vi.waitFor(() => expect(calls()).toBeGreaterThan(0), patient);
  // Known to the record only: it does not announce itself, and is tried in turn with the hint.
  const silent = await open(null, other);
  silent.network.admit(new Set([a.network.self, member]), null);
  a.network.connect([{ id: member, addresses: silent.network.addresses() }]);
  await vi.waitFor(() => expect(a.log.up).toHaveLength(1), patient);
  await silent.network.close();
  await vi.waitFor(() => expect(a.log.lost).toHaveLength(1), patient);
  // What it says itself is newer.
  const b = await open(clusterId, other);
  b.network.admit(new Set([a.network.self, member]), null);
  await vi.waitFor(() => expect(a.log.up).toHaveLength(2), patient);
  expect(heard.length).toBeGreaterThan(0);
});

test("who is asked for by many answers once in a second", async () => {
  const clusterId = newCluster();
  const key = await generateKeyPair("Ed25519");
  const own = labelOf(clusterId, nodeIdOf(key));
  const { line, heard } = await bystander(clusterId);
  const quick = { ...LIMITS, answerEveryMs: 400, answerAfterMs: 5 };
  await open(clusterId, key, "/ip4/127.0.0.1/tcp/0", quick);
  const answers = (): number => heard.filter((packet) => packet.answers.length > 0).length;
  // At its start, and once more.
  await vi.waitFor(() => expect(answers()).toBe(2), patient);
  const startMs = performance.now();
  const ask = (label: string): void => line.send(encodeQuestions(serviceOf(clusterId), [label]));
  const asking = setInterval(() => {
    ask(own);
    ask(labelOf(clusterId, nodeId("somebody else")));
  }, 5);
  networks.closes(() => clearInterval(asking));
  await vi.waitFor(() => expect(answers()).toBe(5), patient);
  // Three more, each at least so long after the one before.
  expect(performance.now() - startMs).toBeGreaterThan(2 * 400);
});

test("members that miss nobody are silent, and one that is missing is asked for ever more seldom", async () => {
  const clusterId = newCluster();
  const [one, other] = await Promise.all([1, 2].map(() => generateKeyPair("Ed25519")));
  if (one === undefined || other === undefined) throw new Error("two");
  const { heard } = await bystander(clusterId);
  const quick = { ...LIMITS, askFirstMs: 20, askLastMs: 160, lookMs: 20 };
  const a = await open(clusterId, one, "/ip4/127.0.0.1/tcp/0", quick);
  const b = await open(clusterId, other, "/ip4/127.0.0.1/tcp/0", quick);
  acquaint(a, b);
  await vi.waitFor(() => expect([a.log.up.length, b.log.up.length]).toEqual([1, 1]), patient);
  const questions = (): number => heard.filter((packet) => packet.questions.length > 0).length;
  // The announcements of the start, each twice, and their answers are over when 40 looks around have said nothing.
  let before = -1;
  await vi.waitFor(
    () => {
      const now = heard.length;
      const isSilent = now === before;
      before = now;
      if (!isSilent) throw new Error("still talking");
    },
    { timeout: 20_000, interval: 1_500 },
  );
  await b.network.close();
  const asked = questions();
  await vi.waitFor(() => expect(questions()).toBeGreaterThan(asked + 5), patient);
  const [startMs, from] = [performance.now(), questions()];
  await vi.waitFor(() => expect(questions()).toBeGreaterThanOrEqual(from + 5), patient);
  // At 160 ms and half of that at least; as at first it would be a tenth.
  expect(performance.now() - startMs).toBeGreaterThan(4 * 80);
});
