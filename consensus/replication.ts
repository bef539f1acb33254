import { assert, present } from "../lib/assert.ts";
import { entrySize } from "./log.ts";
import { isJoint, isVoter, memberIds } from "./membership.ts";
import { type Entry, type EntryKind, type Message, NONE, type RaftId } from "./message.ts";
import type { Progress } from "./progress.ts";
import { committedIndex, voteResult } from "./quorum.ts";
import type { RaftState } from "./raft-state.ts";
import type { SnapshotMeta } from "./snapshot.ts";

/** The log's way from the leader to everyone else (Raft §5.3, etcd/raft's flow control). */

type Append = Extract<Message, { kind: "append" }>;
type AppendReply = Extract<Message, { kind: "append-reply" }>;

export function becomeLeader(s: RaftState): void {
  s.become("leader");
  s.reset(s.term);
  s.leader = s.id;
  s.syncProgress();
  for (const [id, progress] of s.progress) {
    progress.next = s.log.lastIndex + 1;
    progress.recentlyActive = id === s.id;
  }
  own(s).becomeReplicate();
  own(s).match = s.log.stable;
  own(s).next = s.log.lastIndex + 1;
  // Changes of earlier terms may be in the log: none is proposed before all of it is applied.
  s.pendingChangeIndex = s.log.lastIndex;
  // An entry of its own term: only by it may the leader commit those of earlier terms (Raft §5.4.2).
  appendOwn(s, [{ kind: "normal", data: new Uint8Array(0) }]);
}

function own(s: RaftState): Progress {
  return present(s.progress.get(s.id), "a leader has its own progress");
}

/** Appends to the leader's log. It counts itself only when the disk says that they are durable. */
export function appendOwn(
  s: RaftState,
  proposals: readonly { readonly kind: EntryKind; readonly data: Uint8Array }[],
): Entry[] {
  assert(s.role === "leader", "only a leader appends");
  const entries = proposals.map(({ kind, data }, i) => ({
    term: s.term,
    index: s.log.lastIndex + 1 + i,
    kind,
    data,
  }));
  s.log.append(entries);
  for (const entry of entries) s.uncommittedBytes += entrySize(entry);
  s.broadcastDue = true;
  return entries;
}

/**
 * Sends what followers lack, as far as their windows allow: entries, and a commit index that has moved.
 * Called once a turn, so that all proposals and acknowledgements of the turn share their messages.
 */
export function broadcastAppends(s: RaftState): void {
  const evenEmpty = s.commitDue;
  s.broadcastDue = false;
  s.commitDue = false;
  for (const id of memberIds(s.membership)) {
    if (id !== s.id) sendAppends(s, id, evenEmpty);
  }
}

/** Sends appends until the follower has all, or its window is full. `evenEmpty`: at least the commit index. */
export function sendAppends(s: RaftState, to: RaftId, evenEmpty: boolean): void {
  const progress = s.progress.get(to);
  if (progress === undefined) return;
  let empty = evenEmpty;
  while (!progress.isPaused) {
    const prevIndex = progress.next - 1;
    const prevTerm = s.log.termAt(prevIndex);
    if (prevTerm === undefined) {
      offerSnapshot(s, to, progress);
      return;
    }
    const entries = s.log.slice(progress.next, s.config.maxMessageBytes);
    if (entries.length === 0 && !empty) return;
    empty = false;
    s.send({
      kind: "append",
      from: s.id,
      to,
      term: s.term,
      prevIndex,
      prevTerm,
      entries,
      commit: s.log.committed,
    });
    progress.sent(
      entries.length,
      entries.reduce((sum, entry) => sum + entrySize(entry), 0),
    );
    if (entries.length === 0) return;
  }
}

/** What the follower needs next is gone from the log: it has to begin from a snapshot. */
function offerSnapshot(s: RaftState, to: RaftId, progress: Progress): void {
  assert(progress.next <= s.log.base.index, "only what is gone needs a snapshot");
  const { index, term } = present(s.snapshot, "what is gone from the log is in a snapshot");
  assert(index >= s.log.base.index, "a snapshot reaches what is left of the log");
  progress.becomeSnapshot(index);
  s.send({
    kind: "snapshot",
    from: s.id,
    to,
    term: s.term,
    snapshotIndex: index,
    snapshotTerm: term,
  });
}

