import { OrchError } from "../../lib/errors.ts";
import type {
  BrakeView,
  ClusterView,
  LogView,
  NodeView,
  TransferView,
  WriteView,
} from "../../node/core/view-types.ts";
import type { Context } from "../context.ts";
import { formatAge } from "../duration.ts";
import { MANAGER_MS, noManager } from "./cluster-alone.ts";
import { note, paint, print, printJson } from "../output.ts";

/** `orch cluster status` */
export async function clusterStatus(context: Context): Promise<void> {
  const { client, json, quiet } = context;
  const cluster = await managed(context);
  if (json) return printJson(cluster);
  if (quiet) return print(cluster.id);
  const nodes = await client.get<readonly NodeView[]>("/v1/nodes");
  const nameOf = (id: string): string => nodes.find((node) => node.id === id)?.name ?? id;
  const names = (ids: readonly string[]): string => ids.map(nameOf).join(", ") || "none";
  const rows: readonly (readonly [string, string])[] = [
    ["Cluster", cluster.id],
    ["Manager", cluster.manager === null ? paint("red", "none") : nameOf(cluster.manager)],
    [
      "Quorum",
      cluster.quorum ? "yes" : paint("red", "no: nothing can change until more voters are back"),
    ],
    ["Voters", names(cluster.voters)],
    ["Standbys", names(cluster.standbys)],
    ["Nodes", `${cluster.nodesReady} of ${cluster.nodes} ready`],
    ["Jobs", String(cluster.jobs)],
    ...brakeRows(cluster.brake),
    ["Tasks", `${cluster.tasksRunning} running, ${cluster.tasksPending} pending`],
    ["Log", logText(cluster)],
    ...followerRows(cluster.log),
    ["Level", `feature level ${cluster.log.featureLevel}`],
    ["Version", cluster.version],
  ];
  for (const [label, value] of rows) {
    print(`${(label === "" ? "" : `${label}:`).padEnd(10)}${value}`);
  }
}

/** The manager's view; shows the asked node's own when no manager answers, and throws OrchError no-manager. */
async function managed(context: Context): Promise<ClusterView> {
  try {
    return await context.client.get<ClusterView>("/v1/cluster", context.timeoutMs ?? MANAGER_MS);
  } catch (error) {
    if (error instanceof OrchError && error.fault.code === "no-manager")
      throw await noManager(context, error);
    throw error;
  }
}

function brakeRows(brake: BrakeView | null): (readonly [string, string])[] {
  if (brake === null) return [];
  const { down, nodes, held, until } = brake;
  const lost = `${down} of ${nodes} nodes went down within a minute`;
  const waiting = `${tasks(held)} held back until ${until}`;
  return [["Brake", paint("yellow", `${lost}, ${waiting}: see orch cluster release`)]];
}

function tasks(count: number): string {
  return count === 1 ? "1 task" : `${count} tasks`;
}

function logText({ commitIndex, term, log }: ClusterView): string {
  const { entries, snapshotIndex, snapshotAt } = log;
  const age = snapshotAt === null ? "" : `, ${formatAge(Date.now() - Date.parse(snapshotAt))} old`;
  const snapshot = snapshotIndex === 0 ? "no snapshot yet" : `snapshot at ${snapshotIndex}${age}`;
  return `index ${commitIndex}, term ${term}; ${entries} entries kept, ${snapshot}`;
}

/** How far everyone else is. */
function followerRows({ followers, transferee }: LogView): (readonly [string, string])[] {
  const rows = followers.map(({ name, votes, match, state, active }) => {
    const away = active ? "" : paint("yellow", ", silent");
    const mode = state === "replicate" ? "" : `, ${state}`;
    return ["", `${name} (${votes ? "voter" : "standby"}) has ${match}${mode}${away}`] as const;
  });
  return transferee === null ? rows : [...rows, ["Handover", `to ${transferee}, under way`]];
}

/** `orch cluster release`: what is held is asked first, so that a release that was sent twice still says it. */
export async function clusterRelease({ client, json, quiet }: Context): Promise<void> {
  const { brake } = await client.get<ClusterView>("/v1/cluster");
  const { changed } = await client.write<WriteView>("POST", "/v1/cluster/release", {});
  if (json) return printJson({ changed, brake });
  if (quiet) return print(String(brake?.held ?? 0));
  if (brake === null) return note("the brake is off: nothing was held back");
  note(`the brake is released: ${tasks(brake.held)} of ${brake.down} nodes can be placed now`);
}

/** `orch cluster transfer [NODE]` */
export async function clusterTransfer(
  { client, json, quiet }: Context,
  node: string | null,
): Promise<void> {
  const done = await client.write<TransferView>("POST", "/v1/cluster/transfer", { node });
  if (json) return printJson(done);
  if (quiet) return print(done.manager);
  const nodes = await client.get<readonly NodeView[]>("/v1/nodes");
  const nameOf = (id: string): string => nodes.find((known) => known.id === id)?.name ?? id;
  const { from, manager, changed } = done;
  const now = nameOf(manager);
  note(changed ? `${now} manages now, ${nameOf(from)} did before` : `${now} manages already`);
}
