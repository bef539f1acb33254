import { generateKeyPair } from "@libp2p/crypto/keys";
import { describe, expect, it } from "vitest";
import {
  isLoopback,
  labelOf,
  readAnnouncement,
  serviceOf,
  writeAnnouncement,
} from "./announcement.ts";
import { nodeIdOf } from "./identity.ts";

const key = await generateKeyPair("Ed25519");
const node = nodeIdOf(key);
const addresses = ["/ip4/10.0.0.1/tcp/7400", "/ip6/2001:db8::1/tcp/7401"];
const said = { atMs: 1_767_225_600_000, addresses };

/** What is read of these addresses, signed by their node. */
async function read(...said_: readonly string[]): Promise<readonly string[] | null> {
  const texts = await writeAnnouncement(key, "c1", { atMs: 1, addresses: said_ });
  return (await readAnnouncement(node, "c1", texts))?.addresses ?? null;
}

describe("the names", () => {
  it("are hashes that fit DNS", () => {
    expect(serviceOf("c1")).toMatch(/^_orch-[0-9a-f]{10}$/);
    expect(labelOf("c1", node)).toMatch(/^[0-9a-f]{32}$/);
    expect(serviceOf("c2")).not.toBe(serviceOf("c1"));
    expect(labelOf("c2", node)).not.toBe(labelOf("c1", node));
  });
});

describe("an announcement", () => {
  it("is read as it was said", async () => {
    const texts = await writeAnnouncement(key, "c1", said);
    expect(await readAnnouncement(node, "c1", texts)).toEqual(said);
    for (const text of texts) expect(text.length).toBeLessThan(255);
  });

  it("tells what others can dial, and a dozen of them", async () => {
    const wanted = Array.from({ length: 20 }, (_, i) => `/ip4/10.0.0.${i}/tcp/7400`);
    expect(await read("/dns/host/tcp/1", "/ip6/fe80::1/tcp/1", ...wanted)).toEqual(
      wanted.slice(0, 12),
    );
    expect(await read("/dns/host/tcp/1")).toBeNull();
  });

  it("is nobody else's: not of another node, cluster, time or place", async () => {
    const texts = await writeAnnouncement(key, "c1", said);
    const other = nodeIdOf(await generateKeyPair("Ed25519"));
    expect(await readAnnouncement(other, "c1", texts)).toBeNull();
    expect(await readAnnouncement(node, "c2", texts)).toBeNull();
    expect(await readAnnouncement(node, "c1", ["t=1767225600001", ...texts.slice(1)])).toBeNull();
    const moved = texts.with(1, "a=/ip4/10.0.0.2/tcp/7400");
    expect(await readAnnouncement(node, "c1", moved)).toBeNull();
    expect(await readAnnouncement(node, "c1", texts.toSpliced(1, 1))).toBeNull();
  });

  it("is not read when it is none", async () => {
    const [time = "", first = "", second = "", signature = ""] = await writeAnnouncement(
      key,
      "c1",
      said,
    );
    for (const texts of [
      [],
      [time],
      [time, signature],
      [first, second, signature],
      [time, first, second],
      [time, first, second, `${signature}A`],
      [time, first, second, `s=${"!".repeat(86)}`],
      [time, ...Array.from({ length: 13 }, () => first), signature],
      [time, "a=/ip4/10.0.0.1", signature],
    ])
      expect(await readAnnouncement(node, "c1", texts)).toBeNull();
  });
});

describe("an address", () => {
  // What a node would not say is not taken from a member either: signed here with another's rules.
  it.each([
    "/ip4/0.0.0.0/tcp/1",
    "/ip4/224.0.0.251/tcp/1",
    "/ip4/255.255.255.255/tcp/1",
    "/ip4/10.0.0.256/tcp/1",
    "/ip4/10.0.0.1/tcp/0",
    "/ip4/10.0.0.1/tcp/65536",
    "/ip4/10.0.0.1/udp/1",
    "/ip4/10.0.0.1/tcp/1/p2p/x",
    "/ip4/::1/tcp/1",
    "/ip6/::/tcp/1",
    "/ip6/ff02::1/tcp/1",
    "/dns4/example.org/tcp/1",
  ])("%s is none to dial", async (address) => {
    const texts = [`t=1`, `a=${address}`];
    const signature = await key.sign(Buffer.from(["orch-discovery-1", "c1", ...texts].join("\0")));
    const whole = [...texts, `s=${Buffer.from(signature).toString("base64url")}`];
    expect(await readAnnouncement(node, "c1", whole)).toBeNull();
  });

  it("of the loopback is known as one", () => {
    expect(isLoopback("/ip4/127.0.0.7/tcp/1")).toBe(true);
    expect(isLoopback("/ip6/::1/tcp/1")).toBe(true);
    expect(isLoopback("/ip4/10.127.0.1/tcp/1")).toBe(false);
    expect(isLoopback("/ip6/::10/tcp/1")).toBe(false);
  });
});
