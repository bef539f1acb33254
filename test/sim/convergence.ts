import { isJoint } from "../../consensus/membership.ts";
import { present } from "../../lib/assert.ts";
import { membersOf } from "../../node/core/members.ts";
import type { Member } from "../../node/core/message.ts";
import type { Replica } from "../../node/core/replica.ts";
import { type NodeId, slotName } from "../../state/ids.ts";
import type { Host } from "./host.ts";

/** What a healed cluster still lacks, as a sentence; null when all is as it should be. */
export function convergence(hosts: ReadonlyMap<NodeId, Host>): string | null {
  const { state: newest } = newestReplica(hosts);
  // Removed while it was away, and cut off since: nobody could tell it, and what it does is nobody's business.
  const isMember = ({ disk }: Host): boolean => {
    const { identity } = disk.durable;
    return identity === null || !newest.isRetired(identity.raftId);
  };
  const all = [...hosts.values()].filter(isMember);
  const down = all.find(({ node }) => node === null);
  if (down !== undefined) return `${down.id} is not up`;
  const managers = all.filter(({ node }) => node?.isManager === true);
  const [manager] = managers;
  if (manager?.node === undefined || manager.node === null || managers.length !== 1) {
    return `${managers.length} managers`;
  }
  const { replica } = manager.node;
  const { state, raft } = replica;
  if (state.nodes.size !== all.length) {
    return `${state.nodes.size} of ${all.length} nodes are members`;
  }
  const notReady = [...state.nodes.values()].find(({ liveness }) => liveness !== "ready");
  if (notReady !== undefined) return `${notReady.id} is ${notReady.liveness}`;
  const unsaid = all.find(
    ({ id, facts }) => state.nodes.get(id)?.publishAddress !== facts.publishAddress,
  );
  if (unsaid !== undefined) return `${unsaid.id} is known by old facts`;
  if (isJoint(replica.membership)) return "a joint configuration stands";
  const { voters } = replica.membership;
  const target = wantedVoters(all.length);
  if (voters.length !== target) return `${voters.length} of ${target} voters`;
  for (const { id, node } of all) {
    if (node === null || !node.holdsLog) continue;
    if (node.replica.raft.appliedIndex !== raft.appliedIndex) {
      return `${id} has applied ${node.replica.raft.appliedIndex} of ${raft.appliedIndex}`;
    }
    if (node.replica.state.hash() !== state.hash()) return `${id} has another state`;
  }
  const members = listOf(membersOf(state, replica.membership));
  const misled = all.find(({ node }) => listOf(node?.roster.members ?? []) !== members);
  if (misled !== undefined) return `${misled.id} knows other members than the log has`;
  return containers(all, manager);
}

function listOf(members: readonly Member[]): string {
  return JSON.stringify(members.toSorted((a, b) => a.raftId - b.raftId));
}

/** Two of seven and more are lost without harm, one of three and more; not asked of the code that decides it. */
function wantedVoters(nodes: number): number {
  if (nodes < 3) return 1;
  return nodes < 7 ? 3 : 5;
}

/** Of the node that has applied most. */
function newestReplica(hosts: ReadonlyMap<NodeId, Host>): Replica {
  const replicas = [...hosts.values()].flatMap(({ node }) => (node === null ? [] : [node.replica]));
  const [newest] = replicas.toSorted((a, b) => b.raft.appliedIndex - a.raft.appliedIndex);
  return present(newest, "a healed cluster has a node that runs");
}

/** Every wanted slot runs exactly once, on the node that the state says; nothing else runs. */
function containers(all: readonly Host[], manager: Host): string | null {
  const state = manager.node?.replica.state;
  if (state === undefined) return "no manager";
  const running = new Map<string, string[]>();
  for (const host of all) {
    for (const id of host.engine?.running() ?? []) {
      const task = state.tasks.get(id);
      if (task === undefined || task.node !== host.id)
        return `${host.id} runs ${id}, which is not its`;
      const slot = slotName(task.job, task.service, task.slot);
      running.set(slot, [...(running.get(slot) ?? []), id]);
    }
  }
  for (const job of state.jobs.values()) {
    for (const service of job.spec.services) {
      const wanted = job.stopped.includes(service.name) ? 0 : service.replicas;
      const fails = service.image === "missing" || service.command?.[0] === "exit";
      for (let slot = 1; slot <= wanted; slot++) {
        const name = slotName(job.name, service.name, slot);
        const count = running.get(name)?.length ?? 0;
        // Crashed by the simulator as often as its policy allows: over by right.
        const newest = state.tasksOfSlot(job.name, service.name, slot).at(-1);
        if (newest?.state === "failed" && newest.message.startsWith("exited with code 1 "))
          continue;
        if (count !== 1 && !fails) return `${name} runs ${count} times`;
        if (count > 1) return `${name} runs ${count} times`;
        running.delete(name);
      }
    }
  }
  const [extra] = running.keys();
  return extra === undefined ? null : `${extra} runs and should not`;
}
