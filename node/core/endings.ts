import { type Fault, fault } from "../../lib/errors.ts";

/** Why a node ends itself. */

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
