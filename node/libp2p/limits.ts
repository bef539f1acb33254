/** Every time, size and count that the adapter keeps to. One table, so that a test may run with smaller ones. */
export interface Limits {
  /** The longest frame on a peer's stream or in a bulk stream, in bytes. */
  readonly maxFrameBytes: number;
  /** What may wait for one peer; newer frames are dropped above it. */
  readonly maxQueueBytes: number;
  /** Bulk chunks longer than this are cut, so that no reader must hold more at once. */
  readonly bulkChunkBytes: number;
  readonly bulkRequestBytes: number;
  readonly bulkStreamsPerPeer: number;
  readonly gossipBytes: number;
  /** A keepalive frame leaves when a stream has carried nothing for this long. */
  readonly keepaliveMs: number;
  /** A peer that was silent for this long is lost: three keepalives and some slack. */
  readonly silenceMs: number;
  /** How often streams are looked at. */
  readonly tickMs: number;
  readonly dialMs: number;
  /** From an open stream to the hello of both ends. */
  readonly helloMs: number;
  readonly backoffFirstMs: number;
  readonly backoffLastMs: number;
  /** How long the peer with the larger id waits for the other one to dial. */
  readonly patienceMs: number;
  /** A stream younger than this wins over another one of the same process. */
  readonly youngMs: number;
  /** How long a stream that neither end wants any more stays open. */
  readonly lingerMs: number;
  /** From TCP accept to an encrypted connection. */
  readonly upgradeMs: number;
  /** How long a stranger may be connected before it must have begun to join. */
  readonly strangerMs: number;
  readonly maxStrangers: number;
  readonly joinHandshakeMs: number;
  readonly joinAnswerMs: number;
  readonly joinHelloBytes: number;
  readonly joinAnswerBytes: number;
  /** A stranger is asked to vouch for itself this often at most, however often it connects. */
  readonly vouchEveryMs: number;
  readonly vouchQuestionBytes: number;
  /** A dozen members with many addresses each. */
  readonly vouchAnswerBytes: number;
  /** How often a node looks whether its own addresses have changed. */
  readonly lookMs: number;
  /** A member that is missing is asked for on the local network after so long, then ever more seldom. */
  readonly askFirstMs: number;
  readonly askLastMs: number;
  readonly askPerPacket: number;
  /** Whoever is asked for answers after about so long, and only so often. */
  readonly answerAfterMs: number;
  readonly answerEveryMs: number;
  /** An announcement that comes again sooner is not news. */
  readonly repeatMs: number;
  /** So many announcements are checked at most, whoever they are said to be of. */
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
  upgradeMs: 5_000,
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
