import type { Index, Millis, NodeId } from "../../state/ids.ts";
import type { Identity } from "../storage.ts";
import { LOST_MS } from "./defaults.ts";
import type { Effect } from "./effect.ts";
import { MemberHash } from "./member-hash.ts";
import { membersOf } from "./members.ts";
import type { Member, SessionSet, Vouch } from "./message.ts";
import type { Replica } from "./replica.ts";
import type { Roster } from "./roster.ts";

export interface MemberNewsContext {
  readonly identity: Identity;
  readonly roster: Roster;
  readonly replica: Replica;
  readonly effect: (effect: Effect) => void;
}

/**
 * All ways in which a node hears who its members are: its own log, its session, another's refusal, and, when it
 * has lost its cluster, a stranger that proves to belong to it.
 */
export class MemberNews {
  readonly #context: MemberNewsContext;
  #appliedFrom: readonly unknown[] = [];
  /** All that the session has told, by which its changes are to be understood. */
  readonly #session: Map<NodeId, Member> = new Map();
  #hash: MemberHash = new MemberHash();
  #remembered = "";
  /**
   * As of which index a voucher's list was put on top of what was known; null: none is. It orders vouchers, and
   * counts for nothing against the manager's list.
   */
  #vouchedIndex: Index | null = null;
  #aloneSinceMs: Millis | null = null;
  #isLost = false;

  constructor(context: MemberNewsContext) {
    this.#context = context;
  }

  /** No manager was heard for so long that all that is known of others may be old. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /**
   * Tells the network to look for the cluster when no session has stood for LOST_MS, and to stop when one does.
   * The session is the one sign that holds for all: a learner may take a dead leader for its own for ever.
   */
  tick(hasSession: boolean, now: Millis): void {
    // From the first look without: while this process stood still, nobody could be heard.
    if (hasSession) this.#aloneSinceMs = null;
    else this.#aloneSinceMs ??= now;
    const isLost = this.#aloneSinceMs !== null && now - this.#aloneSinceMs >= LOST_MS;
    if (isLost === this.#isLost) return;
    this.#isLost = isLost;
    this.#context.effect({ kind: "seek", on: isLost });
  }

  /** What this node's own log says, if that is new. */
  applied(now: Millis): void {
    const { replica } = this.#context;
    const { state, membership, holdsLog } = replica;
    const { appliedIndex } = replica.raft;
    if (!holdsLog || state.clusterId === "") return;
    // It may not have read yet of those that let it catch up.
    if (this.#vouchedIndex !== null && appliedIndex < this.#vouchedIndex) return;
    const from = [state.membersIndex, membership];
    if (from.every((part, i) => part === this.#appliedFrom[i])) return;
    this.#appliedFrom = from;
    this.#vouchedIndex = null;
    this.#learn(membersOf(state, membership), state.joinSecret, appliedIndex, now);
  }

  /** Of all that the session has told: any manager can tell by it what this node has missed. */
  get hash(): string {
    return this.#hash.text;
  }

  /** What the manager says with a session. */
  told({ members, joinSecret, index }: SessionSet, now: Millis): void {
    const { replica, roster } = this.#context;
    // A node that was taken out of Raft while it was away has a log that says otherwise.
    const isNews = !replica.holdsLog || index > replica.raft.appliedIndex;
    if (members === null) return;
    if (members.whole) {
      this.#session.clear();
      this.#hash = new MemberHash();
    }
    for (const id of members.gone) this.#forget(id);
    for (const member of members.upsert) {
      this.#forget(member.id);
      this.#session.set(member.id, member);
      this.#hash.add(member);
    }
    this.#vouchedIndex = null;
    if (isNews || roster.isWithoutLog) {
      this.#learn(inOrder([...this.#session.values()]), joinSecret, index, now);
    }
  }

  #forget(id: NodeId): void {
    const known = this.#session.get(id);
    if (known === undefined) return;
    this.#session.delete(id);
    this.#hash.remove(known);
  }

  /** A member speaks of one that this node has not read of yet: it is let in until the list itself comes. */
  hinted(member: Member | null, now: Millis): void {
    const { replica, roster } = this.#context;
    const holdsLog = replica.holdsLog && !roster.isWithoutLog;
    if (member === null || holdsLog || roster.knows(member.id)) return;
    const { members, joinSecret, index } = roster;
    this.#learn([...members, member], joinSecret, index, now);
  }

  /**
   * One that proved the join secret says whom the log has: they are let in beside all that were known, since the
   * voucher may itself be behind. Nothing happens unless this node is lost, the two are both on the list, and the
   * list is not older than what is known, and newer than the log if this node has one.
   */
  vouched(by: NodeId, { members, index }: Vouch, now: Millis): void {
    const { identity, roster, replica } = this.#context;
    const said = new Set(members.map(({ id }) => id));
    if (!this.#isLost || !said.has(by) || !said.has(identity.node)) return;
    const known = Math.max(roster.index, this.#vouchedIndex ?? 0);
    if (index < known || (replica.holdsLog && index <= replica.raft.appliedIndex)) return;
    const others = roster.members.filter(({ id }) => !said.has(id));
    const list = inOrder([...others, ...members]);
    if (!this.#learn(list, roster.joinSecret, roster.index, now)) return;
    this.#vouchedIndex = index;
    this.#appliedFrom = [];
  }

  #learn(members: readonly Member[], joinSecret: string, index: number, now: Millis): boolean {
    const { identity, roster, replica, effect } = this.#context;
    const learned = roster.learn(members, joinSecret, index, now);
    if (learned !== "new") return learned === "same";
    effect(roster.effect());
    const peers = roster.peers();
    const text = JSON.stringify([peers, joinSecret]);
    if (peers.length === 0 || text === this.#remembered) return true;
    this.#remembered = text;
    replica.remember({ identity: { ...identity, peers, joinSecret } });
    return true;
  }
}

function inOrder(members: readonly Member[]): Member[] {
  return members.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** What a member says for itself to `asker`; null when that is no member as far as is known here. */
export function vouchFor(self: NodeId, asker: NodeId, { members, index }: Roster): Vouch | null {
  if (!members.some(({ id }) => id === asker)) return null;
  return {
    members: members.filter(({ id, holdsLog }) => holdsLog || id === self || id === asker),
    index,
  };
}
