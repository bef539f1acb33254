import { setTimeout as delay } from "node:timers/promises";
import { Client } from "undici";
import { join } from "node:path";
import type { EventView } from "../../node/core/view-types.ts";
import type { NodeProcess } from "../../test/fixtures/node-process.ts";

export interface Heard {
  /** performance.now() when the first node told it. */
  readonly atMs: number;
  readonly event: EventView;
}

const AGAIN_MS = 20;

/** The task log as all nodes tell it, each line once, with the time at which the first of them did. */
export class Events {
  readonly heard: Heard[] = [];
  readonly #ids: Set<string> = new Set();
  readonly #ending: AbortController = new AbortController();

  constructor(nodes: readonly NodeProcess[]) {
    for (const node of nodes) void this.#follow(node);
  }

  end(): void {
    this.#ending.abort();
  }

  async #follow(node: NodeProcess): Promise<void> {
    let last = "0";
    while (!this.#ending.signal.aborted) {
      const socketPath = join(node.dataDir, "orch.sock");
      const client = new Client("http://localhost", { connect: { socketPath }, bodyTimeout: 0 });
      try {
        const { body } = await client.request({
          method: "GET",
          path: "/v1/events?since=0",
          headers: { "last-event-id": last },
          signal: this.#ending.signal,
        });
        let rest = "";
        for await (const chunk of body) {
          const atMs = performance.now();
          const parts = (rest + String(chunk)).split("\n\n");
          rest = parts.pop() ?? "";
          for (const part of parts) last = this.#hear(part, atMs) ?? last;
        }
      } catch {
        // The node is away, which is what this is about.
      } finally {
        await client.destroy().catch(() => undefined);
      }
      await delay(AGAIN_MS);
    }
  }

  /** Returns the event's id; null: it is none. */
  #hear(part: string, atMs: number): string | null {
    const lines = part.split("\n");
    const id = lines.find((line) => line.startsWith("id: "))?.slice(4);
    const data = lines.find((line) => line.startsWith("data: "))?.slice(6);
    if (id === undefined || data === undefined) return null;
    if (!this.#ids.has(id)) {
      this.#ids.add(id);
      const event: EventView = JSON.parse(data);
      this.heard.push({ atMs, event });
    }
    return id;
  }
}
