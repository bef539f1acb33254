import type { NodeView } from "../../node/core/view-types.ts";
import { until } from "../fixtures/node-process.ts";
import { type ProcessCluster, viewLine } from "../fixtures/process-cluster.ts";
import type { Clients } from "./clients.ts";
import type { Say } from "./report.ts";
import type { Final } from "./verdict.ts";

/** What has to be so again once all harm is undone. Each throws with what is not so. */

const HEAL_MS = 90_000;
/** One that went down again and again has to stay for a minute before it counts as ready, and that under one manager. */
const MEMBERS_MS = 240_000;
const WRITES_AFTER = 500;

export async function ready(cluster: ProcessCluster): Promise<void> {
  await Promise.all(cluster.nodes.map((node) => node.ready(HEAL_MS)));
}

/** What is healed takes writes again. */
export async function serves({ acked }: Clients): Promise<void> {
  const goal = acked.length + WRITES_AFTER;
  await until(
    () =>
      `only ${WRITES_AFTER - goal + acked.length} of ${WRITES_AFTER} writes were acknowledged after all had healed`,
    () => (acked.length >= goal ? true : null),
    HEAL_MS,
  );
}

/** Waits until the members are those that joined and have not left, all ready, and recorded where they are now. */
export async function members(cluster: ProcessCluster): Promise<void> {
  const wanted = cluster.nodes
    .map(({ name, listen }) => `${name} ready /ip4/${listen.replace(":", "/tcp/")}`)
    .toSorted();
  let last = "nobody answers";
  await until(
    () => `the members are\n${last}\nand not\n${wanted.join("\n")}`,
    async () => {
      const [node] = cluster.nodes;
      const views = await node?.get<readonly NodeView[]>("/v1/nodes").catch(() => null);
      if (views === undefined || views === null) return null;
      last = views
        .map(({ name, status, addresses }) => `${name} ${status} ${addresses.join(" ")}`)
        .toSorted()
        .join("\n");
      return last === wanted.join("\n") ? true : null;
    },
    MEMBERS_MS,
    100,
  );
}

/** What every register holds: by a linearizable read at one node, which becomes part of the history. */
export async function readAll(cluster: ProcessCluster, clients: Clients): Promise<Final> {
  const registers = new Set(clients.recorder.history.map(({ key }) => key));
  const final = new Map<string, { version: number; value: string }>();
  for (const [at, register] of [...registers].entries()) {
    const node = cluster.nodes[at % cluster.nodes.length];
    const output = node === undefined ? null : await clients.read(node, register);
    if (output === null) throw new Error(`${register} cannot be read after all has healed`);
    if (output.kind === "found") {
      final.set(register, { version: output.version ?? 0, value: output.value });
    }
  }
  return final;
}

/** Waits until all that hold the log hold the same state at the same index, under one leader. */
export async function same(cluster: ProcessCluster, say: Say): Promise<void> {
  const views = await cluster.views(
    "one leader and one state",
    (all) =>
      all.filter(({ role }) => role === "leader").length === 1 &&
      new Set(
        all
          .filter(({ role }) => role !== "none")
          .map(({ appliedIndex, stateHash }) => `${appliedIndex} ${stateHash}`),
      ).size === 1,
    HEAL_MS,
  );
  const holders = views.filter(({ role }) => role !== "none");
  const [first] = holders;
  say(`${holders.length} replicas at index ${first?.appliedIndex}: ${first?.stateHash}`);
  for (const view of views) say(viewLine(view).trim());
}
