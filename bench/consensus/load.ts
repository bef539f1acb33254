import { performance } from "node:perf_hooks";
import { openFrameLane } from "./frame-lane.ts";
import { measureFloor } from "./floor.ts";
import { openGrpcLane } from "./grpc-lane.ts";
import { openHttpLane } from "./http-lane.ts";
import { KEYS, keyOf, type Lane, type Target, VALUE_BYTES } from "./lane.ts";
import type { CellResult, Door, LoadAnswer, LoadAsk } from "./messages.ts";
import { quantile } from "./numbers.ts";

/**
 * The load generator, a process of its own: as many operations under way as there are clients, each followed by the
 * next of the same client. One code path, whatever the server speaks.
 */

/** Not counted: the servers' code is compiled, connections find their speed. A node runs for months. */
const WARM_UP_MS = 2_000;
const FILL_CLIENTS = 64;

process.on("disconnect", () => process.exit(0));
process.on("message", (ask: LoadAsk) => {
  answer(ask).then(
    (result) => process.send?.(result),
    (error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exit(1);
    },
  );
});
process.send?.({ kind: "ready" });

async function answer(ask: LoadAsk): Promise<LoadAnswer> {
  if (ask.kind === "floor") {
    return { kind: "floor", result: await measureFloor(ask.targets, ask.seconds) };
  }
  const cell =
    ask.kind === "cell"
      ? ask
      : ({
          ...ask,
          operation: "write",
          clients: FILL_CLIENTS,
          connections: 8,
          seconds: 0,
        } as const);
  const lanes = await openLanes(cell.door, cell.targets, cell.clients, cell.connections);
  try {
    return { kind: "cell", result: await new Cell(lanes, cell, ask.kind === "fill").run() };
  } finally {
    for (const lane of lanes) lane.close();
  }
}

async function openLanes(
  door: Door,
  targets: readonly Target[],
  clients: number,
  connections: number,
): Promise<Lane[]> {
  const perTarget = Math.max(1, Math.min(connections, Math.ceil(clients / targets.length)));
  const opened: Promise<Lane>[] = [];
  for (let i = 0; i < perTarget; i++) {
    for (const target of targets) {
      if (door === "frames") opened.push(openFrameLane(target));
      else if (door === "grpc") opened.push(openGrpcLane(target));
      else opened.push(openHttpLane(target, Math.ceil(clients / (perTarget * targets.length))));
    }
  }
  return Promise.all(opened);
}

class Cell {
  readonly #lanes: readonly Lane[];
  readonly #ask: {
    readonly operation: "write" | "read";
    readonly clients: number;
    readonly seconds: number;
  };
  /** Ends when every key was written, not after a time. */
  readonly #fill: boolean;
  readonly #times: number[] = [];
  #operations = 0;
  #errors = 0;
  #busy = 0;
  #issued = 0;
  #fromMs = 0;
  #toMs = 0;
  readonly #ended = Promise.withResolvers<void>();

  constructor(
    lanes: readonly Lane[],
    ask: {
      readonly operation: "write" | "read";
      readonly clients: number;
      readonly seconds: number;
    },
    fill: boolean,
  ) {
    this.#lanes = lanes;
    this.#ask = ask;
    this.#fill = fill;
  }

  async run(): Promise<CellResult> {
    const { clients, seconds } = this.#ask;
    const cpu = process.cpuUsage();
    this.#fromMs = performance.now() + WARM_UP_MS;
    this.#toMs = this.#fromMs + seconds * 1000;
    for (let client = 0; client < clients; client++) {
      const lane = this.#lanes[client % this.#lanes.length];
      if (lane === undefined) throw new Error("there is a lane for every client");
      this.#busy += 1;
      this.#next(lane, value(client));
    }
    await this.#ended.promise;
    const { user, system } = process.cpuUsage(cpu);
    return {
      perSecond: seconds === 0 ? 0 : this.#times.length / seconds,
      p50Ms: quantile(this.#times, 0.5),
      p99Ms: quantile(this.#times, 0.99),
      operations: this.#operations,
      errors: this.#errors,
      clientMicros: (user + system) / Math.max(1, this.#operations),
    };
  }

  #next(lane: Lane, bytes: Buffer): void {
    const over = this.#fill ? this.#issued >= KEYS : performance.now() >= this.#toMs;
    if (over) {
      this.#busy -= 1;
      if (this.#busy === 0) this.#ended.resolve();
      return;
    }
    const key = keyOf(this.#issued * 7919);
    this.#issued += 1;
    const startMs = performance.now();
    const done = (ok: boolean): void => {
      this.#count(ok, startMs);
      // An error comes at once, a thousand of them too: the loop must turn meanwhile.
      if (ok) this.#next(lane, bytes);
      else setTimeout(() => this.#next(lane, bytes), 10);
    };
    if (this.#ask.operation === "read") {
      lane.read(key, done);
      return;
    }
    bytes.writeUInt32BE(this.#issued, 0);
    lane.write(key, bytes, done);
  }

  #count(ok: boolean, startMs: number): void {
    const now = performance.now();
    if (!ok) {
      this.#errors += 1;
      return;
    }
    this.#operations += 1;
    if (now >= this.#fromMs && now < this.#toMs) this.#times.push(now - startMs);
  }
}

/** Bytes that no two clients share. */
function value(client: number): Buffer {
  return Buffer.from(
    Array.from({ length: VALUE_BYTES }, (_, at) => (at * 31 + client * 17) & 0xff),
  );
}
