import { z } from "zod";
import { ERRORS } from "../lib/errors.ts";
import type { Fault } from "../lib/errors.ts";
import type { ContainerSpec, Usage } from "../runtime/engine.ts";
import type { Assignment } from "../runtime/worker-memory.ts";
import type { NodeId, TaskId } from "../state/ids.ts";
import type { NodeFacts } from "../state/node-record.ts";
import type { Resources, RestartPolicy, ServiceSpec, VolumeSpec } from "../state/spec.ts";
import { type TaskPort, type TaskReport, TRANSITIONS } from "../state/task.ts";
import type { Digest } from "./core/effect.ts";
import type { ForwardOutcome, Member, NodeMessage } from "./core/message.ts";
import type { Query, Request, Response, UserCommand } from "./core/request.ts";

/**
 * The shape of everything that nodes say to each other in JSON, to its last field: one of them that is another
 * version, or lost its mind, must not stop a node that hears it, nor get into the log what no node can read.
 * Fields that are not known are passed over.
 */

const text = z.string();
const count = z.int().min(0);
const whole = z.int();
const texts = z.array(text);
const textMap = z.record(text, text);
const taskId = z.custom<TaskId>((value) => typeof value === "string");
const nodeId = z.custom<NodeId>((value) => typeof value === "string");

/** Typed, which Object.keys is not. */
function keysOf<T extends object>(table: T): Extract<keyof T, string>[] {
  const keys: Extract<keyof T, string>[] = [];
  for (const key in table) keys.push(key);
  return keys;
}

const driver = z.enum(["docker", "process", "memory"]);
const resources: z.ZodType<Resources> = z.object({
  cpuMilli: count,
  memoryMib: count,
  diskMib: count,
});
/** Measured: a kernel's counters may run backwards, and a beat is not worth less for it. */
const usage: z.ZodType<Usage> = z.object({
  cpuMilli: whole,
  memoryMib: whole,
  diskMib: whole,
  load1Milli: whole,
  networkRxBytesPerS: whole.nullable(),
  networkTxBytesPerS: whole.nullable(),
});

/** Whoever shows a version has room for so much of it. */
const VERSION_MAX = 64;

export const digestShape: z.ZodType<Digest> = z.object({
  usage,
  tasks: count,
  orchVersion: text.max(VERSION_MAX),
  count,
});
const limits = z.object({ cpuMilli: count.nullable(), memoryMib: count.nullable() });
const protocol = z.enum(["tcp", "udp"]);

const facts: z.ZodType<NodeFacts> = z.object({
  name: text,
  addresses: texts,
  datacenter: text,
  labels: textMap,
  os: text,
  arch: text,
  resources,
  drivers: z.array(driver),
  publishAddress: text,
  portRange: z.object({ first: count, last: count }),
  orchVersion: text,
  featureLevel: count,
  mayVote: z.boolean(),
  mayWork: z.boolean(),
});

const volume: z.ZodType<VolumeSpec> = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("named"), name: text, target: text, readOnly: z.boolean() }),
  z.object({ kind: z.literal("bind"), source: text, target: text, readOnly: z.boolean() }),
  z.object({ kind: z.literal("tmpfs"), target: text, sizeMib: count.nullable() }),
]);

const restart: z.ZodType<RestartPolicy> = z.object({
  condition: z.enum(["none", "on-failure", "any"]),
  delayMs: count,
  maxAttempts: count.nullable(),
  windowMs: count,
});

const service: z.ZodType<ServiceSpec> = z.object({
  name: text,
  type: z.literal("service"),
  image: text.nullable(),
  driver: driver.nullable(),
  entrypoint: texts.nullable(),
  command: texts.nullable(),
  environment: textMap,
  workingDir: text.nullable(),
  ports: z.array(z.object({ container: count, host: count.nullable(), protocol })),
  volumes: z.array(volume),
  replicas: count,
  reservations: resources,
  limits,
  restart,
  constraints: z.array(z.object({ attribute: text, operator: z.enum(["==", "!="]), value: text })),
  stopGraceMs: count,
  partition: z.enum(["at-least-one", "at-most-one"]),
});

const ports: z.ZodType<TaskPort[]> = z.array(z.object({ container: count, host: count, protocol }));

const container: z.ZodType<ContainerSpec> = z.object({
  task: taskId,
  slot: text,
  job: text,
  service: text,
  image: text.nullable(),
  entrypoint: texts.nullable(),
  command: texts.nullable(),
  environment: textMap,
  workingDir: text.nullable(),
  ports,
  publishAddress: text,
  volumes: z.array(volume),
  limits,
});

const assignment: z.ZodType<Assignment> = z.object({
  task: taskId,
  desired: z.enum(["running", "stopped"]),
  container,
  restart,
  stopGraceMs: count,
  leased: z.boolean(),
});

const report: z.ZodType<TaskReport> = z.object({
  task: taskId,
  state: z.enum(keysOf(TRANSITIONS)),
  healthy: z.boolean().nullable(),
  attempts: count,
  exitCode: whole.nullable(),
  message: text,
  startedAtMs: whole.nullable(),
  finishedAtMs: whole.nullable(),
});

