/** The libp2p protocols, and the frame types of each. Strangers may speak JOIN only, and answer to VOUCH. */
export const RPC_PROTOCOL = "/orch/rpc/1";
export const BULK_PROTOCOL = "/orch/bulk/1";
export const JOIN_PROTOCOL = "/orch/join/1";
export const VOUCH_PROTOCOL = "/orch/vouch/1";
export const METRICS_TOPIC = "orch/metrics/1";

export const GOSSIP_PROTOCOLS = ["/meshsub/1.2.0", "/meshsub/1.1.0", "/meshsub/1.0.0"] as const;

/** A peer's stream. */
export const RPC_FRAME = { hello: 1, accept: 2, data: 3, keepalive: 4, want: 5 } as const;
/** A bulk stream: the client's request, then the server's chunks and one end or fault. */
export const BULK_FRAME = { request: 1, chunk: 2, end: 3, fault: 4 } as const;
/** A join: joiner's offer, server's proof, joiner's proof with its hello, server's answer; or a fault. */
export const JOIN_FRAME = {
  offer: 1,
  serverProof: 2,
  joinerProof: 3,
  answer: 4,
  fault: 5,
} as const;
/** Of the one that opens the stream: its question; of the other: a proof of the join secret, and its list. */
export const VOUCH_FRAME = { question: 1, answer: 2 } as const;
