import { z } from "zod";
import { taskId } from "../../state/ids.ts";
import type { TaskView } from "../core/view-types.ts";
import type { Answer, Cluster, Done, Route } from "./call.ts";
import { json, route } from "./call.ts";
import { CONFIG_ROUTES } from "./config-routes.ts";
import { momentMs, QUERY } from "./input.ts";
import { OPERATION_ROUTES } from "./operation-routes.ts";
import { taskSchema, writeSchema } from "./schemas.ts";
import { jobNameSchema } from "./spec-schema.ts";
import { eventStream, logStream } from "./streams.ts";
import { submissionOf, submissionSchema } from "./submission.ts";

/** The API as a table: docs, parsing and serving all read it. */

const none = z.strictObject({});
const reading = z.strictObject({ timeout: QUERY.timeout, consistency: QUERY.consistency });
const writing = z.strictObject({ timeout: QUERY.timeout });
const shown = z.string().min(1).max(256);
const nodeParams = z.strictObject({ id: shown.describe("Id or name") });
const taskParams = z.strictObject({
  id: shown.describe("Task id, or slot <job>.<service>.<n>: its newest task"),
});
const jobParams = z.strictObject({ name: shown });
const empty = z.strictObject({}).nullish();

/** JSON as the cluster gave it. */
function forwarded({ body, headers }: Done): Answer {
  return json(body, headers);
}

const nodeRoutes: readonly Route[] = [
  route({
    id: "listNodes",
    method: "GET",
    path: "/v1/nodes",
    summary: "All nodes of the cluster",
    params: none,
    query: reading,
    headers: ["orch-timeout"],
    body: null,
    answer: { kind: "list", shape: "Node" },
    faults: ["no-manager"],
    run: async ({ cluster }) => forwarded(await cluster.read({ kind: "nodes" })),
  }),
  route({
    id: "getJoinToken",
    method: "GET",
    path: "/v1/nodes/token",
    summary: "The token with which a node joins this cluster",
    params: none,
    query: reading,
    headers: ["orch-timeout"],
    body: null,
    answer: { kind: "one", shape: "Token" },
    faults: ["no-manager"],
    run: async ({ cluster }) => forwarded(await cluster.read({ kind: "token" })),
  }),
  route({
    id: "getNode",
    method: "GET",
    path: "/v1/nodes/{id}",
    summary: "One node",
    params: nodeParams,
    query: reading,
    headers: ["orch-timeout"],
    body: null,
    answer: { kind: "one", shape: "Node" },
    faults: ["not-found", "no-manager"],
    run: async ({ cluster, params }) =>
      forwarded(await cluster.read({ kind: "node", node: params.id })),
  }),
];

const jobRoutes: readonly Route[] = [
  route({
    id: "listJobs",
    method: "GET",
    path: "/v1/jobs",
    summary: "All jobs, also stopped ones",
    params: none,
    query: reading,
    headers: ["orch-timeout"],
    body: null,
    answer: { kind: "list", shape: "Job" },
    faults: ["no-manager"],
    run: async ({ cluster }) => forwarded(await cluster.read({ kind: "jobs" })),
  }),
  route({
    id: "getJob",
    method: "GET",
    path: "/v1/jobs/{name}",
    summary: "One job with its services",
    params: jobParams,
    query: reading,
    headers: ["orch-timeout"],
    body: null,
    answer: { kind: "one", shape: "Job" },
    faults: ["not-found", "no-manager"],
    run: async ({ cluster, params }) =>
      forwarded(await cluster.read({ kind: "job", job: params.name })),
  }),
  route({
    id: "putJob",
    method: "PUT",
    path: "/v1/jobs/{name}",
    summary: "Submits a job: a Compose file, or a spec",
    params: z.strictObject({
      name: z
        .union([z.literal("-"), jobNameSchema])
        .describe("The job's name; - takes the file's own, else the body's defaultName"),
    }),
    query: writing,
    headers: ["orch-timeout", "idempotency-key", "if-match"],
    body: submissionSchema,
    answer: { kind: "one", shape: "JobPut" },
    faults: ["too-large", "version-mismatch", "conflict", "cannot-place", "no-manager", "unknown"],
    run: async ({ cluster, params, body, key, ifVersion }) => {
      const { spec, warnings } = submissionOf(params.name === "-" ? null : params.name, body);
      const done = await cluster.write({ kind: "job-put", spec, ifVersion }, key);
      const written = writeSchema.parse(done.body);
      return json(
        { ...written, name: spec.name, warnings },
        { ...done.headers, "idempotency-key": key },
      );
    },
  }),
  route({
    id: "stopJob",
    method: "POST",
    path: "/v1/jobs/{name}/stop",
    summary: "Stops a job, or one service of it; it stays listed",
    params: jobParams,
    query: writing,
    headers: ["orch-timeout", "idempotency-key"],
    body: z.strictObject({ service: shown.nullish().describe("Only this service") }).nullish(),
    answer: { kind: "one", shape: "Write" },
    faults: ["not-found", "no-manager", "unknown"],
    run: async ({ cluster, params, body, key }) => {
      const service = body?.service ?? null;
      const done = await cluster.write({ kind: "job-stop", job: params.name, service }, key);
      return json(done.body, { ...done.headers, "idempotency-key": key });
    },
  }),
];

