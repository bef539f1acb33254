import { fault } from "../../lib/errors.ts";
import type { Millis, NodeId } from "../../state/ids.ts";
import { FORWARD_RETRY_MS, REQUESTS_MAX, TICK_MS } from "./defaults.ts";
import type { ForwardOutcome, NodeMessage } from "./message.ts";
import type { Request, Response } from "./request.ts";

interface Waiting {
  readonly id: number;
  readonly request: Request;
  readonly deadlineMs: Millis;
  /** The log index known when it was first sent: it was not applied before. */
  since: number | null;
  sentTo: NodeId | null;
  /** Not asked again before. */
  againAtMs: Millis;
  /** A write that some manager may have done. */
  tried: boolean;
  /** It was sent, and nothing was heard of it yet: until then it may have been done. */
  unheard: boolean;
}

export interface RequestsContext {
  readonly send: (to: NodeId, message: NodeMessage) => void;
  readonly reply: (id: number, response: Response) => void;
  /** The highest log index that this node knows to be applied anywhere. */
  readonly knownIndex: () => number;
}

/**
 * Requests of this node's users on their way to the manager, whoever that is meanwhile. A write is asked
 * again under its key, so it is done once; at the deadline it is said whether it may have been.
 */
export class Requests {
  readonly #context: RequestsContext;
  readonly #waiting: Map<number, Waiting> = new Map();
  /** To be sent at the next turn: thousands wait for their answers meanwhile, and are not looked at. */
  #due: Waiting[] = [];
  /** Whom the last turn sent to. */
  #manager: NodeId | null = null;

  constructor(context: RequestsContext) {
    this.#context = context;
  }

  submit(id: number, request: Request, timeoutMs: number, now: Millis): void {
    if (this.#waiting.size >= REQUESTS_MAX) {
      const refusal = fault(
        "overloaded",
        "too many requests wait at this node",
        "Try again shortly.",
      );
      this.#context.reply(id, { kind: "refused", fault: refusal });
      return;
    }
    const deadlineMs = now + timeoutMs;
    const waiting: Waiting = {
      id,
      request,
      deadlineMs,
      since: null,
      sentTo: null,
      againAtMs: now,
      tried: false,
      unheard: false,
    };
    this.#waiting.set(id, waiting);
    this.#due.push(waiting);
  }

  /** Time has passed: gives up what is overdue, and has sent again what has got no answer. */
  tick(now: Millis): void {
    for (const waiting of this.#waiting.values()) {
      if (now >= waiting.deadlineMs) {
        this.#waiting.delete(waiting.id);
        this.#context.reply(waiting.id, { kind: "refused", fault: overdue(waiting) });
      } else if (now >= waiting.againAtMs) {
        this.#due.push(waiting);
      }
    }
  }

  /** Sends to the manager what is due, and everything to a new one. To be called after every turn. */
  flush(manager: NodeId | null, now: Millis): void {
    if (manager === null) {
      // Whoever manages next gets all that waits.
      this.#due = [];
      this.#manager = null;
      return;
    }
    const isNew = manager !== this.#manager;
    this.#manager = manager;
    const due = isNew ? [...this.#waiting.values()] : this.#due;
    this.#due = [];
    for (const waiting of due) {
      const isOpen = this.#waiting.get(waiting.id) === waiting;
      if (isOpen && (waiting.sentTo !== manager || now >= waiting.againAtMs)) {
        this.#sendTo(manager, waiting, now);
      }
    }
  }

  #sendTo(manager: NodeId, waiting: Waiting, now: Millis): void {
    if (waiting.request.kind === "transfer" && (waiting.sentTo ?? manager) !== manager) {
      this.#handedOver(waiting, manager);
      return;
    }
    waiting.sentTo = manager;
    waiting.since ??= this.#context.knownIndex();
    waiting.againAtMs = now + FORWARD_RETRY_MS;
    // Sent twice without an answer: whatever the second says, the first may have been done.
    waiting.tried ||= waiting.unheard;
    waiting.unheard = true;
    const { id, request, since } = waiting;
    this.#context.send(manager, { kind: "forward", id, request, since });
  }

  /** Another manages than the one that was asked to hand over: to ask it, too, would be to have it hand over again. */
  #handedOver({ id, sentTo }: Waiting, manager: NodeId): void {
    this.#waiting.delete(id);
    const index = this.#context.knownIndex();
    this.#context.reply(id, { kind: "ok", index, manager, body: { from: sentTo } });
  }

  /** An answer. Returns the manager that a refusing node points at, if any. */
  forwarded(id: number, outcome: ForwardOutcome, now: Millis): NodeId | null {
    const waiting = this.#waiting.get(id);
    if (outcome.kind === "try-again") {
      if (waiting !== undefined) {
        waiting.againAtMs = now + TICK_MS;
        waiting.tried ||= outcome.tried;
        waiting.unheard = false;
      }
      return outcome.manager;
    }
    if (waiting === undefined) return null;
    this.#waiting.delete(id);
    this.#context.reply(id, outcome.response);
    return null;
  }
}

function overdue({ request, tried, unheard }: Waiting): ReturnType<typeof fault> {
  if (request.kind === "write" && (tried || unheard)) {
    return fault(
      "unknown",
      "no manager confirmed the write in time: it may or may not have been done",
      "Repeat it with the same idempotency key: it is done once however often it is sent.",
      { key: request.key },
    );
  }
  // That nothing was changed is no news to a reader.
  const outcome = request.kind === "read" ? "" : ": nothing was changed";
  return fault(
    "no-manager",
    `no manager answered in time${outcome}`,
    "Try again; `orch cluster status` shows what the asked node knows, as ?consistency=stale does.",
  );
}
