import type { TaskView } from "../../node/core/view-types.ts";
import { everyTaskProcess } from "../fixtures/orch-process.ts";
import type { ProcessCluster } from "../fixtures/process-cluster.ts";

/** Processes that run though no task of the state names them, also the shells that lead them, on any node that there ever was. */
export async function orphans(cluster: ProcessCluster): Promise<string[]> {
  const [node] = cluster.nodes;
  if (node === undefined) return [];
  const tasks = await node.get<readonly TaskView[]>("/v1/tasks");
  const named = new Map<string, string | null>(tasks.map(({ id, node: on }) => [id, on]));
  return everyTaskProcess(cluster.ids)
    .filter(({ task, node: on }) => named.get(task) !== on)
    .map(({ pid, task, slot, node: on }) => `process ${pid} of ${slot} (${task}) on ${on}`);
}
