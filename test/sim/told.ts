import type { Raft } from "../../consensus/raft.ts";
import type { Event } from "../../node/core/effect.ts";
import type { Host } from "./host.ts";
import { Violation } from "./violation.ts";

/** A follower commits no further than what a leader has shown it to match, now or before. */
export function checkTold(
  host: Host,
  raft: Raft,
  before: { readonly role: string; readonly commit: number },
  events: readonly Event[],
): void {
  if (raft.commitIndex <= before.commit || before.role !== "follower") return;
  if (raft.role !== "follower") return;
  let told = 0;
  for (const event of events) {
    if (event.kind === "snapshot-fetched") told = Math.max(told, event.meta.index);
    if (event.kind !== "message") continue;
    const { message } = event;
    if (message.kind !== "raft") continue;
    const { message: m } = message;
    if (m.kind === "append") told = Math.max(told, m.prevIndex + m.entries.length);
    else if (m.kind === "heartbeat") told = Math.max(told, m.commit);
    else if (m.kind === "snapshot") told = Math.max(told, m.snapshotIndex);
  }
  if (raft.commitIndex <= told) return;
  const text = `${host.id} commits ${raft.commitIndex}, and was shown no more than ${told}`;
  throw new Violation("commit what matches", text);
}
