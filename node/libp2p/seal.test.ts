import { randomBytes } from "node:crypto";
import { pureJsCrypto } from "@libp2p/noise";
import { Uint8ArrayList } from "uint8arraylist";
import { describe, expect, test } from "vitest";
import { SEAL } from "./seal.ts";

const key = randomBytes(32);
const nonce = randomBytes(12);
const ad = randomBytes(32);
/** Of either implementation. */
const NOT_OPENED = /authenticate|decryption/u;

describe("sealing", () => {
  test.each([0, 1, 283, 284, 299, 300, 301, 1200, 65_519])(
    "%i bytes: as another implementation of the same cipher",
    (length) => {
      const text = randomBytes(length);
      const sealed = SEAL.chaCha20Poly1305Encrypt(text, nonce, ad, key).subarray();
      const other = pureJsCrypto.chaCha20Poly1305Encrypt(text, nonce, ad, key).subarray();
      expect(Buffer.compare(sealed, other)).toBe(0);
      const opened = SEAL.chaCha20Poly1305Decrypt(sealed, nonce, ad, key).subarray();
      expect(Buffer.compare(opened, text)).toBe(0);
    },
  );

  test("pieces are one text", () => {
    const text = randomBytes(2000);
    const pieces = new Uint8ArrayList(text.subarray(0, 12), text.subarray(12));
    const sealed = SEAL.chaCha20Poly1305Encrypt(pieces, nonce, ad, key).subarray();
    const parts = new Uint8ArrayList(sealed.subarray(0, 700), sealed.subarray(700));
    const opened = SEAL.chaCha20Poly1305Decrypt(parts, nonce, ad, key).subarray();
    expect(Buffer.compare(opened, text)).toBe(0);
  });

  test.each([100, 2000])("%i bytes that were tampered with are not opened", (length) => {
    const sealed = SEAL.chaCha20Poly1305Encrypt(randomBytes(length), nonce, ad, key).subarray();
    for (const at of [0, length - 1, length, length + 15]) {
      const broken = Uint8Array.from(sealed);
      broken[at] = (broken[at] ?? 0) ^ 1;
      expect(() => SEAL.chaCha20Poly1305Decrypt(broken, nonce, ad, key)).toThrow(NOT_OPENED);
    }
    const opened = (): unknown => SEAL.chaCha20Poly1305Decrypt(sealed, nonce, randomBytes(32), key);
    expect(opened).toThrow(NOT_OPENED);
    expect(() => SEAL.chaCha20Poly1305Decrypt(sealed, nonce, ad, randomBytes(32))).toThrow(
      NOT_OPENED,
    );
  });
});
