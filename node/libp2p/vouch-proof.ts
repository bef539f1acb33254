import type { NodeId } from "../../state/ids.ts";
import { macOf } from "./join-proof.ts";

/** What a voucher proves that it says with the join secret in hand. */
export interface VouchProofOf {
  readonly clusterId: string;
  /** The asker's, fresh for each question. */
  readonly nonce: Uint8Array;
  readonly asker: NodeId;
  readonly voucher: NodeId;
  /** What it says: who the members are. */
  readonly list: Uint8Array;
}

/**
 * Bound to both peer ids, which the encrypted connection has proved, to the asker's nonce and to every byte of the
 * list: it can be neither relayed, nor replayed, nor put before another list. Its label keeps it apart from a join's.
 */
export function vouchProof(secret: Uint8Array, of: VouchProofOf): Uint8Array {
  const { clusterId, nonce, asker, voucher, list } = of;
  return macOf(secret, ["orch-vouch-1", clusterId, nonce, asker, voucher, list]);
}
