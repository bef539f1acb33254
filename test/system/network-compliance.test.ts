import { generateKeyPair } from "@libp2p/crypto/keys";
import { createNetwork } from "../../node/libp2p/libp2p.ts";
import { networkCompliance } from "../compliance/network.ts";

networkCompliance("libp2p", {
  create: async (events) =>
    createNetwork({
      key: await generateKeyPair("Ed25519"),
      listen: ["/ip4/127.0.0.1/tcp/0"],
      announce: [],
      events,
    }),
});
