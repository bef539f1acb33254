import { readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { text as readAll } from "node:stream/consumers";
import { parseEnv } from "node:util";
import { fault, OrchError } from "../lib/errors.ts";
import type { JobPutView } from "../node/core/view-types.ts";
import { codeOf, messageOf, problemText } from "./boundary.ts";
import { pathOf } from "./client.ts";
import type { Client } from "./client.ts";
import { note } from "./output.ts";

/** A Compose file as it is sent to a node, which reads it. */
export interface Submission {
  readonly compose: string;
  /** As the user named it: for the node's messages. */
  readonly file: string;
  /** The job's name when neither the user nor the file gives one. */
  readonly defaultName: string;
  /** The variables that the file mentions, as far as they are set. */
  readonly environment: Readonly<Record<string, string>>;
}

/** Reads a Compose file, or stdin for `-`. Throws OrchError `usage` when it cannot be read. */
export async function readSubmission(file: string): Promise<Submission> {
  const compose = file === "-" ? await readAll(process.stdin) : readUserFile(file);
  const folder = file === "-" ? process.cwd() : dirname(resolve(file));
  return {
    compose,
    file: file === "-" ? "stdin" : file,
    defaultName: jobNameOf(basename(folder)),
    environment: mentioned(compose, { ...dotEnv(folder), ...process.env }),
  };
}

/** Submits it; `name` wins over every other name. Says on stderr what the node warned about. */
export async function submit(
  client: Client,
  submission: Submission,
  name: string | null,
  quiet: boolean,
): Promise<JobPutView> {
  const { compose, file, defaultName, environment } = submission;
  const body = { compose, file, defaultName, environment };
  const written = await client.write<JobPutView>("PUT", pathOf("jobs", name ?? "-"), body);
  if (!quiet)
    for (const warning of written.warnings) note(`warning: ${problemText({ ...warning }, file)}`);
  return written;
}

/** What Compose makes of a folder's name: lower case, without what a name may not hold. */
export function jobNameOf(text: string): string {
  const name = text
    .toLowerCase()
    .replaceAll(/[^a-z0-9_-]/g, "")
    .replace(/^[_-]+/, "")
    .slice(0, 63);
  return name === "" ? "job" : name;
}

/** Only what the file mentions: the rest of a user's environment is nobody else's business. */
export function mentioned(
  compose: string,
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [, name = ""] of compose.matchAll(/\$\{?([A-Za-z_]\w*)/g)) {
    const value = environment[name];
    if (value !== undefined) found[name] = value;
  }
  return found;
}

function readUserFile(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const code = codeOf(error);
    const reasons: Readonly<Record<string, string>> = {
      ENOENT: "there is no such file",
      EISDIR: "it is a folder",
      EACCES: "it may not be read",
    };
    throw new OrchError(
      fault(
        "usage",
        `${file}: ${reasons[code ?? ""] ?? messageOf(error)}`,
        "Name a Compose file, - for stdin, or run one image with --image.",
      ),
      error,
    );
  }
}

function dotEnv(folder: string): Readonly<Record<string, string | undefined>> {
  try {
    return parseEnv(readFileSync(join(folder, ".env"), "utf8"));
  } catch (error) {
    if (codeOf(error) === "ENOENT") return {};
    throw new OrchError(
      fault("usage", `${join(folder, ".env")}: ${messageOf(error)}`, "Repair it or move it away."),
      error,
    );
  }
}
