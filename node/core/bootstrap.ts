import { encodeChange } from "../../consensus/membership.ts";
import type { Entry } from "../../consensus/message.ts";
import { encodeEnvelope } from "../../state/cluster.ts";
import type { Command } from "../../state/command.ts";
import type { Millis, NodeId } from "../../state/ids.ts";
import type { NodeFacts } from "../../state/node-record.ts";
import { type DiskWrite, NO_WRITE } from "../storage.ts";

/**
 * What the first node of a new cluster has on its disk before it ever runs: a log that makes it the one
 * voter and the one member. From then on there is no difference between it and any other node. Only an
 * explicit `init` calls this, so two first nodes can never make one cluster out of two.
 */
export function bootstrap(
  clusterId: string,
  joinSecret: string,
  node: NodeId,
  facts: NodeFacts,
  now: Millis,
): DiskWrite {
  const raftId = 1;
  const command = (index: number, content: Command): Entry => ({
    term: 1,
    index,
    kind: "normal",
    data: encodeEnvelope({ command: content, timeMs: now, key: null, since: null }),
  });
  const entries: Entry[] = [
    {
      term: 1,
      index: 1,
      kind: "conf",
      data: encodeChange({ changes: [{ op: "add-voter", id: raftId }] }),
    },
    command(2, {
      kind: "cluster-init",
      clusterId,
      joinSecret,
      featureLevel: facts.featureLevel,
    }),
    command(3, { kind: "node-admit", node, facts }),
  ];
  return {
    ...NO_WRITE,
    identity: { clusterId, node, raftId, peers: [], joinSecret },
    hardState: { term: 1, vote: 0, commit: entries.length },
    entries,
  };
}
