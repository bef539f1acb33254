import { z } from "zod";
import { ERRORS } from "../../lib/errors.ts";
import type { Fault } from "../../lib/errors.ts";
import { TRANSITIONS } from "../../state/task.ts";
import type {
  BrakeView,
  ClusterView,
  ConfigContentView,
  ConfigView,
  EventView,
  HealthView,
  JobPutView,
  JobView,
  LocalView,
  LogLineView,
  LogView,
  NodeView,
  ProblemView,
  ResourcesView,
  ServiceView,
  TaskView,
  TokenView,
  TransferView,
  UsageView,
  WriteView,
} from "../core/view-types.ts";

/** The shapes that the API answers with: one schema each, which types, documents and (in tests) checks it. */

const time = z.iso.datetime().describe("ISO 8601, UTC");
const count = z.int().min(0);

/** Typed, which Object.keys is not. */
function keysOf<T extends object>(table: T): Extract<keyof T, string>[] {
  const keys: Extract<keyof T, string>[] = [];
  for (const key in table) keys.push(key);
  return keys;
}

export const resourcesSchema: z.ZodType<ResourcesView> = z.object({
  cpuMilli: count,
  memoryMib: count,
  diskMib: count,
  gpus: count,
});

const bytesPerS = z
  .number()
  .nullable()
  .describe("Over all interfaces but the loopback, smoothed; null when the machine does not tell");

export const usageSchema: z.ZodType<UsageView> = z.object({
  cpuMilli: z.number(),
  memoryMib: z.number(),
  diskMib: z.number(),
  load1: z.number(),
  networkRxBytesPerS: bytesPerS,
  networkTxBytesPerS: bytesPerS,
  ageMs: z.number().nullable().describe("How old the figures are; null when there are none yet"),
});

const UNKNOWN = "Not known to a node without the log that answers by itself (stale): null then";

export const nodeSchema: z.ZodType<NodeView> = z.object({
  id: z.string(),
  name: z.string(),
  status: z
    .enum(["ready", "suspect", "down", "draining", "cordoned", "left"])
    .nullable()
    .describe(`${UNKNOWN}; ready: connected with it, suspect: it misses it, null: neither`),
  role: z.enum(["voter", "standby", "member"]).nullable().describe(UNKNOWN),
  holdsLog: z.boolean().describe("It is a voter or standby"),
  manager: z.boolean(),
  hidden: z
    .boolean()
    .describe("Nobody can dial it, as far as the answering node can tell: NAT or a firewall"),
  datacenter: z.string().nullable().describe(UNKNOWN),
  labels: z.record(z.string(), z.string()).nullable().describe(UNKNOWN),
  addresses: z.array(z.string()),
  publishAddress: z.string().nullable().describe(UNKNOWN),
  resources: resourcesSchema.nullable().describe(UNKNOWN),
  allocated: resourcesSchema.nullable().describe(UNKNOWN),
  usage: usageSchema.nullable(),
  rttMs: z
    .number()
    .nullable()
    .describe("From the answering node to it and back, smoothed; null: it does not watch it"),
  missedBy: z
    .array(
      z.object({
        node: z.string(),
        name: z.string(),
        how: z.enum(["reset", "silent"]),
        forMs: count,
      }),
    )
    .describe("Nodes that watch it and cannot hear it, nor can those they asked"),
  tasks: count.nullable().describe("Tasks that are placed on it and not over"),
  version: z.string().nullable(),
  driver: z.string().nullable().describe(UNKNOWN),
  joinedAt: time.nullable().describe(UNKNOWN),
});

export const serviceSchema: z.ZodType<ServiceView> = z.object({
  name: z.string(),
  type: z.literal("service"),
  image: z.string().nullable(),
  partition: z
    .enum(["at-least-one", "at-most-one"])
    .describe("What becomes of a task whose node cannot be heard"),
  replicas: count,
  running: count,
  healthy: count,
  desired: count.describe("How many should run now: 0 once stopped"),
  message: z
    .string()
    .describe(
      "Why it is not all running, and what was lost with a node that is down and may run there; else empty",
    ),
});

