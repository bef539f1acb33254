import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test, vi } from "vitest";
import { generateKeyPairFromSeed } from "@libp2p/crypto/keys";
import { nodeIdOf } from "../../node/libp2p/identity.ts";
import { LIMITS } from "../../node/libp2p/limits.ts";
import type { Network } from "../../node/network.ts";
import type { NodeId } from "../../state/ids.ts";
import { LocalNetworks } from "../fixtures/local-network.ts";
import type { PeerEvent, PeerOrder } from "./network-peer.ts";

const patient = { timeout: 30_000, interval: 5 };

interface Peer {
  readonly child: ChildProcess;
  readonly self: NodeId;
  readonly addresses: readonly string[];
  readonly events: PeerEvent[];
  readonly order: (order: PeerOrder) => void;
}

const children: ChildProcess[] = [];
const networks = new LocalNetworks();

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }
  await networks.close();
});

const PROGRAM = fileURLToPath(new URL("network-peer.ts", import.meta.url));

/** `hosts`: the file that it takes for /etc/hosts, in a mount namespace of its own. */
async function peer(
  seed: string,
  listen = "/ip4/127.0.0.1/tcp/0",
  hosts: string | null = null,
): Promise<Peer> {
  const command = [process.execPath, PROGRAM, seed, listen];
  const own = ["unshare", "-m", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`];
  const [program = "", ...words] = hosts === null ? command : [...own, hosts, ...command];
  const child = spawn(program, words, { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  children.push(child);
  const events: PeerEvent[] = [];
  child.on("message", (event: PeerEvent) => void events.push(event));
  const ready = await vi.waitFor(() => {
    const first = events.find((event) => event.kind === "ready");
    if (first === undefined) throw new Error("not ready");
    return first;
  }, patient);
  return {
    child,
    self: ready.self,
    addresses: ready.addresses,
    events,
    order: (order) => void child.send(order),
  };
}

/** A seed whose id sorts before (or after) `other`. */
async function seedBeside(other: NodeId, side: "smaller" | "larger"): Promise<string> {
  for (;;) {
    const seed = randomBytes(32);
    const id = nodeIdOf(await generateKeyPairFromSeed("Ed25519", seed));
    if (id < other === (side === "smaller")) return seed.toString("hex");
  }
}

function introduce(own: Network, other: Peer): void {
  const members = [own.self, other.self];
  own.admit(new Set(members), null);
  own.connect([{ id: other.self, addresses: other.addresses }]);
  other.order({ kind: "admit", members });
  other.order({ kind: "connect", peers: [{ id: own.self, addresses: own.addresses() }] });
}

test("kill -9 of a peer is noticed in less than a second", async () => {
  const { network, log } = await networks.open();
  const other = await peer(randomBytes(32).toString("hex"));
  introduce(network, other);
  await vi.waitFor(() => expect(log.up).toEqual([other.self]), patient);
  const startMs = performance.now();
  other.child.kill("SIGKILL");
  await vi.waitFor(() => expect(log.lost).toEqual([other.self]), patient);
  expect(performance.now() - startMs).toBeLessThan(1_000);
});

test.each(["smaller", "larger"] as const)(
  "a peer with the %s id that starts again on a new port is found by its new address",
  async (side) => {
    const { network, log } = await networks.open();
    const seed = await seedBeside(network.self, side);
    const first = await peer(seed);
    introduce(network, first);
    await vi.waitFor(() => expect(log.up.length).toBe(1), patient);
    first.child.kill("SIGKILL");
    await vi.waitFor(() => expect(log.lost.length).toBe(1), patient);
    const second = await peer(seed);
    expect(second.addresses).not.toEqual(first.addresses);
    second.order({ kind: "admit", members: [network.self, first.self] });
    const startMs = performance.now();
    network.connect([{ id: second.self, addresses: [...first.addresses, ...second.addresses] }]);
    await vi.waitFor(() => expect(log.up).toEqual([first.self, first.self]), patient);
    expect(performance.now() - startMs).toBeLessThan(3_000);
  },
);

test.each(["smaller", "larger"] as const)(
  "a peer with the %s id that starts again finds the others by itself",
  async (side) => {
    const { network, log } = await networks.open();
    const seed = await seedBeside(network.self, side);
    const first = await peer(seed);
    introduce(network, first);
    await vi.waitFor(() => expect(log.up.length).toBe(1), patient);
    first.child.kill("SIGKILL");
    await vi.waitFor(() => expect(log.lost.length).toBe(1), patient);
    // This side keeps dialling the port of the past, where nobody listens.
    const second = await peer(seed);
    const startMs = performance.now();
    second.order({ kind: "admit", members: [network.self, second.self] });
    second.order({
      kind: "connect",
      peers: [{ id: network.self, addresses: network.addresses() }],
    });
    await vi.waitFor(() => expect(log.up).toEqual([second.self, second.self]), patient);
    expect(performance.now() - startMs).toBeLessThan(1_500);
    network.send(second.self, Buffer.from("again"));
    await vi.waitFor(
      () =>
        expect(second.events).toContainEqual({ kind: "frame", from: network.self, text: "again" }),
      patient,
    );
  },
);

test("a peer that is silent for too long is lost, and found again when it wakes", async () => {
  const { network, log } = await networks.open({ ...LIMITS, silenceMs: 3_000 });
  const other = await peer(randomBytes(32).toString("hex"));
  introduce(network, other);
  await vi.waitFor(() => expect(log.up.length).toBe(1), patient);
  other.child.kill("SIGSTOP");
  const startMs = performance.now();
  await vi.waitFor(() => expect(log.lost).toEqual([other.self]), patient);
  expect(performance.now() - startMs).toBeLessThan(6_000);
  other.child.kill("SIGCONT");
  await vi.waitFor(() => expect(log.up.length).toBe(2), patient);
  network.send(other.self, Buffer.from("awake?"));
  await vi.waitFor(
    () =>
      expect(other.events).toContainEqual({ kind: "frame", from: network.self, text: "awake?" }),
    patient,
  );
});

test("idle peers stay connected: keepalives take the place of frames", async () => {
  const quick = { ...LIMITS, keepaliveMs: 100, silenceMs: 400, tickMs: 20 };
  const [a, b] = [await networks.open(quick), await networks.open(quick)];
  const members = new Set([a.network.self, b.network.self]);
  for (const { network } of [a, b]) network.admit(members, null);
  a.network.connect([{ id: b.network.self, addresses: b.network.addresses() }]);
  await vi.waitFor(() => expect([a.log.up.length, b.log.up.length]).toEqual([1, 1]), patient);
  // 30 keepalives take more than seven times the silence that would have ended the stream.
  const bytes = a.network.counters().bytesIn;
  await vi.waitFor(
    () => expect(a.network.counters().bytesIn).toBeGreaterThan(bytes + 30 * 5),
    patient,
  );
  expect([a.log.lost, b.log.lost]).toEqual([[], []]);
});

test("close is over in two seconds with a peer that does not answer", async () => {
  const { network, log } = await networks.open();
  const other = await peer(randomBytes(32).toString("hex"));
  introduce(network, other);
  await vi.waitFor(() => expect(log.up.length).toBe(1), patient);
  other.child.kill("SIGSTOP");
  for (let i = 0; i < 200; i++) network.send(other.self, Buffer.alloc(64 << 10));
  const startMs = performance.now();
  await network.close();
  expect(performance.now() - startMs).toBeLessThan(2_000);
});

test("a process ends by itself when its network is closed", async () => {
  const { network, log } = await networks.open();
  const other = await peer(randomBytes(32).toString("hex"));
  introduce(network, other);
  await vi.waitFor(() => expect(log.up.length).toBe(1), patient);
  const exited = once(other.child, "exit");
  const startMs = performance.now();
  other.order({ kind: "close" });
  expect(await exited).toEqual([0, null]);
  expect(performance.now() - startMs).toBeLessThan(3_000);
});

test("gossip reaches everyone again after a node was killed and started again", async () => {
  const seeds = [0, 1, 2].map(() => randomBytes(32).toString("hex"));
  const peers = await Promise.all(seeds.map((seed) => peer(seed)));
  const members = peers.map(({ self }) => self);
  const meet = (): void => {
    for (const one of peers) {
      one.order({ kind: "admit", members });
      one.order({
        kind: "connect",
        peers: peers
          .filter((other) => other !== one)
          .map(({ self, addresses }) => ({ id: self, addresses })),
      });
    }
  };
  const everyoneHears = (what: string): Promise<void> =>
    vi.waitFor(
      () => {
        for (const one of peers) one.order({ kind: "gossip", text: what });
        for (const one of peers) {
          const heard = one.events.flatMap((event) =>
            event.kind === "gossip" && event.text === what ? [event.from] : [],
          );
          expect(new Set(heard).size).toBe(2);
        }
      },
      { timeout: 40_000, interval: 300 },
    );
  meet();
  await everyoneHears("before");
  for (const round of ["once", "twice"]) {
    const victim = peers[1];
    if (victim === undefined) throw new Error("three peers");
    victim.child.kill("SIGKILL");
    peers[1] = await peer(seeds[1] ?? "");
    meet();
    await everyoneHears(round);
  }
});

const mayMount = process.getuid?.() === 0 && existsSync("/usr/bin/unshare");

test.runIf(mayMount)(
  "a name is resolved anew with each dial: a peer is found where it leads",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "orch-n-"));
    networks.closes(() => rmSync(folder, { recursive: true }));
    const hosts = join(folder, "hosts");
    // Written in place, as a resolver does: the file that the peer's namespace shows must stay the same.
    const leadTo = (ip: string): void => writeFileSync(hosts, `${ip} mover.test\n`);
    leadTo("127.0.0.31");
    const key = await generateKeyPairFromSeed("Ed25519", randomBytes(32));
    const first = await networks.openAs({ key, listen: ["/ip4/127.0.0.31/tcp/0"] });
    const port = first.network.addresses()[0]?.split("/")[4] ?? "";
    const other = await peer(randomBytes(32).toString("hex"), "/ip4/127.0.0.1/tcp/0", hosts);
    const members = [first.network.self, other.self];
    // Only the peer dials: nobody tells this side where it is.
    first.network.admit(new Set(members), null);
    other.order({ kind: "admit", members });
    const peers = [{ id: first.network.self, addresses: [`/dns4/mover.test/tcp/${port}`] }];
    other.order({ kind: "connect", peers });
    await vi.waitFor(() => expect(first.log.up).toEqual([other.self]), patient);
    await first.network.close();
    leadTo("127.0.0.32");
    const second = await networks.openAs({ key, listen: [`/ip4/127.0.0.32/tcp/${port}`] });
    second.network.admit(new Set(members), null);
    await vi.waitFor(() => expect(second.log.up).toEqual([other.self]), patient);
  },
);