export function broadcastHeartbeats(s: RaftState, context: number): void {
  for (const [to, progress] of s.progress) {
    if (to === s.id) continue;
    // Never more than it is known to hold: it must not commit what it may have to cut.
    const commit = Math.min(progress.match, s.log.committed);
    s.send({ kind: "heartbeat", from: s.id, to, term: s.term, commit, context });
  }
}

/** A follower takes entries over, or says where the logs may meet. */
export function handleAppend(s: RaftState, m: Append): void {
  const reply = { kind: "append-reply", from: s.id, to: m.from, term: s.term } as const;
  if (m.prevIndex < s.log.committed) {
    s.sendDurable({ ...reply, index: s.log.committed, rejected: false });
    return;
  }
  const matched = s.log.maybeAppend(m.prevIndex, m.prevTerm, m.entries);
  if (matched !== undefined) {
    s.log.commitTo(Math.min(m.commit, matched));
    s.sendDurable({ ...reply, index: matched, rejected: false });
    return;
  }
  const hint = s.log.findConflict(Math.min(m.prevIndex, s.log.lastIndex), m.prevTerm);
  s.sendDurable({
    ...reply,
    index: m.prevIndex,
    rejected: true,
    hintIndex: hint.index,
    hintTerm: hint.term,
  });
}

/** The leader has nothing older than a snapshot. Says what is held already, or that it is wanted. */
export function handleSnapshotOffer(s: RaftState, m: Extract<Message, { kind: "snapshot" }>): void {
  const { snapshotIndex: index, snapshotTerm: term } = m;
  // What matches is committed: no snapshot holds anything else. The log itself serves better then.
  if (index > s.log.committed && s.log.termAt(index) === term) s.log.commitTo(index);
  if (index <= s.log.committed) {
    s.sendDurable({
      kind: "append-reply",
      from: s.id,
      to: m.from,
      term: s.term,
      index: s.log.committed,
      rejected: false,
    });
    return;
  }
  s.wanted = { from: m.from, id: { index, term } };
}

/**
 * Begins anew from a snapshot that was fetched. Returns false when it is of no use (any more): all it holds
 * is committed here, or in the log and as good as committed.
 */
export function restore(s: RaftState, meta: SnapshotMeta): boolean {
  const { index, term, membership } = meta;
  if (index <= s.log.committed || s.role === "leader") return false;
  // A candidate has shown a log that it no longer has, or learns here of a change that it has not applied. A
  // term that somebody led exists: a log may not end in one that its node does not know.
  if (s.role !== "follower" || term > s.term) s.becomeFollower(Math.max(term, s.term), NONE);
  if (s.log.termAt(index) === term) {
    s.log.commitTo(index);
    return false;
  }
  const base = { index, term };
  s.log.restart(base);
  s.membership = membership;
  s.snapshot = meta;
  s.cut = { meta, base, dropLog: true };
  if (s.leader !== NONE) {
    const reply = { kind: "append-reply", from: s.id, to: s.leader, term: s.term } as const;
    s.sendDurable({ ...reply, index, rejected: false });
  }
  return true;
}

/** A snapshot of what is applied here is durable: the log's beginning up to `keepAfter` may go. */
export function compact(s: RaftState, meta: SnapshotMeta, keepAfter: number): void {
  // Another node's snapshot, which reaches further, may have come in between.
  if (s.snapshot !== null && meta.index <= s.snapshot.index) return;
  s.snapshot = meta;
  const base = s.log.compactTo(Math.min(keepAfter, meta.index, s.log.stable));
  s.cut = { meta, base, dropLog: false };
}

export function handleAppendReply(s: RaftState, m: AppendReply): void {
  const progress = s.progress.get(m.from);
  if (progress === undefined) return;
  progress.recentlyActive = true;
  if (m.rejected) {
    // Our own last index with a term not above the hint's: one probe a term instead of one an entry.
    const hint = m.hintTerm > 0 ? s.log.findConflict(m.hintIndex, m.hintTerm).index : m.hintIndex;
    if (progress.rejected(m.index, hint)) sendAppends(s, m.from, true);
    return;
  }
  if (m.index > s.log.lastIndex) return; // Nobody can hold what we never sent: not one of our term's answers.
  const wasPaused = progress.isPaused;
  const news = progress.acknowledged(m.index);
  const meets =
    progress.state === "snapshot"
      ? // Whatever it holds: the log goes on from there (etcd/raft #110).
        progress.match >= s.log.base.index
      : progress.state === "probe" && (news || progress.match === m.index);
  if (meets) progress.becomeReplicate();
  if (!(news && maybeCommit(s)) && wasPaused) sendAppends(s, m.from, true);
  sendAppends(s, m.from, false);
  if (m.from === s.transferee) handOver(s, progress);
}

