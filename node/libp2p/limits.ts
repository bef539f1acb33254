/**
 * Every time, size and count that the adapter keeps to, each with its reason. One table, so that a test may run with smaller ones.
 */
export interface Limits {
  /** The longest frame on a peer's stream or in a bulk stream: above the largest append and answer; one frame is in memory whole. */
  readonly maxFrameBytes: number;
  /** What may wait for one peer; newer frames are dropped above it: one frame of the longest, and a slow peer costs no more than that. */
  readonly maxQueueBytes: number;
  /** Bulk chunks longer than this are cut, so that no reader must hold more at once. */
  readonly bulkChunkBytes: number;
  /** A question for bulk names a task or a snapshot: this is more than any has. */
  readonly bulkRequestBytes: number;
  /** Log readers and snapshots of one peer at a time: each may hold a chunk in memory. */
  readonly bulkStreamsPerPeer: number;
  /** A digest has some 300 bytes. Below gossipsub's own bound for a packet of several (64 KiB, host.ts). */
  readonly gossipBytes: number;
  /** A keepalive frame leaves when a stream has carried nothing for this long: rare beside the beats, and NATs forget in minutes. */
  readonly keepaliveMs: number;
  /** A peer that was silent for this long is lost: three keepalives and some slack. */
  readonly silenceMs: number;
  /** How often streams are looked at: the grain of the times above. */
  readonly tickMs: number;
  /** From the first packet to an open connection: three addresses that do not answer have their time (host.ts). */
  readonly dialMs: number;
  /** From an open stream to the hello of both ends: a round trip, on a machine that is busy. */
  readonly helloMs: number;
  /** Between two dials of one peer: short at first, since it restarts; doubled with each that fails, with jitter. */
  readonly backoffFirstMs: number;
  /** No longer than this, for ever: a peer that is back should not be waited for, and one dial in two seconds costs nothing. */
  readonly backoffLastMs: number;
  /** How long the peer with the larger id waits for the other one to dial: a dial and its hello take less. */
  readonly patienceMs: number;
  /** A stream younger than this wins over another one of the same process: the two were dialled at the same time. */
  readonly youngMs: number;
  /** How long a stream that neither end wants any more stays open: plans change twice within seconds as members come. */
  readonly lingerMs: number;
  /**
   * How long a member's connection stays that carries nothing but gossip: one beside the connection that is used, or left by a transfer.
   * Both ends' hellos have come long before.
   */
  readonly unusedMs: number;
  /** From TCP accept to an encrypted connection: whoever opens sockets and says nothing must not hold them. */
  readonly upgradeMs: number;
  /** Connections at once. Ten thousand members have one each with the manager; libp2p's 300 would turn the 301st away. */
  readonly maxConnections: number;
  /**
   * Connections that came in and are not encrypted yet. When a manager starts, all come at once, from one address on one host or behind
   * one NAT; libp2p's 10 would reset the eleventh. Each costs a handshake of some 10 ms, so that 500 are what is done within `upgradeMs`.
   */
  readonly maxPendingInbound: number;
  /** Connections from one IP address in a second: libp2p's 5 would break a cluster on one host or behind one NAT. */
  readonly inboundPerSecond: number;
  /** Dials under way at once, of all peers: a node that starts in a full mesh dials 15, a new log holder more. */
  readonly parallelDials: number;
  /** Streams that a peer may have open on one connection: those of bulk in both roles, gossip, identify and its own. */
  readonly streamsPerConnection: number;
  /** How long a stranger may be connected before it must have begun to join: a round trip or two. */
  readonly strangerMs: number;
  /** Strangers connected at once: a machine room that joins in one go; more wait their turn by dialling again. */
  readonly maxStrangers: number;
  /** From the first word of a join to the proof: what one does by machine. */
  readonly joinHandshakeMs: number;
  /** … and from there to the answer, for which the admission must be committed: an election may lie between. */
  readonly joinAnswerMs: number;
  /** What a joiner says of itself: its labels are most of it. */
  readonly joinHelloBytes: number;
  /** The log's holders, with all their addresses. */
  readonly joinAnswerBytes: number;
  /** A stranger is asked to vouch for itself this often at most, however often it connects. */
  readonly vouchEveryMs: number;
  /** A nonce and a proof. */
  readonly vouchQuestionBytes: number;
  /** A dozen members with many addresses each. */
  readonly vouchAnswerBytes: number;
  /** How often a node looks whether its own addresses have changed: two looks that agree, so 20 s at most. */
  readonly lookMs: number;
  /** A member that is missing is asked for on the local network after so long, then ever more seldom: a restart must not shout. */
  readonly askFirstMs: number;
  readonly askLastMs: number;
  /** Questions in one packet: it must fit into one datagram of 1,500 bytes. */
  readonly askPerPacket: number;
  /** Whoever is asked for answers after about so long, and only so often: many ask at once, and one answer serves all. */
  readonly answerAfterMs: number;
  readonly answerEveryMs: number;
  /** An announcement that comes again sooner is not news. */
  readonly repeatMs: number;
  /** So many announcements are checked at most, whoever they are said to be of: a signature takes a fraction of a millisecond. */
  readonly checksPerSecond: number;
  /** Until then, an announcement that is older than one that was heard is not taken. */
  readonly forgetMs: number;
  /** A hint that came to nothing so many times is forgotten. */
  readonly hintTries: number;
  /** One that has dialled us is dialled back so often, so far apart: a line that was cut is noticed in between. */
  readonly dialBackTries: number;
  readonly dialBackFirstMs: number;
  /** Then it is known that nobody can dial it, and tried so seldom. */
  readonly dialBackLastMs: number;
  /** `close()` is over by then, whatever the peers do. */
  readonly closeMs: number;
}

export const LIMITS: Limits = {
  maxFrameBytes: 8 << 20,
  maxQueueBytes: 8 << 20,
  bulkChunkBytes: 1 << 20,
  bulkRequestBytes: 1 << 20,
  bulkStreamsPerPeer: 32,
  gossipBytes: 48 << 10,
  keepaliveMs: 2_000,
  silenceMs: 7_000,
  tickMs: 250,
  dialMs: 5_000,
  helloMs: 3_000,
  backoffFirstMs: 50,
  backoffLastMs: 2_000,
  patienceMs: 1_000,
  youngMs: 2_000,
  lingerMs: 5_000,
  unusedMs: 10_000,
  upgradeMs: 5_000,
  maxConnections: 10_000,
  maxPendingInbound: 500,
  inboundPerSecond: 1_000,
  parallelDials: 64,
  streamsPerConnection: 256,
  strangerMs: 10_000,
  maxStrangers: 64,
  joinHandshakeMs: 10_000,
  joinAnswerMs: 30_000,
  joinHelloBytes: 64 << 10,
  joinAnswerBytes: 1 << 20,
  vouchEveryMs: 5_000,
  vouchQuestionBytes: 1 << 10,
  vouchAnswerBytes: 64 << 10,
  lookMs: 10_000,
  askFirstMs: 300,
  askLastMs: 300_000,
  askPerPacket: 16,
  answerAfterMs: 100,
  answerEveryMs: 1_000,
  repeatMs: 500,
  checksPerSecond: 100,
  forgetMs: 60_000,
  hintTries: 4,
  dialBackTries: 3,
  dialBackFirstMs: 5_000,
  dialBackLastMs: 60_000,
  closeMs: 1_500,
};
