import { afterEach, describe, expect, test } from "vitest";
import { Prng } from "../../lib/prng.ts";
import { afterWrite, EMPTY_DISK, NO_WRITE } from "../../node/storage.ts";
import type { DiskImage, DiskWrite, Identity } from "../../node/storage.ts";
import type { WorkerMemory } from "../../runtime/worker-memory.ts";
import { nodeId, taskId } from "../../state/ids.ts";
import { chunksOf, entriesFrom, entryAt, metaAt, snapshotOf } from "./disk-data.ts";
import type { DiskHarness } from "./disk-data.ts";
import { inboxCompliance } from "./disk-inbox.ts";
import { snapshotCompliance } from "./disk-snapshots.ts";

const MEBIBYTE = 1024 * 1024;

const IDENTITY: Identity = {
  clusterId: "abcdefgh01234567",
  node: nodeId("12D3KooWÜ"),
  raftId: 7,
  peers: [
    {
      id: nodeId("12D3KooWB"),
      raftId: 8,
      addresses: ["/ip4/10.0.0.1/tcp/7400", "/ip6/::1/tcp/7400"],
    },
  ],
  joinSecret: "c2VjcmV0",
};

const WORKER: WorkerMemory = {
  assignments: [
    {
      task: taskId("1a-0"),
      desired: "running",
      stopGraceMs: 10_000,
      leased: false,
      restart: { condition: "any", delayMs: 1000, maxAttempts: null, windowMs: 5000 },
      container: {
        task: taskId("1a-0"),
        slot: "shop.web.1",
        job: "shop",
        service: "web",
        image: "busybox",
        entrypoint: null,
        command: ["httpd", "-f"],
        environment: { GREETING: 'grüß\n\u0000"dich"' },
        workingDir: null,
        ports: [],
        publishAddress: "0.0.0.0",
        volumes: [],
        limits: { cpuMilli: null, memoryMib: 64 },
      },
    },
  ],
  reports: [],
  ending: [],
};

function append(first: number, count: number, term: number): DiskWrite {
  const entries = entriesFrom(first, count, term);
  return { ...NO_WRITE, entries, hardState: { term, vote: 1, commit: 0 } };
}

