import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { openDataDir } from "../node/data-dir.ts";
import { openDisk } from "../node/disk.ts";
import { type Disk, NO_WRITE } from "../node/storage.ts";

/**
 * What a durable write costs, against the least that this disk allows: one write to a preallocated file
 * and one fdatasync. Both take turns, as the disk of a shared machine is never the same twice.
 *
 *     node bench/disk.ts [folder]      the folder's disk is measured; 20 s
 */
const ENTRY_BYTES = 300;
const BATCHES = [1, 16, 256];
const SECONDS_A_BATCH = 6;
const TURN = 20;
const PREALLOCATED_BYTES = 64 * 1024 * 1024;

interface Floor {
  readonly fd: number;
  at: number;
}

const parent = process.argv[2] ?? process.cwd();
const folder = mkdtempSync(join(parent, "bench-disk-"));
try {
  await run();
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function run(): Promise<void> {
  const dir = await openDataDir(join(folder, "node"), "0.0.0");
  const { disk } = await openDisk(dir);
  const floor = preallocate(join(folder, "floor"));
  say(`one durable write of n entries of ${ENTRY_BYTES} bytes, in ${folder}`);
  say("entries   floor p50   floor p99    disk p50    disk p99   ratio p50   disk entries/s");
  let last = 0;
  for (const batch of BATCHES) {
    const raw: number[] = [];
    const lmdb: number[] = [];
    const end = performance.now() + SECONDS_A_BATCH * 1000;
    while (performance.now() < end) {
      for (let turn = 0; turn < TURN; turn++) raw.push(writeFloor(floor, batch));
      for (let turn = 0; turn < TURN; turn++) {
        lmdb.push(await writeDisk(disk, last, batch));
        last += batch;
      }
    }
    report(batch, raw, lmdb);
  }
  closeSync(floor.fd);
  await disk.close();
}

function preallocate(file: string): Floor {
  const fd = openSync(file, "w");
  const chunk = Buffer.alloc(1024 * 1024);
  for (let at = 0; at < PREALLOCATED_BYTES; at += chunk.length)
    writeSync(fd, chunk, 0, chunk.length, at);
  fdatasyncSync(fd);
  return { fd, at: 0 };
}

/** Milliseconds. */
function writeFloor(floor: Floor, batch: number): number {
  const bytes = Buffer.alloc(batch * ENTRY_BYTES, 1);
  if (floor.at + bytes.length > PREALLOCATED_BYTES) floor.at = 0;
  const start = performance.now();
  writeSync(floor.fd, bytes, 0, bytes.length, floor.at);
  fdatasyncSync(floor.fd);
  floor.at += bytes.length;
  return performance.now() - start;
}

/** Milliseconds. */
async function writeDisk(disk: Disk, last: number, batch: number): Promise<number> {
  const data = Buffer.alloc(ENTRY_BYTES, 2);
  const entries = Array.from({ length: batch }, (_, at) => ({
    index: last + 1 + at,
    term: 1,
    kind: "normal" as const,
    data,
  }));
  const start = performance.now();
  await disk.write({ ...NO_WRITE, hardState: { term: 1, vote: 1, commit: last }, entries });
  return performance.now() - start;
}

function report(batch: number, raw: readonly number[], lmdb: readonly number[]): void {
  const [floor50, floor99, disk50, disk99] = [
    quantile(raw, 0.5),
    quantile(raw, 0.99),
    quantile(lmdb, 0.5),
    quantile(lmdb, 0.99),
  ];
  const perSecond = (lmdb.length * batch * 1000) / lmdb.reduce((sum, each) => sum + each, 0);
  const times = [floor50, floor99, disk50, disk99].map((each) =>
    `${each.toFixed(3)} ms`.padStart(12),
  );
  say(
    `${String(batch).padStart(7)}${times.join("")}${(disk50 / floor50).toFixed(2).padStart(12)}${perSecond.toFixed(0).padStart(17)}`,
  );
}

function quantile(times: readonly number[], part: number): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length * part)] ?? Number.NaN;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
