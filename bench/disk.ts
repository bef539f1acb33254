import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  constants,
  fdatasyncSync,
  mkdtempSync,
  openSync,
  rmSync,
  write as writeFile,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { openDataDir } from "../node/data-dir.ts";
import { openDisk } from "../node/disk.ts";
import { type Disk, NO_WRITE } from "../node/storage.ts";

/**
 * What a durable write costs, against the least that this disk allows: one write to a preallocated file
 * and one fdatasync, on the main thread, which a node cannot afford ("floor"), and one write of the same bytes
 * to a descriptor opened O_DSYNC, on a thread of the pool ("thread"). All take turns, as the disk of a shared
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
const TITLES = ["entries", "floor p50", "p99", "thread p50", "p99", "ours p50", "p99"].concat([
  "of floor",
  "of thread",
  "entries/s",
  "main ms",
]);
const COLUMN = 11;
/** Says to a process that it is one of the others, and does the same until it is ended. */
const OTHER = "--other";

interface Floor {
  readonly fd: number;
  /** The same file, opened O_DSYNC. */
  readonly synced: number;
  at: number;
}

interface Measured {
  readonly floor: number[];
  readonly thread: number[];
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
    say("ready");
    while (!process.stdin.readableEnded) await measure(disk, floor, log, 16, TURN);
  } else {
    say(`one durable write of n entries of ${ENTRY_BYTES} bytes, in ${folder}`);
    for (const processes of PROCESSES) await withProcesses(processes, disk, floor, log);
  }
  closeSync(floor.fd);
  closeSync(floor.synced);
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
  say(TITLES.map((each) => each.padStart(COLUMN)).join(""));
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
  const measured: Measured = { floor: [], thread: [], ours: [], cpuMs: 0 };
  const until = performance.now() + milliseconds;
  while (performance.now() < until) {
    for (let turn = 0; turn < TURN; turn++) measured.floor.push(writeFloor(floor, batch));
    for (let turn = 0; turn < TURN; turn++) measured.thread.push(await writeThread(floor, batch));
    const before = process.threadCpuUsage();
    for (let turn = 0; turn < TURN; turn++) {
      measured.ours.push(await writeDisk(disk, log.last, batch));
      log.last += batch;
    }
    const { user, system } = process.threadCpuUsage(before);
    measured.cpuMs += (user + system) / 1000;
  }
  return { ...measured, cpuMs: measured.cpuMs / measured.ours.length };
}

function preallocate(file: string): Floor {
  const fd = openSync(file, "w");
  const chunk = Buffer.alloc(1024 * 1024);
  for (let at = 0; at < PREALLOCATED_BYTES; at += chunk.length)
    writeSync(fd, chunk, 0, chunk.length, at);
  fdatasyncSync(fd);
  return { fd, synced: openSync(file, constants.O_WRONLY | constants.O_DSYNC), at: 0 };
}

/** Milliseconds. */
function writeFloor(floor: Floor, batch: number): number {
  const bytes = room(floor, batch);
  const start = performance.now();
  writeSync(floor.fd, bytes, 0, bytes.length, floor.at);
  fdatasyncSync(floor.fd);
  floor.at += bytes.length;
  return performance.now() - start;
}

/** Milliseconds. */
async function writeThread(floor: Floor, batch: number): Promise<number> {
  const bytes = room(floor, batch);
  const start = performance.now();
  await promisify(writeFile)(floor.synced, bytes, 0, bytes.length, floor.at);
  floor.at += bytes.length;
  return performance.now() - start;
}

/** What is written, for which there is room. */
function room(floor: Floor, batch: number): Buffer {
  const bytes = Buffer.alloc(batch * ENTRY_BYTES, 1);
  if (floor.at + bytes.length > PREALLOCATED_BYTES) floor.at = 0;
  return bytes;
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

function report(batch: number, { floor, thread, ours, cpuMs }: Measured): void {
  const columns = [floor, thread, ours].flatMap((times) => [
    quantile(times, 0.5).toFixed(3),
    quantile(times, 0.99).toFixed(3),
  ]);
  const ours50 = quantile(ours, 0.5);
  const perSecond = (ours.length * batch * 1000) / ours.reduce((sum, each) => sum + each, 0);
  columns.push(
    (ours50 / quantile(floor, 0.5)).toFixed(2),
    (ours50 / quantile(thread, 0.5)).toFixed(2),
  );
  columns.push(perSecond.toFixed(0), cpuMs.toFixed(3));
  say([String(batch), ...columns].map((each) => each.padStart(COLUMN)).join(""));
}

function quantile(times: readonly number[], part: number): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length * part)] ?? Number.NaN;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
