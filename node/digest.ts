import type { Digest } from "./core/effect.ts";

/** The bytes of a gossiped digest: JSON, read with distrust. */

const text = new TextEncoder();
const utf8 = new TextDecoder("utf-8", { fatal: true });

export function encodeDigest(digest: Digest): Uint8Array {
  return text.encode(JSON.stringify(digest));
}

/** Null for anything that is not a digest. Never throws. */
export function decodeDigest(payload: Uint8Array): Digest | null {
  try {
    const parsed: unknown = JSON.parse(utf8.decode(payload));
    return isDigest(parsed) ? parsed : null;
  } catch {
    return null;
  }
}

function isDigest(value: unknown): value is Digest {
  if (typeof value !== "object" || value === null) return false;
  if (!("usage" in value && "tasks" in value && "orchVersion" in value && "count" in value))
    return false;
  const { usage, tasks, orchVersion, count } = value;
  return (
    (usage === null || isUsage(usage)) &&
    Number.isSafeInteger(tasks) &&
    typeof orchVersion === "string" &&
    Number.isSafeInteger(count)
  );
}

function isUsage(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const fields = ["cpuMilli", "memoryMib", "diskMib", "load1Milli"];
  return fields.every((name) => Number.isSafeInteger(Reflect.get(value, name)));
}