const taskRoutes: readonly Route[] = [
  route({
    id: "listTasks",
    method: "GET",
    path: "/v1/tasks",
    summary: "Tasks; without all, those that are not over",
    params: none,
    query: z.strictObject({
      ...reading.shape,
      job: QUERY.job,
      service: QUERY.service,
      node: QUERY.node,
      all: QUERY.all,
    }),
    headers: ["orch-timeout"],
    body: null,
    answer: { kind: "list", shape: "Task" },
    faults: ["no-manager"],
    run: async ({ cluster, query }) =>
      forwarded(
        await cluster.read({
          kind: "tasks",
          job: query.job ?? null,
          service: query.service ?? null,
          node: query.node ?? null,
          all: query.all ?? false,
        }),
      ),
  }),
  route({
    id: "getTask",
    method: "GET",
    path: "/v1/tasks/{id}",
    summary: "One task",
    params: taskParams,
    query: reading,
    headers: ["orch-timeout"],
    body: null,
    answer: { kind: "one", shape: "Task" },
    faults: ["not-found", "no-manager"],
    run: async ({ cluster, params }) =>
      forwarded(await cluster.read({ kind: "task", task: params.id })),
  }),
  route({
    id: "stopTask",
    method: "POST",
    path: "/v1/tasks/{id}/stop",
    summary: "Stops a task for good; its slot gets a new one if its service still wants it",
    params: taskParams,
    query: writing,
    headers: ["orch-timeout", "idempotency-key"],
    body: empty,
    answer: { kind: "one", shape: "Write" },
    faults: ["not-found", "no-manager", "unknown"],
    run: async ({ cluster, params, key }) => {
      const id = isSlot(params.id) ? (await readTask(cluster, params.id)).task.id : params.id;
      const done = await cluster.write({ kind: "task-stop", task: taskId(id) }, key);
      return json(done.body, { ...done.headers, "idempotency-key": key });
    },
  }),
  route({
    id: "getTaskLogs",
    method: "GET",
    path: "/v1/tasks/{id}/logs",
    summary: "A task's output, one JSON object a line, wherever it runs",
    params: taskParams,
    query: z.strictObject({
      ...reading.shape,
      follow: QUERY.follow,
      tail: QUERY.tail,
      since: QUERY.since,
    }),
    headers: ["orch-timeout"],
    body: null,
    answer: { kind: "lines", shape: "LogEntry" },
    faults: ["not-found", "no-manager", "unreachable", "overloaded"],
    run: async ({ cluster, params, query }, { backend }) => {
      const { task, headers } = await readTask(cluster, params.id);
      const follow = query.follow ?? false;
      const sinceMs = query.since === undefined ? null : momentMs(query.since, Date.now());
      const options = { follow, tail: query.tail ?? null, sinceMs };
      return logStream(
        (signal) => backend.logs(task, options, signal),
        follow,
        cluster.left(),
        headers,
      );
    },
  }),
];

/** A task's id has no dot, a slot has two. */
function isSlot(id: string): boolean {
  return id.includes(".");
}

