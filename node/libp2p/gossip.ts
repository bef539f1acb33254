import type { Message } from "@libp2p/gossipsub";
import { TopicValidatorResult } from "@libp2p/gossipsub";
import type { Connection } from "@libp2p/interface";
import { nodeId, type NodeId } from "../../state/ids.ts";
import type { Counters } from "./counters.ts";
import type { Host } from "./host.ts";
import type { Limits } from "./limits.ts";
import { GOSSIP_PROTOCOLS, METRICS_TOPIC } from "./protocols.ts";

/** A peer's gossip stream must stand this long after its connection, or it is opened again. */
const REPAIR_AFTER_MS = 1_000;

/** The metrics topic: signed messages of members. */
export class Gossip {
  readonly #host: Host;
  readonly #limits: Limits;
  readonly #counters: Counters;
  readonly #repairing = new WeakSet<Connection>();

  constructor(
    host: Host,
    limits: Limits,
    counters: Counters,
    isMember: (peer: NodeId) => boolean,
    onGossip: (from: NodeId, payload: Uint8Array) => void,
  ) {
    this.#host = host;
    this.#limits = limits;
    this.#counters = counters;
    const { pubsub } = host.services;
    pubsub.topicValidators.set(METRICS_TOPIC, (_, message) => {
      if (authorOf(message, isMember) !== null && message.data.byteLength <= limits.gossipBytes)
        return TopicValidatorResult.Accept;
      counters.badFrames++;
      return TopicValidatorResult.Ignore;
    });
    pubsub.addEventListener("message", (event) => {
      const from = authorOf(event.detail, isMember);
      if (from === null || event.detail.topic !== METRICS_TOPIC) return;
      counters.bytesIn += event.detail.data.byteLength;
      onGossip(from, event.detail.data);
    });
  }

  start(): void {
    this.#host.services.pubsub.subscribe(METRICS_TOPIC);
  }

  publish(payload: Uint8Array): void {
    const counters = this.#counters;
    const dropped = (): void => {
      counters.framesDropped++;
    };
    if (payload.byteLength > this.#limits.gossipBytes) {
      dropped();
      return;
    }
    counters.bytesOut += payload.byteLength;
    this.#host.services.pubsub.publish(METRICS_TOPIC, payload).catch(dropped);
  }

  /**
   * gossipsub opens its stream to a peer once, when identify ends; when that stream dies and the connection stays,
   * the peer gets nothing for ever. Identifying again makes it open another one.
   */
  repair(peer: Connection, ageMs: number): void {
    if (ageMs < REPAIR_AFTER_MS || this.#repairing.has(peer)) return;
    const speaks = this.#host
      .getConnections(peer.remotePeer)
      .some((connection) =>
        connection.streams.some(
          (stream) => stream.direction === "outbound" && isGossip(stream.protocol),
        ),
      );
    if (speaks) return;
    this.#repairing.add(peer);
    const done = (): void => {
      // gossipsub opens its streams one after another, so it may take a while.
      setTimeout(() => this.#repairing.delete(peer), REPAIR_AFTER_MS).unref();
    };
    this.#host.services.identify.identify(peer).then(done, done);
  }
}

export function isGossip(protocol: string): boolean {
  return GOSSIP_PROTOCOLS.some((known) => known === protocol);
}

/** The member that signed the message, or null. gossipsub has checked the signature. */
function authorOf(message: Message, isMember: (peer: NodeId) => boolean): NodeId | null {
  if (message.type !== "signed") return null;
  const from = nodeId(message.from.toString());
  return isMember(from) ? from : null;
}
