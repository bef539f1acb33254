/**
 * The shapes that the API answers with and `--json` prints. Fixed: add to them, never rename. Times are
 * ISO 8601 UTC; sizes and counts have their unit in the name; ids are opaque strings; absent is null.
 */

export interface ResourcesView {
  readonly cpuMilli: number;
  readonly memoryMib: number;
  readonly diskMib: number;
  readonly gpus: number;
}

export interface UsageView {
  readonly cpuMilli: number;
  readonly memoryMib: number;
  readonly diskMib: number;
  readonly load1: number;
  /** Over all interfaces but the loopback, smoothed; null: the machine does not tell. */
  readonly networkRxBytesPerS: number | null;
  readonly networkTxBytesPerS: number | null;
  /** How old the figures are; null when the node has not reported any yet. */
  readonly ageMs: number | null;
}

export interface MissedByView {
  readonly node: string;
  readonly name: string;
  /** Its connection broke, or nothing comes over it. */
  readonly how: "reset" | "silent";
  readonly forMs: number;
}

/**
 * A node that holds no log knows of the others their names and addresses, who holds the log, and what they gossip. All else is
 * null when such a node is asked for what it knows by itself (consistency=stale), and never otherwise.
 */
export interface NodeView {
  readonly id: string;
  readonly name: string;
  /** As far as a node without the log can tell: `ready` when it is connected with it, `suspect` when it misses it. */
  readonly status: "ready" | "suspect" | "down" | "draining" | "cordoned" | "left" | null;
  readonly role: "voter" | "standby" | "member" | null;
  readonly holdsLog: boolean;
  readonly manager: boolean;
  /** Nobody can dial it, as far as the answering node can tell: it is behind NAT or a firewall, and does not vote. */
  readonly hidden: boolean;
  readonly datacenter: string | null;
  readonly labels: Readonly<Record<string, string>> | null;
  readonly addresses: readonly string[];
  readonly publishAddress: string | null;
  readonly resources: ResourcesView | null;
  readonly allocated: ResourcesView | null;
  readonly usage: UsageView | null;
  /** From the answering node to this one and back, smoothed; null: that node does not watch this one. */
  readonly rttMs: number | null;
  /** Nodes that watch this one and cannot hear it, nor those they asked: it is suspect while there are any. */
  readonly missedBy: readonly MissedByView[];
  /** Tasks that are placed on it and not over; by its own word where the log is not at hand. */
  readonly tasks: number | null;
  readonly version: string | null;
  readonly driver: string | null;
  readonly joinedAt: string | null;
}

export interface ServiceView {
  readonly name: string;
  readonly type: "service";
  readonly image: string | null;
  readonly partition: "at-least-one" | "at-most-one";
  readonly replicas: number;
  readonly running: number;
  readonly healthy: number;
  /** What should run now: 0 once stopped. */
  readonly desired: number;
  /** Why it is not all running, and what was lost with a node that is down and may run there, in a sentence; else empty. */
  readonly message: string;
}

export interface JobView {
  readonly name: string;
  readonly version: number;
  readonly status: "pending" | "running" | "degraded" | "complete" | "failed" | "stopped";
  readonly services: readonly ServiceView[];
  readonly createdAt: string;
  readonly updatedAt: string;
}

export interface TaskView {
  readonly id: string;
  readonly job: string;
  readonly service: string;
  /** `<job>.<service>.<n>` */
  readonly slot: string;
  readonly node: string | null;
  readonly nodeName: string | null;
  readonly state: string;
  readonly desired: "running" | "stopped";
  readonly healthy: boolean | null;
  readonly attempts: number;
  readonly image: string | null;
  readonly ports: readonly {
    readonly host: number;
    readonly container: number;
    readonly protocol: string;
    readonly address: string;
  }[];
  readonly exitCode: number | null;
  readonly message: string;
  readonly previous: string | null;
  readonly version: number;
  readonly createdAt: string;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
}

/** A config without its content. */
export interface ConfigView {
  readonly name: string;
  /** Rises with each put; no name ever has the same one twice. */
  readonly version: number;
  readonly sizeBytes: number;
  readonly createdAt: string;
  readonly updatedAt: string;
  /** The log index of the last put. */
  readonly modifiedIndex: number;
}

export interface ConfigContentView extends ConfigView {
  /** The content: base64url without padding. */
  readonly data: string;
}

/** One line of the replicated task log. */
export interface EventView {
  readonly index: number;
  readonly time: string;
  /** What the line is about; a later version may have more of them. */
  readonly type: "task" | "node" | "job" | "config" | "cluster";
  readonly job: string | null;
  readonly service: string | null;
  readonly slot: string | null;
  readonly task: string | null;
  readonly node: string | null;
  /** A config's name. */
  readonly config: string | null;
  /** The state before and after, where it is a transition. */
  readonly from: string | null;
  readonly to: string | null;
  readonly message: string;
}

