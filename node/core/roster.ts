import type { Millis, NodeId } from "../../state/ids.ts";
import type { Door, Identity, Peer } from "../storage.ts";
import { DEPARTING_MS, MEMBER_CHANGES_KEPT } from "./defaults.ts";
import type { Effect } from "./effect.ts";
import { MemberHash } from "./member-hash.ts";
import { connectList } from "./members.ts";
import type { Member, MemberChange } from "./message.ts";

/** What became of a list that was heard: it was older than what is known, the same, or is known from now on. */
type Learned = "old" | "same" | "new";

/** Whom a node knows as members, how Raft's numbers belong to them, and whom the network is to let in. */
export class Roster {
  readonly #self: NodeId;
  readonly #door: Door | null;
  #members: readonly Member[] = [];
  #byId: ReadonlyMap<NodeId, Member> = new Map();
  #byRaftId: ReadonlyMap<number, Member> = new Map();
  /** The other members, and those of them that hold the log: asked for at every tick. */
  #others: readonly NodeId[] = [];
  #otherHolders: readonly NodeId[] = [];
  readonly #hash: MemberHash = new MemberHash();
  #joinSecret: string;
  #stamp = 0;
  #index = 0;
  #heardIndex = 0;
  /** Whom each list changed, of the last ones. */
  readonly #changes: {
    readonly stamp: number;
    readonly ids: readonly NodeId[];
    /** Of the list as it was then. */
    readonly hash: string;
  }[] = [];
  /** The newest of the last lists that has this hash. */
  readonly #stamps: Map<string, number> = new Map();
  /** What makes the present list of earlier ones, as far as it was asked for. */
  readonly #asked: Map<number, MemberChange> = new Map();
  /** Who spoke in Raft under which id: a new learner may hear a leader that it has not read of yet. */
  readonly #routes: Map<number, NodeId> = new Map();
  /** Who was removed a moment ago, and until when it is still let in: it has yet to hear of it. */
  readonly #departing: Map<NodeId, { readonly member: Member; readonly untilMs: Millis }> =
    new Map();

  constructor({ node, peers, joinSecret, door }: Identity) {
    this.#self = node;
    this.#door = door ?? null;
    this.#joinSecret = joinSecret;
    const known = peers.map(({ id, raftId, addresses }) => ({
      id,
      raftId,
      name: "",
      addresses,
      holdsLog: true,
    }));
    for (const member of known) this.#hash.add(member);
    this.#know(known);
  }

  #know(members: readonly Member[]): void {
    this.#members = members;
    this.#byId = new Map(members.map((member) => [member.id, member]));
    this.#byRaftId = new Map(members.map((member) => [member.raftId, member]));
    const others = members.filter(({ id }) => id !== this.#self);
    this.#others = others.map(({ id }) => id);
    this.#otherHolders = others.filter(({ holdsLog }) => holdsLog).map(({ id }) => id);
    this.#asked.clear();
  }

  get members(): readonly Member[] {
    return this.#members;
  }

  get joinSecret(): string {
    return this.#joinSecret;
  }

  /** The log index as of which it is known. */
  get index(): number {
    return this.#index;
  }

  /** The highest log index that the manager is known to have applied. */
  get heardIndex(): number {
    return this.#heardIndex;
  }

  hearIndex(index: number): void {
    this.#heardIndex = Math.max(this.#heardIndex, index);
  }

  /** Another number for each list. */
  get stamp(): number {
    return this.#stamp;
  }

  /** Whether the last list says that this node holds no log: what its own disk says of that may be old. */
  get isWithoutLog(): boolean {
    return this.#byId.get(this.#self)?.holdsLog === false;
  }

  /** The other members, or those of them that hold the log. */
  others(which: "holders" | "all"): readonly NodeId[] {
    return which === "all" ? this.#others : this.#otherHolders;
  }

  /** Whether it is a member, or was until a moment ago. */
  knows(id: NodeId): boolean {
    return this.find(id) !== undefined || this.isDeparting(id);
  }

  isDeparting(id: NodeId): boolean {
    return this.#departing.has(id);
  }

  /** Whether that number of Raft is not known to be another node's. */
  maySpeakAs(id: NodeId, raftId: number): boolean {
    const owner = this.#byRaftId.get(raftId);
    return owner === undefined || owner.id === id;
  }

  find(id: NodeId): Member | undefined {
    return this.#byId.get(id);
  }

  /** A list, each member once, as of that log index. */
  learn(members: readonly Member[], joinSecret: string, index: number, now: Millis): Learned {
    if (index < this.#index) return "old";
    this.#index = index;
    const before = this.#byId;
    const ids = changed(before, members);
    // Most of what the log says of nodes is not what others know of them.
    if (ids.length === 0 && joinSecret === this.#joinSecret) return "same";
    this.#know(members);
    this.#joinSecret = joinSecret;
    for (const id of ids) {
      const [old, member] = [before.get(id), this.#byId.get(id)];
      if (old !== undefined) this.#hash.remove(old);
      if (member !== undefined) {
        this.#hash.add(member);
        this.#departing.delete(id);
      } else if (old !== undefined) {
        this.#departing.set(id, { member: old, untilMs: now + DEPARTING_MS });
      }
    }
    this.#note(ids);
    return "new";
  }

  #note(ids: readonly NodeId[]): void {
    this.#stamp += 1;
    const hash = this.#hash.text;
    this.#changes.push({ stamp: this.#stamp, ids, hash });
    this.#stamps.set(hash, this.#stamp);
    if (this.#changes.length <= MEMBER_CHANGES_KEPT) return;
    const oldest = this.#changes.shift();
    if (oldest !== undefined && this.#stamps.get(oldest.hash) === oldest.stamp)
      this.#stamps.delete(oldest.hash);
  }

  /** The stamp of the list that somebody has, by its hash; -1: it was none of the last ones. */
  stampOf(hash: string): number {
    return this.#stamps.get(hash) ?? -1;
  }

  /** What makes this list of the one that had that stamp; null: too long ago. */
  changesSince(stamp: number): MemberChange | null {
    const asked = this.#asked.get(stamp);
    if (asked !== undefined) return asked;
    const later = this.#changes.filter((change) => change.stamp > stamp);
    if (later.length !== this.#stamp - stamp) return null;
    const ids = new Set(later.flatMap((change) => change.ids));
    const upsert = [...ids].flatMap((id) => this.#byId.get(id) ?? []);
    for (const { id } of upsert) ids.delete(id);
    const change = { whole: false, upsert, gone: [...ids] };
    this.#asked.set(stamp, change);
    return change;
  }

  /** Whether somebody who was removed is not to be let in any more. */
  tick(now: Millis): boolean {
    const over = [...this.#departing].filter(([, { untilMs }]) => now >= untilMs);
    for (const [id] of over) this.#departing.delete(id);
    return over.length > 0;
  }

  /** Raft spoke under this number. */
  heard(raftId: number, from: NodeId): void {
    this.#routes.set(raftId, from);
  }

  nodeOf(raftId: number): NodeId | null {
    return this.#byRaftId.get(raftId)?.id ?? this.#routes.get(raftId) ?? null;
  }

  effect(): Extract<Effect, { kind: "members" }> {
    return {
      kind: "members",
      members: [...this.#members, ...[...this.#departing.values()].map(({ member }) => member)],
      connect: connectList(this.#self, this.#members).map((member) => this.#withDoor(member)),
      joinSecret: this.#joinSecret,
    };
  }

  /** The name may lead there when the record's addresses do not any more. */
  #withDoor(member: Member): Member {
    if (member.id !== this.#door?.id || member.addresses.includes(this.#door.address))
      return member;
    return { ...member, addresses: [...member.addresses, this.#door.address] };
  }

  /** Where the log's holders were last seen: what a restarted node begins with. */
  peers(): Peer[] {
    return connectList(this.#self, this.#members)
      .filter(({ holdsLog }) => holdsLog)
      .map(({ id, raftId, addresses }) => ({ id, raftId, addresses }));
  }
}

/** Who is on one list only, or otherwise on the other. */
function changed(before: ReadonlyMap<NodeId, Member>, after: readonly Member[]): NodeId[] {
  const ids: NodeId[] = [];
  let known = 0;
  for (const member of after) {
    const old = before.get(member.id);
    if (old !== undefined) known += 1;
    if (old === undefined || !isSame(old, member)) ids.push(member.id);
  }
  if (known === before.size) return ids;
  const there = new Set(after.map(({ id }) => id));
  return [...ids, ...[...before.keys()].filter((id) => !there.has(id))];
}

function isSame(a: Member, b: Member): boolean {
  return (
    a.raftId === b.raftId &&
    a.holdsLog === b.holdsLog &&
    a.name === b.name &&
    a.addresses.length === b.addresses.length &&
    a.addresses.every((address, i) => address === b.addresses[i])
  );
}
