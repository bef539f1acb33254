import { type Brake, brakeOf } from "../../state/brake.ts";
import type { ClusterState } from "../../state/cluster.ts";
import type { Index, Millis } from "../../state/ids.ts";
import { isoTime } from "./iso-time.ts";

/** Has a manager say in its log when the brake begins and ends; a new manager says again that it is on. */
export class BrakeLog {
  readonly #note: (text: string) => void;
  #on: Brake | null = null;
  #releasedIndex: Index = 0;

  constructor(note: (text: string) => void) {
    this.#note = note;
  }

  look(state: ClusterState, brakePercent: number, now: Millis): void {
    const before = this.#on;
    const brake = brakeOf(state, brakePercent, now);
    const isReleased = state.brakeReleasedIndex > this.#releasedIndex;
    this.#on = brake;
    this.#releasedIndex = state.brakeReleasedIndex;
    if (before === null && brake !== null) {
      const { down, nodes, untilMs } = brake;
      this.#note(
        `the brake is on: ${down.size} of ${nodes} nodes went down within a minute; their tasks are not replaced before ${isoTime(untilMs)}, unless \`orch cluster release\` is run or enough of them are back`,
      );
    } else if (before !== null && brake === null) {
      const isOver = now >= before.untilMs;
      const why = isReleased ? "it was released" : isOver ? "its time is over" : "enough are back";
      this.#note(`the brake is off: ${why}`);
    }
  }
}
