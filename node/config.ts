import { existsSync, readFileSync } from "node:fs";
import { availableParallelism, homedir, hostname, totalmem } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { fault, OrchError } from "../lib/errors.ts";
import type { DriverName } from "../state/spec.ts";
import { isLoopbackHost } from "./api/guard.ts";
import { BRAKE_PERCENT, REPLACE_AFTER_MS } from "./core/defaults.ts";

/** What a node is told at its start: flags before `ORCH_*` variables before `orch.yaml` before the defaults. */
export interface NodeSettings {
  readonly name: string;
  readonly listen: readonly string[];
  readonly advertise: readonly string[];
  /** Whether it finds others, and is found, by multicast DNS. */
  readonly discovery: boolean;
  readonly api: { readonly host: string; readonly port: number };
  readonly dataDir: string;
  readonly datacenter: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Null: Docker where an engine is found, and processes. */
  readonly driver: DriverName | null;
  readonly publish: string;
  readonly portRange: { readonly first: number; readonly last: number };
  readonly vote: boolean;
  readonly worker: boolean;
  /** A voter or standby that is away this long loses its seat, when this node manages. */
  readonly replaceAfterMs: number;
  /** When more than this share of the nodes goes down at once, their tasks wait, when this node manages. */
  readonly brakePercent: number;
  readonly reserveCpuMilli: number;
  readonly reserveMemoryMib: number;
  readonly ephemeral: boolean;
  /** What was said of all this, and not left to the defaults: remembered for the next `orch node start`. */
  readonly told: Told;
}

const REPLACE_AFTER_LEAST_MS = 5_000;

/** Words by flag name. */
type Told = Readonly<Record<string, readonly string[]>>;

/** In the data folder: what a node was told when it last ran, so that `orch node start` needs no flags again. */
export const SETTINGS_FILE = "settings.json";

/** Not remembered: one finds the folder, the other is a decision about this run. */
const OF_THIS_RUN: readonly string[] = ["data-dir", "ephemeral"];

/** One setting: its flag (also `ORCH_<FLAG>` and its key in orch.yaml), what it takes, its default and why. */
interface Setting {
  readonly flag: string;
  /** Null: a switch. */
  readonly value: string | null;
  readonly many: boolean;
  readonly help: string;
  readonly fallback: () => string;
}

const isRoot = (): boolean => process.getuid?.() === 0;

const DATA_DIR = {
  flag: "data-dir",
  value: "DIR",
  many: false,
  help: "all that the node keeps (default: /var/lib/orch as root, else ~/.local/share/orch)",
  fallback: () => (isRoot() ? "/var/lib/orch" : join(homedir(), ".local/share/orch")),
} as const satisfies Setting;

export const SETTINGS = [
  {
    flag: "name",
    value: "NAME",
    many: false,
    help: "what people call this node (default: the machine's host name)",
    fallback: hostname,
  },
  {
    flag: "listen",
    value: "HOST:PORT",
    many: true,
    help: "where other nodes reach this one: host:port or a multiaddr (default: 0.0.0.0:7400)",
    fallback: () => "0.0.0.0:7400",
  },
  {
    flag: "advertise",
    value: "HOST:PORT",
    many: true,
    help: "an address to tell others beside those listened on, e.g. a router's, or a name, which is resolved with each dial (default: none)",
    fallback: () => "",
  },
  {
    flag: "no-discovery",
    value: null,
    many: false,
    help: "neither look for nodes that have moved on the local network (mDNS), nor be found there",
    fallback: () => "false",
  },
  {
    flag: "api",
    value: "HOST:PORT",
    many: false,
    help: "the HTTP API; loopback only, as it has no TLS (default: 127.0.0.1:7401)",
    fallback: () => "127.0.0.1:7401",
  },
  DATA_DIR,
  {
    flag: "datacenter",
    value: "NAME",
    many: false,
    help: "where the machine stands (default: dc1)",
    fallback: () => "dc1",
  },
  {
    flag: "label",
    value: "K=V",
    many: true,
    help: "a label for placement constraints (default: none)",
    fallback: () => "",
  },
  {
    flag: "driver",
    value: "docker|process",
    many: false,
    help: "only this runtime (default: Docker where an engine is found, and processes)",
    fallback: () => "",
  },
  {
    flag: "publish",
    value: "ADDRESS",
    many: false,
    help: "the address on which tasks' published ports listen (default: 0.0.0.0)",
    fallback: () => "0.0.0.0",
  },
  {
    flag: "port-range",
    value: "FIRST-LAST",
    many: false,
    // Below the kernel's ephemeral ports (32768 on), which outgoing connections take at random.
    help: "host ports for tasks that name none (default: 20000-32000)",
    fallback: () => "20000-32000",
  },
  {
    flag: "no-vote",
    value: null,
    many: false,
    help: "never take part in electing the manager",
    fallback: () => "false",
  },
  {
    flag: "no-worker",
    value: null,
    many: false,
    help: "run no tasks here",
    fallback: () => "false",
  },
  {
    flag: "replace-after",
    value: "TIME",
    many: false,
    help: "a voter away this long is replaced by a standby, e.g. 30s or 2m (default: 30s)",
    fallback: () => `${REPLACE_AFTER_MS / 1000}s`,
  },
  {
    flag: "brake",
    value: "PERCENT",
    many: false,
    // A share that only a network or power loses: the rest would drown in the work of all.
    help: "a larger share of the nodes lost at once is not replaced for 5 min; 100: off (default: 50)",
    fallback: () => String(BRAKE_PERCENT),
  },
  {
    flag: "reserve-cpus",
    value: "CPUS",
    many: false,
    // A node's own election must not starve behind the tasks that it runs.
    help: "CPUs kept for the machine and orch itself (default: 0.2)",
    fallback: () => "0.2",
  },
  {
    flag: "reserve-memory",
    value: "SIZE",
    many: false,
    help: "memory kept for the machine and orch itself, e.g. 512m (default: 256m)",
    fallback: () => "256m",
  },
  {
    flag: "ephemeral",
    value: null,
    many: false,
    help: "on the way out stop all tasks and delete the data directory (for demos and tests)",
    fallback: () => "false",
  },
] as const satisfies readonly Setting[];

