import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from "node:crypto";
import type { ICryptoInterface } from "@libp2p/noise";
import { defaultCrypto } from "@libp2p/noise/crypto";

const CIPHER = "chacha20-poly1305";
const TAG_BYTES = 16;
const OPTIONS = { authTagLength: TAG_BYTES } as const;
/** Below it WebAssembly is faster than a call of OpenSSL. */
const SMALL_BYTES = 300;

/**
 * noise's cryptography with Node's own ciphers and keys that Node has seen before: given the bytes of a key, it makes
 * and throws an error with a picture of the stack to find out that they are bytes, which costs more than to encrypt.
 * Encrypts and authenticates as RFC 8439; to decrypt what was tampered with throws.
 */
export const SEAL: ICryptoInterface = {
  ...defaultCrypto,
  chaCha20Poly1305Encrypt(plaintext, nonce, ad, k) {
    if (plaintext.byteLength < SMALL_BYTES)
      return defaultCrypto.chaCha20Poly1305Encrypt(plaintext, nonce, ad, k);
    const cipher = createCipheriv(CIPHER, keyOf(k), nonce, OPTIONS);
    cipher.setAAD(ad, { plaintextLength: plaintext.byteLength });
    const text = cipher.update(plaintext.subarray());
    cipher.final();
    return Buffer.concat([text, cipher.getAuthTag()], text.byteLength + TAG_BYTES);
  },
  chaCha20Poly1305Decrypt(ciphertext, nonce, ad, k, dst) {
    if (ciphertext.byteLength < SMALL_BYTES)
      return defaultCrypto.chaCha20Poly1305Decrypt(ciphertext, nonce, ad, k, dst);
    const bytes = ciphertext.subarray();
    const length = bytes.byteLength - TAG_BYTES;
    const decipher = createDecipheriv(CIPHER, keyOf(k), nonce, OPTIONS);
    decipher.setAAD(ad, { plaintextLength: length });
    decipher.setAuthTag(bytes.subarray(length));
    const text = decipher.update(bytes.subarray(0, length));
    decipher.final();
    return text;
  },
};

/** A connection has two keys, which stay the same bytes for as long as it lives. */
const keys = new WeakMap<Uint8Array, KeyObject>();

function keyOf(bytes: Uint8Array): KeyObject {
  let key = keys.get(bytes);
  if (key === undefined) {
    key = createSecretKey(bytes);
    keys.set(bytes, key);
  }
  return key;
}
