import { z } from "zod";
import { fault, OrchError } from "../../lib/errors.ts";
import { type NodeId, nodeId } from "../../state/ids.ts";
import type { Cluster, Route } from "./call.ts";
import { json, route } from "./call.ts";
import { QUERY } from "./input.ts";
import { clusterSchema, nodeSchema } from "./schemas.ts";
import { jobNameSchema, jobSpecSchema } from "./spec-schema.ts";
import { backupStream } from "./streams.ts";

/** What operators do to the cluster itself: hand over, back up and put back, take nodes out. */

const shown = z.string().min(1).max(256);
const writing = z.strictObject({ timeout: QUERY.timeout });
const nodeParams = z.strictObject({ id: shown.describe("Id or name") });

const fromSchema = z.object({ from: z.string() });

/** A name becomes the id. What is not known stays as it is: a write that is sent again may be about a node that is gone by now. */
async function idOf(cluster: Cluster, idOrName: string): Promise<NodeId> {
  try {
    const { body } = await cluster.read({ kind: "node", node: idOrName });
    return nodeId(nodeSchema.parse(body).id);
  } catch (error) {
    if (error instanceof OrchError && error.fault.code === "not-found") return nodeId(idOrName);
    throw error;
  }
}

/** The backend gives up first, with a better reason. */
const BEGIN_GRACE_MS = 1_000;

function noBody(): OrchError {
  const hint = "GET /v1/openapi.json describes what each route takes.";
  return new OrchError(fault("invalid", "The request has no body.", hint));
}

