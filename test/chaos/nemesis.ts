import type { Ground } from "./ground.ts";
import { Members } from "./members.ts";
import { harmNetwork, move } from "./network-faults.ts";
import { type Fault, plannedFaults } from "./plan.ts";
import { harmProcess } from "./process-faults.ts";

/** Does the planned harm, and undoes it. */
export class Nemesis {
  readonly #ground: Ground;
  readonly #members: Members;
  readonly #underWay: Set<Promise<void>> = new Set();

  constructor(ground: Ground) {
    this.#ground = ground;
    this.#members = new Members(ground);
  }

  /** Harms until `untilMs` of performance.now(), then undoes all that is under way. */
  async run(seed: number, untilMs: number): Promise<void> {
    const ground = this.#ground;
    const { length } = ground.cluster.nodes;
    for (const { afterMs, fault } of plannedFaults(seed, length, ground.namespaces !== null)) {
      await ground.rest(Math.max(0, Math.min(afterMs, untilMs - performance.now())));
      if (performance.now() >= untilMs || ground.problems.length > 0) break;
      const work = this.#perform(fault);
      this.#underWay.add(work);
      void work.finally(() => this.#underWay.delete(work));
    }
    ground.end();
    await Promise.all(this.#underWay);
  }

  async #perform(fault: Fault): Promise<void> {
    try {
      switch (fault.kind) {
        case "member":
          await this.#members.change(fault);
          return;
        case "move":
          await move(this.#ground, fault);
          return;
        case "cut":
        case "loss":
          await harmNetwork(this.#ground, fault);
          return;
        case "kill":
        case "kill-many":
        case "pause":
        case "restart":
        case "transfer":
          await harmProcess(this.#ground, fault);
      }
    } catch (error) {
      const what = error instanceof Error ? error.message : "?";
      this.#ground.problems.push(`${fault.kind}: ${what}`);
    }
  }
}
