import type { Fault } from "../lib/errors.ts";
import { fault } from "../lib/errors.ts";
import type { Outcome } from "./cluster.ts";
import type { Command } from "./command.ts";
import { checkConfig, type Config, configBytes, MAX_CONFIGS, MAX_CONFIGS_BYTES } from "./config.ts";
import { didYouMean } from "./suggest.ts";
import type { Change, Tables } from "./tables.ts";

type Of<Kind extends Command["kind"]> = Extract<Command, { kind: Kind }>;

/** A new config, or a new version of one, also if its content is the same. */
export function applyConfigPut(tables: Tables, command: Of<"config-put">, change: Change): Outcome {
  const { name, data, ifVersion } = command;
  const problem =
    checkConfig(name, data) ??
    checkVersion(tables, name, ifVersion) ??
    checkRoom(tables, name, data);
  if (problem !== null) return { kind: "refused", fault: problem };
  const version = (tables.configs.get(name)?.version ?? tables.configFloor) + 1;
  return put(tables, { name, data, version }, change, `version ${version} was set`);
}

export function applyConfigRemove(
  tables: Tables,
  command: Of<"config-remove">,
  change: Change,
): Outcome {
  const { name, ifVersion } = command;
  const problem = checkVersion(tables, name, ifVersion);
  if (problem !== null) return { kind: "refused", fault: problem };
  const old = tables.configs.get(name);
  // Also under `ifVersion` 0, which holds: there is nothing to remove.
  if (old === undefined) {
    const hint = didYouMean(name, tables.configs.keys(), "orch config ls");
    const details = { config: name };
    return { kind: "refused", fault: fault("not-found", `no config "${name}"`, hint, details) };
  }
  tables.removeConfig(old, change);
  return { kind: "done", changed: true, version: null };
}

/**
 * Makes a config with the version that it had in the backup; with a later one where the name may have had that
 * version in this cluster: what was said of versions holds here, too.
 */
export function applyConfigRestore(
  tables: Tables,
  command: Of<"config-restore">,
  change: Change,
): Outcome {
  const { name, data } = command;
  const problem =
    checkConfig(name, data) ??
    checkRestored(tables, name, command.version) ??
    checkRoom(tables, name, data);
  if (problem !== null) return { kind: "refused", fault: problem };
  const version = Math.max(command.version, tables.configFloor + 1);
  const message = `version ${version} was restored from a backup`;
  return put(tables, { name, data, version }, change, message);
}

function put(
  tables: Tables,
  content: Pick<Config, "name" | "version" | "data">,
  change: Change,
  message: string,
): Outcome {
  const config: Config = {
    name: content.name,
    version: content.version,
    data: content.data,
    createdAtMs: tables.configs.get(content.name)?.createdAtMs ?? change.timeMs,
    updatedAtMs: change.timeMs,
    modifiedIndex: change.index,
  };
  tables.putConfig(config, change, message);
  return { kind: "done", changed: true, version: config.version };
}

function checkVersion(tables: Tables, name: string, expected: number | null): Fault | null {
  const actual = tables.configs.get(name)?.version ?? 0;
  if (expected === null || expected === actual) return null;
  const message =
    actual === 0
      ? `config "${name}" does not exist; version ${expected} was expected`
      : expected === 0
        ? `config "${name}" exists already, at version ${actual}`
        : `config "${name}" is at version ${actual}, not ${expected}`;
  const details = { config: name, expected, actual };
  return fault("version-mismatch", message, "Read the config again and decide anew.", details);
}

function checkRestored(tables: Tables, name: string, version: number): Fault | null {
  const details = { config: name, version };
  if (tables.configs.has(name)) {
    const message = `config "${name}" exists already: it was not restored`;
    return fault(
      "conflict",
      message,
      `To restore it, remove it: \`orch config rm ${name}\`.`,
      details,
    );
  }
  if (Number.isSafeInteger(version) && version >= 1) return null;
  const message = `config "${name}": its version must be an integer from 1 on`;
  return fault("invalid", message, "Use a backup that orch made.", details);
}

/** Whether all configs together stay within bounds. */
function checkRoom(tables: Tables, name: string, data: string): Fault | null {
  const old = tables.configs.get(name);
  const hint = "Remove configs that nobody needs: `orch config ls`.";
  if (old === undefined && tables.configs.size >= MAX_CONFIGS) {
    const message = `there are ${MAX_CONFIGS} configs already`;
    return fault("too-large", message, hint, { config: name, limit: MAX_CONFIGS });
  }
  const bytes = tables.configsBytes() - configBytes(old?.data ?? "") + configBytes(data);
  if (bytes <= MAX_CONFIGS_BYTES) return null;
  const message = `with config "${name}" all of them would be larger than ${MAX_CONFIGS_BYTES} bytes`;
  return fault("too-large", message, hint, { config: name, limitBytes: MAX_CONFIGS_BYTES });
}
