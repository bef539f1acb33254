import { createReadStream } from "node:fs";
import { fault, OrchError } from "../../lib/errors.ts";
import type { ConfigContentView, ConfigView, WriteView } from "../../node/core/view-types.ts";
import { configTooLarge, MAX_CONFIG_BYTES } from "../../state/config.ts";
import { NAME, NAME_RULE } from "../../state/job-check.ts";
import { codeOf, messageOf } from "../boundary.ts";
import { pathOf } from "../client.ts";
import type { Context } from "../context.ts";
import { note, print, printJson } from "../output.ts";
import { printConfigs } from "../views.ts";

export interface ConfigSetFlags {
  readonly ifVersion?: string;
}

/** `orch config set NAME FILE|-` */
export async function configSet(
  { client, json, quiet }: Context,
  name: string,
  file: string,
  flags: ConfigSetFlags,
): Promise<void> {
  if (!NAME.test(name))
    throw new OrchError(
      fault("usage", `"${name}" is no name for a config`, `A config's name ${NAME_RULE}.`),
    );
  const ifVersion = flags.ifVersion === undefined ? null : readVersion(flags.ifVersion);
  const bytes = await readContent(name, file);
  const written = await client.writeBytes<WriteView>(pathOf("configs", name), bytes, ifVersion);
  if (json) return printJson(written);
  if (quiet) return print(name);
  note(`config ${name} is set, version ${written.version ?? "-"}`);
}

/** `orch config get NAME`: the bytes as they were set, and nothing more. */
export async function configGet({ client, json }: Context, name: string): Promise<void> {
  const config = await client.get<ConfigContentView>(pathOf("configs", name));
  if (json) return printJson(config);
  process.stdout.write(Buffer.from(config.data, "base64url"));
}

/** `orch config ls` */
export async function configLs({ client, json, quiet }: Context): Promise<void> {
  const configs = await client.get<readonly ConfigView[]>("/v1/configs");
  if (json) return printJson(configs);
  if (!quiet) return printConfigs(configs, Date.now());
  for (const config of configs) print(config.name);
}

/** `orch config rm NAME` */
export async function configRm({ client, json, quiet }: Context, name: string): Promise<void> {
  const written = await client.remove<WriteView>(pathOf("configs", name));
  if (json) return printJson(written);
  if (quiet) return print(name);
  note(`config ${name} is removed`);
}

function readVersion(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new OrchError(
    fault(
      "usage",
      `--if-version "${text}" is no version`,
      "Write the number that `orch config ls` shows, or 0 for a config that must not exist.",
    ),
  );
}

/** Reads no further than it takes to know that the content is too large. */
async function readContent(name: string, file: string): Promise<Uint8Array> {
  const source: AsyncIterable<Buffer> = file === "-" ? process.stdin : createReadStream(file);
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of source) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > MAX_CONFIG_BYTES) break;
    }
  } catch (error) {
    throw unreadable(file, error);
  }
  if (bytes > MAX_CONFIG_BYTES) throw new OrchError(configTooLarge(name));
  return Buffer.concat(chunks);
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EISDIR: "it is a folder",
  EACCES: "it may not be read",
};

function unreadable(file: string, error: unknown): OrchError {
  const reason = REASONS[codeOf(error) ?? ""] ?? messageOf(error);
  return new OrchError(fault("usage", `${file}: ${reason}`, "Name a file, or - for stdin."), error);
}