/** The transferee takes over as soon as it holds all of the log. */
export function handOver(s: RaftState, progress: Progress): void {
  if (progress.match !== s.log.lastIndex) return;
  s.send({ kind: "timeout-now", from: s.id, to: s.transferee, term: s.term });
}

/** A follower that answers can take more: lifts a probe whose answer was lost, or a window that is full. */
export function handleHeartbeatReply(s: RaftState, from: RaftId, context: number): void {
  const progress = s.progress.get(from);
  if (progress === undefined) return;
  progress.recentlyActive = true;
  progress.context = Math.max(progress.context, context);
  progress.paused = false;
  if (progress.state === "snapshot") {
    // The offer may have been lost, or a newer snapshot has taken its place.
    progress.becomeProbe();
    sendAppends(s, from, true);
    return;
  }
  if (progress.match >= s.log.lastIndex && progress.state === "replicate") return;
  if (progress.isPaused) sendEmptyAppend(s, from, progress);
  else sendAppends(s, from, true);
}

/** Into a full window: its rejection, or its answer, tells what arrived (etcd#14633). */
function sendEmptyAppend(s: RaftState, to: RaftId, progress: Progress): void {
  const prevIndex = progress.next - 1;
  const prevTerm = s.log.termAt(prevIndex);
  if (prevTerm === undefined) {
    // It was away for so long that even what it was sent last is gone.
    progress.becomeProbe();
    sendAppends(s, to, true);
    return;
  }
  const commit = s.log.committed;
  s.send({
    kind: "append",
    from: s.id,
    to,
    term: s.term,
    prevIndex,
    prevTerm,
    entries: [],
    commit,
  });
}

/** Commits what a quorum holds durably, if the last of it is of the leader's own term (Raft figure 8). */
export function maybeCommit(s: RaftState): boolean {
  const index = committedIndex(s.membership, (id) => s.progress.get(id)?.match ?? 0);
  if (index <= s.log.committed || s.log.termAt(index) !== s.term) return false;
  // Entries of earlier terms were never counted.
  const before = s.log.committed;
  const done = s.log.bytesBetween(before, index, s.term);
  s.uncommittedBytes = Math.max(0, s.uncommittedBytes - done);
  s.log.commitTo(index);
  // Others hear of it with the next entry or heartbeat, a moment later, which spares two messages a write and follower:
  // only of a change at once, for who it removes is told nothing any more, and who joins waits for it.
  if (s.pendingChangeIndex > before && s.pendingChangeIndex <= index) s.commitDue = true;
  return true;
}

/** The disk holds the log up to the stable index: only now does the leader count itself. */
export function handleStable(s: RaftState): void {
  if (s.role !== "leader") return;
  const progress = s.progress.get(s.id);
  if (progress === undefined) return;
  if (progress.acknowledged(s.log.stable)) maybeCommit(s);
}

/** Steps down when no quorum was heard from since the last check; else starts the next round. */
export function checkQuorum(s: RaftState): void {
  const self = s.progress.get(s.id);
  if (self !== undefined) self.recentlyActive = true;
  const active = voteResult(s.membership, (id) => s.progress.get(id)?.recentlyActive ?? false);
  if (active !== "won") {
    s.becomeFollower(s.term, NONE);
    return;
  }
  for (const [id, progress] of s.progress) {
    progress.wasActive = progress.recentlyActive;
    if (id !== s.id) progress.recentlyActive = false;
  }
}

/** After the membership changed: new members are sent the log, gone ones no longer count. */
export function membershipChanged(s: RaftState): void {
  if (s.role !== "leader") return;
  if (!s.isPromotable) {
    // Removed or demoted: it must not count itself, nor lead those that it does not belong to.
    s.becomeFollower(s.term, NONE);
    return;
  }
  s.syncProgress();
  if (s.transferee !== NONE && !isVoter(s.membership, s.transferee)) s.transferee = NONE;
  maybeCommit(s);
  s.broadcastDue = true;
}

/** A joint configuration is left as soon as it is safe, by whoever leads then. */
export function leaveJointWhenDue(s: RaftState): void {
  if (s.role !== "leader" || !isJoint(s.membership) || s.pendingChangeIndex > s.log.applied) return;
  const [entry] = appendOwn(s, [{ kind: "conf", data: new Uint8Array(0) }]);
  s.pendingChangeIndex = present(entry, "one entry was appended").index;
}
