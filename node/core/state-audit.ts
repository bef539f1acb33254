import type { Millis, NodeId } from "../../state/ids.ts";
import { AUDIT_MS } from "./defaults.ts";
import { divergedFault, type Ending } from "./endings.ts";
import type { NodeMessage } from "./message.ts";
import type { Roster } from "./roster.ts";

/** What a replica's state was at a log index. */
export interface StateMark {
  readonly index: number;
  readonly hash: string;
}

/** Who is to stop. */
export interface AuditVerdict {
  readonly self: boolean;
  readonly others: readonly NodeId[];
}

const NOBODY: AuditVerdict = { self: false, others: [] };

/**
 * Compares the replicas' states while they run: what must never differ may, after a bug or a broken memory, and
 * would then spread with every snapshot (etcd's corruption check). Of those that hold the log the many are right.
 */
export class StateAudit {
  readonly #marks: Map<number, string>;
  #toldMs: Millis = 0;
  #toldIndex = 0;
  /** By node: whether its newest mark was this manager's own. */
  readonly #agrees: Map<NodeId, boolean> = new Map();

  /** `marks`: this replica's own, by index. */
  constructor(marks: Map<number, string>) {
    this.#marks = marks;
  }

  /** The mark that the manager is to be told now, if there is a newer one. */
  due(now: Millis): StateMark | null {
    if (now - this.#toldMs < AUDIT_MS) return null;
    const [index, hash] = [...this.#marks].at(-1) ?? [0, ""];
    if (index <= this.#toldIndex) return null;
    this.#toldMs = now;
    this.#toldIndex = index;
    return { index, hash };
  }

  /** What another holder of the log says; `holders`: all others that hold it. Returns who is to stop. */
  heard(from: NodeId, mark: StateMark, holders: readonly NodeId[]): AuditVerdict {
    const own = this.#marks.get(mark.index);
    if (own === undefined || !holders.includes(from)) return NOBODY;
    this.#agrees.set(from, own === mark.hash);
    const known = holders.filter((id) => this.#agrees.has(id));
    const differing = known.filter((id) => this.#agrees.get(id) === false);
    const all = holders.length + 1;
    if (differing.length > all / 2) return { self: true, others: [] };
    const agreeing = known.length - differing.length + 1;
    if (agreeing <= all / 2) return NOBODY;
    // Once told it begins anew, and so does what is known of it.
    for (const id of differing) this.#agrees.delete(id);
    return { self: false, others: differing };
  }
}

export interface AuditorContext {
  readonly self: NodeId;
  readonly marks: Map<number, string>;
  readonly roster: Roster;
  readonly ending: Ending;
  readonly send: (to: NodeId, message: NodeMessage) => void;
}

/** The audit on its way between a node that holds the log and the manager. */
export class StateAuditor {
  readonly #context: AuditorContext;
  readonly #audit: StateAudit;

  constructor(context: AuditorContext) {
    this.#context = context;
    this.#audit = new StateAudit(context.marks);
  }

  tick(manager: NodeId | null, now: Millis): void {
    if (manager === null || manager === this.#context.self) return;
    const mark = this.#audit.due(now);
    if (mark !== null) this.#context.send(manager, { kind: "state-mark", ...mark });
  }

  /** `manager`: whom this node takes for it. */
  heard(
    from: NodeId,
    message: Extract<NodeMessage, { kind: "state-mark" | "state-differs" }>,
    manager: NodeId | null,
  ): void {
    const { self, roster, ending, send } = this.#context;
    if (message.kind === "state-differs") {
      if (from !== manager) return;
      ending.now({ kind: "stop", fault: divergedFault(message.index) });
      return;
    }
    if (manager !== self) return;
    const wrong = this.#audit.heard(from, message, roster.others("holders"));
    for (const id of wrong.others) send(id, { kind: "state-differs", index: message.index });
    if (wrong.self) ending.now({ kind: "stop", fault: divergedFault(message.index) });
  }
}