export const memberShape: z.ZodType<Member> = z.object({
  id: nodeId,
  raftId: z.int().min(1),
  name: text,
  addresses: texts,
  holdsLog: z.boolean(),
});

const command: z.ZodType<UserCommand> = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("job-put"),
    spec: z.object({ name: text, services: z.array(service) }),
    ifVersion: count.nullable(),
  }),
  z.object({ kind: z.literal("job-stop"), job: text, service: text.nullable() }),
  z.object({ kind: z.literal("task-stop"), task: taskId }),
  z.object({
    kind: z.literal("config-put"),
    name: text,
    data: text,
    ifVersion: count.nullable(),
  }),
  z.object({ kind: z.literal("config-remove"), name: text, ifVersion: count.nullable() }),
  z.object({ kind: z.literal("join-secret-put"), joinSecret: text }),
  z.object({ kind: z.literal("node-admit"), node: nodeId, facts }),
  z.object({ kind: z.literal("node-leave"), node: nodeId }),
  z.object({ kind: z.literal("node-remove"), node: nodeId, force: z.boolean() }),
  z.object({
    kind: z.literal("job-restore"),
    spec: z.object({ name: text, services: z.array(service) }),
    stopped: texts,
    version: count,
  }),
  z.object({ kind: z.literal("brake-release") }),
  z.object({ kind: z.literal("config-restore"), name: text, data: text, version: count }),
]);

const query: z.ZodType<Query> = z.discriminatedUnion("kind", [
  z.object({ kind: z.enum(["nodes", "jobs", "configs", "cluster", "token"]) }),
  z.object({ kind: z.literal("node"), node: text }),
  z.object({ kind: z.literal("job"), job: text }),
  z.object({ kind: z.literal("config"), config: text }),
  z.object({ kind: z.literal("task"), task: text }),
  z.object({
    kind: z.literal("tasks"),
    job: text.nullable(),
    service: text.nullable(),
    node: text.nullable(),
    all: z.boolean(),
  }),
]);

const request: z.ZodType<Request> = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("write"), key: text, command }),
  z.object({ kind: z.literal("read"), query, stale: z.boolean() }),
  z.object({ kind: z.literal("transfer"), node: text.nullable() }),
]);

const fault: z.ZodType<Fault> = z.object({
  code: z.enum(keysOf(ERRORS)),
  message: text,
  details: z.record(text, z.unknown()),
  hint: text,
});

const response: z.ZodType<Response> = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("ok"),
    index: count,
    manager: text.nullable(),
    body: z.unknown(),
  }),
  z.object({ kind: z.literal("refused"), fault }),
]);

const outcome: z.ZodType<ForwardOutcome> = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("answered"), response }),
  z.object({ kind: z.literal("try-again"), manager: nodeId.nullable(), tried: z.boolean() }),
]);

const reports = z.array(report);
const session = count;

export const messageShape: z.ZodType<Exclude<NodeMessage, { kind: "raft" }>> = z.discriminatedUnion(
  "kind",
  [
    z.object({ kind: z.literal("probe"), n: count }),
    z.object({ kind: z.literal("probe-reply"), n: count }),
    z.object({ kind: z.literal("probe-for"), n: count, subject: nodeId }),
    z.object({ kind: z.literal("probed-for"), n: count, there: z.boolean() }),
    z.object({ kind: z.literal("hidden"), hidden: z.boolean() }),
    z.object({
      kind: z.literal("alerts"),
      alerts: z.array(
        z.object({ subject: nodeId, how: z.enum(["reset", "silent"]), ageMs: count }),
      ),
      validMs: count,
    }),
    z.object({
      kind: z.literal("session-open"),
      session,
      raftId: z.int().min(1),
      facts,
      reports,
      members: text,
    }),
    z.object({ kind: z.literal("session-refused"), session, manager: memberShape.nullable() }),
    z.object({ kind: z.literal("session-removed"), session, left: z.boolean() }),
    z.object({ kind: z.literal("removed"), raftId: z.int().min(1) }),
    z.object({ kind: z.literal("state-mark"), index: count, hash: text }),
    z.object({ kind: z.literal("state-differs"), index: count }),
    z.object({
      kind: z.literal("session-set"),
      session,
      seq: count,
      full: z.boolean(),
      upsert: z.array(assignment),
      remove: z.array(taskId),
      index: count,
      featureLevel: count,
      members: z
        .object({ whole: z.boolean(), upsert: z.array(memberShape), gone: z.array(nodeId) })
        .nullable(),
      joinSecret: text,
    }),
    z.object({
      kind: z.literal("session-beat"),
      session,
      usage: usage.nullable(),
      seq: count,
      lease: count.nullable(),
    }),
    z.object({ kind: z.literal("session-lease"), session, lease: count }),
    z.object({ kind: z.literal("session-beat-reply"), session, index: count }),
    z.object({ kind: z.literal("session-reports"), session, batch: count, reports }),
    z.object({ kind: z.literal("session-reports-ack"), session, batch: count }),
    z.object({ kind: z.literal("forward"), id: count, request, since: count }),
    z.object({ kind: z.literal("forwarded"), id: count, outcome }),
  ],
);
