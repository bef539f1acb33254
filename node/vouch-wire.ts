import { z } from "zod";
import type { Vouch } from "./core/message.ts";
import { memberShape } from "./wire-shapes.ts";

/** The bytes of a voucher's list: JSON, of which the proof of the join secret covers every byte. */

const text = new TextEncoder();
const utf8 = new TextDecoder("utf-8", { fatal: true });

const Shape: z.ZodType<Vouch> = z.object({
  members: z.array(memberShape),
  index: z.int().min(0),
});

export function encodeVouch(vouch: Vouch): Uint8Array {
  return text.encode(JSON.stringify(vouch));
}

/** Null for anything that is no such list. Never throws. */
export function decodeVouch(payload: Uint8Array): Vouch | null {
  try {
    return Shape.safeParse(JSON.parse(utf8.decode(payload))).data ?? null;
  } catch {
    return null;
  }
}
