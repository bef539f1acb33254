import type { Socket } from "node:net";
import { performance } from "node:perf_hooks";
import { encodeFrame, FRAME, takeFrame } from "./frames.ts";
import { openSocket, type Target } from "./lane.ts";
import type { FloorResult, Times } from "./messages.ts";
import { quantile } from "./numbers.ts";
import { Cutter } from "./turn-writer.ts";

/** About what an entry of 256 bytes is on the disk and on the wire. */
const ENTRY_BYTES = 300;

/**
 * The least that a write can take here, asked of plain processes (echo.ts): a round trip over TCP, one with an
 * fdatasync in it, and the same of three processes on this one disk, done when two have answered.
 */
export async function measureFloor(
  targets: readonly Target[],
  seconds: number,
): Promise<FloorResult> {
  const echoes = await Promise.all(targets.map((target) => openEcho(target)));
  const first = echoes.slice(0, 1);
  const result = {
    roundTrip: await measure(first, FRAME.echo, 1, seconds / 3),
    synced: await measure(first, FRAME.sync, 1, seconds / 3),
    quorum: await measure(echoes, FRAME.sync, 2, seconds / 3),
  };
  for (const { socket } of echoes) socket.destroy();
  return result;
}

interface Echo {
  readonly socket: Socket;
  /** By the number of the question. */
  answered: (id: number) => void;
}

async function openEcho(target: Target): Promise<Echo> {
  const socket = await openSocket(target);
  const echo: Echo = { socket, answered: () => undefined };
  const cutter = new Cutter((bytes) => takeFrame(bytes, (id) => echo.answered(id)));
  socket.on("data", (chunk: Buffer) => cutter.push(chunk));
  return echo;
}

async function measure(
  echoes: readonly Echo[],
  kind: number,
  needed: number,
  seconds: number,
): Promise<Times> {
  const times: number[] = [];
  const body = Buffer.alloc(ENTRY_BYTES, 1);
  const endMs = performance.now() + seconds * 1000;
  for (let id = 1; performance.now() < endMs; id++) {
    const startMs = performance.now();
    await ask(echoes, kind, id, body, needed);
    times.push(performance.now() - startMs);
  }
  return { p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) };
}

function ask(
  echoes: readonly Echo[],
  kind: number,
  id: number,
  body: Buffer,
  needed: number,
): Promise<void> {
  return new Promise((resolve) => {
    let count = 0;
    for (const echo of echoes) {
      echo.answered = (answered) => {
        // A late answer to an earlier question.
        if (answered !== id) return;
        count += 1;
        if (count === needed) resolve();
      };
      echo.socket.write(encodeFrame(id, kind, body));
    }
  });
}