/** Too many nodes went down at once: their tasks are not replaced for a while. */
export interface BrakeView {
  /** How many nodes went down at once and still are, of how many there were. */
  readonly down: number;
  readonly nodes: number;
  /** Tasks that wait for it. */
  readonly held: number;
  /** When the first of them went down. */
  readonly since: string;
  /** It ends by then: when enough of them are back, or somebody releases it, earlier. */
  readonly until: string;
}

export interface ClusterView {
  readonly id: string;
  readonly manager: string | null;
  readonly term: number;
  readonly commitIndex: number;
  readonly voters: readonly string[];
  readonly standbys: readonly string[];
  readonly nodes: number;
  readonly nodesReady: number;
  readonly jobs: number;
  readonly tasksRunning: number;
  readonly tasksPending: number;
  /** Whether the manager reaches a majority of the voters. */
  readonly quorum: boolean;
  /** Null: it is off. */
  readonly brake: BrakeView | null;
  /** The manager's copy of the log, and how far the others are. */
  readonly log: LogView;
  readonly version: string;
}

/** The answer to a write. */
export interface WriteView {
  /** Of the job or config, after the write; null when the write was about neither, or removed it. */
  readonly version: number | null;
  /** Whether anything changed: the same file submitted twice changes nothing. */
  readonly changed: boolean;
}

/** The answer to POST /v1/cluster/transfer. */
export interface TransferView {
  /** Who managed before: a node id. */
  readonly from: string;
  readonly manager: string;
  /** False when the node that was asked for managed already. */
  readonly changed: boolean;
}

/** The answer to PUT /v1/jobs/{name}. */
export interface JobPutView extends WriteView {
  readonly name: string;
  /** What in the Compose file has no effect and is harmless. */
  readonly warnings: readonly ProblemView[];
}

/** One thing in a Compose file or a request: in an error's `details.problems`, or a warning. */
export interface ProblemView {
  readonly path: string;
  /** From 1; 0 when it did not come from a file. */
  readonly line: number;
  readonly column: number;
  readonly message: string;
  readonly hint: string;
}

/** One line of a task's output. */
export interface LogLineView {
  readonly stream: "stdout" | "stderr";
  readonly time: string;
  /** Without the line end. */
  readonly text: string;
}

export interface TokenView {
  readonly token: string;
}

/** What one node knows of itself: /debug/raft, /readyz. */
export interface LocalView {
  readonly id: string;
  readonly name: string;
  readonly clusterId: string;
  /** libp2p multiaddrs at which it listens, without the peer id. */
  readonly addresses: readonly string[];
  readonly raftId: number;
  readonly role: "leader" | "follower" | "candidate" | "pre-candidate" | "learner" | "none";
  readonly term: number;
  readonly vote: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly lastIndex: number;
  readonly leader: number;
  readonly manager: string | null;
  /** Since a manager was heard; null: never by this process. */
  readonly managerAgeMs: number | null;
  readonly voters: readonly number[];
  readonly learners: readonly number[];
  readonly log: LogView;
  readonly stateHash: string;
  readonly ready: boolean;
  readonly version: string;
}

/** How a node's copy of the log stands. */
export interface LogView {
  /** Entries up to this one are gone from the log: the snapshot holds their effect. */
  readonly baseIndex: number;
  /** That are kept. */
  readonly entries: number;
  /** 0: there is none. */
  readonly snapshotIndex: number;
  /** When this process made or fetched it; null when it is older than the process. */
  readonly snapshotAt: string | null;
  readonly featureLevel: number;
  /** Names, sorted as Raft's numbers. */
  readonly voters: readonly string[];
  /** Who is being handed the manager's role. */
  readonly transferee: string | null;
  /** On the manager: all others that hold the log. Empty elsewhere. */
  readonly followers: readonly FollowerView[];
}

export interface FollowerView {
  readonly raftId: number;
  readonly name: string;
  readonly votes: boolean;
  /** The last log index that it is known to hold. */
  readonly match: number;
  readonly state: "probe" | "replicate" | "snapshot";
  /** Heard from within the last election timeout. */
  readonly active: boolean;
}

/** /healthz: open to everyone on the machine, so it holds only what one who joins must know. */
export interface HealthView {
  readonly status: "ok";
  readonly id: string;
  readonly cluster: string;
  /** libp2p multiaddrs at which the node listens, without the peer id. */
  readonly addresses: readonly string[];
}
