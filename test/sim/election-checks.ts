import type { Membership } from "../../consensus/membership.ts";
import type { Message, RaftId } from "../../consensus/message.ts";
import type { Raft } from "../../consensus/raft.ts";
import type { Effect, Event } from "../../node/core/effect.ts";
import type { DiskImage } from "../../node/storage.ts";
import { holdsOnDisk } from "./durable.ts";
import type { Host } from "./host.ts";
import { Violation } from "./violation.ts";

type Of<Kind extends Message["kind"]> = Extract<Message, { kind: Kind }>;

/** Probes beyond the number of terms: those that were overtaken, and the first. */
const PROBES_SPARE = 10;

/** What a leader knew before the events that it has just handled. */
interface Before {
  readonly term: number;
  readonly role: string;
  readonly lastIndex: number;
  readonly commit: number;
  readonly applied: number;
  readonly membership: Membership;
}

/** How terms begin, who leads them, and how a leader finds where logs meet. */
export class ElectionChecks {
  /** What every disk holds, also those that are lost. */
  readonly #disks: () => Iterable<DiskImage>;
  readonly #leaders: Map<number, RaftId> = new Map();
  /** By candidate and term: who granted it a pre-vote. */
  readonly #preVotes: Map<string, Set<RaftId>> = new Map();
  /** By leader, follower and term: where it has asked since it was last sure. */
  readonly #probes: Map<string, Set<number>> = new Map();
  #lastTerm: number | null = null;

  constructor(disks: () => Iterable<DiskImage>) {
    this.#disks = disks;
  }

  /** After every turn of a node. */
  handled(
    host: Host,
    raft: Raft,
    raftId: RaftId,
    before: Before,
    events: readonly Event[],
    effects: readonly Effect[],
  ): void {
    this.#begun(host, raft, raftId);
    for (const request of requestsIn(events)) {
      if (request.to !== raftId) continue;
      checkVote(host, raft, request, before);
      checkPreVote(host, raft, request, effects);
    }
    const stands = raft.role === "candidate" || raft.role === "pre-candidate";
    if (stands && before.role === "follower") checkMayStand(host, raft, before);
    if (raft.role !== "leader") return;
    const known = this.#leaders.get(raft.term);
    if (known !== undefined && known !== raftId) {
      throw new Violation("election safety", `${known} and ${raftId} both lead term ${raft.term}`);
    }
    this.#leaders.set(raft.term, raftId);
    if (raft.isLearner) throw new Violation("learners", `learner ${host.id} leads`);
    const { voters, outgoing } = raft.membership;
    if (!voters.includes(raftId) && !outgoing.includes(raftId)) {
      throw new Violation("removed ids", `${host.id} leads those that it does not belong to`);
    }
    if (before.role !== "leader" || before.term !== raft.term) {
      this.#elected(host, raft, raftId, before);
    }
  }

  /** Only a candidate begins a term: being asked, or told, raises none. */
  #begun(host: Host, raft: Raft, raftId: RaftId): void {
    if (raft.term <= (this.#lastTerm ?? 0)) return;
    if (this.#lastTerm !== null && raft.vote !== raftId) {
      throw new Violation("terms", `${host.id} is in term ${raft.term}, which nobody stood for`);
    }
    this.#lastTerm = raft.term;
  }

  /** By votes that are on disks: of a quorum, of both halves of a joint configuration. */
  #elected(host: Host, { term, membership }: Raft, raftId: RaftId, before: Before): void {
    const voted = new Set<RaftId>();
    for (const { identity, hardState } of this.#disks()) {
      // Who has gone on to a later term may have voted in this one.
      const may = hardState.term > term || (hardState.term === term && hardState.vote === raftId);
      if (identity !== null && may) voted.add(identity.raftId);
    }
    if (hasQuorum(membership, voted) || hasQuorum(before.membership, voted)) return;
    const text = `${host.id} leads term ${term} by votes of ${[...voted].join(",")}`;
    throw new Violation("elected by a quorum", text);
  }

  /** Before a message leaves. */
  sending(host: Host, raft: Raft, m: Message, before: Before | undefined): void {
    switch (m.kind) {
      case "vote":
        this.#asks(host, raft, m);
        return;
      case "vote-reply":
        if (!m.rejected) votedOnDisk(host, m.term, m.to, m.kind);
        return;
      case "pre-vote-reply":
        if (!m.rejected) this.#granted(`${m.to}/${m.term}`).add(m.from);
        return;
      case "append":
        this.#probing(host, raft, m);
        return;
      case "timeout-now":
        this.#handsOver(host, raft, m, before);
        return;
      case "pre-vote":
      case "append-reply":
      case "heartbeat":
      case "heartbeat-reply":
      case "snapshot":
        return;
    }
  }

