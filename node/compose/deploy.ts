import type { Constraint, Resources, RestartPolicy, ServiceSpec } from "../../state/spec.ts";
import {
  DEFAULTS,
  MAX_ATTEMPTS,
  MAX_CONSTRAINT_CHARACTERS,
  MAX_CONSTRAINTS,
  MAX_REPLICAS,
  MIN_MEMORY_LIMIT_MIB,
} from "./limits.ts";
import { parseCpuMilli, parseDurationMs, parseSizeMib } from "./quantities.ts";
import {
  bad,
  listItems,
  ok,
  readChoice,
  readInteger,
  readParsed,
  readSection,
  readText,
  refuse,
  warn,
  type Field,
  type Parsed,
  type Reading,
} from "./reading.ts";
import { DEPLOY, LIMITS, PLACEMENT, RESERVATIONS, RESOURCES, RESTART_POLICY } from "./sections.ts";
import { quote } from "./tree.ts";

/** What the `deploy` of a service says; `restart` is null when it is silent about that. */
export interface Deploy {
  readonly replicas: number;
  readonly reservations: Omit<Resources, "diskMib">;
  readonly limits: ServiceSpec["limits"];
  readonly restart: RestartPolicy | null;
  readonly constraints: readonly Constraint[];
}

/** `field`: the service's `deploy`, undefined when it has none. */
export function readDeploy(reading: Reading, field: Field | undefined): Deploy {
  const fields = field === undefined ? null : readSection(reading, field, DEPLOY);
  const mode = fields?.get("mode");
  if (mode !== undefined) {
    readChoice(reading, mode, ["replicated"], (text) =>
      ["global", "replicated-job", "global-job"].includes(text)
        ? {
            message: `the mode ${text} is not supported by this version of orch`,
            hint: "Write `mode: replicated`.",
          }
        : null,
    );
  }
  const policy = fields?.get("restart_policy");
  const placement = fields?.get("placement");
  const constraints =
    placement === undefined
      ? undefined
      : readSection(reading, placement, PLACEMENT).get("constraints");
  return {
    replicas: readReplicas(reading, fields?.get("replicas")),
    ...readResources(reading, fields?.get("resources")),
    restart: policy === undefined ? null : readRestartPolicy(reading, policy),
    constraints:
      constraints === undefined
        ? []
        : readConstraints(reading, listItems(reading, constraints, MAX_CONSTRAINTS)),
  };
}

export function readReplicas(reading: Reading, field: Field | undefined): number {
  if (field === undefined) return DEFAULTS.replicas;
  const replicas = readInteger(reading, field, { min: 0, max: MAX_REPLICAS });
  if (replicas === 0)
    warn(reading, field, "with 0 replicas nothing will run", "Scale it up when it should.");
  return replicas ?? DEFAULTS.replicas;
}

type ResourceFields = Readonly<
  Record<"limits" | "reservations", Readonly<Record<"cpus" | "memory", Field | undefined>>>
>;

function readResources(
  reading: Reading,
  field: Field | undefined,
): Pick<Deploy, "reservations" | "limits"> {
  const fields = field === undefined ? null : readSection(reading, field, RESOURCES);
  const limits = fields?.get("limits");
  const reservations = fields?.get("reservations");
  const limitFields = limits === undefined ? null : readSection(reading, limits, LIMITS);
  const reservationFields =
    reservations === undefined ? null : readSection(reading, reservations, RESERVATIONS);
  return readAmounts(reading, {
    limits: { cpus: limitFields?.get("cpus"), memory: limitFields?.get("memory") },
    reservations: {
      cpus: reservationFields?.get("cpus"),
      memory: reservationFields?.get("memory"),
    },
  });
}

/** Limits and reservations; a limit without a reservation is the reservation too. */
export function readAmounts(
  reading: Reading,
  fields: ResourceFields,
): Pick<Deploy, "reservations" | "limits"> {
  const amount = (
    field: Field | undefined,
    parse: (text: string) => Parsed<number>,
  ): number | null => (field === undefined ? null : readParsed(reading, field, parse));
  const cpuLimit = amount(fields.limits.cpus, parseCpuMilli);
  const memoryLimit = amount(fields.limits.memory, parseMemoryLimitMib);
  const cpuReserved = amount(fields.reservations.cpus, parseCpuMilli);
  const memoryReserved = amount(fields.reservations.memory, parseSizeMib);
  const check = (field: Field | undefined, reserved: number | null, limit: number | null): void => {
    if (field === undefined || reserved === null || limit === null || reserved <= limit) return;
    refuse(
      reading,
      field,
      "the reservation is larger than the limit",
      "Lower it, or raise the limit.",
    );
  };
  check(fields.reservations.cpus, cpuReserved, cpuLimit);
  check(fields.reservations.memory, memoryReserved, memoryLimit);
  return {
    limits: { cpuMilli: cpuLimit, memoryMib: memoryLimit },
    reservations: {
      cpuMilli: cpuReserved ?? cpuLimit ?? DEFAULTS.reservedCpuMilli,
      memoryMib: memoryReserved ?? memoryLimit ?? DEFAULTS.reservedMemoryMib,
    },
  };
}

