import { createHmac, timingSafeEqual } from "node:crypto";
import type { NodeId } from "../../state/ids.ts";

/** What both ends of a join prove that they share the secret for. */
export interface JoinProofOf {
  readonly clusterId: string;
  readonly joinerNonce: Uint8Array;
  readonly serverNonce: Uint8Array;
  readonly joiner: NodeId;
  readonly server: NodeId;
}

export const NONCE_BYTES = 32;
export const PROOF_BYTES = 32;

/**
 * Bound to both peer ids, which the encrypted connection has proved, and to both nonces: it can be neither relayed
 * to another node nor replayed. `by` keeps the one end's proof from being sent back as the other's.
 */
export function joinProof(
  secret: Uint8Array,
  by: "server" | "joiner",
  of: JoinProofOf,
): Uint8Array {
  const { clusterId, joinerNonce, serverNonce, joiner, server } = of;
  return macOf(secret, [`orch-join-1 ${by}`, clusterId, joinerNonce, serverNonce, joiner, server]);
}

/** An HMAC-SHA-256 over the parts, each with its length, so that no two lists of parts are the same bytes. */
export function macOf(secret: Uint8Array, parts: readonly (string | Uint8Array)[]): Uint8Array {
  const mac = createHmac("sha256", secret);
  for (const part of parts) {
    const bytes = typeof part === "string" ? Buffer.from(part) : part;
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, bytes.byteLength);
    mac.update(length).update(bytes);
  }
  return mac.digest();
}

/** In constant time for proofs of the right length. */
export function sameProof(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && timingSafeEqual(a, b);
}
