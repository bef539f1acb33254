import type { Millis, NodeId } from "../../state/ids.ts";
import type { Digests } from "./digests.ts";
import type { Member } from "./message.ts";
import type { Roster } from "./roster.ts";
import type { NodeView } from "./view-types.ts";
import { type Answer, missedByView, roundedRtt, unknownNode, usageView } from "./views.ts";
import type { Watch } from "./watch.ts";

/** All that a node has without the log: who belongs to the cluster, what they gossip, and what it sees of them. */
export interface Sight {
  readonly self: NodeId;
  readonly roster: Pick<Roster, "members" | "find">;
  readonly manager: NodeId | null;
  readonly watch: Pick<Watch, "isConnected" | "alertOf" | "isHidden" | "rttMs">;
  readonly digests: Pick<Digests, "usage" | "of">;
  readonly now: Millis;
}

/** The members as a node sees them that holds no log, by name. */
export function seenNodes(sight: Sight): Answer {
  const { members } = sight.roster;
  const views = members.map((member) => seenNode(member, sight));
  return { kind: "ok", body: views.toSorted((a, b) => (a.name < b.name ? -1 : 1)) };
}

/** One of them, by id or name. */
export function seenNodeOf(node: string, sight: Sight): Answer {
  const { members } = sight.roster;
  const member = members.find(({ id, name }) => id === node || name === node);
  if (member !== undefined) return { kind: "ok", body: seenNode(member, sight) };
  return unknownNode(
    members.map(({ name }) => name),
    node,
  );
}

function seenNode({ id, name, addresses, holdsLog }: Member, sight: Sight): NodeView {
  const { self, roster, manager, watch, digests, now } = sight;
  const alert = watch.alertOf(id);
  const isHere = id === self || watch.isConnected(id);
  const said = digests.of(id);
  return {
    id,
    name,
    status: alert !== null ? "suspect" : isHere ? "ready" : null,
    // Which of those that hold the log vote is in the log.
    role: holdsLog ? null : "member",
    holdsLog,
    manager: manager === id,
    hidden: watch.isHidden(id),
    datacenter: null,
    labels: null,
    addresses,
    publishAddress: null,
    resources: null,
    allocated: null,
    usage: usageView(digests.usage(id), now),
    rttMs: roundedRtt(watch.rttMs(id)),
    missedBy: alert === null ? [] : [missedByView(alert, roster.find(self)?.name ?? "", now)],
    tasks: said?.tasks ?? null,
    version: said?.orchVersion ?? null,
    driver: null,
    joinedAt: null,
  };
}
