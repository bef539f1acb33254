import {
  applyChange,
  type ConfChange,
  decodeChange,
  encodeChange,
  isJoint,
  isMember,
  isVoter,
  type Membership,
  memberIds,
  NO_MEMBERS,
} from "../../consensus/membership.ts";
import type { Entry } from "../../consensus/message.ts";
import { type Fault, fault } from "../../lib/errors.ts";
import { type ClusterState, decodeEnvelope, encodeEnvelope } from "../../state/cluster.ts";
import type { Millis } from "../../state/ids.ts";
import type { NodeRecord } from "../../state/node-record.ts";
import { isTerminal } from "../../state/task.ts";
import { type DiskImage, type DiskWrite, type Identity, NO_WRITE } from "../storage.ts";

/*
 * A cluster that lost its quorum for good goes on from the data of one survivor, as another cluster: with a new
 * id and secret and this node as its only member. What others of the old one still hold, or still do, cannot
 * reach it: they are no members, and their cluster has another id.
 */

export interface RecoveredMember {
  readonly id: string;
  readonly name: string;
  /** In the configuration that stands at the log's end. */
  readonly role: "voter" | "standby" | "member";
  /** Its tasks that were not over, as far as this node knows. */
  readonly tasks: number;
}

/** What the survivor's data hold: for a person to decide by. */
export interface RecoverySurvey {
  readonly clusterId: string;
  readonly self: RecoveredMember;
  /** They are cut off. Sorted by name. */
  readonly others: readonly RecoveredMember[];
  readonly term: number;
  /** Of the last entry. */
  readonly lastIndex: number;
  readonly lastTerm: number;
  /** Up to here this node knew that a quorum had it. */
  readonly commitIndex: number;
  /** Entries beyond that. They are kept: somebody may have been told that they are done. */
  readonly uncommitted: number;
  /** When the last command was written, by the clock of whoever managed; null: no entry says so (any more). */
  readonly lastTimeMs: Millis | null;
  readonly snapshotIndex: number;
  readonly jobs: number;
  readonly configs: number;
  readonly tasks: number;
  /** Then nothing can be missing: nothing was acknowledged without this node. */
  readonly isSoleVoter: boolean;
}

/** What a recovery begins from: the data, read to their end. */
export interface Recoverable {
  readonly survey: RecoverySurvey;
  readonly identity: Identity;
  readonly membership: Membership;
}

/**
 * Reads a survivor's data to their end. `state`: what the image's snapshot holds, a new one without; it is
 * advanced by all entries. Returns a fault where there is nothing to recover from.
 */
export function surveyRecovery(image: DiskImage, state: ClusterState): Recoverable | Fault {
  const { identity, snapshot, entries, base, hardState } = image;
  if (identity === null) return nothing("it holds no node yet");
  const last = entries.at(-1) ?? base;
  if (last.index === 0) return nothing("its node was neither voter nor standby and holds no log");
  const { membership, lastTimeMs } = replay(image, state);
  const record = state.nodes.get(identity.node);
  if (record === undefined || record.raftId !== identity.raftId) {
    return nothing("its log ends with this node removed from the cluster");
  }
  if (!isMember(membership, identity.raftId)) {
    return nothing(
      "its node was neither voter nor standby when its log ends: it may lack much of what came later",
    );
  }
  const member = (node: NodeRecord): RecoveredMember => memberOf(state, membership, node);
  const others = [...state.nodes.values()].filter(({ id }) => id !== identity.node).map(member);
  const voters = new Set([...membership.voters, ...membership.outgoing]);
  const survey: RecoverySurvey = {
    clusterId: state.clusterId,
    self: member(record),
    others: others.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    term: hardState.term,
    lastIndex: last.index,
    lastTerm: last.term,
    commitIndex: hardState.commit,
    uncommitted: last.index - hardState.commit,
    lastTimeMs,
    snapshotIndex: snapshot?.index ?? 0,
    jobs: state.jobs.size,
    configs: state.configs.size,
    tasks: [...state.tasks.values()].filter((task) => !isTerminal(task.state)).length,
    isSoleVoter: voters.size === 1 && voters.has(identity.raftId),
  };
  return { survey, identity, membership };
}

