import type { TaskView } from "../../node/core/view-types.ts";
import { engineAddresses } from "../../runtime/docker-address.ts";
import { connect } from "../../runtime/docker-client.ts";
import { importBusybox } from "../fixtures/docker-engine.ts";
import type { ProcessCluster } from "../fixtures/process-cluster.ts";
import { submit, type WantedJob } from "./jobs.ts";

const IMAGE = "orch-chaos/busybox:1";
const JOB = "crate";
const REPLICAS = 3;

/** What is to run of it in the end. */
export const CRATE_JOB: WantedJob = {
  name: JOB,
  version: 1,
  replicas: REPLICAS,
  change: null,
  word: null,
};

/** A job of containers, on one Docker engine that all nodes share, as if each had its own. */
export class Crates {
  readonly #client: ReturnType<typeof connect>;
  readonly #cluster: ProcessCluster;

  /** `host`: as DOCKER_HOST. Throws when nothing can be there. */
  constructor(host: string, cluster: ProcessCluster) {
    const [address] = engineAddresses({ DOCKER_HOST: host });
    if (address === undefined) throw new Error(`${host} is no engine`);
    this.#client = connect(address);
    this.#cluster = cluster;
  }

  /** Makes the image and submits the job; `lifeSeconds`: no task outlives that. */
  async start(lifeSeconds: number): Promise<void> {
    await importBusybox(this.#client, IMAGE);
    const compose = [
      "services:",
      "  web:",
      `    image: ${IMAGE}`,
      `    command: [sleep, "${lifeSeconds}"]`,
      "    stop_grace_period: 1s",
      `    deploy: {replicas: ${REPLICAS}, resources: {reservations: {cpus: "0.01", memory: 8m}}}`,
      "",
    ].join("\n");
    await submit(this.#cluster, JOB, compose);
  }

  /** Containers of any node that there ever was that no task of the state names, be it over. */
  async orphans(): Promise<string[]> {
    const [node] = this.#cluster.nodes;
    const tasks = (await node?.get<readonly TaskView[]>("/v1/tasks?all=true")) ?? [];
    const named = new Map<string, string | null>(tasks.map(({ id, node: on }) => [id, on]));
    return (await this.#containers(this.#cluster.ids))
      .filter(({ task, node: on }) => named.get(task) !== on)
      .map(({ id, task, slot, node: on }) => `container ${id} of ${slot} (${task}) on ${on}`);
  }

  /** Removes the containers of these nodes, however they are. */
  async destroy(nodes: ReadonlySet<string>): Promise<void> {
    for (const { id } of await this.#containers(nodes))
      await this.#client.getContainer(id).remove({ force: true, v: true });
  }

  /** Leaves nothing behind: the nodes, which would start containers anew, are ended first. */
  async clear(): Promise<void> {
    for (const node of this.#cluster.nodes) node.destroy();
    await this.destroy(this.#cluster.ids);
  }

  async #containers(
    nodes: ReadonlySet<string>,
  ): Promise<{ id: string; task: string; slot: string; node: string }[]> {
    const listed = await this.#client.listContainers({
      all: true,
      filters: { label: ["orch.task"] },
    });
    return listed
      .map(({ Id, Labels }) => ({
        id: Id,
        task: Labels["orch.task"] ?? "",
        slot: Labels["orch.slot"] ?? "",
        node: Labels["orch.node"] ?? "",
      }))
      .filter(({ node }) => nodes.has(node));
  }
}
