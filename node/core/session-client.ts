import type { Usage } from "../../runtime/engine.ts";
import type { Millis, NodeId, TaskId } from "../../state/ids.ts";
import { LEASE_MS } from "../../state/lease.ts";
import type { NodeFacts } from "../../state/node-record.ts";
import type { TaskReport } from "../../state/task.ts";
import {
  REPORTS_RETRY_MS,
  SESSION_BEAT_MS,
  SESSION_OPEN_MS,
  SESSION_SILENT_MS,
} from "./defaults.ts";
import type { NodeMessage, SessionSet } from "./message.ts";

interface Batch {
  readonly batch: number;
  readonly reports: readonly TaskReport[];
  readonly sentAtMs: Millis;
}

export interface SessionClientContext {
  readonly raftId: number;
  /** What the node says of itself at first. */
  readonly facts: NodeFacts;
  /** The newest report of every task: what a session starts with. */
  readonly reports: () => readonly TaskReport[];
  /** The hash of the members that it was told of. */
  readonly members: () => string;
  readonly send: (to: NodeId, message: NodeMessage) => void;
}

/** One a second: more are older than a lease. */
const LEASES_ASKED = 16;

/** The batch that comes with the opening of a session. */
const OPENING = 0;

/**
 * A worker's side of its session: finds the manager, keeps the session up, hands reports up until they
 * are committed. Without a manager it goes on asking, one log holder after the other, for ever.
 */
export class SessionClient {
  readonly #context: SessionClientContext;
  #facts: NodeFacts;
  #session = 0;
  #state: "closed" | "opening" | "open" = "closed";
  #manager: NodeId | null = null;
  #turn = 0;
  #seq = 0;
  #openedAtMs: Millis = 0;
  #heardAtMs: Millis = 0;
  #beatAtMs: Millis = 0;
  /** The newest report of each task that is not committed yet. */
  readonly #unsent: Map<TaskId, TaskReport> = new Map();
  #inFlight: Batch | null = null;
  #batches = 0;
  /** Questions for a lease in this session, the last ones, and when they left. */
  readonly #leases: Map<number, Millis> = new Map();
  #leaseCount = 0;

  constructor(context: SessionClientContext) {
    this.#context = context;
    this.#facts = context.facts;
  }

  /** Whom this node believes to manage, by its session; null while it looks for one. */
  get manager(): NodeId | null {
    return this.#state === "open" ? this.#manager : null;
  }

  /** For how long no manager was heard; null: none ever was. */
  silentMs(now: Millis): number | null {
    return this.#heardAtMs === 0 ? null : now - this.#heardAtMs;
  }

  report(reports: readonly TaskReport[], now: Millis): void {
    for (const report of reports) this.#unsent.set(report.task, report);
    this.#flush(now);
  }