export const jobSchema: z.ZodType<JobView> = z.object({
  name: z.string(),
  version: count,
  status: z.enum(["pending", "running", "degraded", "complete", "failed", "stopped"]),
  services: z.array(serviceSchema),
  createdAt: time,
  updatedAt: time,
});

export const taskSchema: z.ZodType<TaskView> = z.object({
  id: z.string(),
  job: z.string(),
  service: z.string(),
  slot: z.string().describe("<job>.<service>.<n>"),
  node: z.string().nullable(),
  nodeName: z.string().nullable(),
  state: z.enum(keysOf(TRANSITIONS)),
  desired: z.enum(["running", "stopped"]),
  healthy: z.boolean().nullable(),
  attempts: count,
  image: z.string().nullable(),
  ports: z.array(
    z.object({ host: count, container: count, protocol: z.string(), address: z.string() }),
  ),
  exitCode: z.int().nullable(),
  message: z.string().describe("Why it is pending, or how it ended"),
  previous: z.string().nullable().describe("The slot's task before this one"),
  version: count,
  createdAt: time,
  startedAt: time.nullable(),
  finishedAt: time.nullable(),
});

const config = {
  name: z.string(),
  version: count.describe("Rises with each put; no name ever has the same one twice"),
  sizeBytes: count,
  createdAt: time,
  updatedAt: time,
  modifiedIndex: count.describe("The log index of the last put"),
};

export const configSchema: z.ZodType<ConfigView> = z.object(config);

export const configContentSchema: z.ZodType<ConfigContentView> = z.object({
  ...config,
  data: z.string().describe("The content: base64url without padding"),
});

export const eventSchema: z.ZodType<EventView> = z.object({
  index: count,
  time,
  type: z.enum(["task", "node", "job", "config", "cluster"]),
  job: z.string().nullable(),
  service: z.string().nullable(),
  slot: z.string().nullable(),
  task: z.string().nullable(),
  node: z.string().nullable(),
  config: z.string().nullable(),
  from: z.string().nullable(),
  to: z.string().nullable(),
  message: z.string(),
});

export const logSchema: z.ZodType<LogView> = z.object({
  baseIndex: count.describe("Entries up to this one are gone: the snapshot holds their effect"),
  entries: count.describe("Entries that are kept"),
  snapshotIndex: count.describe("0: there is none"),
  snapshotAt: time.nullable().describe("Null when it is older than the process"),
  featureLevel: count,
  voters: z.array(z.string()).describe("By name"),
  transferee: z.string().nullable().describe("Who is being handed the manager's role"),
  followers: z
    .array(
      z.object({
        raftId: count,
        name: z.string(),
        votes: z.boolean(),
        match: count.describe("The last log index that it is known to hold"),
        state: z.enum(["probe", "replicate", "snapshot"]),
        active: z.boolean().describe("Heard from within the last election timeout"),
      }),
    )
    .describe("On the manager: all others that hold the log"),
});

export const brakeSchema: z.ZodType<BrakeView> = z.object({
  down: count.describe("Nodes that went down at once and still are"),
  nodes: count.describe("How many there were when the first of them went down"),
  held: count.describe("Tasks that wait for it"),
  since: time.describe("When the first of them went down"),
  until: time.describe("It ends by then, or earlier when enough are back or it is released"),
});

export const clusterSchema: z.ZodType<ClusterView> = z.object({
  id: z.string(),
  manager: z.string().nullable(),
  term: count,
  commitIndex: count,
  voters: z.array(z.string()),
  standbys: z.array(z.string()),
  nodes: count,
  nodesReady: count,
  jobs: count,
  tasksRunning: count,
  tasksPending: count,
  quorum: z.boolean().describe("Whether the manager reaches a majority of the voters"),
  brake: brakeSchema.nullable().describe("Too many nodes went down at once; null: it is off"),
  log: logSchema,
  version: z.string(),
});

