import { expect, test } from "vitest";
import { afterWrite, EMPTY_DISK, NO_WRITE } from "../../node/storage.ts";
import type { DiskImage, DiskWrite } from "../../node/storage.ts";
import {
  chunksFrom,
  chunksOf,
  codeOf,
  cutTo,
  entriesFrom,
  metaAt,
  saveAndCut,
  snapshotOf,
  sumOf,
  TWENTY,
} from "./disk-data.ts";
import type { Start } from "./disk-data.ts";

/** The tests of snapshots that hold for every implementation of the Disk port. */
export function snapshotCompliance(start: Start): void {
  savingTests(start);
  cuttingTests(start);
  readingTests(start);
}

function savingTests(start: Start): void {
  test("a saved snapshot is found with its sum, and counts for nothing until it is cut to", async () => {
    const harness = await start();
    const { disk } = await harness.open();
    await disk.write(TWENTY);
    const meta = metaAt(15, 1);
    expect(await disk.findSnapshot(meta)).toBeNull();
    await disk.saveSnapshot(meta, chunksOf(meta));
    expect(await disk.findSnapshot(meta)).toEqual({ meta, sum: sumOf(chunksOf(meta)) });
    expect(await disk.findSnapshot({ index: 15, term: 2 })).toBeNull();
    expect(await chunksFrom(disk, meta)).toEqual(chunksOf(meta));
    await harness.crash(disk);
    const again = await harness.open();
    expect(again.image).toEqual(afterWrite(EMPTY_DISK, TWENTY));
    expect(await again.disk.findSnapshot(meta)).toBeNull();
    await saveAndCut(again.disk, meta, 10);
  });

  test("a snapshot without chunks, and one with large chunks, come back as they were", async () => {
    const harness = await start();
    const { disk } = await harness.open();
    await disk.write(TWENTY);
    for (const [index, chunks] of [
      [14, []],
      [15, chunksOf({ index: 15, term: 1 }, 24, 1024 * 1024)],
    ] as const) {
      const meta = metaAt(index, 1);
      await disk.saveSnapshot(meta, chunks);
      expect((await disk.findSnapshot(meta))?.sum).toEqual(sumOf(chunks));
      const found = await chunksFrom(disk, meta);
      expect(found.map((chunk) => chunk.length)).toEqual(chunks.map((chunk) => chunk.length));
      expect(sumOf(found)).toEqual(sumOf(chunks));
    }
  });

  test("the event loop turns, and writes become durable, between the chunks of a snapshot", async () => {
    const harness = await start();
    const { disk } = await harness.open();
    await disk.write(TWENTY);
    let turns = 0;
    const seen: number[] = [];
    const written: Promise<void>[] = [];
    function* chunks(): Generator<Uint8Array> {
      for (let at = 0; at < 20; at++) {
        seen.push(turns);
        if (at === 1) written.push(disk.write({ ...NO_WRITE, entries: entriesFrom(21, 1, 1) }));
        setImmediate(() => turns++);
        yield new Uint8Array(1000);
      }
    }
    await disk.saveSnapshot(metaAt(15, 1), chunks());
    expect(seen).toEqual(Array.from({ length: 20 }, (_, at) => at));
    await Promise.all(written);
  });

  test("a crash anywhere in a save leaves what was there", async () => {
    const harness = await start();
    let { disk } = await harness.open();
    await disk.write(TWENTY);
    let expected = afterWrite(EMPTY_DISK, TWENTY);
    expected = afterWrite(expected, await saveAndCut(disk, metaAt(8, 1), 5));
    for (const wanted of [0, 1, 3, 5]) {
      const reached = Promise.withResolvers<null>();
      function* chunks(): Generator<Uint8Array> {
        for (const [at, chunk] of chunksOf(metaAt(15, 1)).entries()) {
          if (at === wanted) reached.resolve(null);
          yield chunk;
        }
        reached.resolve(null);
      }
      // Its outcome does not matter: nobody is left to hear of it.
      const saving = disk.saveSnapshot(metaAt(15, 1), chunks()).catch(() => null);
      await reached.promise;
      await harness.crash(disk);
      const again = await harness.open();
      disk = again.disk;
      expect(again.image).toEqual(expected);
      expect(await chunksFrom(disk, metaAt(8, 1))).toEqual(chunksOf(metaAt(8, 1)));
      expect(await disk.findSnapshot(metaAt(15, 1))).toBeNull();
      await saving;
    }
  });

  test("the same snapshot saved again with other bytes does not touch the one that counts", async () => {
    const harness = await start();
    const { disk } = await harness.open();
    await disk.write(TWENTY);
    const meta = metaAt(15, 1);
    await saveAndCut(disk, meta, 10);
    const other = [Uint8Array.of(1, 2, 3)];
    await disk.saveSnapshot(meta, other);
    expect(await chunksFrom(disk, meta)).toEqual(other);
    await harness.crash(disk);
    const second = await harness.open();
    expect(await chunksFrom(second.disk, meta)).toEqual(chunksOf(meta));
    await second.disk.saveSnapshot(meta, other);
    await second.disk.write({ ...NO_WRITE, cut: cutTo(meta, { index: 12, term: 1 }) });
    await second.disk.close();
    const third = await harness.open();
    expect(third.image.base).toEqual({ index: 12, term: 1 });
    expect(await chunksFrom(third.disk, meta)).toEqual(other);
  });

  test("what fails in the making of its chunks fails the save, and no snapshot is left", async () => {
    const harness = await start();
    const { disk } = await harness.open();
    await disk.write(TWENTY);
    await expect(disk.saveSnapshot(metaAt(15, 1), brokenChunks())).rejects.toThrow("no more");
    expect(await disk.findSnapshot(metaAt(15, 1))).toBeNull();
    await harness.crash(disk);
    expect((await harness.open()).image).toEqual(afterWrite(EMPTY_DISK, TWENTY));
  });
}

