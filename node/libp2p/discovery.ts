import { networkInterfaces } from "node:os";
import { performance } from "node:perf_hooks";
import type { PrivateKey } from "@libp2p/interface";
import type { NodeId } from "../../state/ids.ts";
import {
  isLoopback,
  labelOf,
  readAnnouncement,
  serviceOf,
  timeOf,
  writeAnnouncement,
} from "./announcement.ts";
import type { Limits } from "./limits.ts";
import { decodePacket, encodeAnswer, encodeQuestions } from "./mdns.ts";
import { linksOf, Multicast } from "./multicast.ts";

export interface DiscoveryInit {
  readonly key: PrivateKey;
  readonly self: NodeId;
  readonly clusterId: string;
  readonly limits: Limits;
  /** Where this node listens now. */
  readonly addresses: () => readonly string[];
  /** With whom this node should be connected, and is not. */
  readonly missing: () => readonly NodeId[];
  readonly isConnected: (peer: NodeId) => boolean;
  /** A member has said where it is: a hint, that may be old. */
  readonly onHeard: (peer: NodeId, addresses: readonly string[]) => void;
  readonly log: (line: string) => void;
}

interface Heard {
  readonly atMs: number;
  readonly heardAtMs: number;
}

/**
 * Finds members on the networks that this machine is on, wherever they listen now: by multicast DNS each says where
 * it is when it starts or moves, and when it is asked for. Who misses nobody is silent.
 */
export class Discovery {
  readonly #init: DiscoveryInit;
  readonly #service: string;
  readonly #multicast: Multicast;
  /** Of all members but this one. */
  #byLabel: ReadonlyMap<string, NodeId> = new Map();
  readonly #labels = new Map<NodeId, string>();
  readonly #heard = new Map<NodeId, Heard>();
  /** Whom the questions of late were about. */
  #asked: Set<NodeId> = new Set();
  #askInMs: number;
  #ask: NodeJS.Timeout | null = null;
  #look: NodeJS.Timeout | null = null;
  #answer: NodeJS.Timeout | null = null;
  #answeredAtMs = -Infinity;
  #addresses: readonly string[] = [];
  #announcement: Uint8Array | null = null;
  #checks = { sinceMs: -Infinity, count: 0 };
  #problem: string | null = null;
  #isClosed = false;

  constructor(init: DiscoveryInit) {
    this.#init = init;
    this.#service = serviceOf(init.clusterId);
    this.#askInMs = init.limits.askFirstMs;
    this.#multicast = new Multicast((packet, isLocal) => this.#onPacket(packet, isLocal));
  }

  start(): void {
    void this.#lookAround();
  }

  /** Who is a member: nobody else is heard. */
  admit(members: ReadonlySet<NodeId>): void {
    const { self, clusterId } = this.#init;
    const byLabel = new Map<string, NodeId>();
    for (const id of members) {
      const label = this.#labels.get(id) ?? labelOf(clusterId, id);
      this.#labels.set(id, label);
      if (id !== self) byLabel.set(label, id);
    }
    for (const id of this.#labels.keys()) {
      if (members.has(id)) continue;
      this.#labels.delete(id);
      this.#heard.delete(id);
    }
    this.#byLabel = byLabel;
  }

