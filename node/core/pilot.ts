import { applyChange, type ConfChange, memberIds } from "../../consensus/membership.ts";
import { NONE, type RaftId } from "../../consensus/message.ts";
import { committedIndex } from "../../consensus/quorum.ts";
import type { Command } from "../../state/command.ts";
import type { Millis, NodeId } from "../../state/ids.ts";
import { isTerminal } from "../../state/task.ts";
import { autopilot } from "./autopilot.ts";
import { AUTOPILOT_MS, HAND_OVER_EVERY_MS, STALL_MS, TICK_MS, VOTERS_MAX } from "./defaults.ts";
import { describeStep } from "./pilot-reason.ts";
import type { Candidate } from "./pilot-survey.ts";
import type { Replica } from "./replica.ts";

export interface PilotContext {
  readonly self: NodeId;
  readonly replica: Replica;
  /** A voter or standby that is away this long loses its seat. */
  readonly replaceAfterMs: number;
  /** Whether a node's session stands. */
  readonly hears: (node: NodeId) => boolean;
  /** Whether nobody can dial it, though it can dial others. */
  readonly isHidden: (node: NodeId) => boolean;
  readonly propose: (command: Command) => void;
  /** For the operator's log. */
  readonly note: (text: string) => void;
}

/** The voters that are wanted, and the round of heartbeats that they have to answer first. */
interface Question {
  readonly voters: string;
  readonly round: number;
}

/**
 * The manager's care for who belongs to the cluster: has the rules of autopilot.ts done, lets nodes that leave
 * go, and raises the feature level once all understand it. Remembers since when each node is here or away.
 */
export class Pilot {
  readonly #context: PilotContext;
  readonly #leaderSinceMs: Millis;
  #lastMs: Millis;
  #tidiedMs: Millis = 0;
  #lastChangeMs: Millis | null = null;
  /** What was committed AUTOPILOT_MS ago or earlier: who holds all of that durably keeps up, at any rate of writes. */
  #committed: number;
  /** What was committed since then, at each tick: however often it looks, it asks the same of a learner. */
  #commits: { readonly atMs: Millis; readonly index: number }[] = [];
  #seen: Map<number, { readonly alive: boolean; readonly sinceMs: Millis }> = new Map();
  #asked: Question | null = null;
  #failedHeirs: readonly RaftId[] = [];
  #handedOverMs: Millis = 0;

  constructor(context: PilotContext, now: Millis) {
    this.#context = context;
    this.#leaderSinceMs = now;
    this.#lastMs = now;
    this.#committed = context.replica.raft.commitIndex;
  }

  tick(now: Millis): void {
    this.#settleCommitted(now);
    const sinceMs = now - this.#lastMs;
    if (sinceMs < AUTOPILOT_MS && this.#asked === null) return;
    this.#lastMs = now;
    // Answers that lay here while this process stood still are as old as the question.
    const asked = sinceMs > TICK_MS + STALL_MS ? null : this.#asked;
    this.#asked = null;
    const candidates = this.#candidates(now);
    const { raft } = this.#context.replica;
    // Raft may have stepped down in this very turn.
    if (raft.role !== "leader" || raft.changePending || raft.transferee !== NONE) return;
    this.#chooseVoters(candidates, asked, now);
    if (now - this.#tidiedMs < AUTOPILOT_MS) return;
    this.#tidiedMs = now;
    this.#letGo();
    this.#raiseLevel();
  }

  #settleCommitted(now: Millis): void {
    this.#commits.push({ atMs: now, index: this.#context.replica.raft.commitIndex });
    const settled = this.#commits.findLastIndex(({ atMs }) => now - atMs >= AUTOPILOT_MS);
    this.#committed = this.#commits[settled]?.index ?? this.#committed;
    this.#commits = this.#commits.slice(settled + 1);
  }

  #candidates(now: Millis): Candidate[] {
    const { replica, self, hears, isHidden } = this.#context;
    const { raft, state } = replica;
    const before = this.#seen;
    this.#seen = new Map();
    return [...state.nodes.values()].map((node) => {
      const { raftId, mayVote, leaving, datacenter } = node;
      const progress = raft.progressOf(raftId);
      // By session and, of those that hold the log, by Raft's own contact.
      const inTouch = progress === undefined || progress.isActive || node.id === self;
      const alive = node.liveness === "ready" && (node.id === self || hears(node.id));
      const known = before.get(raftId);
      const seen = known?.alive === alive ? known : { alive, sinceMs: now };
      this.#seen.set(raftId, seen);
      return {
        raftId,
        alive,
        sinceMs: seen.sinceMs,
        mayVote,
        leaving,
        isHidden: isHidden(node.id),
        caughtUp: progress !== undefined && inTouch && progress.match >= this.#committed,
        datacenter,
        zone: node.labels["zone"] ?? "",
      };
    });
  }

