import { type Fault, fault } from "../../lib/errors.ts";
import type { Millis } from "../../state/ids.ts";
import type { NodeFacts } from "../../state/node-record.ts";
import { DISK_HUNG_MS, REMOVED_STOP_MS } from "./defaults.ts";
import type { Effect } from "./effect.ts";

/** Why a node ends itself. */

type EndEffect = Extract<Effect, { kind: "left" | "stop" }>;

/** The end of a node, which comes once: at once, or when what it runs has been stopped. */
export class Ending {
  readonly #push: (effect: EndEffect) => void;
  #isOver = false;
  #removed: { readonly atMs: Millis; readonly left: boolean } | null = null;

  constructor(push: (effect: EndEffect) => void) {
    this.#push = push;
  }

  now(effect: EndEffect): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#push(effect);
  }

  /** The cluster is at that level. A node that does not understand it ends: true then. */
  levelIs(level: number, { featureLevel, orchVersion }: NodeFacts): boolean {
    if (level <= featureLevel) return false;
    this.now({ kind: "stop", fault: tooOldFault(level, orchVersion) });
    return true;
  }

  /** It is no member any more. `left`: by its own wish. */
  removed(left: boolean, now: Millis): void {
    this.#removed ??= { atMs: now, left };
  }

  /** A node that was removed ends when nothing runs on it any more, or has for too long; one whose disk hangs, too. */
  tick(isIdle: boolean, diskHungMs: number, now: Millis): void {
    if (diskHungMs >= DISK_HUNG_MS) this.now({ kind: "stop", fault: diskHungFault() });
    if (this.#removed === null) return;
    if (!isIdle && now - this.#removed.atMs < REMOVED_STOP_MS) return;
    this.now(this.#removed.left ? { kind: "left" } : { kind: "stop", fault: removedFault() });
  }
}

export function removedFault(): Fault {
  return fault(
    "removed",
    "this node is no member of the cluster any more",
    "To bring the machine back, join it again with an empty --data-dir.",
  );
}

/** What a node says that left the cluster because it was asked to. */
export function leftFault(): Fault {
  return fault(
    "removed",
    "this node has left its cluster",
    "To bring the machine back, join it again with an empty --data-dir.",
  );
}

/** The cluster's log holds, or may hold from now on, what this orch cannot read: to pass it over would be to differ. */
export function tooOldFault(level: number, orchVersion: string): Fault {
  const what = `this cluster is at feature level ${level}, which orch ${orchVersion} does not understand`;
  const hint = "Install the version of orch that the other nodes run, and start the node again.";
  return fault("too-old", what, hint, { level });
}

/** The state here is not the cluster's: what this node would do next may be wrong. */
export function divergedFault(index: number): Fault {
  return fault(
    "data-damaged",
    `this node's state differs from the other nodes' at log index ${index}: a bug, or broken memory`,
    "Start it again; if it ends like this again, join the machine anew with an empty --data-dir, and report it.",
    { index },
  );
}

/** It beats and answers, so that it counts as alive, but takes nothing over: a standby must get its seat. */
function diskHungFault(): Fault {
  return fault(
    "data-unwritable",
    `the disk has not finished a write for ${DISK_HUNG_MS / 1000} seconds`,
    "Check the disk, then start the node again.",
  );
}
