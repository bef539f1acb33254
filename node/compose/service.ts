import type { Partition, ServiceSpec } from "../../state/spec.ts";
import { DEFAULT_RESTART, parseRestart, readDeploy } from "./deploy.ts";
import { DEFAULTS, MAX_ITEMS, MAX_PORTS, MAX_VOLUMES } from "./limits.ts";
import { readPorts, type TakenPorts } from "./ports.ts";
import { parseDurationMs, parseSizeMib, splitCommandLine } from "./quantities.ts";
import {
  bad,
  isNothing,
  listItems,
  mapEntries,
  ok,
  readChoice,
  readParsed,
  readSection,
  readText,
  refuse,
  warn,
  type Field,
  type Fields,
  type Parsed,
  type Reading,
} from "./reading.ts";
import { SERVICE, SERVICE_X_ORCH } from "./sections.ts";
import { describeTree, quote } from "./tree.ts";
import { readVolumes } from "./volumes.ts";

/** What the services of one job share. */
export interface JobScope {
  readonly volumes: ReadonlySet<string>;
  readonly ports: TakenPorts;
}

export function readService(
  reading: Reading,
  name: string,
  field: Field,
  scope: JobScope,
): ServiceSpec {
  const fields = readSection(reading, field, SERVICE);
  const at = <T>(key: string, read: (value: Field) => T): T | null => {
    const value = fields.get(key);
    return value === undefined ? null : read(value);
  };
  const image = at("image", (value) => readImage(reading, value));
  const entrypoint = at("entrypoint", (value) => readCommand(reading, value));
  const command = at("command", (value) => readCommand(reading, value));
  const orch = readOrch(reading, fields.get("x-orch"));
  const deploy = readDeploy(reading, fields.get("deploy"));
  const service: ServiceSpec = {
    name,
    type: "service",
    image,
    driver: chooseDriver(reading, field, fields, {
      driver: orch.driver,
      words: [entrypoint, command].filter((words) => words !== null),
    }),
    entrypoint,
    command,
    environment: at("environment", (value) => readEnvironment(reading, value)) ?? {},
    workingDir: at("working_dir", (value) => readWorkingDir(reading, value)),
    ports:
      at("ports", (value) =>
        readPorts(reading, listItems(reading, value, MAX_PORTS), scope.ports),
      ) ?? [],
    volumes:
      at("volumes", (value) =>
        readVolumes(reading, listItems(reading, value, MAX_VOLUMES), scope.volumes),
      ) ?? [],
    replicas: deploy.replicas,
    reservations: { ...deploy.reservations, diskMib: orch.diskMib },
    limits: deploy.limits,
    restart: chooseRestart(reading, fields.get("restart"), deploy.restart),
    constraints: deploy.constraints,
    stopGraceMs:
      at("stop_grace_period", (value) => readParsed(reading, value, parseDurationMs)) ??
      DEFAULTS.stopGraceMs,
    partition: orch.partition,
  };
  const volumes = fields.get("volumes");
  if (service.driver === "process" && service.volumes.length > 0 && volumes !== undefined) {
    refuse(
      reading,
      volumes,
      "a process has no file system of its own to mount volumes in",
      "Use the paths of the node.",
    );
  }
  return service;
}