  #granted(key: string): Set<RaftId> {
    const known = this.#preVotes.get(key);
    if (known !== undefined) return known;
    const made = new Set<RaftId>();
    this.#preVotes.set(key, made);
    return made;
  }

  /** A candidate has its own vote on the disk, and was encouraged by a quorum or the leader. */
  #asks(host: Host, { membership }: Raft, m: Of<"vote">): void {
    votedOnDisk(host, m.term, m.from, m.kind);
    if (!holdsOnDisk(host.disk.durable, m.lastIndex, m.lastTerm)) {
      const text = `${host.id} asks for votes for a log to ${m.lastIndex}/${m.lastTerm}, which is not on its disk`;
      throw new Violation("durable before sent", text);
    }
    if (m.transfer) return;
    const granted = new Set([...this.#granted(`${m.from}/${m.term}`), m.from]);
    if (hasQuorum(membership, granted)) return;
    const text = `${host.id} stands for term ${m.term} after pre-votes of ${[...granted].join(",")}`;
    throw new Violation("pre-votes", text);
  }

  /** One question a term of either log, not one an entry. */
  #probing(host: Host, raft: Raft, m: Of<"append">): void {
    const key = `${m.from}>${m.to}/${m.term}/${host.life}`;
    const progress = raft.progressOf(m.to);
    if (progress?.state !== "probe") {
      this.#probes.delete(key);
      return;
    }
    // Sent earlier in the turn, when it was still sure.
    if (m.prevIndex !== progress.next - 1) return;
    const asked = this.#probes.get(key) ?? new Set();
    this.#probes.set(key, asked.add(m.prevIndex));
    if (asked.size <= PROBES_SPARE) return;
    const terms = new Set<number>();
    for (const { entries, identity } of this.#disks()) {
      if (identity?.raftId !== m.to && identity?.raftId !== m.from) continue;
      for (const { term } of entries) terms.add(term);
    }
    if (asked.size <= PROBES_SPARE + 2 * terms.size) return;
    const text = `${host.id} asked ${m.to} ${asked.size} times where its log of ${terms.size} terms meets`;
    throw new Violation("probes", text);
  }

  /** To a voter that can win: it holds all that the leader held. (One that gives up asks whom it can.) */
  #handsOver(host: Host, raft: Raft, m: Of<"timeout-now">, before: Before | undefined): void {
    if (raft.role !== "leader" || before?.role !== "leader" || before.term !== raft.term) return;
    const isVoter = [raft.membership, before.membership].some(
      ({ voters, outgoing }) => voters.includes(m.to) || outgoing.includes(m.to),
    );
    if (!isVoter) throw new Violation("transfer", `${host.id} hands over to ${m.to}, no voter`);
    const term = raft.termAt(before.lastIndex);
    for (const image of this.#disks()) {
      if (image.identity?.raftId !== m.to || term === undefined) continue;
      // It may have heard of a later term meanwhile.
      if (image.hardState.term > raft.term || holdsOnDisk(image, before.lastIndex, term)) continue;
      const text = `${host.id} hands over to ${m.to}, which lacks ${before.lastIndex}`;
      throw new Violation("transfer", text);
    }
  }
}

type Request = Of<"vote" | "pre-vote">;

/** A request for a vote that came alone: what follows from it is not mixed with what others said. */
function requestsIn(events: readonly Event[]): Request[] {
  const [event] = events;
  if (events.length !== 1 || event?.kind !== "message" || event.message.kind !== "raft") return [];
  const { message: m } = event.message;
  return m.kind === "vote" || m.kind === "pre-vote" ? [m] : [];
}

function isUpToDate({ lastTerm, lastIndex }: Request, raft: Raft): boolean {
  const term = raft.termAt(raft.lastIndex) ?? 0;
  return lastTerm > term || (lastTerm === term && lastIndex >= raft.lastIndex);
}

/** A vote goes to a log that is up to date; and who follows such a candidate into its term votes, learner or not. */
function checkVote(host: Host, raft: Raft, m: Request, before: Before): void {
  if (m.kind !== "vote" || m.term !== raft.term || before.role === "none") return;
  const isNew = before.term < raft.term;
  if (isNew && raft.vote === m.from && !isUpToDate(m, raft)) {
    throw new Violation("votes", `${host.id} votes for ${m.from}, whose log is behind`);
  }
  if (isNew && raft.vote === 0 && raft.leader === 0 && isUpToDate(m, raft)) {
    throw new Violation("votes", `${host.id} does not vote for ${m.from} in term ${m.term}`);
  }
}

/** Only where the grant leaves at once is it certain what the voter held. */
function checkPreVote(host: Host, raft: Raft, m: Request, effects: readonly Effect[]): void {
  if (m.kind !== "pre-vote" || isUpToDate(m, raft)) return;
  for (const effect of effects) {
    if (effect.kind !== "send" || effect.message.kind !== "raft") continue;
    const { message: reply } = effect.message;
    const isItsOwn = reply.to === m.from && reply.term === m.term;
    if (reply.kind !== "pre-vote-reply" || reply.rejected || !isItsOwn) continue;
    throw new Violation("pre-votes", `${host.id} encourages ${m.from}, whose log is behind`);
  }
}

/** Who has not applied a committed change may count a quorum of members that are none any more. */
function checkMayStand(host: Host, raft: Raft, before: Before): void {
  // Applying comes last in a turn, and who stands commits nothing.
  const open = raft.entriesFrom(Math.max(before.applied, raft.base.index) + 1);
  const change = open.find(({ kind, index }) => kind === "conf" && index <= raft.commitIndex);
  if (change === undefined) return;
  const text = `${host.id} stands with the change ${change.index} committed and not applied`;
  throw new Violation("campaigns", text);
}

function votedOnDisk(host: Host, term: number, vote: RaftId, kind: string): void {
  const { hardState } = host.disk.durable;
  if (hardState.term > term || (hardState.term === term && hardState.vote === vote)) return;
  const text = `${host.id} sends a ${kind} of ${term}, its disk says ${hardState.term}/${hardState.vote}`;
  throw new Violation("durable before sent", text);
}

export function hasQuorum({ voters, outgoing }: Membership, of: ReadonlySet<RaftId>): boolean {
  return [voters, outgoing].every((half) => {
    const count = half.filter((id) => of.has(id)).length;
    return half.length === 0 || count > half.length / 2;
  });
}