function parseMemoryLimitMib(text: string): Parsed<number> {
  const size = parseSizeMib(text);
  if (size.kind === "bad" || size.value >= MIN_MEMORY_LIMIT_MIB) return size;
  return bad(
    `a memory limit must be at least ${String(MIN_MEMORY_LIMIT_MIB)}m, not ${quote(text)}`,
    "Raise it.",
  );
}

function readRestartPolicy(reading: Reading, field: Field): RestartPolicy {
  const fields = readSection(reading, field, RESTART_POLICY);
  const condition = fields.get("condition");
  const attempts = fields.get("max_attempts");
  const duration = (key: "delay" | "window"): number | null => {
    const value = fields.get(key);
    return value === undefined ? null : readParsed(reading, value, parseDurationMs);
  };
  const windowMs = duration("window");
  const maxAttempts =
    attempts === undefined ? null : readInteger(reading, attempts, { min: 0, max: MAX_ATTEMPTS });
  return {
    condition:
      (condition === undefined
        ? null
        : readChoice(reading, condition, ["none", "on-failure", "any"])) ??
      DEFAULTS.restartCondition,
    delayMs: duration("delay") ?? DEFAULTS.restartDelayMs,
    maxAttempts: unbounded(maxAttempts),
    windowMs: windowMs === null || windowMs === 0 ? DEFAULTS.restartWindowMs : windowMs,
  };
}

/** Docker's 0 attempts are no bound. */
function unbounded(attempts: number | null): number | null {
  return attempts === 0 ? null : attempts;
}

export const DEFAULT_RESTART: RestartPolicy = {
  condition: DEFAULTS.restartCondition,
  delayMs: DEFAULTS.restartDelayMs,
  maxAttempts: null,
  windowMs: DEFAULTS.restartWindowMs,
};

/** Compose's `restart` of a service: `no`, `always`, `on-failure[:n]`, `unless-stopped`. */
export function parseRestart(text: string): Parsed<RestartPolicy> {
  const hint = "Known: no, always, on-failure, on-failure:3, unless-stopped.";
  if (text === "no") return ok({ ...DEFAULT_RESTART, condition: "none" });
  if (text === "always" || text === "unless-stopped")
    return ok({ ...DEFAULT_RESTART, condition: "any" });
  const match = /^on-failure(?::(\d{1,7}))?$/.exec(text);
  if (match === null) return bad(`must not be ${quote(text)}`, hint);
  const attempts = match[1] === undefined ? null : Number(match[1]);
  if (attempts !== null && attempts > MAX_ATTEMPTS)
    return bad(`at most ${String(MAX_ATTEMPTS)} attempts`, hint);
  return ok({ ...DEFAULT_RESTART, condition: "on-failure", maxAttempts: unbounded(attempts) });
}

export function readConstraints(reading: Reading, items: readonly Field[]): readonly Constraint[] {
  const constraints: Constraint[] = [];
  for (const item of items) {
    const text = readText(reading, item);
    if (text === null) continue;
    const result = parseConstraint(text);
    if (result.kind === "ok") constraints.push(result.value);
    else refuse(reading, item, result.message, result.hint);
  }
  return constraints;
}

const ATTRIBUTES = [
  "node.id",
  "node.name",
  "node.datacenter",
  "node.platform.os",
  "node.platform.arch",
];
const LABEL = /^node\.labels\.[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$/;
const CONSTRAINT_HINT =
  "Write `attribute == value` or `attribute != value`, as in `node.labels.zone == eu`.";

/** `attribute == value` or `attribute != value`; `node.hostname` is another word for `node.name`. */
function parseConstraint(text: string): Parsed<Constraint> {
  if (text.length > MAX_CONSTRAINT_CHARACTERS) {
    return bad(`the constraint ${quote(text)} is too long`, "Use a shorter value.");
  }
  const match = /^\s*([^\s=!<>]+)\s*(==|!=|<=|>=|<|>|=|\s(?:not\s+)?in\s)\s*(.*?)\s*$/s.exec(text);
  if (match === null) return bad(`${quote(text)} is not a constraint`, CONSTRAINT_HINT);
  const [, named = "", operator = "", value = ""] = match;
  if (operator !== "==" && operator !== "!=") {
    return bad(
      `the operator ${quote(operator.trim())} is not supported by this version of orch`,
      CONSTRAINT_HINT,
    );
  }
  const attribute = named === "node.hostname" ? "node.name" : named;
  if (attribute === "node.role") {
    return bad(
      "node.role is not supported",
      "orch has no manager machines: use a label, as in `node.labels.zone == eu`.",
    );
  }
  if (!ATTRIBUTES.includes(attribute) && !LABEL.test(attribute)) {
    const hint = `Known: ${[...ATTRIBUTES, "node.hostname", "node.labels.<name>"].join(", ")}.`;
    return bad(`${quote(attribute)} is not an attribute of a node`, hint);
  }
  if (value === "") {
    return bad(`the constraint ${quote(text)} needs a value`, CONSTRAINT_HINT);
  }
  return ok({ attribute, operator, value });
}
