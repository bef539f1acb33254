import type { StateEvent } from "../../state/cluster.ts";
import { EVENTS_KEPT } from "./defaults.ts";

/** The newest events that this node has applied, for those who ask for older ones than the next. */
export class RecentEvents {
  #events: StateEvent[] = [];

  add(events: readonly StateEvent[]): void {
    for (const event of events) this.#events.push(event);
    // Not at each one: the rest is copied.
    if (this.#events.length > EVENTS_KEPT * 1.1) this.#events = this.#events.slice(-EVENTS_KEPT);
  }

  /** After that log index, oldest first. */
  since(index: number): readonly StateEvent[] {
    return this.#events.filter((event) => event.index > index);
  }
}
