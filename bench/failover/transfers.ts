import { setTimeout as delay } from "node:timers/promises";
import { transfer } from "../../test/chaos/process-faults.ts";
import { type OrchContender, writeTo } from "./orch.ts";

const CLIENTS = 16;
/** Around each transfer: the load alone before it, and after it until writes have surely gone on. */
const BEFORE_MS = 300;
const AFTER_MS = 300;
const TRANSFER_MS = 10_000;

export interface Transfers {
  /** The longest time between two acknowledged writes around each transfer. */
  readonly gapsMs: readonly number[];
  /** The same for as long a time without a transfer, just before each: what the disk alone makes of it. */
  readonly calmMs: readonly number[];
  /** How long the one who asked waited. */
  readonly tookMs: readonly number[];
  readonly writes: number;
  /** Why writes failed, and how many did so. */
  readonly failed: ReadonlyMap<string, number>;
  readonly failedTransfers: number;
}

/** Null: this orch cannot be asked to hand over. */
export async function measureTransfers(
  orch: OrchContender,
  count: number,
): Promise<Transfers | null> {
  // Whoever was killed last may not be back yet: its clients' writes would fail without any transfer.
  await orch.whole();
  const acked: number[] = [];
  const ending = new AbortController();
  const failed = new Map<string, number>();
  const { nodes } = orch.cluster;
  const clients = Array.from({ length: CLIENTS }, async (_, at) => {
    for (let made = at; !ending.signal.aborted; made += 1) {
      const node = nodes[made % nodes.length];
      if (node === undefined) return;
      const failure = await writeTo(node);
      if (failure === null) acked.push(performance.now());
      else failed.set(failure, (failed.get(failure) ?? 0) + 1);
    }
  });
  const [gapsMs, calmMs, tookMs]: [number[], number[], number[]] = [[], [], []];
  let failedTransfers = 0;
  try {
    for (let made = 0; made < count; made++) {
      const { leader } = await orch.whole();
      const calmFromMs = performance.now();
      await delay(BEFORE_MS);
      const fromMs = performance.now();
      const outcome = await transfer(orch.node(leader), TRANSFER_MS);
      if (outcome === "no-route") return null;
      if (outcome === "failed") failedTransfers += 1;
      const doneMs = performance.now();
      await delay(AFTER_MS);
      tookMs.push(doneMs - fromMs);
      calmMs.push(longestGap(acked, calmFromMs, fromMs));
      gapsMs.push(longestGap(acked, fromMs, performance.now()));
    }
  } finally {
    ending.abort();
    await Promise.all(clients);
  }
  return { gapsMs, calmMs, tookMs, writes: acked.length, failed, failedTransfers };
}

/** Between two acknowledgements of which at least one falls into this time. */
function longestGap(acked: readonly number[], fromMs: number, toMs: number): number {
  let longest = 0;
  let last = fromMs;
  for (const atMs of acked) {
    if (atMs > toMs) break;
    if (atMs > fromMs) longest = Math.max(longest, atMs - last);
    last = Math.max(last, atMs);
  }
  return Math.max(longest, toMs - last);
}
