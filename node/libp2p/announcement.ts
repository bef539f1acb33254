import { createHash } from "node:crypto";
import { isIP } from "node:net";
import type { PrivateKey } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import type { NodeId } from "../../state/ids.ts";

/** What a node says of itself on the local network, and the names under which it does. */

const CONTEXT = "orch-discovery-1";
const MAX_ADDRESSES = 12;
/** The longest IPv6 address as a multiaddr. */
const MAX_ADDRESS_CHARS = 64;
const SIGNATURE_CHARS = 86;

/** Where a member says that it is, in its own hand. */
export interface Announcement {
  /** By its own clock: which of two is newer. Epoch milliseconds. */
  readonly atMs: number;
  readonly addresses: readonly string[];
}

/** The service's name: of the cluster's id it tells a hash. DNS-SD has 15 characters for it. */
export function serviceOf(clusterId: string): string {
  return `_orch-${hash(clusterId).slice(0, 10)}`;
}

/** A node's name in the service: only who knows the cluster and the node can tell whose it is. */
export function labelOf(clusterId: string, node: NodeId): string {
  return hash(clusterId, node).slice(0, 32);
}

/** The texts of a TXT record: the addresses that can be said, at most a dozen, and the node's signature. */
export async function writeAnnouncement(
  key: PrivateKey,
  clusterId: string,
  { atMs, addresses }: Announcement,
): Promise<string[]> {
  const sayable = addresses.filter(isSayable).slice(0, MAX_ADDRESSES);
  const texts = [`t=${atMs}`, ...sayable.map((address) => `a=${address}`)];
  const signature = await key.sign(signed(clusterId, texts));
  return [...texts, `s=${Buffer.from(signature).toString("base64url")}`];
}

/** The inverse, of `node`'s own announcement; null for anything else. Never rejects. */
export async function readAnnouncement(
  node: NodeId,
  clusterId: string,
  texts: readonly string[],
): Promise<Announcement | null> {
  const atMs = timeOf(texts);
  const rest = texts.slice(1);
  const signature = rest.at(-1) ?? "";
  const addresses = rest.slice(0, -1).map((text) => text.slice(2));
  const isWhole =
    !Number.isNaN(atMs) &&
    signature.length === SIGNATURE_CHARS + 2 &&
    signature.startsWith("s=") &&
    addresses.length > 0 &&
    addresses.length <= MAX_ADDRESSES &&
    rest.slice(0, -1).every((text) => text.startsWith("a=")) &&
    addresses.every(isSayable);
  if (!isWhole) return null;
  try {
    const bytes = Buffer.from(signature.slice(2), "base64url");
    const isOwn = await peerIdFromString(node).publicKey?.verify(
      signed(clusterId, texts.slice(0, -1)),
      bytes,
    );
    return isOwn === true ? { atMs, addresses } : null;
  } catch {
    return null;
  }
}

/** When an announcement says that it was made, before it is known whose it is; NaN: it is none. */
export function timeOf([time = ""]: readonly string[]): number {
  return /^t=\d{1,16}$/.test(time) ? Number(time.slice(2)) : Number.NaN;
}

/** Whether somebody on the same network could dial it: an IP address that is one machine's, and a port. */
function isSayable(address: string): boolean {
  const match = /^\/ip([46])\/([0-9a-f.:]+)\/tcp\/([1-9]\d{0,4})$/.exec(address);
  if (match === null || address.length > MAX_ADDRESS_CHARS) return false;
  const [, version, ip = "", port] = match;
  if (isIP(ip) !== Number(version) || Number(port) > 65_535) return false;
  // Nowhere, everywhere, or (fe80::) of a link that the address does not name.
  return !/^(0\.|22[4-9]\.|2[345]\d\.|::$|ff|fe[89ab])/.test(ip);
}

/** Whether it leads to whatever machine dials it. */
export function isLoopback(address: string): boolean {
  return /^\/ip4\/127\.|^\/ip6\/::1\//.test(address);
}

function signed(clusterId: string, texts: readonly string[]): Uint8Array {
  return Buffer.from([CONTEXT, clusterId, ...texts].join("\0"));
}

function hash(...words: readonly string[]): string {
  return createHash("sha256")
    .update([CONTEXT, ...words].join("\0"))
    .digest("hex");
}
