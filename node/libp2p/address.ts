import { isIP } from "node:net";
import { multiaddr } from "@multiformats/multiaddr";

const DEFAULT_PORT = 7400;

/**
 * The multiaddr of what a person wrote: `host`, `host:port`, an IPv6 address with or without brackets, or a
 * multiaddr as it is. Null when it is none of these.
 */
export function parsePeer(text: string): string | null {
  const word = text.trim();
  if (word.startsWith("/")) return isMultiaddr(word) ? word : null;
  if (isIP(word) === 6) return toMultiaddr(word, DEFAULT_PORT);
  const match = /^(?:\[([^\]]+)\]|([^:[\]/\s]+))(?::(\d{1,5}))?$/.exec(word);
  if (match === null) return null;
  const [, bracketed, plain = "", portText] = match;
  const port = portText === undefined ? DEFAULT_PORT : Number(portText);
  if (port < 1 || port > 65_535) return null;
  if (bracketed !== undefined) return isIP(bracketed) === 6 ? toMultiaddr(bracketed, port) : null;
  return toMultiaddr(plain, port);
}

/** Whether libp2p can read `text` as an address. */
export function isMultiaddr(text: string): boolean {
  try {
    multiaddr(text);
    return true;
  } catch {
    return false;
  }
}

function toMultiaddr(host: string, port: number): string | null {
  const version = isIP(host);
  const kind = version === 4 ? "ip4" : version === 6 ? "ip6" : "dns";
  const address = `/${kind}/${host}/tcp/${port}`;
  return isMultiaddr(address) ? address : null;
}