function cuttingTests(start: Start): void {
  test.each([
    ["close", 0],
    ["close", 10],
    ["crash", 0],
    ["crash", 10],
    ["crash", 15],
  ])("a cut is there after a %s, with the entries after %i", async (how, base) => {
    const harness = await start();
    const { disk } = await harness.open();
    await disk.write(TWENTY);
    const meta = metaAt(15, 1);
    const write = await saveAndCut(disk, meta, base);
    await (how === "close" ? disk.close() : harness.crash(disk));
    const again = await harness.open();
    expect(again.image).toEqual(afterWrite(afterWrite(EMPTY_DISK, TWENTY), write));
    expect(again.image.entries).toEqual(entriesFrom(base + 1, 20 - base, 1));
    expect(again.image.snapshot).toEqual(meta);
    expect(await again.disk.findSnapshot(meta)).toEqual({ meta, sum: sumOf(chunksOf(meta)) });
    expect(await chunksFrom(again.disk, meta)).toEqual(chunksOf(meta));
    // The log goes on from there, also where the base is its end.
    const next = { ...NO_WRITE, entries: entriesFrom(21, 2, 1) };
    await again.disk.write(next);
    await harness.crash(again.disk);
    expect((await harness.open()).image).toEqual(afterWrite(again.image, next));
  });

  test("a dropped log goes on after another node's snapshot", async () => {
    const harness = await start();
    let { disk } = await harness.open();
    let expected: DiskImage = EMPTY_DISK;
    const shorter = metaAt(18, 3);
    const steps: DiskWrite[] = [
      { ...TWENTY, hardState: { term: 1, vote: 1, commit: 4 } },
      // It contradicts entry 18 of the log.
      {
        ...NO_WRITE,
        cut: cutTo(shorter, { index: 18, term: 3 }, true),
        hardState: { term: 3, vote: 0, commit: 18 },
      },
      { ...NO_WRITE, entries: entriesFrom(19, 4, 3) },
      // The log ends long before it, and goes on in the same write.
      {
        ...NO_WRITE,
        cut: cutTo(metaAt(500, 4), { index: 500, term: 4 }, true),
        hardState: { term: 5, vote: 0, commit: 500 },
        entries: entriesFrom(501, 3, 5),
      },
    ];
    for (const write of steps) {
      if (write.cut !== null) await disk.saveSnapshot(write.cut.meta, chunksOf(write.cut.meta));
      await disk.write(write);
      expected = afterWrite(expected, write);
      await harness.crash(disk);
      const again = await harness.open();
      disk = again.disk;
      expect(again.image).toEqual(expected);
    }
    expect(expected.entries).toEqual(entriesFrom(501, 3, 5));
  });

  test("entries that conflict after the base are replaced, in the same write and later", async () => {
    const harness = await start();
    const { disk } = await harness.open();
    await disk.write({ ...TWENTY, hardState: { term: 1, vote: 1, commit: 15 } });
    const meta = metaAt(15, 1);
    await disk.saveSnapshot(meta, chunksOf(meta));
    await disk.write({
      ...NO_WRITE,
      cut: cutTo(meta, { index: 12, term: 1 }),
      entries: entriesFrom(17, 2, 2),
      hardState: { term: 2, vote: 1, commit: 15 },
    });
    await harness.crash(disk);
    const second = await harness.open();
    expect(second.image.entries).toEqual([...entriesFrom(13, 4, 1), ...entriesFrom(17, 2, 2)]);
    const more = { ...NO_WRITE, entries: entriesFrom(16, 1, 3) };
    await second.disk.write({ ...more, hardState: { term: 3, vote: 0, commit: 16 } });
    await second.disk.close();
    const { image } = await harness.open();
    expect(image.entries).toEqual([...entriesFrom(13, 3, 1), ...entriesFrom(16, 1, 3)]);
  });

  test("a cut of thousands of entries leaves a sound log, again and again", async () => {
    const harness = await start();
    let { disk, image } = await harness.open();
    for (let round = 1; round <= 4; round++) {
      const last = image.base.index + image.entries.length;
      const end = round * 12_000;
      await disk.write({
        ...NO_WRITE,
        entries: entriesFrom(last + 1, end - last, 1),
        hardState: { term: 1, vote: 1, commit: end },
      });
      await saveAndCut(disk, metaAt(end, 1), end - 500);
      // Into the room that the cut made.
      await disk.write({ ...NO_WRITE, entries: entriesFrom(end + 1, 300, 1) });
      await harness.crash(disk);
      ({ disk, image } = await harness.open());
      expect(image.base).toEqual({ index: end - 500, term: 1 });
      expect(image.entries).toEqual(entriesFrom(end - 499, 800, 1));
    }
  });

  test("of two snapshots in a row the second counts, and the first goes", async () => {
    const harness = await start();
    const { disk } = await harness.open();
    await disk.write(TWENTY);
    const [first, second] = [metaAt(12, 1), metaAt(16, 1)];
    await saveAndCut(disk, first, 8);
    // Both are there until the second is cut to.
    await disk.saveSnapshot(second, chunksOf(second));
    expect(await chunksFrom(disk, first)).toEqual(chunksOf(first));
    await disk.write({ ...NO_WRITE, cut: cutTo(second, { index: 8, term: 1 }) });
    expect(await disk.findSnapshot(first)).toBeNull();
    expect(await codeOf(chunksFrom(disk, first))).toBe("not-found");
    await harness.crash(disk);
    const again = await harness.open();
    expect(again.image).toMatchObject({ snapshot: second, base: { index: 8, term: 1 } });
    expect(await again.disk.findSnapshot(first)).toBeNull();
    expect(await chunksFrom(again.disk, second)).toEqual(chunksOf(second));
  });

  test("a cut in flight at a crash is there as a whole or not at all", async () => {
    const harness = await start();
    let { disk, image } = await harness.open();
    await disk.write({ ...NO_WRITE, hardState: { term: 1, vote: 1, commit: 0 } });
    for (let round = 1; round <= 10; round++) {
      const last = image.base.index + image.entries.length;
      const append = { ...NO_WRITE, entries: entriesFrom(last + 1, 30, 1) };
      await disk.write({ ...append, hardState: { term: 1, vote: 1, commit: last + 30 } });
      const meta = metaAt(last + 20, 1);
      await disk.saveSnapshot(meta, chunksOf(meta));
      const cut = cutTo(meta, { index: last + 10, term: 1 });
      const outcome = disk.write({ ...NO_WRITE, cut }).catch(() => null);
      if (round % 2 === 0) await outcome;
      await harness.crash(disk);
      const next = await harness.open();
      await outcome;
      const whole = next.image.base.index === last + 10;
      expect(whole || round % 2 === 1).toBe(true);
      expect(next.image.base).toEqual(whole ? cut.base : image.base);
      expect(next.image.snapshot).toEqual(whole ? meta : image.snapshot);
      const first = next.image.base.index + 1;
      expect(next.image.entries).toEqual(entriesFrom(first, last + 31 - first, 1));
      const { snapshot } = next.image;
      expect(await snapshotOf(next)).toEqual(snapshot && chunksOf(snapshot));
      ({ disk, image } = next);
    }
  });

  test("a cut to what was not saved, or an older snapshot, ends the disk", async () => {
    const harness = await start();
    const { disk } = await harness.open();
    await disk.write(TWENTY);
    const cut = cutTo(metaAt(15, 1), { index: 10, term: 1 });
    await expect(disk.write({ ...NO_WRITE, cut })).rejects.toThrow("was not saved");
    await expect(disk.write(NO_WRITE)).rejects.toThrow("was not saved");
    await harness.crash(disk);
    const again = await harness.open();
    expect(again.image).toEqual(afterWrite(EMPTY_DISK, TWENTY));
  });
}

