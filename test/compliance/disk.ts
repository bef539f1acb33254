import { afterEach, describe, expect, test } from "vitest";
import type { Entry } from "../../consensus/message.ts";
import { Prng } from "../../lib/prng.ts";
import { EMPTY_DISK } from "../../node/storage.ts";
import type { Disk, DiskImage, DiskWrite, Identity } from "../../node/storage.ts";
import type { WorkerMemory } from "../../runtime/worker-memory.ts";
import { nodeId, taskId } from "../../state/ids.ts";

export interface OpenedDisk {
  readonly disk: Disk;
  readonly image: DiskImage;
}

/** What any implementation of the Disk port must be able to do for these tests. */
export interface DiskHarness {
  /** Opens the disk: a new one at first, later what the last one left. */
  readonly open: () => Promise<OpenedDisk>;
  /** Ends the disk as a killed process would, writes in flight included. Nobody has closed it. */
  readonly crash: (disk: Disk) => Promise<void>;
  /** Removes every trace. */
  readonly end: () => Promise<void>;
}

const NOTHING: DiskWrite = { identity: null, hardState: null, entries: [], worker: null };
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
};

const WORKER: WorkerMemory = {
  assignments: [
    {
      task: taskId("1a-0"),
      desired: "running",
      stopGraceMs: 10_000,
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
};

/** An entry whose data follows from its index and term, so that a mix-up shows. */
export function entryAt(index: number, term: number, bytes: number): Entry {
  const prng = new Prng(index * 1000 + term);
  const data = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at++) data[at] = at < 64 ? prng.below(256) : (at * term) & 0xff;
  return { term, index, kind: index % 5 === 0 ? "conf" : "normal", data };
}

function entriesFrom(first: number, count: number, term: number): Entry[] {
  return Array.from({ length: count }, (_, at) => entryAt(first + at, term, 40));
}

function append(first: number, count: number, term: number): DiskWrite {
  const entries = entriesFrom(first, count, term);
  return { ...NOTHING, entries, hardState: { term, vote: 1, commit: 0 } };
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
      await disk.write({ identity: IDENTITY, hardState, entries, worker: WORKER });
      await (how === "close" ? disk.close() : harness.crash(disk));
      const { image } = await harness.open();
      expect(image).toEqual({ identity: IDENTITY, hardState, entries, worker: WORKER });
    });

    test("each part alone leaves the others as they are", async () => {
      const harness = await start();
      let { disk } = await harness.open();
      const parts: DiskWrite[] = [
        { ...NOTHING, identity: IDENTITY },
        { ...NOTHING, hardState: { term: 9, vote: 7, commit: 0 } },
        { ...NOTHING, entries: entriesFrom(1, 2, 9) },
        { ...NOTHING, worker: WORKER },
      ];
      let expected: DiskImage = EMPTY_DISK;
      for (const part of parts) {
        await disk.write(part);
        await harness.crash(disk);
        const again = await harness.open();
        disk = again.disk;
        expected = {
          identity: part.identity ?? expected.identity,
          hardState: part.hardState ?? expected.hardState,
          entries: part.entries.length > 0 ? part.entries : expected.entries,
          worker: part.worker ?? expected.worker,
        };
        expect(again.image).toEqual(expected);
      }
    });

    test("an empty write changes nothing", async () => {
      const harness = await start();
      const { disk } = await harness.open();
      await disk.write(append(1, 2, 1));
      await disk.write(NOTHING);
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
      await disk.write({ ...NOTHING, hardState: { term: 1, vote: 0, commit: 0 }, entries });
      await harness.crash(disk);
      const { image } = await harness.open();
      expect(image.entries.map((entry) => entry.data.length)).toEqual(sizes);
      for (const [at, entry] of image.entries.entries()) {
        expect(Buffer.compare(entry.data, entries[at]?.data ?? Buffer.alloc(0))).toBe(0);
      }
    });

    test("any history of writes, crashes and closes is kept", async () => {
      const harness = await start();
      const prng = new Prng(7);
      let { disk } = await harness.open();
      let expected: DiskImage = EMPTY_DISK;
      for (let step = 1; step <= 300; step++) {
        const write = anyWrite(prng, step, expected);
        await disk.write(write);
        expected = after(expected, write);
        if (!prng.chance(70)) continue;
        await (prng.chance(500) ? disk.close() : harness.crash(disk));
        const again = await harness.open();
        disk = again.disk;
        expect(again.image).toEqual(expected);
      }
    });
  });
}

/** A write that Raft may make: mostly one that appends, at times one that replaces the log's end. */
function anyWrite(prng: Prng, term: number, image: DiskImage): DiskWrite {
  const last = image.entries.length;
  const first = prng.chance(150) ? prng.between(Math.max(1, last - 40), last + 1) : last + 1;
  const entries = Array.from({ length: prng.below(6) }, (_, at) =>
    entryAt(first + at, term, prng.chance(50) ? prng.below(200_000) : prng.below(600)),
  );
  const end = entries.length > 0 ? first - 1 + entries.length : last;
  return {
    identity: prng.chance(50) ? { ...IDENTITY, raftId: term } : null,
    hardState: { term, vote: prng.below(4), commit: prng.between(0, end) },
    entries,
    worker: prng.chance(100)
      ? { ...WORKER, assignments: prng.chance(500) ? [] : WORKER.assignments }
      : null,
  };
}

function after(image: DiskImage, write: DiskWrite): DiskImage {
  const first = write.entries[0]?.index ?? image.entries.length + 1;
  return {
    identity: write.identity ?? image.identity,
    hardState: write.hardState ?? image.hardState,
    entries: [...image.entries.slice(0, first - 1), ...write.entries],
    worker: write.worker ?? image.worker,
  };
}
