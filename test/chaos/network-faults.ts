import { freePorts } from "../../cli/dev-ports.ts";
import { present } from "../../lib/assert.ts";
import type { NodeProcess } from "../fixtures/node-process.ts";
import type { Ground } from "./ground.ts";
import type { MoveFault, NetworkFault } from "./plan.ts";

/** The line of one node is cut or made bad, for a while. */
export async function harmNetwork(ground: Ground, fault: NetworkFault): Promise<void> {
  const { cluster, namespaces, prng } = ground;
  const taken = await ground.take(fault.target);
  if (taken === null || namespaces === null) return;
  const { node, who } = taken;
  const namespace = namespaceOf(node);
  const others = cluster.nodes.filter((each) => each !== node);
  const peer = others.length === 0 ? "" : namespaceOf(prng.pick(others));
  const kind = fault.kind === "cut" ? `cut: ${fault.cut}` : "loss and delay";
  await ground.holding([node], () =>
    ground.lasting(kind, `${who} for ${fault.forMs} ms`, async () => {
      if (fault.kind === "cut") namespaces.cut(namespace, fault.cut, peer);
      else namespaces.disturb(namespace);
      await ground.rest(fault.forMs);
      namespaces.heal(namespace);
    }),
  );
}

/** Nodes are elsewhere from one moment to the next, and nobody tells the others. */
export async function move(ground: Ground, { how, count }: MoveFault): Promise<void> {
  const chosen = ground.prng.shuffle(ground.free()).slice(0, count);
  if (chosen.length === 0) return;
  const names = chosen.map(({ name }) => name).join(" ");
  const kind = how === "live" ? "another address" : "another address, restarted";
  await ground.holding(chosen, () =>
    ground.lasting(kind, names, async () => {
      if (how === "restart") {
        for (const node of chosen) node.signal("SIGTERM");
        await Promise.all(chosen.map((node) => ground.gone(node)));
      }
      for (const node of chosen) node.moveTo(await elsewhere(ground, node));
      if (how === "restart") await ground.start(chosen);
    }),
  );
}

/** Another host of its namespace; on loopback, where all have one host, another port. */
async function elsewhere({ namespaces }: Ground, node: NodeProcess): Promise<string> {
  const [host = "", port = ""] = node.listen.split(":");
  if (namespaces !== null) return `${namespaces.move(namespaceOf(node))}:${port}`;
  const [free = 0] = await freePorts(1);
  return `${host}:${free}`;
}

function namespaceOf({ plan }: NodeProcess): string {
  return present(plan.namespace, "each node has a namespace of its own");
}
