import { parseArgs } from "node:util";
import { drawOptions } from "./options.ts";
import { Violation } from "./violation.ts";
import { World } from "./world.ts";

/**
 * `node test/sim/hunt.ts --from S --seeds N`: runs seeds until one breaks something and prints a `Catch` as JSON. For
 * `mutants.ts`, which runs it in copies of the sources that have a bug.
 */

export interface Catch {
  /** How many seeds it took; null: none of them broke anything. */
  readonly seeds: number | null;
  /** The invariant that was broken, or the assertion. */
  readonly by: string;
  readonly text: string;
}

function hunt(from: number, count: number): Catch {
  for (let seed = from; seed < from + count; seed++) {
    try {
      new World(drawOptions(seed), null).run();
    } catch (error) {
      const { message } = error instanceof Error ? error : new Error(String(error));
      const text = `seed ${seed}: ${message.split("\n")[0] ?? ""}`;
      const by = error instanceof Violation ? error.invariant : "an assertion of the core";
      return { seeds: seed - from + 1, by, text };
    }
  }
  return { seeds: null, by: "", text: `seeds ${from} to ${from + count - 1} hold` };
}

const { values } = parseArgs({
  options: {
    from: { type: "string", default: "1" },
    seeds: { type: "string", default: "100" },
  },
});
process.stdout.write(`${JSON.stringify(hunt(Number(values.from), Number(values.seeds)))}\n`);
