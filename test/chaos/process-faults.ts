import type { NodeProcess } from "../fixtures/node-process.ts";
import type { Ground } from "./ground.ts";
import type { ProcessFault } from "./plan.ts";

const TRANSFER_MS = 10_000;

/** Processes are killed, stopped, restarted; leadership is handed over. */
export async function harmProcess(ground: Ground, fault: ProcessFault): Promise<void> {
  if (fault.kind === "transfer") return handOver(ground);
  if (fault.kind === "kill-many") {
    const chosen = ground.prng.shuffle(ground.free()).slice(0, fault.count);
    const names = chosen.map(({ name }) => name).join(" ");
    if (chosen.length === 0) return;
    await ground.holding(chosen, () =>
      ground.lasting("kill -9 of several", `${names}, back after ${fault.downMs} ms`, () =>
        interrupt(ground, chosen, "SIGKILL", fault.downMs),
      ),
    );
    return;
  }
  const taken = await ground.take(fault.target);
  if (taken === null) return;
  const { node, who } = taken;
  await ground.holding([node], async () => {
    switch (fault.kind) {
      case "kill":
        await ground.lasting("kill -9", `${who}, back after ${fault.downMs} ms`, () =>
          interrupt(ground, [node], "SIGKILL", fault.downMs),
        );
        return;
      case "restart":
        await ground.lasting("restart", `${who}, back after ${fault.downMs} ms`, () =>
          interrupt(ground, [node], "SIGTERM", fault.downMs),
        );
        return;
      case "pause":
        await ground.lasting("pause", `${who} for ${fault.forMs} ms`, async () => {
          node.signal("SIGSTOP");
          await ground.rest(fault.forMs);
          node.signal("SIGCONT");
        });
        return;
    }
  });
}

async function interrupt(
  ground: Ground,
  nodes: readonly NodeProcess[],
  signal: "SIGKILL" | "SIGTERM",
  downMs: number,
): Promise<void> {
  for (const node of nodes) node.signal(signal);
  await Promise.all(nodes.map((node) => ground.gone(node)));
  await ground.rest(downMs);
  await ground.start(nodes);
}

async function handOver(ground: Ground): Promise<void> {
  const node = await ground.cluster.manager();
  if (node === null || ground.isHeld(node)) return;
  await ground.lasting("transfer", `from ${node.name}`, async () => {
    const outcome = await transfer(node, TRANSFER_MS);
    // Whoever is asked may be killed meanwhile, or have nobody to hand over to.
    if (outcome !== "no-route" || ground.isHeld(node)) return;
    // Without the route: a node that ends in order hands over.
    await ground.holding([node], () => interrupt(ground, [node], "SIGTERM", 0));
  });
}

/** Has another node manage. "no-route": this orch cannot be asked for it; "failed": it has come to nothing. */
export async function transfer(
  node: NodeProcess,
  timeoutMs: number,
): Promise<"done" | "failed" | "no-route"> {
  try {
    const { status } = await node.ask({
      method: "POST",
      path: "/v1/cluster/transfer",
      headers: { "content-type": "application/json" },
      body: "{}",
      timeoutMs,
    });
    if (status === 404 || status === 405) return "no-route";
    return status === 200 ? "done" : "failed";
  } catch {
    return "failed";
  }
}