type Flag = (typeof SETTINGS)[number]["flag"];
type Raw = ReadonlyMap<string, readonly string[]>;

/**
 * Reads the settings. `flags`: as given on the command line, by flag name; `goesOn`: the node has run
 * before, and what it was told then counts before the defaults. Throws OrchError usage, naming the flag,
 * variable or file that is wrong.
 */
export function readSettings(
  flags: Told,
  env: Readonly<Record<string, string | undefined>>,
  file: string | null,
  goesOn: boolean,
): NodeSettings {
  const fromFile = file === null ? {} : readFile(file);
  const said = ({ flag, many }: Setting): readonly string[] | undefined => {
    const variable = env[`ORCH_${flag.toUpperCase().replaceAll("-", "_")}`] ?? "";
    const words = many ? variable.split(",") : [variable];
    return flags[flag] ?? (variable === "" ? fromFile[flag] : words);
  };
  const dataDir = (said(DATA_DIR) ?? byDefault(DATA_DIR)).at(-1) ?? "";
  const before = goesOn ? readRemembered(join(dataDir, SETTINGS_FILE)) : {};
  const told: Record<string, readonly string[]> = {};
  const raw = new Map<string, readonly string[]>();
  for (const setting of SETTINGS) {
    const { flag } = setting;
    const words = said(setting) ?? before[flag];
    if (words !== undefined && !OF_THIS_RUN.includes(flag)) told[flag] = words;
    raw.set(flag, words ?? byDefault(setting));
  }
  return { ...settingsOf(raw), told };
}

function byDefault({ fallback }: Setting): readonly string[] {
  return [fallback()].filter((word) => word !== "");
}

/** What the node was told before. A file that cannot be read is said, not guessed around. */
function readRemembered(path: string): Told {
  if (!existsSync(path)) return {};
  return readFile(path);
}

function settingsOf(raw: Raw): Omit<NodeSettings, "told"> {
  const all = (flag: Flag): readonly string[] => raw.get(flag) ?? [];
  const one = (flag: Flag): string => all(flag).at(-1) ?? "";
  const driver = one("driver");
  if (driver !== "" && driver !== "docker" && driver !== "process" && driver !== "memory") {
    throw usage("driver", `"${driver}" is no runtime`, "Use docker or process.");
  }
  const name = one("name");
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name)) {
    throw usage("name", `"${name}" is no name for a node`, "Use letters, digits, dots and dashes.");
  }
  return {
    name,
    listen: all("listen").map((word) => listenAddress("listen", word)),
    advertise: all("advertise").map((word) => listenAddress("advertise", word)),
    discovery: !isOn("no-discovery", one("no-discovery")),
    api: apiAddress(one("api")),
    dataDir: one("data-dir"),
    datacenter: one("datacenter"),
    labels: Object.fromEntries(all("label").map(label)),
    driver: driver === "" ? null : driver,
    publish: one("publish"),
    portRange: portRange(one("port-range")),
    vote: !isOn("no-vote", one("no-vote")),
    worker: !isOn("no-worker", one("no-worker")),
    replaceAfterMs: replaceAfter(one("replace-after")),
    brakePercent: brake(one("brake")),
    reserveCpuMilli: cpus(one("reserve-cpus")),
    reserveMemoryMib: memory(one("reserve-memory")),
    ephemeral: isOn("ephemeral", one("ephemeral")),
  };
}

