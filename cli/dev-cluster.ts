import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { present } from "../lib/assert.ts";
import { fault, OrchError } from "../lib/errors.ts";
import type { TokenView } from "../node/core/view-types.ts";
import { messageOf } from "./boundary.ts";
import { Client } from "./client.ts";
import { DevNode } from "./dev-node.ts";
import { freePorts, publishPlans } from "./dev-ports.ts";
import { parseHost } from "./endpoint.ts";

export interface DevClusterOptions {
  /** How many; at least one. */
  readonly nodes: number;
  /** Default: both, Docker where an engine answers. */
  readonly driver?: "docker" | "process";
  /** Where the data directories and logs go; must be empty or absent. Default: a new one under the temp folder. */
  readonly folder?: string;
  /** Aborting it while the cluster starts ends what was started. */
  readonly signal?: AbortSignal;
}

/** A cluster of processes on this machine. */
export interface DevCluster {
  readonly folder: string;
  readonly nodes: readonly DevNode[];
  /** For --host and ORCH_HOST. */
  readonly hosts: readonly string[];
  /**
   * Ends every node and all that it ran, and removes the folder; never throws for a node that is gone
   * already. `hurry`: aborting it shortens the wait. Returns what could not be cleaned up, for people.
   */
  stop(hurry?: AbortSignal): Promise<readonly string[]>;
}

/** The longest that a unix socket's path may be on the systems there are, less the file's own name. */
const MAX_FOLDER_LENGTH = 80;

/**
 * Starts a cluster and waits until each node is ready. Throws OrchError, with the end of the log of the node that failed, after
 * ending everything that was started.
 */
export async function startDevCluster(options: DevClusterOptions): Promise<DevCluster> {
  const folder = options.folder ?? (await makeFolder());
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const nodes = await planNodes(options.nodes, options.driver ?? null, folder);
  const cluster: DevCluster = {
    folder,
    nodes,
    hosts: nodes.map((node) => `unix://${node.socketPath}`),
    stop: (hurry) => stopAll(nodes, folder, hurry ?? null),
  };
  const signal = options.signal ?? new AbortController().signal;
  try {
    const [first, ...others] = nodes;
    const founder = present(first, "a cluster has at least one node");
    await founder.spawn(["init"]);
    await founder.ready(signal);
    const token = others.length === 0 ? "" : await joinToken(founder);
    // One that fails must not leave the others starting behind the clean-up's back.
    const joined = await Promise.allSettled(
      others.map(async (node) => {
        await node.spawn(["join", founder.listen], { ORCH_JOIN_TOKEN: token });
        await node.ready(signal);
      }),
    );
    const failed = joined.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
    return cluster;
  } catch (error) {
    await cluster.stop(AbortSignal.abort());
    throw error;
  }
}

async function makeFolder(): Promise<string> {
  const base =
    tmpdir().length > MAX_FOLDER_LENGTH - "/orch-dev-XXXXXX/n000".length ? "/tmp" : tmpdir();
  return mkdtemp(join(base, "orch-dev-"));
}

async function planNodes(
  count: number,
  driver: "docker" | "process" | null,
  folder: string,
): Promise<DevNode[]> {
  if (folder.length > MAX_FOLDER_LENGTH) {
    throw new OrchError(
      fault("usage", `${folder} is too long for the sockets of the nodes`, "Choose a shorter one."),
    );
  }
  const ports = await freePorts(count * 2);
  const publishing = await publishPlans(count);
  return publishing.map((publish, index) => {
    const listen = present(ports[index * 2], "two ports were asked for each node");
    const api = present(ports[index * 2 + 1], "two ports were asked for each node");
    return new DevNode({
      name: `n${index + 1}`,
      folder,
      listen: `127.0.0.1:${listen}`,
      api: `127.0.0.1:${api}`,
      publishAddress: publish.address,
      portRange: `${publish.firstPort}-${publish.lastPort}`,
      driver,
    });
  });
}

async function joinToken(node: DevNode): Promise<string> {
  const client = new Client({
    endpoints: [parseHost(`unix://${node.socketPath}`, null)],
    timeoutMs: 15_000,
    onConnected: () => undefined,
  });
  try {
    return (await client.get<TokenView>("/v1/nodes/token")).token;
  } finally {
    await client.close();
  }
}

/** How long nodes that died get to come up again, only to end their tasks. */
const REVIVE_MS = 5_000;

async function stopAll(
  nodes: readonly DevNode[],
  folder: string,
  hurry: AbortSignal | null,
): Promise<readonly string[]> {
  // A node that was killed left its tasks running, and only it knows them: it is started once more to end them.
  const revived = await Promise.all(nodes.map((node) => node.revive(hurry, REVIVE_MS)));
  await Promise.all(nodes.map((node) => node.end(hurry)));
  const leftovers = nodes.flatMap((node, index) =>
    node.endedGracefully && revived[index] !== "failed"
      ? []
      : [`what ${node.name} ran may still be there`],
  );
  try {
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  } catch (error) {
    leftovers.push(`${folder}: ${messageOf(error)}`);
  }
  return leftovers;
}