  #chooseVoters(candidates: readonly Candidate[], asked: Question | null, now: Millis): void {
    const { replica, replaceAfterMs } = this.#context;
    const step = autopilot({
      membership: replica.membership,
      candidates,
      leader: replica.raftId,
      leaderSinceMs: this.#leaderSinceMs,
      lastChangeMs: this.#lastChangeMs,
      failedHeirs: this.#failedHeirs,
      config: { replaceAfterMs, maxVoters: VOTERS_MAX },
      nowMs: now,
    });
    if (step === null) return;
    if (step.kind === "transfer") {
      // While it hands over no write is taken: once all have failed, it leads on for a while.
      if (this.#failedHeirs.includes(step.to) && now - this.#handedOverMs < HAND_OVER_EVERY_MS)
        return;
      this.#handedOverMs = now;
      this.#failedHeirs = [...this.#failedHeirs.filter((id) => id !== step.to), step.to];
      replica.raft.transfer(step.to);
    } else {
      if (!this.#isAnswered(step.change, asked)) return;
      if (replica.proposeChange(step.change).kind === "refused") return;
      this.#lastChangeMs = now;
    }
    this.#context.note(describeStep(step, (id) => this.#nameOf(id)));
  }

  /**
   * What is known of others is a moment old, and older if this process stood still: a quorum of the new voters, all
   * that join among them, first answers a question that was asked after the choice. Asks until then, at every tick.
   */
  #isAnswered(change: ConfChange, asked: Question | null): boolean {
    const { raft, raftId, membership } = this.#context.replica;
    const outcome = applyChange(membership, change);
    const voters = outcome.kind === "changed" ? outcome.membership.voters.join() : "";
    if (outcome.kind === "refused" || voters === membership.voters.join()) return true;
    const round = raft.beginRound();
    const question = asked?.voters === voters ? asked : { voters, round };
    const answered = (id: RaftId): number =>
      id === raftId ? round : (raft.progressOf(id)?.context ?? 0);
    const isHere = outcome.membership.voters.every(
      (id) => membership.voters.includes(id) || answered(id) >= question.round,
    );
    if (isHere && committedIndex(outcome.membership, answered) >= question.round) return true;
    this.#asked = question;
    return false;
  }

  #nameOf(raftId: number): string {
    const node = [...this.#context.replica.state.nodes.values()].find(
      (other) => other.raftId === raftId,
    );
    return node?.name ?? `raft id ${raftId}`;
  }

  /** A node that leaves is let go once it holds no log and none of its tasks runs any more. */
  #letGo(): void {
    const { replica, propose } = this.#context;
    const { state, membership } = replica;
    const holders = new Set(memberIds(membership));
    for (const { id, leaving, liveness, raftId } of state.nodes.values()) {
      if (!leaving || holders.has(raftId)) continue;
      const isBusy =
        liveness === "ready" && state.tasksOfNode(id).some((task) => !isTerminal(task.state));
      if (!isBusy) propose({ kind: "node-remove", node: id, force: true });
    }
  }

  #raiseLevel(): void {
    const { replica, propose } = this.#context;
    const { nodes, featureLevel } = replica.state;
    const level = Math.min(...[...nodes.values()].map((node) => node.featureLevel));
    if (Number.isFinite(level) && level > featureLevel) propose({ kind: "feature-level", level });
  }
}