function readingTests(start: Start): void {
  test("a snapshot is read from any chunk on", async () => {
    const harness = await start();
    const { disk } = await harness.open();
    await disk.write(TWENTY);
    const meta = metaAt(15, 1);
    const chunks = chunksOf(meta);
    await saveAndCut(disk, meta, 10);
    for (let from = 0; from <= chunks.length; from++)
      expect(await chunksFrom(disk, meta, from)).toEqual(chunks.slice(from));
    expect(await codeOf(chunksFrom(disk, meta, chunks.length + 1))).toBe("not-found");
    expect(await codeOf(chunksFrom(disk, { index: 15, term: 9 }))).toBe("not-found");
  });

  test("a reader that has begun gets all of a snapshot that goes meanwhile", async () => {
    const harness = await start();
    const { disk } = await harness.open();
    await disk.write(TWENTY);
    const meta = metaAt(12, 1);
    await saveAndCut(disk, meta, 10);
    const read: Uint8Array[] = [];
    for await (const chunk of disk.readSnapshot(meta, 0)) {
      if (read.length === 0) await saveAndCut(disk, metaAt(18, 1), 10);
      read.push(Uint8Array.from(chunk));
    }
    expect(read).toEqual(chunksOf(meta));
    expect(await codeOf(chunksFrom(disk, meta))).toBe("not-found");
  });
}

function* brokenChunks(): Generator<Uint8Array> {
  yield Uint8Array.of(1);
  throw new Error("no more");
}
