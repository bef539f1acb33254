import { performance } from "node:perf_hooks";
import type { Connection, Listener, PrivateKey } from "@libp2p/interface";
import { multiaddr, type Multiaddr } from "@multiformats/multiaddr";
import { fault, OrchError } from "../../lib/errors.ts";
import { nodeId, type NodeId } from "../../state/ids.ts";
import type { JoinSecret, Network, NetworkEvents, PeerAddress } from "../network.ts";
import { isMultiaddr } from "./address.ts";
import { readBulk, serveBulk, type BulkCounts } from "./bulk.ts";
import { Connections } from "./connections.ts";
import { newCounters, type Counters } from "./counters.ts";
import { StreamLostError } from "./frame-stream.ts";
import { Gossip, isGossip } from "./gossip.ts";
import { DialBack } from "./dial-back.ts";
import { Discovery } from "./discovery.ts";
import { createHost, startHost, type Host } from "./host.ts";
import { nodeIdOf } from "./identity.ts";
import { JOIN_RATES, JoinLimiter } from "./join-limiter.ts";
import { LIMITS, type Limits } from "./limits.ts";
import { BULK_PROTOCOL, JOIN_PROTOCOL, RPC_PROTOCOL, VOUCH_PROTOCOL } from "./protocols.ts";
import { serveJoin, type JoinServer } from "./serve-join.ts";
import { Strangers } from "./strangers.ts";
import { Vouching } from "./vouch.ts";

export interface NetworkOptions {
  readonly key: PrivateKey;
  /** Multiaddrs to listen on. */
  readonly listen: readonly string[];
  /** Multiaddrs that others may reach this node at beside those. */
  readonly announce: readonly string[];
  readonly events: NetworkEvents;
  /** Finds members on the local network, and is found there; absent: it is neither asked nor answered. */
  readonly discovery?: { readonly clusterId: string; readonly log: (line: string) => void };
}

/** Starts the network over libp2p. Nobody may speak to it before `admit`. Throws port-in-use or usage (`--listen`). */
export async function createNetwork(
  options: NetworkOptions,
  limits: Limits = LIMITS,
): Promise<Network> {
  const counters = newCounters();
  const strangers = new Strangers(limits, counters);
  const host = await createHost(options.key, options.listen, options.announce, strangers, limits);
  const network = new Libp2pNetwork(options, host, strangers, counters, limits);
  await network.start(options.listen);
  return network;
}

class Libp2pNetwork implements Network {
  readonly self: NodeId;
  readonly #host: Host;
  readonly #strangers: Strangers;
  readonly #counters: Counters;
  readonly #events: NetworkEvents;
  readonly #limits: Limits;
  readonly #connections: Connections;
  readonly #gossip: Gossip;
  readonly #discovery: Discovery | null;
  readonly #listeners = new Set<Listener>();
  readonly #closing = new AbortController();
  readonly #repairs: NodeJS.Timeout;
  readonly #bulkCounts: BulkCounts = new Map();
  readonly #vouching: Vouching;
  readonly #dialBack: DialBack;
  #joinSecret: JoinSecret | null = null;
  #closed: Promise<void> | null = null;

