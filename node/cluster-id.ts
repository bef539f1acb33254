import { randomBytes } from "node:crypto";

/** A cluster's id: 16 of a-z and 0-9, by chance. */
export function newClusterId(): string {
  const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
  return [...randomBytes(64)]
    .filter((byte) => byte < 252)
    .slice(0, 16)
    .map((byte) => alphabet.charAt(byte % 36))
    .join("")
    .padEnd(16, "0");
}
