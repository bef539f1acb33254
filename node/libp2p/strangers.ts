import type { GossipSubComponents } from "@libp2p/gossipsub";
import type {
  Connection,
  ConnectionGater,
  Libp2p,
  MultiaddrConnection,
  Stream,
  StreamHandler,
  Topology,
} from "@libp2p/interface";
import { nodeId, type NodeId } from "../../state/ids.ts";
import type { Counters } from "./counters.ts";
import { StreamLostError } from "./frame-stream.ts";
import type { Limits } from "./limits.ts";

/** libp2p does not export this type. */
export type Registrar = GossipSubComponents["registrar"];

/** Keeps strangers out of everything but the join protocol, and their connections few and short. */
export class Strangers {
  readonly gater: ConnectionGater;
  readonly #limits: Limits;
  readonly #counters: Counters;
  readonly #encrypted = new WeakSet<object>();
  /** Connections that strangers opened, with the timer that ends each. */
  readonly #open = new Map<Connection, NodeJS.Timeout>();
  readonly #joining = new Set<Connection>();
  #members: ReadonlySet<NodeId> = new Set();
  #admitting = false;
  /** Has a stranger asked to vouch for itself: when that is over; null: it is not asked. */
  #ask: (connection: Connection) => Promise<void> | null = () => null;

  constructor(limits: Limits, counters: Counters) {
    this.#limits = limits;
    this.#counters = counters;
    this.gater = {
      denyDialMultiaddr: () => false,
      denyInboundConnection: (raw) => {
        this.#watch(raw);
        return false;
      },
      denyInboundEncryptedConnection: (peer, raw) => {
        this.#encrypted.add(raw);
        if (this.#members.has(nodeId(peer.toString()))) return false;
        const refused = !this.#admitting || this.#open.size >= limits.maxStrangers;
        if (refused) counters.strangersRefused++;
        return refused;
      },
    };
  }

  isMember(peer: NodeId): boolean {
    return this.#members.has(peer);
  }

  /** Watches the connections of a node that has not started. */
  watch(node: Libp2p, ask: (connection: Connection) => Promise<void> | null): void {
    this.#ask = ask;
    node.addEventListener("connection:open", (event) => this.#onOpen(event.detail));
    node.addEventListener("connection:close", (event) => this.#forget(event.detail));
    // What identify kept of a stranger, or of a node that was removed, is of no use to anyone.
    node.addEventListener("peer:disconnect", (event) => {
      if (!this.#members.has(nodeId(event.detail.toString())))
        node.peerStore.delete(event.detail).catch(() => {});
    });
  }

  /** The handler for members only: a stranger's stream ends before it is read, and is counted. */
  membersOnly(handler: StreamHandler): StreamHandler {
    return (stream, connection) => {
      if (this.#members.has(nodeId(connection.remotePeer.toString())))
        return handler(stream, connection);
      // One that is asked waits: it ends a connection on which it was refused, and could not answer.
      const asked = connection.direction === "inbound" ? this.#ask(connection) : null;
      if (asked === null) this.#refuse(stream);
      else void asked.then(() => this.#refuse(stream));
      return undefined;
    };
  }

  #refuse(stream: Stream): void {
    if (stream.status !== "open") return;
    this.#counters.strangersRefused++;
    stream.abort(new StreamLostError("not a member"));
  }

  /**
   * The registrar for a libp2p service whose protocols are for members only. Not `node.use`: it adds the handler
   * to the list of middleware again with every stream, so that the second stream is handled twice.
   */
  fence(registrar: Registrar): Registrar {
    return {
      getProtocols: () => registrar.getProtocols(),
      getHandler: (protocol) => registrar.getHandler(protocol),
      getTopologies: (protocol) => registrar.getTopologies(protocol),
      handle: (protocol, handler, options) =>
        registrar.handle(protocol, this.membersOnly(handler), options),
      unhandle: (protocol, options) => registrar.unhandle(protocol, options),
      register: (protocol, topology, options) =>
        registrar.register(protocol, this.#membersTopology(topology), options),
      unregister: (id) => registrar.unregister(id),
      use: (protocol, middleware) => registrar.use(protocol, middleware),
      unuse: (protocol) => registrar.unuse(protocol),
      getMiddleware: (protocol) => registrar.getMiddleware(protocol),
    };
  }

  /** The new member list. Connections that began as a stranger's are ended: gossip would stay dead on them. */
  admit(members: ReadonlySet<NodeId>, admitting: boolean): void {
    this.#members = new Set(members);
    this.#admitting = admitting;
    for (const connection of this.#open.keys()) {
      const member = members.has(nodeId(connection.remotePeer.toString()));
      if ((member || !admitting) && !this.#joining.has(connection)) {
        connection.abort(new StreamLostError("connect again"));
      }
    }
  }

  /** Whether this connection began as a stranger's; its end is seen to here. */
  tracks(connection: Connection): boolean {
    return this.#open.has(connection);
  }

  /** A join runs on this connection: it bounds itself, and ends the connection. */
  joinBegins(connection: Connection): void {
    this.#joining.add(connection);
    clearTimeout(this.#open.get(connection));
  }

  close(): void {
    for (const timer of this.#open.values()) clearTimeout(timer);
    this.#open.clear();
  }

  #membersTopology(topology: Topology): Topology {
    return {
      ...topology,
      onConnect: (peer, connection) =>
        this.#members.has(nodeId(peer.toString()))
          ? topology.onConnect?.(peer, connection)
          : undefined,
    };
  }

  #watch(raw: MultiaddrConnection): void {
    raw.addEventListener("close", () => {
      if (!this.#encrypted.has(raw)) this.#counters.strangersRefused++;
    });
  }

  #onOpen(connection: Connection): void {
    if (
      connection.direction !== "inbound" ||
      this.#members.has(nodeId(connection.remotePeer.toString()))
    )
      return;
    const timer = setTimeout(
      () => connection.abort(new StreamLostError("a stranger that did not join")),
      this.#limits.strangerMs,
    );
    this.#open.set(connection, timer);
    void this.#ask(connection);
  }

  #forget(connection: Connection): void {
    clearTimeout(this.#open.get(connection));
    this.#open.delete(connection);
    this.#joining.delete(connection);
  }
}
