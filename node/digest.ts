import type { Digest } from "./core/effect.ts";
import { digestShape } from "./wire-shapes.ts";

/** The bytes of a gossiped digest: JSON, read with distrust. */

const text = new TextEncoder();
const utf8 = new TextDecoder("utf-8", { fatal: true });

export function encodeDigest(digest: Digest): Uint8Array {
  return text.encode(JSON.stringify(digest));
}

/** Null for anything that is not a digest; fields that are not known are left out. Never throws. */
export function decodeDigest(payload: Uint8Array): Digest | null {
  try {
    return digestShape.safeParse(JSON.parse(utf8.decode(payload))).data ?? null;
  } catch {
    return null;
  }
}