const REFERENCE =
  /^(?:[A-Za-z0-9.-]+(?::\d{1,5})?\/|\[[0-9a-fA-F:]+\](?::\d{1,5})?\/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*(?::\w[\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9+._-]*:[0-9a-fA-F]{32,})?$/;

/** Null, and a problem, unless it is a reference of an image such as `host:5000/team/app:1.2@sha256:…`. */
export function readImage(reading: Reading, field: Field): string | null {
  const image = readText(reading, field);
  if (image === null) return null;
  if (image.length <= 512 && REFERENCE.test(image)) return image;
  const message =
    image === "" ? "the image's name is empty" : `${quote(image)} is not the name of an image`;
  return refuse(
    reading,
    field,
    message,
    "Write name:tag, as in nginx:1.27 or registry:5000/team/app:2.",
  );
}

/** A list as it is, a text split into words; nothing is null: the image's own. */
export function readCommand(reading: Reading, field: Field): readonly string[] | null {
  if (isNothing(field)) return null;
  if (field.tree.kind === "list") {
    const words = listItems(reading, field, MAX_ITEMS).map((item) => readText(reading, item));
    return words.filter((word) => word !== null);
  }
  if (field.tree.kind === "map") {
    return refuse(
      reading,
      field,
      `must be a text or a list, not ${describeTree(field.tree)}`,
      "Write a list of words.",
    );
  }
  const text = readText(reading, field);
  if (text === null) return null;
  const line = splitCommandLine(text);
  if (line.kind === "bad") return refuse(reading, field, line.message, line.hint);
  const [operator] = line.value.operators;
  if (operator !== undefined) {
    const hint = 'For a shell write ["sh", "-c", "…"]; quote it if the word itself is meant.';
    warn(reading, field, `no shell runs: ${operator} is passed on as a plain word`, hint);
  }
  return line.value.words;
}

function readEnvironment(reading: Reading, field: Field): Readonly<Record<string, string>> {
  if (field.tree.kind === "list")
    return readVariables(reading, listItems(reading, field, MAX_ITEMS));
  const pairs: [string, string][] = [];
  for (const [name, { field: value }] of mapEntries(reading, field)) {
    if (!isVariableName(reading, value, name)) continue;
    const text = isNothing(value) ? outside(reading, name) : readVariable(reading, value);
    if (text !== null) pairs.push([name, text]);
  }
  return sortedRecord(pairs);
}

/** Items of the form `KEY=value`, or `KEY` alone for the value that the environment of `reading` has, if any. */
export function readVariables(
  reading: Reading,
  items: readonly Field[],
): Readonly<Record<string, string>> {
  const pairs = new Map<string, string>();
  for (const item of items) {
    const text = readText(reading, item);
    if (text === null) continue;
    const split = text.indexOf("=");
    const name = split === -1 ? text : text.slice(0, split);
    const value = split === -1 ? outside(reading, name) : text.slice(split + 1);
    if (!isVariableName(reading, item, name)) continue;
    if (pairs.has(name))
      warn(
        reading,
        item,
        `the variable ${quote(name)} is given twice: this one counts`,
        "Keep one of the two.",
      );
    if (value !== null) pairs.set(name, value);
  }
  return sortedRecord([...pairs]);
}

/** In one order, so that a map and a list of the same variables are the same spec. */
function sortedRecord(
  pairs: readonly (readonly [string, string])[],
): Readonly<Record<string, string>> {
  return Object.fromEntries(pairs.toSorted(([a], [b]) => (a < b ? -1 : Number(a > b))));
}

function isVariableName(reading: Reading, field: Field, name: string): boolean {
  if (name !== "" && !/[=\0\s]/.test(name)) return true;
  refuse(
    reading,
    field,
    `${quote(name)} is not a name for a variable`,
    "Write KEY=value, without blanks in KEY.",
  );
  return false;
}

function outside(reading: Reading, name: string): string | null {
  return Object.hasOwn(reading.environment, name) ? (reading.environment[name] ?? null) : null;
}

/** Compose's rule: a number is written in its shortest form, a boolean as true or false. */
function readVariable(reading: Reading, field: Field): string | null {
  const { tree } = field;
  if (tree.kind !== "scalar") {
    return refuse(
      reading,
      field,
      `must be text, not ${describeTree(tree)}`,
      "Quote structured values as one text.",
    );
  }
  const text = String(tree.value);
  if (typeof tree.value === "number" && text !== tree.source) {
    warn(
      reading,
      field,
      `${tree.source} is a number, which becomes ${text}`,
      `Quote it to keep it: "${tree.source}".`,
    );
  }
  return text;
}

function readWorkingDir(reading: Reading, field: Field): string | null {
  const path = readText(reading, field);
  if (path === null || path.startsWith("/")) return path;
  return refuse(
    reading,
    field,
    `${quote(path)} is not an absolute path`,
    "Write it in full, from /.",
  );
}

interface OrchKeys {
  readonly driver: "docker" | "process" | null;
  readonly diskMib: number;
  readonly partition: Partition;
}

function readOrch(reading: Reading, field: Field | undefined): OrchKeys {
  const fields = field === undefined ? null : readSection(reading, field, SERVICE_X_ORCH);
  const driver = fields?.get("driver");
  const disk = fields?.get("disk");
  const partition = fields?.get("partition");
  return {
    driver: driver === undefined ? null : readChoice(reading, driver, ["docker", "process"]),
    diskMib:
      (disk === undefined ? null : readParsed(reading, disk, parseSizeMib)) ??
      DEFAULTS.reservedDiskMib,
    partition:
      (partition === undefined
        ? null
        : readChoice(reading, partition, ["at-least-one", "at-most-one"])) ?? DEFAULTS.partition,
  };
}

interface DriverChoice {
  readonly driver: OrchKeys["driver"];
  /** The entrypoint and the command, as far as they are given and could be read. */
  readonly words: readonly (readonly string[])[];
}

/** No image: an OS process, which needs something to run. An image needs docker, which is the default for it. */
function chooseDriver(
  reading: Reading,
  field: Field,
  fields: Fields,
  choice: DriverChoice,
): ServiceSpec["driver"] {
  const driverField: Field = fields.get("x-orch") ?? field;
  if (fields.has("image")) {
    if (choice.driver === "process") {
      refuse(
        reading,
        driverField,
        "the driver process runs no image",
        "Remove image or x-orch.driver.",
      );
    }
    return choice.driver;
  }
  if (choice.driver === "docker") {
    refuse(
      reading,
      driverField,
      "the driver docker needs an image",
      "Add image or remove x-orch.driver.",
    );
  }
  const given = ["entrypoint", "command"]
    .map((key) => fields.get(key))
    .filter((value) => value !== undefined);
  const unread = given.length > choice.words.length && given.some((value) => !isNothing(value));
  const misshapen = field.tree.kind !== "map" && !isNothing(field);
  if (choice.words.every((words) => words.length === 0) && !unread && !misshapen) {
    const message =
      given.length > 0
        ? "the command is empty, and there is no image"
        : "the service has neither an image nor a command";
    refuse(
      reading,
      field,
      message,
      "Add image for a container, or command for a process of the node.",
    );
  }
  return "process";
}

function chooseRestart(
  reading: Reading,
  field: Field | undefined,
  policy: ServiceSpec["restart"] | null,
): ServiceSpec["restart"] {
  const restart = field === undefined ? null : readRestart(reading, field);
  if (policy !== null && field !== undefined) {
    warn(
      reading,
      field,
      "restart is ignored: deploy.restart_policy counts",
      "Keep one of the two.",
    );
  }
  return policy ?? restart ?? DEFAULT_RESTART;
}

function readRestart(reading: Reading, field: Field): ServiceSpec["restart"] | null {
  // YAML 1.1 reads a bare `no` as false, so files carry that too.
  const isFalse = field.tree.kind === "scalar" && field.tree.value === false;
  return readParsed(reading, field, isFalse ? refuseFalse : parseRestart);
}

function refuseFalse(): Parsed<never> {
  return bad("must not be the boolean false", 'Write "no", in quotes.');
}

/** A name of a job or a service: slots are named `job.service.n`, so it has no dots. */
export function parseName(text: string): Parsed<string> {
  if (/^[a-z0-9][a-z0-9_-]{0,62}$/.test(text)) return ok(text);
  return bad(
    `${quote(text)} is not a name for a job or a service`,
    "Use 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or a digit.",
  );
}
