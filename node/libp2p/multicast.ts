import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import type { networkInterfaces } from "node:os";
import { MDNS_PORT } from "./mdns.ts";

/** One family of addresses on one network interface of this machine. */
export interface Link {
  readonly family: 4 | 6;
  readonly name: string;
  readonly address: string;
}

/** A machine of many containers has hundreds of interfaces, behind which no other machine is. */
const MAX_LINKS = 16;
const GROUP = { 4: "224.0.0.251", 6: "ff02::fb" } as const;
/** RFC 6762: a packet that was routed has less. */
const TTL = 255;

/** The interfaces that these multiaddrs are on. IPv6 has no multicast on the loopback. */
export function linksOf(
  addresses: readonly string[],
  interfaces: ReturnType<typeof networkInterfaces>,
): Link[] {
  const links = new Map<string, Link>();
  const ips = addresses.map((address) => address.split("/")[2] ?? "");
  for (const [name, own = []] of Object.entries(interfaces)) {
    for (const { family: version, address, internal } of own) {
      const family = version === "IPv4" ? 4 : 6;
      const isMeant =
        internal && family === 4
          ? ips.some((ip) => ip.startsWith("127."))
          : !internal && ips.includes(address);
      const key = `${family} ${name}`;
      if (isMeant && !links.has(key) && links.size < MAX_LINKS)
        links.set(key, { family, name, address });
    }
  }
  return [...links.values()];
}

interface Party {
  readonly family: 4 | 6;
  socket: Socket | null;
  joined: readonly Link[];
}

/** The group of multicast DNS, on some interfaces of this machine. What cannot be sent is lost. */
export class Multicast {
  readonly #parties: readonly Party[] = [
    { family: 4, socket: null, joined: [] },
    { family: 6, socket: null, joined: [] },
  ];
  /** `isLocal`: it was sent to the loopback, by this machine. */
  readonly #onPacket: (packet: Uint8Array, isLocal: boolean) => void;
  #isClosed = false;

  constructor(onPacket: (packet: Uint8Array, isLocal: boolean) => void) {
    this.#onPacket = onPacket;
  }

  /** Speaks and listens on these from now on, as far as it can; what went wrong, or null. Never rejects. */
  async use(links: readonly Link[]): Promise<string | null> {
    let problem: string | null = null;
    for (const party of this.#parties) {
      const own = links.filter(({ family }) => family === party.family);
      try {
        if (own.length > 0 && party.socket === null) await this.#open(party);
        join(party, own);
      } catch (error) {
        problem = error instanceof Error ? error.message : String(error);
      }
    }
    return problem;
  }

  send(packet: Uint8Array): void {
    for (const { family, socket, joined } of this.#parties) {
      for (const link of joined) {
        try {
          socket?.setMulticastInterface(scopeOf(link));
          const to = family === 4 ? GROUP[4] : `${GROUP[6]}%${link.name}`;
          socket?.send(packet, MDNS_PORT, to, () => {});
        } catch {
          // The interface has gone; the next `use` will not name it.
        }
      }
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const party of this.#parties) shut(party);
  }

  async #open(party: Party): Promise<void> {
    const { family } = party;
    const socket = createSocket({
      type: `udp${family}`,
      // Others on this machine use that port, too.
      reuseAddr: true,
      ipv6Only: family === 6,
      // At once, so that a packet leaves by the interface that was set just before.
      lookup: (host, _options, done) => done(null, host, family),
    });
    try {
      // With that look-up it may listen before `bind` returns.
      const listening = once(socket, "listening");
      socket.bind(MDNS_PORT);
      await listening;
      socket.setMulticastTTL(TTL);
      socket.setMulticastLoopback(true);
    } catch (error) {
      socket.close();
      throw error;
    }
    socket.on("message", (packet, { address }) =>
      this.#onPacket(packet, address.startsWith("127.")),
    );
    socket.on("error", () => shut(party));
    party.socket = socket;
    if (this.#isClosed) shut(party);
  }
}

function join(party: Party, links: readonly Link[]): void {
  const { socket } = party;
  if (socket === null) return;
  const isIn = (all: readonly Link[], link: Link): boolean =>
    all.some(({ name, address }) => name === link.name && address === link.address);
  for (const link of party.joined) {
    if (!isIn(links, link)) member(socket, "dropMembership", link);
  }
  const before = party.joined;
  party.joined = links.filter(
    (link) => isIn(before, link) || member(socket, "addMembership", link),
  );
}

function member(socket: Socket, verb: "addMembership" | "dropMembership", link: Link): boolean {
  try {
    socket[verb](GROUP[link.family], scopeOf(link));
    return true;
  } catch {
    // It has just come or gone; the next `use` tries again.
    return false;
  }
}

function scopeOf({ family, name, address }: Link): string {
  return family === 4 ? address : `::%${name}`;
}

function shut(party: Party): void {
  const { socket } = party;
  party.socket = null;
  party.joined = [];
  socket?.removeAllListeners().on("error", () => {});
  socket?.close();
}
