declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** A node's libp2p peer id in its text form. Never an address. */
export type NodeId = Branded<"node">;
/** A task's id: `<log index in base 36>-<n>`. Given by the log, so never given twice. */
export type TaskId = Branded<"task">;
/** A slot's name, `<job>.<service>.<n>`: the identity of one replica over all its tasks. */
export type SlotName = Branded<"slot">;

/** Epoch milliseconds, integer. */
export type Millis = number;
/** A position in the replicated log, from 1. */
export type Index = number;

export function nodeId(text: string): NodeId {
  return text as NodeId;
}

export function taskId(text: string): TaskId {
  return text as TaskId;
}

export function slotName(job: string, service: string, slot: number): SlotName {
  return `${job}.${service}.${slot}` as SlotName;
}
