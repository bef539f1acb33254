import { gossipsub, StrictSign, type GossipSub } from "@libp2p/gossipsub";
import { identify, type Identify } from "@libp2p/identify";
import type { ConnectionGater, Libp2p, PrivateKey } from "@libp2p/interface";
import { noise } from "@libp2p/noise";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { createLibp2p } from "libp2p";
import { fault, OrchError } from "../../lib/errors.ts";
import { wholeMessages } from "./few-writes.ts";
import type { Limits } from "./limits.ts";
import { METRICS_TOPIC } from "./protocols.ts";
import { SEAL } from "./seal.ts";
import type { Strangers } from "./strangers.ts";

export type Host = Libp2p<{ identify: Identify; pubsub: GossipSub }>;

/** A libp2p node that listens nowhere and only asks to join; not started. */
export function createJoiner(key: PrivateKey, limits: Limits): Promise<Libp2p> {
  return createLibp2p({ ...common(key, limits, {}), addresses: { listen: [] }, start: false });
}

/** A member's libp2p node, not started. */
export function createHost(
  key: PrivateKey,
  listen: readonly string[],
  announce: readonly string[],
  strangers: Strangers,
  limits: Limits,
): Promise<Host> {
  return createLibp2p({
    ...common(key, limits, strangers.gater),
    addresses: { listen: [...listen], appendAnnounce: [...announce] },
    start: false,
    services: {
      identify: (components) =>
        identify()({
          peerId: components.peerId,
          privateKey: components.privateKey,
          peerStore: components.peerStore,
          registrar: strangers.fence(components.registrar),
          addressManager: components.addressManager,
          events: components.events,
          logger: components.logger,
          nodeInfo: components.nodeInfo,
        }),
      pubsub: (components) =>
        metricsGossip({
          peerId: components.peerId,
          privateKey: components.privateKey,
          peerStore: components.peerStore,
          registrar: strangers.fence(components.registrar),
          connectionManager: components.connectionManager,
          logger: components.logger,
        }),
    },
  });
}

const metricsGossip = gossipsub({
  globalSignaturePolicy: StrictSign,
  allowedTopics: [METRICS_TOPIC],
  // A duplicate is known before its signature is checked: half of the CPU of gossip.
  fastMsgIdFn: (message) => latin1(message.from) + latin1(message.seqno),
  D: 4,
  Dlo: 3,
  Dhi: 6,
  Dout: 1,
  Dscore: 2,
  Dlazy: 2,
  gossipFactor: 0.1,
  floodPublish: false,
  batchPublish: true,
  fallbackToFloodsub: false,
  allowPublishToZeroTopicPeers: true,
  maxOutboundBufferSize: 1 << 20,
  maxInboundDataLength: 64 << 10,
  // No scores: peers are members, and many of them may share one address (one host, one NAT).
  scoreParams: {
    IPColocationFactorWeight: 0,
    behaviourPenaltyWeight: 0,
    appSpecificWeight: 0,
  },
  scoreThresholds: { opportunisticGraftThreshold: 0 },
});

/** Starts the node; throws port-in-use when another program has one of its addresses. */
export async function startHost(node: Libp2p, listen: readonly string[]): Promise<void> {
  try {
    await node.start();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    await Promise.resolve(node.stop()).catch(() => {});
    const taken = /EADDRINUSE[^\n]*?(\S+:\d+)\s*$/m.exec(message);
    if (taken !== null) {
      const address = taken[1] ?? listen.join(", ");
      throw new OrchError(
        fault(
          "port-in-use",
          `cannot listen on ${address}: another program uses that port`,
          "Stop that program, or choose another address with --listen.",
          { address, flag: "--listen" },
        ),
        error,
      );
    }
    throw new OrchError(
      fault(
        "usage",
        `cannot listen on ${listen.join(", ")}: ${lastLine(message)}`,
        "Give an address of this machine with --listen.",
        {
          listen: [...listen],
        },
      ),
      error,
    );
  }
}

function common(key: PrivateKey, limits: Limits, gater: ConnectionGater) {
  return {
    privateKey: key,
    transports: [tcp()],
    connectionEncrypters: [wholeMessages(noise({ crypto: SEAL }))],
    // The default window (16 MiB) is larger than a stream's read limit (4 MiB): a paused stream would be aborted.
    streamMuxers: [
      yamux({
        enableKeepAlive: false,
        maxInboundStreams: limits.streamsPerConnection,
        streamOptions: { maxStreamWindowSize: 1 << 20 },
      }),
    ],
    connectionGater: gater,
    // It aborts a healthy connection when a ping is late; our own keepalives are on the peers' streams.
    connectionMonitor: { enabled: false },
    connectionManager: {
      maxConnections: limits.maxConnections,
      maxIncomingPendingConnections: limits.maxPendingInbound,
      inboundConnectionThreshold: limits.inboundPerSecond,
      maxParallelDials: limits.parallelDials,
      dialTimeout: limits.dialMs,
      // As they are given: each is first some time, as not all have their time in one dial.
      addressSorter: (): 0 => 0,
      // Below the dial's time, so that an address of the past cannot eat the time of the right one.
      addressDialTimeout: Math.ceil(limits.dialMs / 3),
      inboundUpgradeTimeout: limits.upgradeMs,
      outboundStreamProtocolNegotiationTimeout: limits.helloMs,
      inboundStreamProtocolNegotiationTimeout: limits.helloMs,
      connectionCloseTimeout: 500,
    },
  };
}

function latin1(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString("latin1");
}

function lastLine(message: string): string {
  return message.trim().split("\n").at(-1)?.trim() ?? message;
}
