import type { NodeId } from "../../state/ids.ts";
import { REQUESTS_MAX } from "./defaults.ts";
import type { NodeMessage } from "./message.ts";
import type { Request } from "./request.ts";

/** A request as it comes from its node. */
export interface Asked {
  readonly from: NodeId;
  readonly id: number;
  readonly request: Request;
  readonly since: number;
}

/**
 * Requests that come to a node that does not manage. If it leads already, it will as soon as its first entry is
 * committed: sent away, they would be back only a tick later, and all of a failover's writes with them.
 */
export class EarlyRequests {
  readonly #send: (to: NodeId, message: NodeMessage) => void;
  #held: Asked[] = [];

  constructor(send: (to: NodeId, message: NodeMessage) => void) {
    this.#send = send;
  }

  /** `leads`: it is to be kept until `take` or `sendAway`. `manager`: whom this node takes for the manager. */
  came(held: Asked, leads: boolean, manager: NodeId | null): void {
    if (leads && this.#held.length < REQUESTS_MAX) this.#held.push(held);
    else this.#tryAgain(held, manager);
  }

  /** This node manages: what was kept is for it. */
  take(): readonly Asked[] {
    const held = this.#held;
    this.#held = [];
    return held;
  }

  /** This node leads no longer. */
  sendAway(manager: NodeId | null): void {
    for (const held of this.take()) this.#tryAgain(held, manager);
  }

  #tryAgain({ from, id }: Asked, manager: NodeId | null): void {
    const outcome = { kind: "try-again", manager, tried: false } as const;
    this.#send(from, { kind: "forwarded", id, outcome });
  }
}