/** Nothing but these two: a switch that is misspelt must not pass for off. */
function isOn(flag: string, word: string): boolean {
  if (word === "true" || word === "false") return word === "true";
  throw usage(flag, `"${word}" is neither true nor false`, `Use --${flag}, or leave it out.`);
}

function readFile(file: string): Readonly<Record<string, readonly string[]>> {
  let content: unknown;
  try {
    content = parse(readFileSync(file, "utf8"));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw usage("config", `cannot read ${file}: ${why}`, "Mend the file, or do without it.");
  }
  if (content === null) return {};
  if (typeof content !== "object" || Array.isArray(content)) {
    throw usage("config", `${file} is not a map of settings`, "Write lines such as `name: web-1`.");
  }
  return Object.fromEntries(
    Object.entries(content).map(([key, value]: [string, unknown]) => {
      if (!SETTINGS.some(({ flag }) => flag === key)) {
        const known = SETTINGS.map(({ flag }) => flag).join(", ");
        throw usage("config", `${file}: unknown setting "${key}"`, `Known are: ${known}.`);
      }
      const words: unknown[] = Array.isArray(value) ? value : [value];
      if (words.some((word) => typeof word === "object")) {
        throw usage("config", `${file}: "${key}" is no text, number or list of them`, "Mend it.");
      }
      return [key, words.map(String)];
    }),
  );
}

function usage(flag: string, message: string, hint: string): OrchError {
  return new OrchError(fault("usage", `--${flag}: ${message}`, hint, { flag }));
}

/** A multiaddr as it is, host:port as one. */
function listenAddress(flag: string, word: string): string {
  if (word.startsWith("/")) return word;
  const { host, port } = hostPort(flag, word);
  const kind = host.includes(":") ? "ip6" : /^[0-9.]+$/.test(host) ? "ip4" : "dns";
  return `/${kind}/${host}/tcp/${port}`;
}

function apiAddress(word: string): { host: string; port: number } {
  const address = hostPort("api", word);
  if (isLoopbackHost(address.host)) return address;
  throw usage(
    "api",
    `the API cannot listen on ${address.host}: that needs TLS, which this version does not have`,
    "Use --api 127.0.0.1:7401; from another machine, reach it through an SSH tunnel.",
  );
}

function hostPort(flag: string, word: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(word);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) {
    throw usage(flag, `"${word}" is not host:port`, `For example --${flag} 127.0.0.1:7400.`);
  }
  return { host, port };
}

function label(word: string): [string, string] {
  const at = word.indexOf("=");
  if (at <= 0) throw usage("label", `"${word}" is not key=value`, "For example --label zone=eu.");
  return [word.slice(0, at), word.slice(at + 1)];
}

function portRange(word: string): { first: number; last: number } {
  const match = /^(\d{1,5})-(\d{1,5})$/.exec(word);
  const first = Number(match?.[1]);
  const last = Number(match?.[2]);
  if (match === null || first < 1 || last > 65_535 || first > last) {
    throw usage("port-range", `"${word}" is no range of ports`, "For example 20000-32000.");
  }
  return { first, last };
}

function replaceAfter(word: string): number {
  const match = /^(\d{1,6})([sm])$/.exec(word);
  const ms = Number(match?.[1]) * (match?.[2] === "m" ? 60_000 : 1_000);
  if (match === null || ms < REPLACE_AFTER_LEAST_MS) {
    const hint = "For example 30s, and 5s at least: a restart must not cost a node its vote.";
    throw usage("replace-after", `"${word}" is no time to wait`, hint);
  }
  return ms;
}

function brake(word: string): number {
  const percent = Number(word);
  if (/^\d{1,3}$/.test(word) && percent >= 1 && percent <= 100) return percent;
  const hint =
    "For example 50: the share of the nodes above which a loss is no single node's. 100: off.";
  throw usage("brake", `"${word}" is no percentage from 1 to 100`, hint);
}

function cpus(word: string): number {
  const value = Number(word);
  const most = availableParallelism();
  if (!/^\d+(\.\d+)?$/.test(word) || value >= most) {
    throw usage("reserve-cpus", `"${word}" leaves nothing of ${most} CPUs`, "For example 0.5.");
  }
  return Math.round(value * 1000);
}

function memory(word: string): number {
  const match = /^(\d+)([mg])$/i.exec(word);
  const mib = Number(match?.[1]) * (match?.[2]?.toLowerCase() === "g" ? 1024 : 1);
  const most = Math.floor(totalmem() / 1024 / 1024);
  if (match === null || mib >= most) {
    throw usage("reserve-memory", `"${word}" leaves nothing of ${most} MiB`, "For example 512m.");
  }
  return mib;
}
