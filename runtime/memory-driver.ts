import { setTimeout as delay } from "node:timers/promises";
import type { TaskId } from "../state/ids.ts";
import type { Driver, LogLine, LogOptions } from "./engine.ts";
import type { MemoryMachine } from "./memory.ts";
import { instantly, MemoryEngine } from "./memory.ts";

/** How often a follower looks for new lines: a person sees no difference, an idle follower costs nothing. */
const FOLLOW_MS = 100;

/** The memory engine in real time, for `--driver memory`: shows a cluster at work on a machine without Docker. */
export class MemoryDriver extends MemoryEngine implements Driver {
  readonly #machine: MemoryMachine;

  constructor(machine: MemoryMachine) {
    super({
      machine,
      now: () => Date.now(),
      after: (delayMs, run) => void setTimeout(run, delayMs).unref(),
      fate: instantly,
    });
    this.#machine = machine;
  }

  async *logs(task: TaskId, options: LogOptions): AsyncGenerator<LogLine, void, undefined> {
    let seen = new Set<object>();
    for (let first = true; ; first = false) {
      const container = this.#machine.containers.get(task);
      if (container === undefined || options.signal.aborted) return;
      const lines = container.output
        .filter((line) => !seen.has(line))
        .filter((line) => options.sinceMs === null || line.timeMs >= options.sinceMs);
      const shown =
        first && options.tail !== null
          ? lines.slice(Math.max(0, lines.length - options.tail))
          : lines;
      seen = new Set(container.output);
      for (const line of shown) yield { stream: "stdout", timeMs: line.timeMs, text: line.text };
      if (!options.follow) return;
      await delay(FOLLOW_MS, undefined, { signal: options.signal }).catch(() => undefined);
    }
  }

  ping(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.detach();
    return Promise.resolve();
  }
}