async function readTask(
  cluster: Cluster,
  id: string,
): Promise<{ readonly task: TaskView; readonly headers: Done["headers"] }> {
  const { body, headers } = await cluster.read({ kind: "task", task: id });
  return { task: taskSchema.parse(body), headers };
}

const clusterRoutes: readonly Route[] = [
  route({
    id: "getCluster",
    method: "GET",
    path: "/v1/cluster",
    summary: "The cluster at a glance",
    params: none,
    query: reading,
    headers: ["orch-timeout"],
    body: null,
    answer: { kind: "one", shape: "Cluster" },
    faults: ["no-manager"],
    run: async ({ cluster }) => forwarded(await cluster.read({ kind: "cluster" })),
  }),
  route({
    id: "watchEvents",
    method: "GET",
    path: "/v1/events",
    summary: "The replicated task log as server-sent events: what was, then what comes",
    params: none,
    query: z.strictObject({ since: QUERY.eventsSince }),
    headers: ["last-event-id"],
    body: null,
    answer: { kind: "events", shape: "Event" },
    faults: ["overloaded"],
    run: ({ query, lastEventId }, { backend }) => {
      const headers = { "orch-index": String(backend.local().appliedIndex) };
      if (lastEventId !== null) {
        // The entry itself is read again: the client may not have all events of it.
        const before = Math.max(0, lastEventId.index - 1);
        return eventStream((signal) => backend.events(before, signal), lastEventId, null, headers);
      }
      const from = query.since ?? { kind: "after", index: 0 };
      const sinceMs = from.kind === "since" ? momentMs(from.moment, Date.now()) : null;
      const after = from.kind === "after" ? from.index : 0;
      return eventStream((signal) => backend.events(after, signal), null, sinceMs, headers);
    },
  }),
];

const ownRoutes: readonly Route[] = [
  route({
    id: "getHealth",
    method: "GET",
    path: "/healthz",
    summary: "Whether the process is up, and who it is; open to all on this machine",
    open: true,
    params: none,
    query: none,
    headers: [],
    body: null,
    answer: { kind: "one", shape: "Health" },
    faults: [],
    run: (_call, { backend }) => {
      const { id, clusterId, addresses } = backend.local();
      return json({ status: "ok", id, cluster: clusterId, addresses });
    },
  }),
  route({
    id: "getReadiness",
    method: "GET",
    path: "/readyz",
    summary: "200 once the node has applied what the cluster has committed, else 503; same body",
    params: none,
    query: none,
    headers: [],
    body: null,
    answer: { kind: "one", shape: "Local" },
    faults: [],
    run: (_call, { backend }) => {
      const local = backend.local();
      return json(local, {}, local.ready ? 200 : 503);
    },
  }),
  route({
    id: "getRaft",
    method: "GET",
    path: "/debug/raft",
    summary: "What this node knows of itself: term, role, indexes, configuration, state hash",
    params: none,
    query: none,
    headers: [],
    body: null,
    answer: { kind: "one", shape: "Local" },
    faults: [],
    run: (_call, { backend }) => json(backend.local()),
  }),
  route({
    id: "getMetrics",
    method: "GET",
    path: "/metrics",
    summary: "Figures of this node for Prometheus",
    params: none,
    query: none,
    headers: [],
    body: null,
    answer: { kind: "text" },
    faults: [],
    run: (_call, { metrics }) => ({
      kind: "whole",
      status: 200,
      contentType: "text/plain; version=0.0.4; charset=utf-8",
      text: metrics(),
      headers: {},
    }),
  }),
  route({
    id: "getOpenapi",
    method: "GET",
    path: "/v1/openapi.json",
    summary: "This document",
    params: none,
    query: none,
    headers: [],
    body: null,
    answer: { kind: "document" },
    faults: [],
    run: (_call, { document }) => ({
      kind: "whole",
      status: 200,
      contentType: "application/json; charset=utf-8",
      text: document,
      headers: {},
    }),
  }),
];

export const ROUTES: readonly Route[] = [
  ...nodeRoutes,
  ...jobRoutes,
  ...taskRoutes,
  ...CONFIG_ROUTES,
  ...clusterRoutes,
  ...OPERATION_ROUTES,
  ...ownRoutes,
];