function nothing(why: string): Fault {
  return fault(
    "not-initialized",
    `the data folder cannot be recovered from: ${why}`,
    "Use the folder of a voter or standby; with none left, `orch node init` and `orch cluster restore` from a backup.",
  );
}

/** Applies every entry after the snapshot, also those that were not known to be committed. */
function replay(
  { snapshot, entries }: DiskImage,
  state: ClusterState,
): { readonly membership: Membership; readonly lastTimeMs: Millis | null } {
  let membership = snapshot?.membership ?? NO_MEMBERS;
  let lastTimeMs: Millis | null = null;
  for (const entry of entries) {
    if (entry.kind === "normal" && entry.data.length > 0) {
      const envelope = decodeEnvelope(entry.data);
      lastTimeMs = envelope.timeMs;
      if (entry.index > (snapshot?.index ?? 0)) state.apply(entry.index, envelope);
    } else if (entry.kind === "conf" && entry.index > (snapshot?.index ?? 0)) {
      const outcome = applyChange(membership, decodeChange(entry.data));
      if (outcome.kind === "changed") membership = outcome.membership;
    }
  }
  return { membership, lastTimeMs };
}

function memberOf(state: ClusterState, membership: Membership, node: NodeRecord): RecoveredMember {
  const { id, name, raftId } = node;
  const role = isVoter(membership, raftId)
    ? "voter"
    : isMember(membership, raftId)
      ? "standby"
      : "member";
  const tasks = state.tasksOfNode(id).filter((task) => !isTerminal(task.state)).length;
  return { id, name, role, tasks };
}

/**
 * The one write that makes another cluster of the survivor's data. Everything it appends counts as committed:
 * the only voter that is left by it has it.
 */
export function recoveryWrite(
  { identity, membership, survey }: Recoverable,
  clusterId: string,
  joinSecret: string,
  now: Millis,
): DiskWrite {
  const term = Math.max(survey.term, survey.lastTerm) + 1;
  const entries: Entry[] = [];
  const append = (kind: Entry["kind"], data: Uint8Array): void => {
    entries.push({ term, index: survey.lastIndex + entries.length + 1, kind, data });
  };
  for (const change of changesToAlone(membership, identity.raftId)) {
    append("conf", encodeChange(change));
  }
  append(
    "normal",
    encodeEnvelope({
      command: { kind: "cluster-recover", clusterId, joinSecret, node: identity.node },
      timeMs: Math.max(now, survey.lastTimeMs ?? 0),
      key: null,
      since: null,
    }),
  );
  return {
    ...NO_WRITE,
    identity: { ...identity, clusterId, peers: [], joinSecret },
    // Voted for itself: it is as if it had been elected in the term in which it writes.
    hardState: { term, vote: identity.raftId, commit: survey.lastIndex + entries.length },
    entries,
  };
}

/** The changes, one after the other, after which `self` is the only voter and nobody learns. */
function changesToAlone(from: Membership, self: number): ConfChange[] {
  const changes: ConfChange[] = [];
  let membership = from;
  const change = (next: ConfChange): void => {
    const outcome = applyChange(membership, next);
    if (outcome.kind === "refused") throw new Error(`recovery: ${outcome.reason}`);
    membership = outcome.membership;
    changes.push(next);
  };
  if (isJoint(membership)) change({ changes: [] });
  const others = memberIds(membership).filter((id) => id !== self);
  if (others.length === 0 && isVoter(membership, self)) return changes;
  change({
    changes: [
      { op: "add-voter", id: self },
      ...others.map((id) => ({ op: "remove" as const, id })),
    ],
  });
  if (isJoint(membership)) change({ changes: [] });
  return changes;
}
