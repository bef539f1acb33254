import type { ServiceSpec } from "../../state/spec.ts";
import { DEFAULT_RESTART, readAmounts, readConstraints, readReplicas } from "./deploy.ts";
import { DEFAULTS } from "./limits.ts";
import { finish, newReading, normaliseName, type ParseOutcome } from "./parse.ts";
import { readPorts } from "./ports.ts";
import { NO_POSITION } from "./problem.ts";
import { readParsed, refuse, type Field, type Reading } from "./reading.ts";
import { parseName, readImage, readVariables } from "./service.ts";
import { flagTree } from "./tree.ts";

/** The flags of `orch run` for one service, as typed; null where a flag is absent. */
export interface RunOptions {
  readonly image: string | null;
  readonly name: string | null;
  readonly replicas: string | null;
  /** `-p`, Compose's short form of a port. */
  readonly ports: readonly string[];
  /** `-e`, `KEY=value`, or `KEY` for the value in `environment`. */
  readonly variables: readonly string[];
  readonly cpus: string | null;
  readonly memory: string | null;
  readonly constraints: readonly string[];
  /** The words after `--`. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** The service of a job made from flags: its slots are `<job>.main.<n>`. */
export const RUN_SERVICE = "main";

/**
 * A job of one service from flags, read by the same rules as a Compose file. Without an image the command runs
 * as a process. The job's name is `name`, else the image's or the command's last part. The path of a problem is
 * the flag's name, its line and column are 0.
 */
export function runSpec(options: RunOptions): ParseOutcome {
  const reading = newReading(options.environment);
  const image = options.image === null ? null : readImage(reading, flag("--image", options.image));
  const [program] = options.command;
  if (options.image === null && (program === undefined || program === "")) {
    const hint = "Name an image with --image, or a command after --.";
    refuse(reading, flag("--image", ""), "there is neither an image nor a command", hint);
  }
  const limits = {
    cpus: optionalFlag("--cpus", options.cpus),
    memory: optionalFlag("--memory", options.memory),
  };
  const service: ServiceSpec = {
    name: RUN_SERVICE,
    type: "service",
    image,
    driver: options.image === null ? "process" : null,
    entrypoint: null,
    command: options.command.length === 0 ? null : options.command,
    environment: readVariables(reading, flags("-e", options.variables)),
    workingDir: null,
    ports: readPorts(reading, flags("-p", options.ports), new Map()),
    volumes: [],
    replicas: readReplicas(reading, optionalFlag("--replicas", options.replicas)),
    ...withDisk(
      readAmounts(reading, { limits, reservations: { cpus: undefined, memory: undefined } }),
    ),
    restart: DEFAULT_RESTART,
    constraints: readConstraints(reading, flags("--constraint", options.constraints)),
    stopGraceMs: DEFAULTS.stopGraceMs,
  };
  return finish(reading, { name: jobName(reading, options), services: [service] });
}

function withDisk(
  amounts: ReturnType<typeof readAmounts>,
): Pick<ServiceSpec, "limits" | "reservations"> {
  return {
    limits: amounts.limits,
    reservations: { ...amounts.reservations, diskMib: DEFAULTS.reservedDiskMib },
  };
}

function jobName(reading: Reading, options: RunOptions): string {
  if (options.name !== null)
    return readParsed(reading, flag("--name", options.name), parseName) ?? "";
  const source = options.image?.replace(/@.*$/s, "") ?? options.command[0] ?? "";
  const last = source.split("/").at(-1) ?? "";
  const name = normaliseName(options.image === null ? last : last.replace(/:.*$/s, ""));
  if (name === "" && reading.problems.size === 0) {
    refuse(reading, flag("--name", ""), "the job has no name", "Name it with --name.");
  }
  return name;
}

function flag(path: string, text: string): Field {
  return { path, at: NO_POSITION, tree: flagTree(text) };
}

function optionalFlag(path: string, text: string | null): Field | undefined {
  return text === null ? undefined : flag(path, text);
}

function flags(path: string, texts: readonly string[]): readonly Field[] {
  return texts.map((text) => flag(path, text));
}