  /** Somebody may have come to be missing: then it is asked for soon, and ever more seldom. */
  seek(): void {
    const missing = this.#init.missing();
    if (this.#isClosed || missing.every((id) => this.#asked.has(id))) return;
    this.#asked = new Set(missing);
    this.#askInMs = this.#init.limits.askFirstMs;
    this.#askLater();
  }

  /** It is missing no more: should it be again, that is news. */
  found(peer: NodeId): void {
    this.#asked.delete(peer);
  }

  close(): void {
    this.#isClosed = true;
    for (const timer of [this.#ask, this.#look, this.#answer])
      if (timer !== null) clearTimeout(timer);
    this.#multicast.close();
  }

  /** What this machine's networks are, again and again: interfaces come and go, and addresses change. */
  async #lookAround(): Promise<void> {
    const { key, clusterId, limits, self, log } = this.#init;
    const all = this.#init.addresses();
    const others = all.filter((address) => !isLoopback(address));
    const addresses = others.length > 0 ? others : all;
    const problem = await this.#multicast.use(linksOf(addresses, networkInterfaces()));
    if (problem !== null && problem !== this.#problem)
      log(`the local network cannot be searched for nodes that move: ${problem}`);
    this.#problem = problem;
    if (addresses.join() !== this.#addresses.join()) {
      this.#addresses = addresses;
      const texts = await writeAnnouncement(key, clusterId, { atMs: Date.now(), addresses });
      this.#announcement = encodeAnswer(this.#service, labelOf(clusterId, self), texts);
      this.#announce();
      // Once more, as a packet may be lost.
      this.#answerSoon();
    }
    if (!this.#isClosed) this.#look = setTimeout(() => void this.#lookAround(), limits.lookMs);
  }

  #announce(): void {
    this.#answeredAtMs = performance.now();
    if (this.#announcement !== null && !this.#isClosed) this.#multicast.send(this.#announcement);
  }

  /** However many ask: a moment later, as others may answer just now, and not twice in a second. */
  #answerSoon(): void {
    if (this.#isClosed || this.#answer !== null) return;
    const { answerAfterMs, answerEveryMs } = this.#init.limits;
    const waitMs = this.#answeredAtMs + answerEveryMs - performance.now();
    this.#answer = setTimeout(
      () => {
        this.#answer = null;
        this.#announce();
      },
      Math.max(waitMs, answerAfterMs * (0.2 + Math.random())),
    );
  }

  #askLater(): void {
    const { askLastMs } = this.#init.limits;
    if (this.#ask !== null) clearTimeout(this.#ask);
    const waitMs = this.#askInMs * (0.5 + Math.random());
    this.#askInMs = Math.min(2 * this.#askInMs, askLastMs);
    this.#ask = setTimeout(() => {
      this.#ask = null;
      const missing = this.#init.missing();
      this.#asked = new Set(missing);
      if (missing.length === 0) return;
      this.#question(missing);
      this.#askLater();
    }, waitMs);
  }

  /** Not all of very many at once: those that are first now are last the next time. */
  #question(missing: readonly NodeId[]): void {
    const { askPerPacket } = this.#init.limits;
    const from = Math.floor(Math.random() * missing.length);
    const some = [...missing.slice(from), ...missing.slice(0, from)].slice(0, askPerPacket);
    const labels = some.flatMap((id) => this.#labels.get(id) ?? []);
    if (labels.length > 0) this.#multicast.send(encodeQuestions(this.#service, labels));
  }

  #onPacket(bytes: Uint8Array, isLocal: boolean): void {
    const packet = this.#isClosed ? null : decodePacket(this.#service, bytes);
    if (packet === null) return;
    const own = labelOf(this.#init.clusterId, this.#init.self);
    if (packet.questions.includes(own)) this.#answerSoon();
    for (const { label, texts } of packet.answers) {
      const member = this.#byLabel.get(label);
      if (member === undefined || this.#init.isConnected(member)) continue;
      if (this.#mayCheck(member, texts)) void this.#check(member, texts, isLocal);
    }
  }

  /** Whether that can be news. A check costs a tenth of a millisecond: nobody may have this node do nothing else. */
  #mayCheck(member: NodeId, texts: readonly string[]): boolean {
    const { limits } = this.#init;
    const nowMs = performance.now();
    const last = this.#heard.get(member);
    const sinceMs = nowMs - (last?.heardAtMs ?? -Infinity);
    const saidAtMs = timeOf(texts);
    if (saidAtMs === last?.atMs && sinceMs < limits.repeatMs) return false;
    // Somebody repeats what was true once. After a while it counts again: its clock may have been set back.
    if (last !== undefined && saidAtMs < last.atMs && sinceMs < limits.forgetMs) return false;
    if (nowMs - this.#checks.sinceMs >= 1_000) this.#checks = { sinceMs: nowMs, count: 0 };
    this.#checks.count += 1;
    return this.#checks.count <= limits.checksPerSecond;
  }

  async #check(member: NodeId, texts: readonly string[], isLocal: boolean): Promise<void> {
    const { clusterId, onHeard } = this.#init;
    const said = await readAnnouncement(member, clusterId, texts);
    if (said === null || this.#isClosed || !this.#labels.has(member)) return;
    this.#heard.set(member, { atMs: said.atMs, heardAtMs: performance.now() });
    const dialable = said.addresses.filter((address) => isLocal || !isLoopback(address));
    if (dialable.length > 0) onHeard(member, dialable);
  }
}
