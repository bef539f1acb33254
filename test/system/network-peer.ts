import { generateKeyPairFromSeed } from "@libp2p/crypto/keys";
import type { NetworkEvents } from "../../node/network.ts";
import { createNetwork } from "../../node/libp2p/libp2p.ts";
import type { NodeId } from "../../state/ids.ts";

/** A process with one network, led by its parent: messages in, events out. */
export type PeerOrder =
  | { readonly kind: "admit"; readonly members: readonly NodeId[] }
  | {
      readonly kind: "connect";
      readonly peers: readonly { readonly id: NodeId; readonly addresses: readonly string[] }[];
    }
  | { readonly kind: "gossip"; readonly text: string }
  | { readonly kind: "send"; readonly to: NodeId; readonly text: string }
  | { readonly kind: "close" };

export type PeerEvent =
  | {
      readonly kind: "ready";
      readonly self: NodeId;
      readonly addresses: readonly string[];
      readonly rssBytes: number;
    }
  | { readonly kind: "up" | "lost"; readonly peer: NodeId }
  | { readonly kind: "frame" | "gossip"; readonly from: NodeId; readonly text: string }
  | { readonly kind: "closed"; readonly tookMs: number };

const tell = (event: PeerEvent): void => void process.send?.(event);
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

const events: NetworkEvents = {
  onFrame: (from, frame) => tell({ kind: "frame", from, text: text(frame) }),
  onPeerUp: (peer) => tell({ kind: "up", peer }),
  onPeerLost: (peer) => tell({ kind: "lost", peer }),
  onDialable: () => {},
  onGossip: (from, payload) => tell({ kind: "gossip", from, text: text(payload) }),
  onBulk: async function* (_from, request) {
    yield request;
  },
  onJoin: (_joiner, hello) => Promise.resolve(hello),
  onVouch: () => null,
  onVouched: () => {},
};

const [seed = "", listen = "/ip4/127.0.0.1/tcp/0"] = process.argv.slice(2);
const key = await generateKeyPairFromSeed("Ed25519", Buffer.from(seed, "hex"));
const network = await createNetwork({ key, listen: [listen], announce: [], events });

process.on("message", (order: PeerOrder) => {
  switch (order.kind) {
    case "admit":
      network.admit(new Set(order.members), null);
      return;
    case "connect":
      network.connect(order.peers);
      return;
    case "gossip":
      network.gossip(Buffer.from(order.text));
      return;
    case "send":
      network.send(order.to, Buffer.from(order.text));
      return;
    case "close": {
      const startMs = performance.now();
      void network.close().then(() => {
        tell({ kind: "closed", tookMs: performance.now() - startMs });
        process.disconnect();
      });
      return;
    }
  }
});
// The parent is gone: nobody leads this process any more.
process.on("disconnect", () => void network.close().finally(() => process.exit(0)));
tell({
  kind: "ready",
  self: network.self,
  addresses: network.addresses(),
  rssBytes: process.memoryUsage.rss(),
});
