import { createHash } from "node:crypto";
import { fault, type Fault } from "../../lib/errors.ts";
import type { JoinSecret } from "../network.ts";

/** What a join token carries. */
export type JoinToken = JoinSecret;

const SECRET_BYTES = 32;
const CHECKSUM_LENGTH = 8;
const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
const SHAPE = /^orch1-([a-z0-9]{16})-([a-z2-7]{52})-([a-z2-7]{8})$/;

/** The text form: `orch1-<clusterId>-<secret in base32>-<checksum>`, one word without a case. */
export function formatToken(token: JoinToken): string {
  const body = `orch1-${token.clusterId}-${base32(token.secret)}`;
  return `${body}-${checksum(body)}`;
}

/** The token in `text`; white space around it and its case do not matter. */
export function parseToken(text: string): JoinToken | Fault {
  const word = text.trim().toLowerCase();
  const match = SHAPE.exec(word);
  if (match === null) return malformed();
  const [, clusterId = "", secretText = "", sum = ""] = match;
  const secret = unbase32(secretText);
  if (checksum(word.slice(0, -CHECKSUM_LENGTH - 1)) !== sum || secret.byteLength !== SECRET_BYTES)
    return malformed();
  return { clusterId, secret };
}

function malformed(): Fault {
  return fault(
    "token-malformed",
    "the token is cut off or mistyped",
    "Copy it again, whole, from `orch node token`.",
  );
}

function checksum(body: string): string {
  return base32(createHash("sha256").update(body).digest()).slice(0, CHECKSUM_LENGTH);
}

function base32(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held = ((held << 8) | byte) & 0xfff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += ALPHABET.charAt((held >> bits) & 31);
    }
  }
  return bits === 0 ? text : text + ALPHABET.charAt((held << (5 - bits)) & 31);
}

function unbase32(text: string): Uint8Array {
  const bytes = new Uint8Array(Math.floor((text.length * 5) / 8));
  let bits = 0;
  let held = 0;
  let at = 0;
  for (const letter of text) {
    held = ((held << 5) | ALPHABET.indexOf(letter)) & 0xfff;
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    bytes[at++] = (held >> bits) & 0xff;
  }
  return bytes;
}
