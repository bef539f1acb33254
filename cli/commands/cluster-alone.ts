import { fault, OrchError } from "../../lib/errors.ts";
import type { ClusterView, LocalView, NodeView } from "../../node/core/view-types.ts";
import type { Client } from "../client.ts";
import type { Context } from "../context.ts";
import { formatAge } from "../duration.ts";
import { note, paint, print } from "../output.ts";

/** A node answers for itself at once. */
const ALONE_MS = 2_000;

/** An election takes less: after this, what the asked node knows is worth more than to wait on. */
export const MANAGER_MS = 3_000;

const HINT =
  "Try again in a moment; if it stays so, start the voters again. Are most of them lost for good, see docs/operations.md, 'The quorum is lost'.";

/**
 * The manager's answer to a read, or, when none answers in time, what the asked node knows by itself, after saying so and how
 * old that is on stderr. Throws OrchError no-manager when that is nothing.
 */
export async function managedOrKnown<View>(
  { client, timeoutMs }: Context,
  path: string,
): Promise<View> {
  try {
    return await client.get<View>(path, timeoutMs ?? MANAGER_MS);
  } catch (error) {
    if (!(error instanceof OrchError) || error.fault.code !== "no-manager") throw error;
    return knownAlone<View>(client, path, error);
  }
}

async function knownAlone<View>(client: Client, path: string, reason: OrchError): Promise<View> {
  try {
    const { name, managerAgeMs } = await client.get<LocalView>("/debug/raft", ALONE_MS);
    const view = await client.get<View>(`${path}?consistency=stale`, ALONE_MS);
    const heard =
      managerAgeMs === null ? "never heard one" : `heard one ${formatAge(managerAgeMs)} ago`;
    note(`no manager answers: this is what node ${name} knows by itself; it ${heard}`);
    return view;
  } catch (error) {
    const knowsNothing = error instanceof OrchError && error.fault.code !== "not-found";
    throw knowsNothing ? reason : error;
  }
}

/**
 * Prints what the asked node knows by itself, unless with --json or --quiet, and returns the fault to end with,
 * which has it in its details. `reason`: what asking the manager came to; returned when not even the node answers.
 */
export async function noManager(
  { client, json, quiet }: Context,
  reason: OrchError,
): Promise<OrchError> {
  try {
    const local = await client.get<LocalView>("/debug/raft", ALONE_MS);
    // One that keeps no copy of the state knows no more than who the nodes are.
    const isCopy = local.role !== "none";
    const stale = <View>(path: string): Promise<View> =>
      client.get<View>(`${path}?consistency=stale`, ALONE_MS);
    const cluster = isCopy ? await stale<ClusterView>("/v1/cluster") : null;
    const nodes = await stale<readonly NodeView[]>("/v1/nodes");
    if (!json && !quiet) {
      print(paint("red", `No manager answers. What ${local.name} knows by itself:`));
      for (const line of aloneLines(local, cluster, nodes)) print(line);
    }
    const message = `no manager answers: node ${local.name} knows only what it has itself`;
    return new OrchError(fault("no-manager", message, HINT, { local, cluster, nodes }), reason);
  } catch (error) {
    if (error instanceof OrchError) return reason;
    throw error;
  }
}

/** For a person. `cluster` is the node's own copy; null: it keeps none. */
function aloneLines(
  local: LocalView,
  cluster: ClusterView | null,
  nodes: readonly NodeView[],
): string[] {
  const { id, role, term, commitIndex, lastIndex } = local;
  const rows: [string, string][] = [
    ["Cluster", local.clusterId],
    ["Manager", "none"],
  ];
  if (cluster === null) {
    rows.push(["This node", "neither voter nor standby: it keeps no copy of the cluster's state"]);
    const holders = nodes.filter(({ holdsLog }) => holdsLog);
    for (const [at, { name, addresses }] of holders.entries()) {
      rows.push([at === 0 ? "Ask" : "", `${name} at ${addresses.join(", ")}, with --host`]);
    }
  } else {
    const count = cluster.voters.length;
    rows.push(["Quorum", `no: ${Math.floor(count / 2) + 1} of ${count} voters are needed`]);
    for (const [at, voter] of cluster.voters.entries()) {
      rows.push([at === 0 ? "Voters" : "", describe(voter, id, nodes)]);
    }
    for (const [at, standby] of cluster.standbys.entries()) {
      rows.push([at === 0 ? "Standbys" : "", describe(standby, id, nodes)]);
    }
    rows.push([
      "This node",
      `${role}, term ${term}; committed up to index ${commitIndex}, log ends at ${lastIndex}`,
    ]);
  }
  return rows.map(
    ([label, value]) => `${(label === "" ? "" : `${label}:`).padEnd(LABEL_WIDTH)}${value}`,
  );
}

const LABEL_WIDTH = 11;

function describe(id: string, self: string, nodes: readonly NodeView[]): string {
  const node = nodes.find((known) => known.id === id);
  if (node === undefined) return id;
  if (id === self) return `${node.name} (this node)`;
  return `${node.name} at ${node.addresses.join(", ")}, recorded last as ${node.status ?? "unknown"}`;
}
