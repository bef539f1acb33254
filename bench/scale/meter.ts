import { PerformanceObserver, type PerformanceEntry } from "node:perf_hooks";
import type { Event } from "../../node/core/effect.ts";
import type { Node } from "../../node/node.ts";
import type { NodeId } from "../../state/ids.ts";

/** What one node said, heard and computed. */
export interface Account {
  sent: number;
  sentBytes: number;
  received: number;
  receivedBytes: number;
  /** CPU time of the core. */
  cpuMs: number;
  /** … and of making bytes of messages. */
  encodeMs: number;
}

/** One turn of a node's event loop that took long. */
export interface LongTurn {
  readonly id: NodeId;
  readonly isManager: boolean;
  /** On the real clock. */
  readonly startMs: number;
  readonly endMs: number;
  /** CPU times. */
  readonly handleMs: number;
  readonly encodeMs: number;
  readonly events: string;
}

export interface Longest {
  readonly handleMs: number;
  /** Together with the making of bytes. */
  readonly turnMs: number;
  readonly events: string;
}

/** Turns below this are forgotten. */
const LONG_MS = 1;
const NONE: Longest = { handleMs: 0, turnMs: 0, events: "" };

/**
 * Counts what nodes do. All share one heap here, so that collecting the garbage of a thousand may fall into one's
 * turn: of long turns that time is taken off.
 */
export class Meter {
  readonly #accounts: Map<NodeId, Account> = new Map();
  readonly byKind: Map<string, { messages: number; bytes: number }> = new Map();
  readonly #collections: PerformanceEntry[] = [];
  readonly #observer: PerformanceObserver;
  #long: LongTurn[] = [];
  #turn: { startMs: number; handleMs: number; encodeMs: number } | null = null;

  constructor() {
    this.#observer = new PerformanceObserver((list) =>
      this.#collections.push(...list.getEntries()),
    );
    this.#observer.observe({ entryTypes: ["gc"] });
  }

  end(): void {
    this.#observer.disconnect();
  }

  /** Counts anew from here. */
  reset(): void {
    this.#accounts.clear();
    this.byKind.clear();
    this.#collections.splice(0);
    this.#long = [];
  }

  of(id: NodeId): Account {
    const known = this.#accounts.get(id);
    if (known !== undefined) return known;
    const account = {
      sent: 0,
      sentBytes: 0,
      received: 0,
      receivedBytes: 0,
      cpuMs: 0,
      encodeMs: 0,
    };
    this.#accounts.set(id, account);
    return account;
  }

  /** From now on what this node does is measured. */
  watch(id: NodeId, node: Node): void {
    const handle = node.handle.bind(node);
    node.handle = (events, now) => {
      const begun = process.threadCpuUsage();
      const startMs = performance.now();
      const effects = handle(events, now);
      const handleMs = spentMs(performance.now() - startMs, begun);
      this.of(id).cpuMs += handleMs;
      this.#turn = { startMs, handleMs, encodeMs: 0 };
      return effects;
    };
  }

  sent(from: NodeId, to: NodeId, kind: string, encode: () => Uint8Array): void {
    const begun = process.threadCpuUsage();
    const startMs = performance.now();
    const { length } = encode();
    const encodeMs = spentMs(performance.now() - startMs, begun);
    const sender = this.of(from);
    const receiver = this.of(to);
    sender.sent += 1;
    sender.sentBytes += length;
    sender.encodeMs += encodeMs;
    receiver.received += 1;
    receiver.receivedBytes += length;
    const known = this.byKind.get(kind) ?? { messages: 0, bytes: 0 };
    this.byKind.set(kind, { messages: known.messages + 1, bytes: known.bytes + length });
    if (this.#turn !== null) this.#turn.encodeMs += encodeMs;
  }

  /** The turn is over. */
  handled(id: NodeId, isManager: boolean, events: readonly Event[]): void {
    const turn = this.#turn;
    this.#turn = null;
    if (turn === null || turn.handleMs + turn.encodeMs < LONG_MS) return;
    this.#long.push({ id, isManager, ...turn, endMs: performance.now(), events: outline(events) });
  }

  /** The longest turn of the manager, or of any other node. */
  longest(who: "manager" | "others"): Longest {
    let longest = NONE;
    for (const turn of this.#long) {
      if (turn.isManager !== (who === "manager")) continue;
      const collectedMs = this.#collectedMs(turn);
      const turnMs = Math.max(0, turn.handleMs + turn.encodeMs - collectedMs);
      if (turnMs <= longest.turnMs) continue;
      const handleMs = Math.max(0, turn.handleMs - collectedMs);
      longest = { handleMs, turnMs, events: turn.events };
    }
    return longest;
  }

  #collectedMs({ startMs, endMs }: LongTurn): number {
    let ms = 0;
    for (const { startTime, duration } of this.#collections) {
      ms += Math.max(0, Math.min(endMs, startTime + duration) - Math.max(startMs, startTime));
    }
    return ms;
  }
}

/** The grain of a thread's CPU time on most kernels. */
const GRAIN_MS = 4;

/** Of a time on the real clock, what this thread ran: other work on the machine is nobody's turn. Above the grain as exact as that. */
function spentMs(elapsedMs: number, begun: NodeJS.CpuUsage): number {
  if (elapsedMs <= GRAIN_MS) return elapsedMs;
  const { user, system } = process.threadCpuUsage(begun);
  return Math.min(elapsedMs, Math.max((user + system) / 1000, GRAIN_MS));
}

/** How many events of which kind. */
function outline(events: readonly Event[]): string {
  const counts = new Map<string, number>();
  for (const event of events) {
    const kind = event.kind === "message" ? event.message.kind : event.kind;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return [...counts].map(([kind, count]) => `${count} ${kind}`).join(", ");
}
