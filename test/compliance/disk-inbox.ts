import { expect, test } from "vitest";
import { afterWrite, EMPTY_DISK, NO_WRITE } from "../../node/storage.ts";
import type { DiskWrite, SnapshotInbox } from "../../node/storage.ts";
import {
  chunksFrom,
  chunksOf,
  codeOf,
  cutTo,
  metaAt,
  saveAndCut,
  sumOf,
  TWENTY,
} from "./disk-data.ts";
import type { Start } from "./disk-data.ts";

/** Receives all that is not held yet. */
async function receiveRest(inbox: SnapshotInbox, chunks: readonly Uint8Array[]): Promise<void> {
  for (const chunk of chunks.slice(inbox.held)) await inbox.add(chunk);
}

/** The tests of snapshots from other nodes that hold for every implementation of the Disk port. */
export function inboxCompliance(start: Start): void {
  const meta = metaAt(40, 2);
  const chunks = chunksOf(meta, 9);
  const sum = sumOf(chunks);
  const cut: DiskWrite = {
    ...NO_WRITE,
    cut: cutTo(meta, { index: 40, term: 2 }, true),
    hardState: { term: 2, vote: 0, commit: 40 },
  };

  test.each(["at once", "close", "crash"])(
    "a received snapshot counts like a saved one: %s",
    async (how) => {
      const harness = await start();
      let { disk } = await harness.open();
      await disk.write(TWENTY);
      const inbox = await disk.receiveSnapshot(meta, sum);
      expect(inbox.held).toBe(0);
      for (const chunk of chunks) await inbox.add(chunk);
      expect(inbox.held).toBe(chunks.length);
      expect(await disk.findSnapshot(meta)).toBeNull();
      await inbox.finish(meta, sum);
      expect(await disk.findSnapshot(meta)).toEqual({ meta, sum });
      await disk.write(cut);
      if (how !== "at once") {
        await (how === "close" ? disk.close() : harness.crash(disk));
        ({ disk } = await harness.open());
      }
      expect(await chunksFrom(disk, meta)).toEqual(chunks);
    },
  );

  test("what has come is held through closed inboxes, closes and crashes", async () => {
    const harness = await start();
    let { disk } = await harness.open();
    await disk.write(TWENTY);
    for (const [held, how] of ["inbox", "close", "crash", "inbox", "crash", "close"].entries()) {
      const inbox = await disk.receiveSnapshot(meta, sum);
      expect(inbox.held).toBe(held);
      await inbox.add(chunks[held] ?? new Uint8Array());
      if (how === "inbox") {
        await inbox.close();
        continue;
      }
      await (how === "close" ? disk.close() : harness.crash(disk));
      const again = await harness.open();
      disk = again.disk;
      expect(again.image).toEqual(afterWrite(EMPTY_DISK, TWENTY));
    }
    const inbox = await disk.receiveSnapshot(meta, sum);
    expect(inbox.held).toBe(6);
    await receiveRest(inbox, chunks);
    await inbox.finish(meta, sum);
    await disk.write(cut);
    await harness.crash(disk);
    expect(await chunksFrom((await harness.open()).disk, meta)).toEqual(chunks);
  });

  test("the next stream takes over without a word from the one before it", async () => {
    const harness = await start();
    const { disk } = await harness.open();
    const first = await disk.receiveSnapshot(meta, sum);
    await first.add(chunks[0] ?? new Uint8Array());
    const second = await disk.receiveSnapshot(meta, sum);
    expect(second.held).toBe(1);
    expect(await codeOf(first.add(Uint8Array.of(1)))).toBe("conflict");
    expect(await codeOf(first.finish(meta, sum))).toBe("conflict");
    await first.close();
    await receiveRest(second, chunks);
    await second.finish(meta, sum);
    expect(await chunksFrom(disk, meta)).toEqual(chunks);
  });

  test.each([
    ["another snapshot", { index: 41, term: 2 }, sum],
    ["another term", { index: 40, term: 3 }, sum],
    ["another sum", meta, { ...sum, crc: sum.crc ^ 1 }],
    ["another length", meta, { ...sum, chunks: 8 }],
  ])("what has come is dropped for %s", async (_, id, other) => {
    const harness = await start();
    const { disk } = await harness.open();
    const inbox = await disk.receiveSnapshot(meta, sum);
    await inbox.add(chunks[0] ?? new Uint8Array());
    const next = await disk.receiveSnapshot(id, { chunks: other.chunks, crc: other.crc >>> 0 });
    expect(next.held).toBe(0);
    await next.close();
    expect((await disk.receiveSnapshot(meta, sum)).held).toBe(0);
  });

  test("chunks that do not match the sum are refused, and nothing is held", async () => {
    const harness = await start();
    const { disk } = await harness.open();
    await disk.write(TWENTY);
    const wrong = chunks.with(3, Uint8Array.of(9));
    const swapped = chunks
      .with(3, chunks[4] ?? wrong[3] ?? new Uint8Array())
      .with(4, chunks[3] ?? new Uint8Array());
    for (const come of [wrong, swapped, chunks.slice(1), [], [...chunks, Uint8Array.of(1)]]) {
      const inbox = await disk.receiveSnapshot(meta, sum);
      expect(inbox.held).toBe(0);
      const received = receiveRest(inbox, come).then(() => inbox.finish(meta, sum));
      expect(await codeOf(received)).toBe("data-damaged");
      expect(await disk.findSnapshot(meta)).toBeNull();
      expect(await codeOf(inbox.add(Uint8Array.of(1)))).toBe("conflict");
    }
    for (const [id, said] of [
      [metaAt(41, 2), sum],
      [metaAt(40, 3), sum],
      [meta, { ...sum, chunks: 1 }],
    ] as const) {
      const inbox = await disk.receiveSnapshot(meta, sum);
      await receiveRest(inbox, chunks);
      expect(await codeOf(inbox.finish(id, said))).toBe("data-damaged");
    }
    // A refusal is the other node's fault: this one goes on.
    const inbox = await disk.receiveSnapshot(meta, sum);
    expect(inbox.held).toBe(0);
    await receiveRest(inbox, chunks);
    await inbox.finish(meta, sum);
    await disk.write(cut);
    expect(await chunksFrom(disk, meta)).toEqual(chunks);
  });

  test("calls that are made at once are done in their order", async () => {
    const harness = await start();
    const { disk } = await harness.open();
    const inbox = await disk.receiveSnapshot(meta, sum);
    const calls = [...chunks.map((chunk) => inbox.add(chunk)), inbox.finish(meta, sum)];
    await disk.close();
    await Promise.all(calls);
    const again = await harness.open();
    // It was never cut to.
    expect(again.image).toEqual(EMPTY_DISK);
  });

  test("a part that a cut made useless is not kept", async () => {
    const harness = await start();
    const { disk } = await harness.open();
    await disk.write(TWENTY);
    const old = metaAt(12, 1);
    const inbox = await disk.receiveSnapshot(old, sum);
    await inbox.add(chunks[0] ?? new Uint8Array());
    await saveAndCut(disk, metaAt(15, 1), 10);
    await disk.close();
    const again = await harness.open();
    expect((await again.disk.receiveSnapshot(old, sum)).held).toBe(0);
  });
}