  /** Keeps the session up. `leader`: who leads as far as Raft here knows; `holders`: whom else to ask; `said`: what the beat says. */
  tick(
    leader: NodeId | null,
    holders: readonly NodeId[],
    said: { readonly usage: Usage | null; readonly needsLease: boolean },
    now: Millis,
  ): void {
    if (leader !== null && leader !== this.#manager) this.#open(leader, now);
    if (this.#state === "open" && now - this.#heardAtMs > SESSION_SILENT_MS) this.#state = "closed";
    const waited = now - this.#openedAtMs >= SESSION_OPEN_MS;
    if (this.#state === "closed" || (this.#state === "opening" && waited)) {
      const next = leader ?? this.#nextHolder(holders);
      if (next !== null) this.#open(next, now);
    }
    if (this.#state !== "open" || this.#manager === null) return;
    if (now - this.#beatAtMs >= SESSION_BEAT_MS) {
      this.#beatAtMs = now;
      this.#context.send(this.#manager, {
        kind: "session-beat",
        session: this.#session,
        usage: said.usage,
        seq: this.#seq,
        lease: said.needsLease ? this.#askLease(now) : null,
      });
    }
    if (this.#inFlight !== null && now - this.#inFlight.sentAtMs >= REPORTS_RETRY_MS) {
      this.#restore();
    }
    this.#flush(now);
  }

  #askLease(now: Millis): number {
    this.#leaseCount += 1;
    this.#leases.set(this.#leaseCount, now);
    const [oldest] = this.#leases.keys();
    if (this.#leases.size > LEASES_ASKED && oldest !== undefined) this.#leases.delete(oldest);
    return this.#leaseCount;
  }

  /** A lease is granted: until when; null: not in this session, or asked for too long ago. */
  leased(from: NodeId, session: number, lease: number): Millis | null {
    const askedAtMs = this.#leases.get(lease);
    if (askedAtMs === undefined || !this.isCurrent(from, session)) return null;
    return askedAtMs + LEASE_MS;
  }

  #nextHolder(holders: readonly NodeId[]): NodeId | null {
    this.#turn += 1;
    return holders[this.#turn % Math.max(1, holders.length)] ?? null;
  }

  #open(manager: NodeId, now: Millis): void {
    // What an earlier one said is said anew by this.
    if (this.#inFlight?.batch === OPENING) this.#inFlight = null;
    this.#restore();
    // Above every number used before, also by an earlier process of this node.
    this.#session = Math.max(this.#session + 1, now);
    this.#state = "opening";
    this.#manager = manager;
    this.#seq = 0;
    this.#leases.clear();
    this.#openedAtMs = now;
    const reports = this.#context.reports();
    // A manager that cannot propose them now (it is handing over, or overloaded) does not acknowledge them.
    if (reports.length > 0) this.#inFlight = { batch: OPENING, reports, sentAtMs: now };
    this.#context.send(manager, {
      kind: "session-open",
      session: this.#session,
      raftId: this.#context.raftId,
      facts: this.#facts,
      reports,
      members: this.#context.members(),
    });
  }

  /** The batch under way is of no use any more: its reports wait again, unless newer ones do. */
  #restore(): void {
    for (const report of this.#inFlight?.reports ?? []) {
      if (!this.#unsent.has(report.task)) this.#unsent.set(report.task, report);
    }
    this.#inFlight = null;
  }

  #flush(now: Millis): void {
    if (this.#state !== "open" || this.#manager === null) return;
    if (this.#inFlight !== null || this.#unsent.size === 0) return;
    this.#batches += 1;
    const reports = [...this.#unsent.values()];
    this.#unsent.clear();
    this.#inFlight = { batch: this.#batches, reports, sentAtMs: now };
    this.#context.send(this.#manager, {
      kind: "session-reports",
      session: this.#session,
      batch: this.#batches,
      reports,
    });
  }

  /** A set arrived; returns it when it is the one that is due, null when it is old or after a gap. */
  accept(from: NodeId, set: SessionSet, now: Millis): SessionSet | null {
    if (set.session !== this.#session || from !== this.#manager) return null;
    this.#heardAtMs = now;
    this.#state = "open";
    if (set.seq <= this.#seq || (!set.full && set.seq !== this.#seq + 1)) return null;
    this.#seq = set.seq;
    // Said at once, so that the manager need not wonder whether the set was lost.
    this.#beatAtMs = 0;
    return set;
  }

  /** Whether that is the session that this node opened last, with that node. */
  isCurrent(from: NodeId, session: number): boolean {
    return session === this.#session && from === this.#manager;
  }

  heard(from: NodeId, session: number, now: Millis): void {
    if (session === this.#session && from === this.#manager) this.#heardAtMs = now;
  }

  acknowledged(session: number, batch: number, now: Millis): void {
    if (session !== this.#session || this.#inFlight?.batch !== batch) return;
    this.#inFlight = null;
    this.#flush(now);
  }

  /** The asked node does not manage; `manager` is whom it points at. */
  refused(session: number, manager: NodeId | null, now: Millis): void {
    if (session !== this.#session) return;
    if (manager !== null && manager !== this.#manager) this.#open(manager, now);
    // The manager itself no longer knows the session: the next tick opens another.
    else this.#state = this.#state === "open" ? "closed" : "opening";
  }

  /** The node is reached at these addresses now: a session begins with what it says of itself, so it opens another. */
  moved(addresses: readonly string[], now: Millis): NodeFacts {
    if (addresses.join() === this.#facts.addresses.join()) return this.#facts;
    this.#facts = { ...this.#facts, addresses };
    if (this.#state !== "closed" && this.#manager !== null) this.#open(this.#manager, now);
    return this.#facts;
  }

  peerLost(peer: NodeId): void {
    if (peer === this.#manager) this.#state = "closed";
  }
}
