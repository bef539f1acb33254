import type { Millis, NodeId } from "../../state/ids.ts";
import type { Door, Identity, Peer } from "../storage.ts";
import { DEPARTING_MS, MEMBER_CHANGES_KEPT } from "./defaults.ts";
import type { Effect } from "./effect.ts";
import { connectList } from "./members.ts";
import type { Member, MemberChange } from "./message.ts";

/** Whom a node knows as members, how Raft's numbers belong to them, and whom the network is to let in. */
export class Roster {
  readonly #self: NodeId;
  readonly #door: Door | null;
  #members: readonly Member[];
  #byRaftId: ReadonlyMap<number, Member>;
  #joinSecret: string;
  #stamp = 0;
  #index = 0;
  #heardIndex = 0;
  /** Whom each list changed, of the last ones. */
  readonly #changes: { readonly stamp: number; readonly ids: readonly NodeId[] }[] = [];
  #lastAsked: { readonly from: number; readonly to: number; readonly change: MemberChange } | null =
    null;
  /** Who spoke in Raft under which id: a new learner may hear a leader that it has not read of yet. */
  readonly #routes: Map<number, NodeId> = new Map();
  /** Who was removed a moment ago, and until when it is still let in: it has yet to hear of it. */
  readonly #departing: Map<NodeId, { readonly member: Member; readonly untilMs: Millis }> =
    new Map();

  constructor({ node, peers, joinSecret, door }: Identity) {
    this.#self = node;
    this.#door = door ?? null;
    this.#joinSecret = joinSecret;
    this.#members = peers.map(({ id, raftId, addresses }) => ({
      id,
      raftId,
      name: "",
      addresses,
      holdsLog: true,
    }));
    this.#byRaftId = byRaftId(this.#members);
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
    return this.#members.some(({ id, holdsLog }) => id === this.#self && !holdsLog);
  }

  /** The other members, or those of them that hold the log. */
  others(which: "holders" | "all"): NodeId[] {
    return this.#members
      .filter(({ id, holdsLog }) => id !== this.#self && (holdsLog || which === "all"))
      .map(({ id }) => id);
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
    return this.#members.find((member) => member.id === id);
  }

  /** A list as of that log index. Returns false for one that is older than what is known. */
  learn(members: readonly Member[], joinSecret: string, index: number, now: Millis): boolean {
    if (index < this.#index) return false;
    this.#index = index;
    const ids = new Set(members.map(({ id }) => id));
    for (const member of this.#members) {
      const untilMs = now + DEPARTING_MS;
      if (!ids.has(member.id)) this.#departing.set(member.id, { member, untilMs });
    }
    for (const id of ids) this.#departing.delete(id);
    this.#stamp += 1;
    this.#changes.push({ stamp: this.#stamp, ids: changed(this.#members, members) });
    if (this.#changes.length > MEMBER_CHANGES_KEPT) this.#changes.shift();
    this.#members = members;
    this.#byRaftId = byRaftId(members);
    this.#joinSecret = joinSecret;
    return true;
  }

  /** What makes this list of the one that had that stamp; null: too long ago. */
  changesSince(stamp: number): MemberChange | null {
    const asked = this.#lastAsked;
    if (asked !== null && asked.from === stamp && asked.to === this.#stamp) return asked.change;
    const later = this.#changes.filter((change) => change.stamp > stamp);
    if (later.length !== this.#stamp - stamp) return null;
    const ids = new Set(later.flatMap((change) => change.ids));
    const upsert = this.#members.filter(({ id }) => ids.has(id));
    for (const { id } of upsert) ids.delete(id);
    const change = { whole: false, upsert, gone: [...ids] };
    this.#lastAsked = { from: stamp, to: this.#stamp, change };
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
function changed(before: readonly Member[], after: readonly Member[]): NodeId[] {
  const old = new Map(before.map((member) => [member.id, member]));
  const ids: NodeId[] = [];
  for (const member of after) {
    const known = old.get(member.id);
    if (known === undefined || !isSame(known, member)) ids.push(member.id);
    old.delete(member.id);
  }
  return [...ids, ...old.keys()];
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

function byRaftId(members: readonly Member[]): ReadonlyMap<number, Member> {
  return new Map(members.map((member) => [member.raftId, member]));
}