const write = {
  version: count
    .nullable()
    .describe(
      "Of the job or config, after the write; null when it was about neither, or removed it",
    ),
  changed: z.boolean().describe("False when everything was so already"),
};

export const writeSchema: z.ZodType<WriteView> = z.object(write);

export const transferSchema: z.ZodType<TransferView> = z.object({
  from: z.string().describe("Who managed before"),
  manager: z.string().describe("Who manages now"),
  changed: z.boolean().describe("False when the node that was asked for managed already"),
});

export const problemSchema: z.ZodType<ProblemView> = z.object({
  path: z.string(),
  line: count.describe("From 1; 0 when it did not come from a file"),
  column: count,
  message: z.string(),
  hint: z.string(),
});

export const jobPutSchema: z.ZodType<JobPutView> = z.object({
  ...write,
  name: z.string(),
  warnings: z.array(problemSchema).describe("What in the file has no effect and is harmless"),
});

export const tokenSchema: z.ZodType<TokenView> = z.object({ token: z.string() });

export const healthSchema: z.ZodType<HealthView> = z.object({
  status: z.literal("ok"),
  id: z.string(),
  cluster: z.string(),
  addresses: z.array(z.string()).describe("libp2p multiaddrs, for `orch node join`"),
});

export const localSchema: z.ZodType<LocalView> = z.object({
  id: z.string(),
  name: z.string(),
  clusterId: z.string(),
  addresses: z.array(z.string()),
  raftId: count,
  role: z.enum(["leader", "follower", "candidate", "pre-candidate", "learner", "none"]),
  term: count,
  vote: count,
  commitIndex: count,
  appliedIndex: count,
  lastIndex: count,
  leader: count,
  manager: z.string().nullable(),
  managerAgeMs: count.nullable().describe("Since it heard a manager; null: this process never has"),
  voters: z.array(count),
  learners: z.array(count),
  log: logSchema,
  stateHash: z.string(),
  ready: z.boolean(),
  version: z.string(),
});

export const faultSchema: z.ZodType<Fault> = z.object({
  code: z.enum(keysOf(ERRORS)),
  message: z.string().describe("What went wrong, and where"),
  details: z.record(z.string(), z.unknown()),
  hint: z.string().describe("What to do next"),
});

export const logLineSchema: z.ZodType<LogLineView> = z.object({
  stream: z.enum(["stdout", "stderr"]),
  time,
  text: z.string(),
});

/** One line of the answer to GET /v1/tasks/{id}/logs: output, or as the last line why there is no more. */
export const logEntrySchema: z.ZodType<LogLineView | { readonly fault: Fault }> = z.union([
  logLineSchema,
  z.object({ fault: faultSchema }),
]);

/** One line of the answer to POST /v1/cluster/backup: see docs/operations.md. */
export const backupLineSchema: z.ZodType = z
  .looseObject({})
  .describe(
    "First what it is (orchBackup, clusterId, index, time, orchVersion), then the state, last lines and sha256; or a fault, and it is of no use",
  );

/** By the name that the OpenAPI document gives it. */
export const SHAPES: Readonly<Record<string, z.ZodType>> = {
  Node: nodeSchema,
  Resources: resourcesSchema,
  Usage: usageSchema,
  Job: jobSchema,
  Service: serviceSchema,
  Task: taskSchema,
  Config: configSchema,
  ConfigContent: configContentSchema,
  Event: eventSchema,
  Cluster: clusterSchema,
  Brake: brakeSchema,
  Log: logSchema,
  Write: writeSchema,
  JobPut: jobPutSchema,
  Transfer: transferSchema,
  Token: tokenSchema,
  Health: healthSchema,
  Local: localSchema,
  Fault: faultSchema,
  Problem: problemSchema,
  LogLine: logLineSchema,
  LogEntry: logEntrySchema,
  BackupLine: backupLineSchema,
};
