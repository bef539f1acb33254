import type { NodeId } from "../../state/ids.ts";
import type { Host } from "./host.ts";
import { Violation } from "./violation.ts";
import { ONCE } from "./workload.ts";

/** No slot of a service that must never run twice does, on whatever machine, whether its node runs or not. */
export function checkOnce(hosts: ReadonlyMap<NodeId, Host>): void {
  const running = new Map<string, string>();
  for (const { id, machine } of hosts.values()) {
    for (const { spec, status } of machine.containers.values()) {
      if (spec.job !== ONCE || status.state !== "running") continue;
      const here = `${spec.task} on ${id}`;
      const other = running.get(spec.slot);
      if (other !== undefined) {
        throw new Violation("at most once", `${spec.slot} runs as ${other} and as ${here}`);
      }
      running.set(spec.slot, here);
    }
  }
}