export const OPERATION_ROUTES: readonly Route[] = [
  route({
    id: "transferManager",
    method: "POST",
    path: "/v1/cluster/transfer",
    summary: "Has another voter manage; answers once it does",
    params: z.strictObject({}),
    query: writing,
    headers: ["orch-timeout"],
    body: z
      .strictObject({
        node: shown.nullish().describe("Id or name; else the voter that is most up to date"),
      })
      .nullish(),
    answer: { kind: "one", shape: "Transfer" },
    faults: ["not-found", "conflict", "no-manager"],
    run: async ({ cluster, body }) => {
      const node = body?.node ?? null;
      const { from } = fromSchema.parse((await cluster.transfer(node)).body);
      // Only a manager answers: whoever does was elected meanwhile.
      const done = await cluster.read({ kind: "cluster" });
      const manager = clusterSchema.parse(done.body).manager ?? from;
      const changed = manager !== from;
      if (!changed && (node === null || (await idOf(cluster, node)) !== from)) {
        throw new OrchError(
          fault(
            "conflict",
            "the other voter did not take over: the same node manages again",
            "See `orch node ls` for nodes that are away, or name another.",
            { manager },
          ),
        );
      }
      return json({ from, manager, changed }, done.headers);
    },
  }),
  route({
    id: "releaseBrake",
    method: "POST",
    path: "/v1/cluster/release",
    summary: "Has the tasks of nodes that went down at once replaced now",
    params: z.strictObject({}),
    query: writing,
    headers: ["orch-timeout", "idempotency-key"],
    body: z.strictObject({}).nullish(),
    answer: { kind: "one", shape: "Write" },
    faults: ["conflict", "no-manager", "unknown"],
    run: async ({ cluster, key }) => {
      const done = await cluster.write({ kind: "brake-release" }, key);
      return json(done.body, { ...done.headers, "idempotency-key": key });
    },
  }),
  route({
    id: "backupCluster",
    method: "POST",
    path: "/v1/cluster/backup",
    summary: "All jobs, configs and tasks as they are now, one JSON object a line",
    params: z.strictObject({}),
    query: writing,
    headers: ["orch-timeout"],
    body: z.strictObject({}).nullish(),
    answer: { kind: "lines", shape: "BackupLine" },
    faults: ["no-manager", "unreachable", "overloaded"],
    run: ({ cluster }, { backend }) => {
      const waitMs = cluster.left();
      return backupStream((signal) => backend.backup(waitMs, signal), waitMs + BEGIN_GRACE_MS);
    },
  }),
  route({
    id: "putJoinToken",
    method: "PUT",
    path: "/v1/nodes/token",
    summary: "Replaces the token: with the one before nobody can join any more",
    params: z.strictObject({}),
    query: writing,
    headers: ["orch-timeout", "idempotency-key"],
    body: z.strictObject({
      secret: z
        .string()
        .regex(/^[\w-]{43}$/, "32 random bytes in base64url, without padding")
        .describe("32 random bytes in base64url: what a token proves"),
    }),
    answer: { kind: "one", shape: "Write" },
    faults: ["conflict", "no-manager", "unknown"],
    run: async ({ cluster, body, key }) => {
      if (body === null) throw noBody();
      const done = await cluster.write({ kind: "join-secret-put", joinSecret: body.secret }, key);
      return json(done.body, { ...done.headers, "idempotency-key": key });
    },
  }),
  route({
    id: "restoreJob",
    method: "POST",
    path: "/v1/jobs/{name}/restore",
    summary: "Makes a job as a backup has it, if there is none of its name",
    params: z.strictObject({ name: jobNameSchema }),
    query: writing,
    headers: ["orch-timeout", "idempotency-key"],
    body: z.strictObject({
      spec: jobSpecSchema,
      stopped: z.array(shown).describe("The services that are to stay stopped"),
      version: z.int().min(1),
    }),
    answer: { kind: "one", shape: "Write" },
    faults: ["conflict", "too-large", "no-manager", "unknown"],
    run: async ({ cluster, params, body, key }) => {
      if (body === null) throw noBody();
      if (body.spec.name !== params.name) {
        const message = `the job is "${body.spec.name}", not "${params.name}"`;
        throw new OrchError(fault("invalid", message, "Send it to the path of its own name."));
      }
      const done = await cluster.write({ kind: "job-restore", ...body }, key);
      return json(done.body, { ...done.headers, "idempotency-key": key });
    },
  }),
  route({
    id: "restoreConfig",
    method: "POST",
    path: "/v1/configs/{name}/restore",
    summary: "Makes a config as a backup has it, if there is none of its name",
    params: z.strictObject({ name: jobNameSchema }),
    query: writing,
    headers: ["orch-timeout", "idempotency-key"],
    body: z.strictObject({
      data: z.string().describe("The content: base64url without padding"),
      version: z.int().min(1),
    }),
    answer: { kind: "one", shape: "Write" },
    faults: ["conflict", "too-large", "no-manager", "unknown"],
    run: async ({ cluster, params, body, key }) => {
      if (body === null) throw noBody();
      const { name } = params;
      const done = await cluster.write({ kind: "config-restore", name, ...body }, key);
      return json(done.body, { ...done.headers, "idempotency-key": key });
    },
  }),
  route({
    id: "leaveCluster",
    method: "POST",
    path: "/v1/nodes/{id}/leave",
    summary: "Has a node leave: its tasks move, its vote goes to another, then it is removed",
    params: nodeParams,
    query: writing,
    headers: ["orch-timeout", "idempotency-key"],
    body: z.strictObject({}).nullish(),
    answer: { kind: "one", shape: "Write" },
    faults: ["not-found", "conflict", "no-manager", "unknown"],
    run: async ({ cluster, params, key }) => {
      const node = await idOf(cluster, params.id);
      const done = await cluster.write({ kind: "node-leave", node }, key);
      return json(done.body, { ...done.headers, "idempotency-key": key });
    },
  }),
  route({
    id: "removeNode",
    method: "DELETE",
    path: "/v1/nodes/{id}",
    summary: "Removes a node that is gone for good; with force also one that is up",
    params: nodeParams,
    query: z.strictObject({ ...writing.shape, force: QUERY.force }),
    headers: ["orch-timeout", "idempotency-key"],
    body: null,
    answer: { kind: "one", shape: "Write" },
    faults: ["not-found", "conflict", "no-manager", "unknown"],
    run: async ({ cluster, params, query, key }) => {
      const node = await idOf(cluster, params.id);
      const force = query.force ?? false;
      const done = await cluster.write({ kind: "node-remove", node, force }, key);
      return json(done.body, { ...done.headers, "idempotency-key": key });
    },
  }),
];
