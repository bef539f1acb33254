import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { openDataDir } from "../node/data-dir.ts";
import { openDisk } from "../node/disk.ts";
import { type Disk, NO_WRITE } from "../node/storage.ts";

/**
 * What a durable write costs, against the least that this disk allows: one write to a preallocated file
 * and one fdatasync, on the main thread, which a node cannot afford. Both take turns, as the disk of a shared
 * machine is never the same twice; in several rounds, alone and with other processes that do the same.
 *
 *     node bench/disk.ts [folder]      the folder's disk is measured; a minute
 */
const ENTRY_BYTES = 300;
const BATCHES = [1, 16, 64, 256];
const PROCESSES = [1, 3];
const ROUNDS = 3;
const SECONDS_A_BATCH = 2;
const TURN = 20;
const PREALLOCATED_BYTES = 64 * 1024 * 1024;
/** Says to a process that it is one of the others, and does the same until it is ended. */
const OTHER = "--other";

interface Floor {
  readonly fd: number;
  at: number;
}

interface Measured {
  readonly floor: number[];
  readonly ours: number[];
  /** Of the main thread, a write. */
  cpuMs: number;
}

const [, , first, second] = process.argv;
const isOther = first === OTHER;
const parent = (isOther ? second : first) ?? process.cwd();
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
  const log = { last: 0 };
  if (isOther) {
    process.stdin.resume();
    let isEnded = false;
    process.stdin.once("end", () => (isEnded = true));
    say("ready");
    while (!isEnded) await measure(disk, floor, log, 16, TURN);
  } else {
    say(`one durable write of n entries of ${ENTRY_BYTES} bytes, in ${folder}`);
    for (const processes of PROCESSES) await withProcesses(processes, disk, floor, log);
  }
  closeSync(floor.fd);
  await disk.close();
}

async function withProcesses(
  processes: number,
  disk: Disk,
  floor: Floor,
  log: { last: number },
): Promise<void> {
  const others = Array.from({ length: processes - 1 }, () =>
    spawn(process.execPath, [import.meta.filename, OTHER, parent], {
      stdio: ["pipe", "pipe", "inherit"],
    }),
  );
  for (const other of others) if (other.stdout !== null) await once(other.stdout, "data");
  say(`${processes} at once`);
  say("entries   floor p50   floor p99    ours p50    ours p99   ratio p50   entries/s   main ms");
  for (const batch of BATCHES) {
    for (let round = 0; round < ROUNDS; round++)
      report(batch, await measure(disk, floor, log, batch, SECONDS_A_BATCH * 1000));
  }
  for (const other of others) await end(other);
}

async function end(other: ChildProcess): Promise<void> {
  const exit = once(other, "exit");
  other.stdin?.end();
  await exit;
}

async function measure(
  disk: Disk,
  floor: Floor,
  log: { last: number },
  batch: number,
  milliseconds: number,
): Promise<Measured> {
  const measured: Measured = { floor: [], ours: [], cpuMs: 0 };
  const until = performance.now() + milliseconds;
  while (performance.now() < until) {
    for (let turn = 0; turn < TURN; turn++) measured.floor.push(writeFloor(floor, batch));
    const busy = performance.eventLoopUtilization().active;
    for (let turn = 0; turn < TURN; turn++) {
      measured.ours.push(await writeDisk(disk, log.last, batch));
      log.last += batch;
    }
    measured.cpuMs += performance.eventLoopUtilization().active - busy;
  }
  return { ...measured, cpuMs: measured.cpuMs / measured.ours.length };
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

function report(batch: number, { floor, ours, cpuMs }: Measured): void {
  const [floor50, floor99] = [quantile(floor, 0.5), quantile(floor, 0.99)];
  const [ours50, ours99] = [quantile(ours, 0.5), quantile(ours, 0.99)];
  const perSecond = (ours.length * batch * 1000) / ours.reduce((sum, each) => sum + each, 0);
  const times = [floor50, floor99, ours50, ours99].map((each) =>
    `${each.toFixed(3)} ms`.padStart(12),
  );
  const rest = [(ours50 / floor50).toFixed(2), perSecond.toFixed(0), cpuMs.toFixed(3)];
  say(
    `${String(batch).padStart(7)}${times.join("")}${rest.map((each) => each.padStart(11)).join("")}`,
  );
}

function quantile(times: readonly number[], part: number): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length * part)] ?? Number.NaN;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