  constructor(
    { key, events, discovery }: NetworkOptions,
    host: Host,
    strangers: Strangers,
    counters: Counters,
    limits: Limits,
  ) {
    const self = nodeIdOf(key);
    this.self = self;
    this.#host = host;
    this.#strangers = strangers;
    this.#counters = counters;
    this.#events = events;
    this.#limits = limits;
    const isMember = (peer: NodeId): boolean => strangers.isMember(peer);
    this.#connections = new Connections({
      self,
      limits,
      counters,
      isMember,
      dial: (peer, addresses, signal) =>
        host.dial(dialable(peer, addresses), { signal, force: true }),
      hasBulk: (connection) =>
        connection.streams.some((stream) => stream.protocol === BULK_PROTOCOL),
      onFrame: events.onFrame,
      onPeerUp: (peer) => {
        this.#discovery?.found(peer);
        events.onPeerUp(peer);
      },
      onPeerLost: (peer) => {
        events.onPeerLost(peer);
        this.#discovery?.seek();
      },
    });
    this.#discovery = discovery === undefined ? null : this.#newDiscovery(key, discovery);
    this.#gossip = new Gossip(host, limits, counters, isMember, (from, payload) => {
      if (this.#closed === null) events.onGossip(from, payload);
    });
    this.#vouching = new Vouching({
      self,
      secret: () => this.#joinSecret,
      limits,
      counters,
      onVouch: events.onVouch,
      onVouched: (by, list) => {
        if (this.#closed === null) events.onVouched(by, list);
      },
    });
    this.#dialBack = new DialBack({
      limits,
      sessionWith: (peer) => this.#connections.sessionWith(peer),
      dial: async (peer, signal) => {
        const addresses = dialable(peer, this.#connections.addressesOf(peer));
        const connection = await host.dial(addresses, { signal, force: true });
        connection.abort(new StreamLostError("it was only to be tried"));
      },
      onDialable: events.onDialable,
    });
    this.#repairs = setInterval(() => {
      for (const { connection, ageMs } of this.#connections.inUse())
        this.#gossip.repair(connection, ageMs);
      this.#closeUnused();
    }, 1_000);
  }

  /** Gossip keeps to whatever connection it finds, and would keep it open for ever. */
  #closeUnused(): void {
    for (const connection of this.#host.getConnections()) {
      const peer = peerOf(connection);
      const isYoung = Date.now() - connection.timeline.open < this.#limits.unusedMs;
      if (isYoung || !this.#strangers.isMember(peer)) continue;
      if (this.#connections.mayUse(peer, connection)) continue;
      if (connection.streams.every(({ protocol }) => isGossip(protocol)))
        connection.abort(new StreamLostError("nobody uses this connection"));
    }
  }

  async start(listen: readonly string[]): Promise<void> {
    const host = this.#host;
    this.#strangers.watch(host, (connection) => this.#vouching.ask(connection));
    host.addEventListener("transport:listening", (event) => this.#listeners.add(event.detail));
    host.addEventListener("transport:close", (event) => this.#listeners.delete(event.detail));
    host.addEventListener("connection:open", (event) => {
      if (event.detail.direction === "inbound")
        this.#connections.onInboundConnection(peerOf(event.detail));
    });
    await this.#handle();
    try {
      await startHost(host, listen);
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#gossip.start();
    this.#discovery?.start();
  }

  addresses(): readonly string[] {
    return [...this.#listeners].flatMap((listener) =>
      listener.getAddrs().map((address) => address.toString()),
    );
  }

  send(to: NodeId, frame: Uint8Array): void {
    if (this.#connections.send(to, frame)) this.#counters.framesOut++;
    else this.#counters.framesDropped++;
  }

  connect(peers: readonly PeerAddress[]): void {
    if (this.#closed !== null) return;
    this.#connections.connect(peers);
    this.#discovery?.seek();
  }

  dialBack(peers: readonly NodeId[]): void {
    this.#dialBack.ask(peers);
  }

  admit(members: ReadonlySet<NodeId>, join: JoinSecret | null): void {
    if (this.#closed !== null) return;
    this.#joinSecret = join;
    this.#strangers.admit(members, join !== null);
    this.#discovery?.admit(members);
    this.#dialBack.membersChanged((peer) => members.has(peer));
    // Later, because it may end streams: the caller must not be called back before this call returns.
    setImmediate(() => {
      if (this.#closed !== null) return;
      this.#connections.membersChanged();
      for (const connection of this.#host.getConnections()) {
        const stranger = !this.#strangers.isMember(peerOf(connection));
        if (stranger && join === null)
          connection.abort(new StreamLostError("not a member any more"));
      }
    });
  }

  seek(on: boolean): void {
    if (this.#closed === null) this.#vouching.seek(on);
  }

  isConnected(peer: NodeId): boolean {
    return this.#connections.connectionTo(peer) !== null;
  }

  gossip(payload: Uint8Array): void {
    if (this.#closed === null) this.#gossip.publish(payload);
  }

  bulk(to: NodeId, request: Uint8Array, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const either = AbortSignal.any([signal, this.#closing.signal]);
    return readBulk(
      to,
      (until) => this.#bulkConnection(to, until),
      request,
      either,
      this.#bulkCounts,
      this.#limits,
      this.#counters,
    );
  }

  counters(): Counters {
    return { ...this.#counters };
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #bulkConnection(to: NodeId, signal: AbortSignal): Promise<Connection> {
    const open = this.#connections.connectionTo(to);
    if (open !== null) return open;
    const addresses = dialable(to, this.#connections.addressesOf(to));
    if (addresses.length > 0 && this.#strangers.isMember(to))
      return this.#host.dial(addresses, { signal });
    throw new OrchError(
      fault(
        "unreachable",
        `node ${to} is not connected and no address of it is known`,
        "`orch node ls` tells whether the node is up.",
        {
          node: to,
        },
      ),
    );
  }

  #newDiscovery(
    key: PrivateKey,
    { clusterId, log }: NonNullable<NetworkOptions["discovery"]>,
  ): Discovery {
    const connections = this.#connections;
    return new Discovery({
      key,
      self: this.self,
      clusterId,
      limits: this.#limits,
      log,
      addresses: () => this.addresses(),
      missing: () => connections.missing(),
      isConnected: (peer) => this.isConnected(peer),
      onHeard: (peer, addresses) => connections.hint(peer, addresses),
    });
  }

  async #handle(): Promise<void> {
    const host = this.#host;
    const limits = this.#limits;
    const strangers = this.#strangers;
    await host.handle(
      RPC_PROTOCOL,
      strangers.membersOnly((stream, connection) =>
        this.#connections.onInboundStream(peerOf(connection), stream, connection),
      ),
      { maxInboundStreams: 4, maxOutboundStreams: 4 },
    );
    await host.handle(
      BULK_PROTOCOL,
      strangers.membersOnly((stream, connection) => {
        void serveBulk(
          stream,
          peerOf(connection),
          this.#events.onBulk,
          this.#closing.signal,
          limits,
          this.#counters,
        );
      }),
      {
        maxInboundStreams: 2 * limits.bulkStreamsPerPeer,
        maxOutboundStreams: 2 * limits.bulkStreamsPerPeer,
      },
    );
    await host.handle(
      VOUCH_PROTOCOL,
      strangers.membersOnly((stream, connection) => {
        void this.#vouching.serve(stream, connection);
      }),
      { maxInboundStreams: 1 },
    );
    const server: JoinServer = {
      self: this.self,
      secret: () => this.#joinSecret,
      limiter: new JoinLimiter(JOIN_RATES, performance.now()),
      limits,
      counters: this.#counters,
      onJoin: (joiner, hello) => this.#events.onJoin(joiner, hello),
    };
    await host.handle(
      JOIN_PROTOCOL,
      (stream, connection) => {
        strangers.joinBegins(connection);
        void serveJoin(stream, connection, server);
      },
      { maxInboundStreams: 1 },
    );
  }

  async #close(): Promise<void> {
    clearInterval(this.#repairs);
    this.#dialBack.close();
    this.#discovery?.close();
    await this.#connections.close(this.#limits.closeMs / 5);
    this.#closing.abort(
      new OrchError(
        fault(
          "unreachable",
          "this node is going down",
          "Ask another node, or this one when it is up again.",
        ),
      ),
    );
    this.#strangers.close();
    const connections = this.#host.getConnections();
    // A peer that has stopped answering would hold the graceful way up for as long as it likes.
    const timer = Promise.withResolvers<void>();
    const deadline = setTimeout(timer.resolve, (this.#limits.closeMs / 5) * 3);
    const polite = Promise.all(
      connections.map((connection) =>
        connection
          .close({ signal: AbortSignal.timeout(this.#limits.closeMs / 5) })
          .catch((error: unknown) => {
            connection.abort(error instanceof Error ? error : new StreamLostError(String(error)));
          }),
      ),
    ).then(() => this.#host.stop());
    await Promise.race([polite.catch(() => {}), timer.promise]);
    clearTimeout(deadline);
    for (const connection of this.#host.getConnections())
      connection.abort(new StreamLostError("closed"));
  }
}

function peerOf(connection: Connection): NodeId {
  return nodeId(connection.remotePeer.toString());
}

/** The addresses with the peer's id, so that whoever answers must prove it. One that names another peer is not its. */
function dialable(peer: NodeId, addresses: readonly string[]): Multiaddr[] {
  return addresses
    .map((address) => (address.includes("/p2p/") ? address : `${address}/p2p/${peer}`))
    .filter((address) => address.endsWith(`/p2p/${peer}`) && isMultiaddr(address))
    .map((address) => multiaddr(address));
}