/** The tests that hold for every implementation of the Disk port. */
export function diskCompliance(name: string, make: () => Promise<DiskHarness>): void {
  describe(`the disk port: ${name}`, () => {
    const harnesses: DiskHarness[] = [];
    afterEach(async () => {
      for (const harness of harnesses.splice(0)) await harness.end();
    });
    const start = async (): Promise<DiskHarness> => {
      const harness = await make();
      harnesses.push(harness);
      return harness;
    };

    test("a new disk is empty, and stays so through a close and a crash", async () => {
      const harness = await start();
      const first = await harness.open();
      expect(first.image).toEqual(EMPTY_DISK);
      await first.disk.close();
      const second = await harness.open();
      expect(second.image).toEqual(EMPTY_DISK);
      await harness.crash(second.disk);
      expect((await harness.open()).image).toEqual(EMPTY_DISK);
    });

    test.each(["close", "crash"])("what was written is there after a %s", async (how) => {
      const harness = await start();
      const { disk } = await harness.open();
      const hardState = { term: 3, vote: 2, commit: 4 };
      const entries = [...entriesFrom(1, 3, 2), ...entriesFrom(4, 3, 3)];
      const write = { ...NO_WRITE, identity: IDENTITY, hardState, entries, worker: WORKER };
      await disk.write(write);
      await (how === "close" ? disk.close() : harness.crash(disk));
      const { image } = await harness.open();
      expect(image).toEqual(afterWrite(EMPTY_DISK, write));
    });

    test("each part alone leaves the others as they are", async () => {
      const harness = await start();
      let { disk } = await harness.open();
      const parts: DiskWrite[] = [
        { ...NO_WRITE, identity: IDENTITY },
        { ...NO_WRITE, hardState: { term: 9, vote: 7, commit: 0 } },
        { ...NO_WRITE, entries: entriesFrom(1, 2, 9) },
        { ...NO_WRITE, worker: WORKER },
      ];
      let expected: DiskImage = EMPTY_DISK;
      for (const part of parts) {
        await disk.write(part);
        await harness.crash(disk);
        const again = await harness.open();
        disk = again.disk;
        expected = afterWrite(expected, part);
        expect(again.image).toEqual(expected);
      }
    });

    test("an empty write changes nothing", async () => {
      const harness = await start();
      const { disk } = await harness.open();
      await disk.write(append(1, 2, 1));
      await disk.write(NO_WRITE);
      await harness.crash(disk);
      expect((await harness.open()).image.entries).toEqual(entriesFrom(1, 2, 1));
    });

    test("entries replace everything from their first index on", async () => {
      const harness = await start();
      const { disk } = await harness.open();
      await disk.write(append(1, 300, 1));
      await disk.write(append(3, 1, 2));
      await harness.crash(disk);
      const second = await harness.open();
      expect(second.image.entries).toEqual([...entriesFrom(1, 2, 1), ...entriesFrom(3, 1, 2)]);
      await second.disk.write(append(1, 1, 4));
      await second.disk.close();
      expect((await harness.open()).image.entries).toEqual(entriesFrom(1, 1, 4));
    });

    test("writes that are called at once are done in their order", async () => {
      const harness = await start();
      const { disk } = await harness.open();
      const done: number[] = [];
      const writes = [append(1, 5, 1), append(6, 5, 1), append(4, 3, 2), append(7, 1, 2)];
      await Promise.all(writes.map((write, at) => disk.write(write).then(() => done.push(at))));
      expect(done).toEqual([0, 1, 2, 3]);
      await harness.crash(disk);
      const { image } = await harness.open();
      expect(image.entries).toEqual([...entriesFrom(1, 3, 1), ...entriesFrom(4, 4, 2)]);
    });

    test("a write in flight at a crash is there as a whole or not at all", async () => {
      const harness = await start();
      for (let round = 0; round < 10; round++) {
        const { disk, image } = await harness.open();
        const before = image.entries.length;
        const write = append(before + 1, 7, round + 1);
        // Its outcome does not matter: nobody is left to hear of it.
        const outcome = disk.write(write).catch(() => null);
        await harness.crash(disk);
        const next = await harness.open();
        const whole = next.image.entries.length === before + 7;
        expect(next.image.entries.length).toBe(whole ? before + 7 : before);
        expect(next.image.hardState).toEqual(whole ? write.hardState : image.hardState);
        await next.disk.close();
        await outcome;
      }
    });

    test("close waits for the writes before it", async () => {
      const harness = await start();
      const { disk } = await harness.open();
      const writes = [disk.write(append(1, 3, 1)), disk.write(append(4, 3, 1))];
      await disk.close();
      await Promise.all(writes);
      expect((await harness.open()).image.entries).toEqual(entriesFrom(1, 6, 1));
    });

    test("entries from empty to 4 MiB come back as they were", async () => {
      const harness = await start();
      const { disk } = await harness.open();
      const sizes = [0, 1, 1999, 2000, 2001, 2040, 4071, 4072, 4073, 8168, 65_536, 4 * MEBIBYTE];
      const entries = sizes.map((size, at) => entryAt(at + 1, 1, size));
      await disk.write({ ...NO_WRITE, hardState: { term: 1, vote: 0, commit: 0 }, entries });
      await harness.crash(disk);
      const { image } = await harness.open();
      expect(image.entries.map((entry) => entry.data.length)).toEqual(sizes);
      for (const [at, entry] of image.entries.entries()) {
        expect(Buffer.compare(entry.data, entries[at]?.data ?? Buffer.alloc(0))).toBe(0);
      }
    });

    test("any history of writes, cuts, crashes and closes is kept", async () => {
      const harness = await start();
      const prng = new Prng(7);
      let { disk } = await harness.open();
      let expected: DiskImage = EMPTY_DISK;
      for (let step = 1; step <= 400; step++) {
        const write = anyWrite(prng, step, expected);
        if (write.cut !== null) await disk.saveSnapshot(write.cut.meta, chunksOf(write.cut.meta));
        await disk.write(write);
        expected = afterWrite(expected, write);
        if (!prng.chance(70)) continue;
        await (prng.chance(500) ? disk.close() : harness.crash(disk));
        const again = await harness.open();
        disk = again.disk;
        expect(again.image).toEqual(expected);
        expect(await snapshotOf(again)).toEqual(expected.snapshot && chunksOf(expected.snapshot));
      }
      expect(expected.base.index).toBeGreaterThan(100);
    });

    snapshotCompliance(start);
    inboxCompliance(start);
  });
}

/** A write that Raft may make: mostly one that appends, at times one that cuts or replaces the log's end. */
function anyWrite(prng: Prng, term: number, image: DiskImage): DiskWrite {
  const cut = prng.chance(100) ? anyCut(prng, term, image) : null;
  const kept = afterWrite(image, { ...NO_WRITE, cut });
  const floor = kept.snapshot?.index ?? 0;
  const last = kept.base.index + kept.entries.length;
  const first = prng.chance(150)
    ? prng.between(Math.max(floor + 1, last - 40), last + 1)
    : last + 1;
  const entries = Array.from({ length: prng.below(6) }, (_, at) =>
    entryAt(first + at, term, prng.chance(50) ? prng.below(200_000) : prng.below(600)),
  );
  const end = entries.length > 0 ? first - 1 + entries.length : last;
  return {
    identity: prng.chance(50) ? { ...IDENTITY, raftId: term } : null,
    hardState: { term, vote: prng.below(4), commit: prng.between(floor, end) },
    cut,
    entries,
    worker: prng.chance(100)
      ? { ...WORKER, assignments: prng.chance(500) ? [] : WORKER.assignments }
      : null,
  };
}

/** A cut to a snapshot of the node's own, with some entries that trail, or to one of another node. */
function anyCut(prng: Prng, term: number, image: DiskImage): DiskWrite["cut"] {
  const { base, entries, snapshot } = image;
  const last = base.index + entries.length;
  if (prng.chance(250)) {
    const index = prng.between(image.hardState.commit, last + 30);
    if (index <= (snapshot?.index ?? 0)) return null;
    return { meta: metaAt(index, term), base: { index, term }, dropLog: true };
  }
  const index = prng.between(snapshot?.index ?? 0, last);
  if (index <= (snapshot?.index ?? 0)) return null;
  const from = prng.between(base.index, index);
  const termAt = (at: number): number => entries[at - base.index - 1]?.term ?? base.term;
  return {
    meta: metaAt(index, termAt(index)),
    base: { index: from, term: termAt(from) },
    dropLog: false,
  };
}
