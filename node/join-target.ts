import { z } from "zod";
import { fault, OrchError } from "../lib/errors.ts";

const Health = z.object({ addresses: z.array(z.string()) });

/** How a person writes a node's address, for `orch node join`. */
export function hostPortOf(address: string | undefined): string {
  const match = /^\/(?:ip4|dns)\/([^/]+)\/tcp\/(\d+)$/.exec(address ?? "");
  return match === null ? (address ?? "<this machine>") : `${match[1]}:${match[2]}`;
}

/** Where to knock, given what a person wrote: an address as it is, or a node's API URL, which tells its addresses. */
export async function peerAddresses(peer: string): Promise<readonly string[]> {
  if (!/^https?:\/\//.test(peer)) return [peer];
  const url = new URL("/healthz", peer);
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(5_000) });
    const { addresses } = Health.parse(await response.json());
    if (addresses.length > 0) return addresses;
  } catch (error) {
    throw new OrchError(
      fault(
        "unreachable",
        `no node's API answers at ${url.origin}: ${reasonOf(error)}`,
        "Give a node's host:port as `orch node ls` shows it on any member.",
      ),
      error,
    );
  }
  throw new OrchError(
    fault(
      "unreachable",
      `the node at ${url.origin} tells no address`,
      "Give its host:port instead.",
    ),
  );
}

/** fetch says only that it failed; why stands in the cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}
