import type { PortSpec } from "../../state/spec.ts";
import { MAX_PORTS } from "./limits.ts";
import {
  bad,
  isNothing,
  ok,
  readChoice,
  readParsed,
  readSection,
  refuse,
  type Field,
  type Parsed,
  type Reading,
} from "./reading.ts";
import { PORT } from "./sections.ts";
import { describeTree, quote } from "./tree.ts";

const FORM_HINT = 'Write "80", "8080:80", "3000-3005:3000-3005" or "53:53/udp".';
const PROTOCOLS = ["tcp", "udp"] as const;
const MAX_PORT = 65_535;

/** The host ports that a job's services have taken so far: `8080/tcp` → the path of the entry that took it. */
export type TakenPorts = Map<string, string>;

/** The ports of one service, in the file's order; a port taken twice, here or in `taken`, is refused. */
export function readPorts(
  reading: Reading,
  items: readonly Field[],
  taken: TakenPorts,
): readonly PortSpec[] {
  const ports: PortSpec[] = [];
  const dynamic = new Set<string>();
  for (const item of items) {
    for (const port of readPort(reading, item) ?? []) {
      if (ports.length >= MAX_PORTS) {
        refuse(
          reading,
          item,
          `a service publishes at most ${String(MAX_PORTS)} ports`,
          "Publish fewer.",
        );
        return ports;
      }
      if (claim(reading, item, port, taken, dynamic)) ports.push(port);
    }
  }
  return ports;
}

function claim(
  reading: Reading,
  item: Field,
  port: PortSpec,
  taken: TakenPorts,
  dynamic: Set<string>,
): boolean {
  if (port.host === null) {
    const key = `${String(port.container)}/${port.protocol}`;
    if (dynamic.has(key))
      refuse(reading, item, `the container port ${key} is published twice`, "Keep one of the two.");
    return !dynamic.has(key) && dynamic.add(key).size > 0;
  }
  const key = `${String(port.host)}/${port.protocol}`;
  const holder = taken.get(key);
  if (holder !== undefined) {
    const hint = "Choose another one, or leave the host port out to get a free one.";
    refuse(reading, item, `the host port ${key} is already taken by ${holder}`, hint);
    return false;
  }
  taken.set(key, item.path);
  return true;
}

function readPort(reading: Reading, item: Field): readonly PortSpec[] | null {
  if (item.tree.kind === "map") return readLongPort(reading, item);
  if (item.tree.kind === "list" || isNothing(item)) {
    return refuse(reading, item, `must be a port, not ${describeTree(item.tree)}`, FORM_HINT);
  }
  return readParsed(reading, item, parsePort);
}

/** Docker's short form, `[host:]container[/protocol]`, ports or ranges of equal length. */
function parsePort(text: string): Parsed<readonly PortSpec[]> {
  const [ports = "", protocolText = "tcp", ...further] = text.split("/");
  const protocol = PROTOCOLS.find((candidate) => candidate === protocolText.toLowerCase());
  if (protocol === undefined || further.length > 0) {
    return bad(`${quote(text)} names no protocol that orch publishes`, "Known: tcp, udp.");
  }
  const parts = ports.replace(/^\[[^\]]*\]:/, "address::").split(":");
  if (parts.length > 2) {
    const plain = parts
      .slice(-2)
      .filter((part) => part !== "")
      .join(":");
    return bad(
      `${quote(text)} names a host address, which is not supported by this version of orch`,
      `Each node publishes on its own publish address: write "${plain}".`,
    );
  }
  const container = parseRange(parts.at(-1) ?? "");
  const host = parts.length === 2 ? parseRange(parts[0] ?? "") : null;
  if (container === null || (parts.length === 2 && host === null)) {
    return bad(
      `${quote(text)} is not a port or a pair of ports from 1 to ${String(MAX_PORT)}`,
      FORM_HINT,
    );
  }
  const count = container.last - container.first + 1;
  if (count > MAX_PORTS)
    return bad(`${quote(text)} is more than ${String(MAX_PORTS)} ports`, "Publish fewer.");
  if (host !== null && host.last - host.first + 1 !== count) {
    return bad(
      `the two ranges of ${quote(text)} differ in length`,
      "Give each container port one host port, or none.",
    );
  }
  return ok(
    Array.from({ length: count }, (_, offset) => ({
      container: container.first + offset,
      host: host === null ? null : host.first + offset,
      protocol,
    })),
  );
}

function parseRange(text: string): { readonly first: number; readonly last: number } | null {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (match === null) return null;
  const first = Number(match[1]);
  const last = Number(match[2] ?? match[1]);
  return first >= 1 && last <= MAX_PORT && first <= last ? { first, last } : null;
}

function readLongPort(reading: Reading, item: Field): readonly PortSpec[] | null {
  const fields = readSection(reading, item, PORT);
  const mode = fields.get("mode");
  if (mode !== undefined) {
    readChoice(reading, mode, ["host"], (text) =>
      text === "ingress"
        ? {
            message: "the mode ingress is not supported by this version of orch",
            hint: "Write `mode: host` or leave it out: a port is published on the node that runs the task.",
          }
        : null,
    );
  }
  const protocolField = fields.get("protocol");
  const protocol =
    protocolField === undefined ? "tcp" : readChoice(reading, protocolField, PROTOCOLS);
  const target = fields.get("target");
  if (target === undefined)
    return refuse(reading, item, "a port needs a target", "Write `target: 80`.");
  const container = readParsed(reading, target, parseSinglePort);
  const published = fields.get("published");
  const host = published === undefined ? null : readParsed(reading, published, parseSinglePort);
  if (container === null || protocol === null || (published !== undefined && host === null))
    return null;
  return [{ container, host, protocol }];
}

function parseSinglePort(text: string): Parsed<number> {
  const range = parseRange(text);
  if (range === null || text.includes("-")) {
    return bad(
      `${quote(text)} is not a port from 1 to ${String(MAX_PORT)}`,
      "Write one port; a range goes into the short form.",
    );
  }
  return ok(range.first);
}
