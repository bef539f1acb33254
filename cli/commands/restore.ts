import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { fault, faultOf, OrchError } from "../../lib/errors.ts";
import type { ConfigView, JobView, WriteView } from "../../node/core/view-types.ts";
import { type Backup, readBackup } from "../backup-file.ts";
import { codeOf, messageOf } from "../boundary.ts";
import { pathOf } from "../client.ts";
import type { Client } from "../client.ts";
import type { Context } from "../context.ts";
import { note, print, printJson } from "../output.ts";

interface Item {
  readonly kind: "config" | "job";
  readonly name: string;
  /** In the backup. */
  readonly version: number;
  readonly body: unknown;
}

interface Outcome {
  readonly kind: Item["kind"];
  readonly name: string;
  readonly outcome: "restored" | "would restore" | "skipped" | "failed";
  readonly version: number;
  /** Why it was skipped or has failed; empty otherwise. */
  readonly reason: string;
}

/** `orch cluster restore FILE|- [--dry-run]` */
export async function clusterRestore(
  { client, json, quiet }: Context,
  file: string,
  dryRun: boolean,
): Promise<void> {
  const backup = await readBackup(linesOf(file), file, () => Promise.resolve());
  const { head } = backup;
  if (!json && !quiet) {
    note(`${file}: cluster ${head.clusterId} as of ${head.time}, log index ${head.index}`);
  }
  const outcomes: Outcome[] = [];
  const missing = await missingOf(client, itemsOf(backup), outcomes);
  for (const item of missing) {
    outcomes.push(dryRun ? would(item) : await restore(client, item, backup.sha256));
  }
  report(outcomes, json, quiet);
  const failed = outcomes.filter(({ outcome }) => outcome === "failed");
  if (failed.length === 0) {
    if (!json && !quiet) note("Nodes, keys and tasks are not restored: jobs are placed anew.");
    return;
  }
  throw new OrchError(
    fault(
      "conflict",
      `${failed.length} of ${missing.length} could not be restored`,
      "Mend what the reasons say, then run the command again: what is there already is left alone.",
      { failed },
    ),
  );
}

function itemsOf({ state }: Backup): Item[] {
  const configs = [...state.configs.values()].map(({ name, version, data }): Item => ({
    kind: "config",
    name,
    version,
    body: { data, version },
  }));
  const jobs = [...state.jobs.values()].map(({ name, version, spec, stopped }): Item => ({
    kind: "job",
    name,
    version,
    body: { spec, stopped, version },
  }));
  // Configs first: jobs may come to need them.
  return [...configs, ...jobs];
}

/** Those that the cluster does not have; the others are told as skipped. */
async function missingOf(
  client: Client,
  items: readonly Item[],
  outcomes: Outcome[],
): Promise<Item[]> {
  const [jobs, configs] = await Promise.all([
    client.get<readonly JobView[]>("/v1/jobs"),
    client.get<readonly ConfigView[]>("/v1/configs"),
  ]);
  const there = {
    job: new Map(jobs.map((job) => [job.name, job.version])),
    config: new Map(configs.map((config) => [config.name, config.version])),
  };
  return items.filter(({ kind, name, version }) => {
    const now = there[kind].get(name);
    if (now === undefined) return true;
    const reason = `the cluster has one of this name, at version ${now}`;
    outcomes.push({ kind, name, outcome: "skipped", version, reason });
    return false;
  });
}

function would({ kind, name, version }: Item): Outcome {
  return { kind, name, outcome: "would restore", version, reason: "" };
}

/** Sent again, it is done once: the key says which item of which backup it is. */
async function restore(client: Client, item: Item, sha256: string): Promise<Outcome> {
  const { kind, name, version, body } = item;
  const path = pathOf(kind === "job" ? "jobs" : "configs", name, "/restore");
  const key = `restore-${sha256.slice(0, 32)}-${kind}-${name}`;
  try {
    let written = await client.write<WriteView>("POST", path, body, key);
    // Restored from this backup once, and removed since: the answer was that of the first time.
    if ((await client.find(pathOf(kind === "job" ? "jobs" : "configs", name))) === null) {
      written = await client.write<WriteView>("POST", path, body);
    }
    return { kind, name, outcome: "restored", version: written.version ?? version, reason: "" };
  } catch (error) {
    const { code, message } = faultOf(error);
    // Without an answer the next one will have none either.
    if (code === "unreachable" || code === "no-manager" || code === "unknown") throw error;
    return { kind, name, outcome: "failed", version, reason: message };
  }
}

function report(outcomes: readonly Outcome[], json: boolean, quiet: boolean): void {
  if (json) return printJson(outcomes);
  for (const { kind, name, outcome, version, reason } of outcomes) {
    if (quiet) {
      if (outcome === "restored" || outcome === "would restore") print(name);
    } else {
      print(`${outcome} ${kind} ${name}, version ${version}${reason === "" ? "" : `: ${reason}`}`);
    }
  }
  if (outcomes.length === 0 && !quiet) note("The backup holds neither jobs nor configs.");
}

async function* linesOf(file: string): AsyncGenerator<string> {
  const input = file === "-" ? process.stdin : createReadStream(file);
  const failed = new Promise<never>((_, reject) => input.once("error", reject));
  failed.catch(() => undefined);
  const lines = createInterface({ input, crlfDelay: Infinity })[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await Promise.race([lines.next(), failed]);
      if (next.done === true) break;
      yield next.value;
    }
  } catch (error) {
    if (codeOf(error) === null) throw error;
    const reason = codeOf(error) === "ENOENT" ? "there is no such file" : messageOf(error);
    throw new OrchError(
      fault("usage", `${file}: ${reason}`, "Name a backup, or - for stdin."),
      error,
    );
  }
}
