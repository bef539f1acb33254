import type { VolumeSpec } from "../../state/spec.ts";
import { parseSizeMib } from "./quantities.ts";
import {
  bad,
  mapEntries,
  ok,
  readBoolean,
  readChoice,
  readParsed,
  readSection,
  readText,
  refuse,
  type Field,
  type Fields,
  type Parsed,
  type Reading,
} from "./reading.ts";
import { TOP_VOLUME, VOLUME, VOLUME_TMPFS } from "./sections.ts";
import { quote } from "./tree.ts";

const VOLUME_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const TARGET_HINT = "Write an absolute path in the container, as in /data.";
const SOURCE_HINT =
  "The path is meant on every node that may run the task: write it in full, from /.";
const TYPES = ["volume", "bind", "tmpfs"] as const;

/** The names of the file's top-level volumes; each may be defined as nothing only. */
export function readVolumeNames(reading: Reading, field: Field): ReadonlySet<string> {
  const names = new Set<string>();
  for (const [name, { keyAt, field: definition }] of mapEntries(reading, field)) {
    if (!VOLUME_NAME.test(name)) {
      const hint = "Use letters, digits, _, . and -.";
      reading.problems.add(
        definition.path,
        keyAt,
        `${quote(name)} is not a name for a volume`,
        hint,
      );
    }
    readSection(reading, definition, TOP_VOLUME);
    names.add(name);
  }
  return names;
}

/** The volumes of one service. `declared`: the names of the file's top-level volumes. */
export function readVolumes(
  reading: Reading,
  items: readonly Field[],
  declared: ReadonlySet<string>,
): readonly VolumeSpec[] {
  const volumes: VolumeSpec[] = [];
  const targets = new Set<string>();
  for (const item of items) {
    const volume = item.tree.kind === "map" ? readLong(reading, item) : readShort(reading, item);
    if (volume === null) continue;
    if (volume.kind === "named" && !declared.has(volume.name)) {
      const hint = `Add it to the top of the file: \`volumes: {${volume.name}: {}}\`.`;
      refuse(reading, item, `the volume ${quote(volume.name)} is not declared`, hint);
    }
    const target = volume.target.replace(/\/+$/, "");
    if (targets.has(target))
      refuse(reading, item, `${volume.target} is mounted twice`, "Keep one of the two.");
    targets.add(target);
    volumes.push(volume);
  }
  return volumes;
}

function readShort(reading: Reading, item: Field): VolumeSpec | null {
  const text = readText(reading, item);
  if (text === null) return null;
  const result = parseVolume(text);
  return result.kind === "ok" ? result.value : refuse(reading, item, result.message, result.hint);
}

/** Compose's short form, `name:/target[:ro|rw]` or `/source:/target[:ro|rw]`. */
function parseVolume(text: string): Parsed<VolumeSpec> {
  const [source = "", target, mode = "rw", ...further] = text.split(":");
  if (target === undefined) {
    return bad(
      `${quote(text)} has no source: anonymous volumes are not supported`,
      'Name it, as in "data:/data".',
    );
  }
  if (further.length > 0 || (mode !== "ro" && mode !== "rw")) {
    const unknown = [mode, ...further].join(":");
    return bad(
      `the volume option ${quote(unknown)} is not supported by this version of orch`,
      "Known: ro, rw.",
    );
  }
  const from =
    source.startsWith("/") || /^[.~]/.test(source) ? parseSource(source) : parseName(source);
  const to = parseTarget(target);
  if (from.kind === "bad") return from;
  if (to.kind === "bad") return to;
  const readOnly = mode === "ro";
  return ok(
    source.startsWith("/")
      ? { kind: "bind", source, target, readOnly }
      : { kind: "named", name: source, target, readOnly },
  );
}

function parseSource(text: string): Parsed<string> {
  return text.startsWith("/")
    ? ok(text)
    : bad(`the path ${quote(text)} is relative to this machine's file`, SOURCE_HINT);
}

function parseName(text: string): Parsed<string> {
  if (VOLUME_NAME.test(text)) return ok(text);
  return bad(`${quote(text)} is neither a volume's name nor an absolute path`, SOURCE_HINT);
}

function parseTarget(text: string): Parsed<string> {
  if (!text.startsWith("/"))
    return bad(`the target ${quote(text)} is not an absolute path`, TARGET_HINT);
  return /^\/+$/.test(text) ? bad("nothing can be mounted over /", TARGET_HINT) : ok(text);
}

function readLong(reading: Reading, item: Field): VolumeSpec | null {
  const fields = readSection(reading, item, VOLUME);
  const type = fields.get("type");
  if (type === undefined)
    return refuse(reading, item, "a volume needs a type", `Known: ${TYPES.join(", ")}.`);
  const kind = readChoice(reading, type, TYPES, (text) =>
    ["cluster", "npipe", "image"].includes(text)
      ? {
          message: `the type ${text} is not supported by this version of orch`,
          hint: `Known: ${TYPES.join(", ")}.`,
        }
      : null,
  );
  const targetField = fields.get("target");
  if (targetField === undefined)
    return refuse(reading, item, "a volume needs a target", TARGET_HINT);
  const target = readPath(reading, targetField, parseTarget);
  if (kind === "tmpfs") return readTmpfs(reading, fields, target);
  const tmpfs = fields.get("tmpfs");
  if (tmpfs !== undefined && kind !== null) {
    refuse(
      reading,
      tmpfs,
      `tmpfs does not go with the type ${kind}`,
      "Remove it, or write `type: tmpfs`.",
    );
  }
  const source = fields.get("source");
  if (source === undefined) {
    const hint = kind === "bind" ? SOURCE_HINT : "Name a volume of the top-level volumes.";
    return kind === null
      ? null
      : refuse(reading, item, `a volume of the type ${kind} needs a source`, hint);
  }
  const from = readPath(reading, source, kind === "volume" ? parseName : parseSource);
  const readOnlyField = fields.get("read_only");
  const readOnly = readOnlyField === undefined ? false : readBoolean(reading, readOnlyField);
  if (kind === null || from === null || target === null || readOnly === null) return null;
  return kind === "bind"
    ? { kind, source: from, target, readOnly }
    : { kind: "named", name: from, target, readOnly };
}

function readTmpfs(reading: Reading, fields: Fields, target: string | null): VolumeSpec | null {
  for (const key of ["source", "read_only"]) {
    const field = fields.get(key);
    if (field !== undefined)
      refuse(reading, field, `${key} does not go with the type tmpfs`, "Remove it.");
  }
  const tmpfs = fields.get("tmpfs");
  const size =
    tmpfs === undefined ? undefined : readSection(reading, tmpfs, VOLUME_TMPFS).get("size");
  const sizeMib = size === undefined ? null : readParsed(reading, size, parseSizeMib);
  return target === null ? null : { kind: "tmpfs", target, sizeMib };
}

function readPath(
  reading: Reading,
  field: Field,
  parse: (text: string) => Parsed<string>,
): string | null {
  const text = readText(reading, field);
  if (text === null) return null;
  const result = parse(text);
  return result.kind === "ok" ? result.value : refuse(reading, field, result.message, result.hint);
}
