import type {
  ContainerCreateOptions,
  ContainerInspectInfo,
  HostConfig,
  MountSettings,
} from "dockerode";
import type { Fault } from "../lib/errors.ts";
import { fault } from "../lib/errors.ts";
import type { TaskId } from "../state/ids.ts";
import type { VolumeSpec } from "../state/spec.ts";
import type { ContainerSpec, ContainerStatus } from "./engine.ts";
import { exitMessage } from "./exit-message.ts";

/** Whose containers a driver owns: it never sees any other. */
export interface Owner {
  readonly clusterId: string;
  readonly nodeId: string;
}

export const TASK_LABEL = "orch.task";
const MIB = 1024 * 1024;

/**
 * The filter for an owner's containers, or for the one of a task. By the node alone, whose id no other has:
 * the cluster's changes when it is recovered from this node's data, and its tasks run on.
 */
export function ownLabels(owner: Owner, task: TaskId | null): string[] {
  const labels = [`orch.node=${owner.nodeId}`];
  return task === null ? labels : [...labels, `${TASK_LABEL}=${task}`];
}

/** The container for a task, in the words of the Engine API. */
export function createOptions(
  spec: ContainerSpec & { readonly image: string },
  owner: Owner,
): ContainerCreateOptions {
  const { entrypoint, command, workingDir } = spec;
  const options: ContainerCreateOptions = {
    Image: spec.image,
    Env: Object.entries(spec.environment).map(([key, value]) => `${key}=${value}`),
    Labels: {
      "orch.cluster": owner.clusterId,
      "orch.node": owner.nodeId,
      [TASK_LABEL]: spec.task,
      "orch.slot": spec.slot,
      "orch.job": spec.job,
      "orch.service": spec.service,
    },
    ExposedPorts: Object.fromEntries(
      spec.ports.map((port) => [`${port.container}/${port.protocol}`, {}]),
    ),
    HostConfig: hostConfig(spec),
  };
  if (entrypoint !== null) options.Entrypoint = [...entrypoint];
  if (command !== null) options.Cmd = [...command];
  if (workingDir !== null) options.WorkingDir = workingDir;
  return options;
}

function hostConfig(spec: ContainerSpec): HostConfig {
  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {};
  for (const port of spec.ports) {
    const places = (bindings[`${port.container}/${port.protocol}`] ??= []);
    places.push({ HostIp: spec.publishAddress, HostPort: String(port.host) });
  }
  const config: HostConfig = {
    PortBindings: bindings,
    Mounts: spec.volumes.map((volume) => mountOf(spec.job, volume)),
    // The worker restarts: two that do it would disagree.
    RestartPolicy: { Name: "no" },
    LogConfig: { Type: "json-file", Config: { "max-size": "10m", "max-file": "3" } },
  };
  const { cpuMilli, memoryMib } = spec.limits;
  if (cpuMilli !== null) config.NanoCpus = cpuMilli * 1_000_000;
  if (memoryMib !== null) {
    config.Memory = memoryMib * MIB;
    // Without it as much again may go to swap, and the limit would not be one.
    config.MemorySwap = memoryMib * MIB;
  }
  return config;
}

function mountOf(job: string, volume: VolumeSpec): MountSettings {
  const { kind, target } = volume;
  if (kind === "tmpfs") {
    const { sizeMib } = volume;
    const size =
      sizeMib === null ? {} : { TmpfsOptions: { SizeBytes: sizeMib * MIB, Mode: 0o1777 } };
    return { Type: "tmpfs", Source: "", Target: target, ...size };
  }
  const { readOnly } = volume;
  const [type, source] =
    kind === "named"
      ? (["volume", `${job}_${volume.name}`] as const)
      : (["bind", volume.source] as const);
  return { Type: type, Source: source, Target: target, ReadOnly: readOnly };
}

/** What an inspection says of a task's container. */
export function statusFrom(task: TaskId, state: ContainerInspectInfo["State"]): ContainerStatus {
  const startedAtMs = timeOf(state.StartedAt);
  const none = { task, exitCode: null, message: "", startedAtMs, finishedAtMs: null };
  if (state.Status === "created" || state.Status === "configured")
    return { ...none, state: "created" };
  if (["running", "paused", "restarting", "stopping"].includes(state.Status))
    return { ...none, state: "running" };
  const said = state.OOMKilled ? "out of memory" : state.Error;
  return {
    task,
    state: "exited",
    exitCode: state.ExitCode,
    message: said === "" ? exitMessage(state.ExitCode) : said,
    startedAtMs,
    finishedAtMs: timeOf(state.FinishedAt),
  };
}

/** The engine writes the year 1 for "never". */
function timeOf(text: string): number | null {
  const timeMs = Date.parse(text);
  return Number.isNaN(timeMs) || timeMs <= 0 ? null : timeMs;
}

/** The host port in what Docker (old and new) and Podman say of one that is taken. */
const PORT_IN_TEXT =
  /(?:Bind for|listen (?:tcp|udp)[46]?|bind host port(?: for)?|exposing port \w+) (?:[\d.]*|\[[^\]]*\]):(\d+)/iu;

/** The fault for an engine's refusal of a step, in its own `text`. */
export function refusal(what: string, text: string, task: TaskId): Fault {
  const port = /already (?:allocated|in use)/u.test(text)
    ? PORT_IN_TEXT.exec(text)?.[1]
    : undefined;
  if (port !== undefined) {
    return fault(
      "engine-refused",
      `${what}: port ${port} of this node is already in use. The engine says: ${text}`,
      "Publish another port, or none: then the scheduler picks a free one.",
      { task, port: Number(port) },
    );
  }
  return fault(
    "engine-refused",
    `${what}: the engine refuses: ${text}`,
    "Correct the service (command, volumes, ports) and run the job again.",
    { task },
  );
}

/** Whether an engine's error only means that it is going down or not quite up. */
export function isPassing(status: number | null, text: string): boolean {
  if (status === null || status === 503) return true;
  return (
    status >= 500 &&
    /shutting down|context canceled|containerd.*(?:not running|unavailable)|transport is closing|error while dialing/iu.test(
      text,
    )
  );
}

export function imageMissing(image: string, slot: string, reason: string): Fault {
  return fault(
    "image-missing",
    `The image "${image}" of ${slot} is not on this node and cannot be pulled: ${reason}`,
    `Check the name and that this node reaches the registry: \`docker pull ${image}\` there tells more.`,
    { image },
  );
}
