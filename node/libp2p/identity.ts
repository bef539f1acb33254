import { chmod, mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import {
  generateKeyPair,
  generateKeyPairFromSeed,
  privateKeyFromProtobuf,
  privateKeyToProtobuf,
} from "@libp2p/crypto/keys";
import type { PrivateKey } from "@libp2p/interface";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { fault, OrchError } from "../../lib/errors.ts";
import { nodeId, type NodeId } from "../../state/ids.ts";

/** The id that a key proves. */
export function nodeIdOf(key: PrivateKey): NodeId {
  return nodeId(peerIdFromPrivateKey(key).toString());
}

/**
 * The node's ed25519 key: read from `path`, or made and kept there (mode 0600) when there is none.
 * Throws data-damaged when the file is not such a key, data-unwritable when it cannot be read or kept.
 */
export async function loadIdentityKey(path: string): Promise<PrivateKey> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return makeIdentityKey(path);
    throw new OrchError(
      fault(
        "data-unwritable",
        `cannot read the identity key ${path}: ${text(error)}`,
        "Check who owns the file and its mode.",
        { path },
      ),
      error,
    );
  }
  return parseIdentityKey(path, bytes);
}

async function parseIdentityKey(path: string, bytes: Uint8Array): Promise<PrivateKey> {
  const damaged = (cause?: unknown): OrchError =>
    new OrchError(
      fault(
        "data-damaged",
        `the identity key ${path} is damaged`,
        "Restore the file from a backup, or move the data directory away and join the cluster as a new node.",
        { path },
      ),
      cause,
    );
  let key: PrivateKey;
  try {
    key = privateKeyFromProtobuf(bytes);
  } catch (error) {
    throw damaged(error);
  }
  if (key.type !== "Ed25519") throw damaged();
  // The file holds the seed and the public key: a flipped bit in either shows as a disagreement.
  const twin = await generateKeyPairFromSeed("Ed25519", key.raw.subarray(0, 32));
  if (!twin.equals(key)) throw damaged();
  return key;
}

async function makeIdentityKey(path: string): Promise<PrivateKey> {
  const key = await generateKeyPair("Ed25519");
  const temporary = `${path}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    // What a crash between write and rename left behind was never anyone's identity.
    await rm(temporary, { force: true });
    const file = await open(temporary, "wx", 0o600);
    try {
      await file.writeFile(privateKeyToProtobuf(key));
      await file.sync();
    } finally {
      await file.close();
    }
    await chmod(temporary, 0o600);
    await rename(temporary, path);
    const folder = await open(dirname(path), "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (error) {
    throw new OrchError(
      fault(
        "data-unwritable",
        `cannot write the identity key ${path}: ${text(error)}`,
        "Check that the data directory is writable and its disk not full.",
        { path },
      ),
      error,
    );
  }
  return key;
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
