import type { Fault } from "../lib/errors.ts";
import { fault } from "../lib/errors.ts";
import type { Millis } from "./ids.ts";
import { NAME, NAME_RULE } from "./job-check.ts";

/**
 * A named piece of content in the replicated state. Immutable: a change is a new object.
 *
 * `version` rises by one with each put, also when the content stays the same, and a name never has the same version
 * twice: if it is made again after its removal it goes on above all versions that it had, so that nobody who read
 * it long ago can take the new one for the old. The state keeps one number for that, the highest version that any
 * removed config had, and new names begin above it: 1 in a cluster in which nothing was ever removed. A number a
 * name would grow without bound; the log index as version would be as good, but says nothing to people, and
 * a version out of a backup could be above all indices of the cluster it comes to.
 */
export interface Config {
  readonly name: string;
  readonly version: number;
  /** The content: base64url without padding. */
  readonly data: string;
  readonly createdAtMs: Millis;
  readonly updatedAtMs: Millis;
  readonly modifiedIndex: number;
}

/** Of the content of one config. An entry with it is well below the largest message of Raft. */
export const MAX_CONFIG_BYTES: number = 500 * 1024;
/** All of them are in every voter's memory and in every snapshot. */
export const MAX_CONFIGS_BYTES: number = 64 * 1024 * 1024;
export const MAX_CONFIGS = 10_000;

const BASE64URL = /^[A-Za-z0-9_-]*$/;

/** How many bytes the content has. */
export function configBytes(data: string): number {
  return Math.floor((data.length * 3) / 4);
}

/** What is wrong with a config by itself: its name, its encoding, its size; null: nothing. */
export function checkConfig(name: string, data: string): Fault | null {
  const details = { config: name.slice(0, 100) };
  if (!NAME.test(name)) {
    const message = `config "${name.slice(0, 100)}": a config's name ${NAME_RULE}`;
    return fault("invalid", message, "Choose another name.", details);
  }
  const bytes = configBytes(data);
  if (bytes > MAX_CONFIG_BYTES) return configTooLarge(name);
  if (data.length % 4 === 1 || !BASE64URL.test(data)) {
    const message = `config "${name}": its data are not base64url without padding`;
    return fault("invalid", message, "This is a bug in whatever sent it.", details);
  }
  return null;
}

/** For content above MAX_CONFIG_BYTES, wherever it is noticed. */
export function configTooLarge(name: string): Fault {
  return fault(
    "too-large",
    `config "${name}": its content is larger than ${MAX_CONFIG_BYTES} bytes`,
    "Keep large files in a volume or an image.",
    { config: name, limitBytes: MAX_CONFIG_BYTES },
  );
}
