import type { Index, Millis, NodeId } from "./ids.ts";
import type { DriverName, Resources } from "./spec.ts";

/** What a node says of itself when it joins and whenever its session opens. */
export interface NodeFacts {
  readonly name: string;
  /** libp2p multiaddrs without the peer id: hints that may change at any time. */
  readonly addresses: readonly string[];
  readonly datacenter: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly os: string;
  readonly arch: string;
  /** Capacity that tasks may use: the machine's less what is reserved for the system. */
  readonly resources: Resources;
  readonly drivers: readonly DriverName[];
  /** Where the node's published ports answer, for people: an IP address or host name. */
  readonly publishAddress: string;
  /** Ports that the scheduler may give to tasks whose file names none; inclusive. */
  readonly portRange: { readonly first: number; readonly last: number };
  readonly orchVersion: string;
  /** What its orch understands: see feature-level.ts. */
  readonly featureLevel: number;
  /** False for a node that was started with --no-vote. */
  readonly mayVote: boolean;
  /** False for a node that was started with --no-worker. */
  readonly mayWork: boolean;
}

/** A member of the cluster, in the replicated state. */
export interface NodeRecord extends NodeFacts {
  readonly id: NodeId;
  /** Its identity in Raft: given at admission, never given again. */
  readonly raftId: number;
  readonly liveness: "ready" | "down";
  /** When `liveness` last changed, by the manager's clock, and at which log index; at first its admission. */
  readonly livenessAtMs: Millis;
  readonly livenessIndex: Index;
  /** How often it went down, each time before it had been ready for FLAP_CALM_MS. */
  readonly downs: number;
  /** It was told to leave: it keeps its seat until it is removed, and gets no more tasks. */
  readonly leaving: boolean;
  readonly joinedAtMs: Millis;
  /** The log index at which it was given its raft id. */
  readonly admittedIndex: number;
  readonly modifiedIndex: number;
}
