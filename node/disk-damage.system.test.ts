import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { afterAll, describe, expect, test } from "vitest";
import { present } from "../lib/assert.ts";
import { faultOf } from "../lib/errors.ts";
import { Prng } from "../lib/prng.ts";
import { chunksOf, cutTo, entriesFrom, entryAt, metaAt } from "../test/compliance/disk-data.ts";
import { copyFolder, faultAt, openAt } from "../test/fixtures/disk-folders.ts";
import { nodeId } from "../state/ids.ts";
import { afterWrite, EMPTY_DISK, NO_WRITE } from "./storage.ts";
import type { Disk, DiskImage, DiskWrite } from "./storage.ts";

const SECTOR = 512;
/** In memory where there is such a folder: here it matters what is read, and thousands of folders are opened. */
const MEMORY = "/dev/shm";
const scratch = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), "orch-damage-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

let folders = 0;
function newFolder(): string {
  return join(scratch, `node-${++folders}`);
}

function segment(path: string, number: number): string {
  return join(path, "log", `${String(number).padStart(16, "0")}.wal`);
}

function segmentsOf(path: string): number[] {
  return readdirSync(join(path, "log"))
    .filter((name) => name.endsWith(".wal"))
    .map((name) => Number.parseInt(name, 10))
    .toSorted((a, b) => a - b);
}

async function writeAll(disk: Disk, writes: readonly DiskWrite[]): Promise<void> {
  for (const write of writes) {
    if (write.cut !== null) await disk.saveSnapshot(write.cut.meta, chunksOf(write.cut.meta));
    await disk.write(write);
  }
}

/** A closed folder with that history. */
async function folderOf(writes: readonly DiskWrite[]): Promise<string> {
  const path = newFolder();
  const { disk } = await openAt(path);
  await writeAll(disk, writes);
  await disk.close();
  return path;
}

function imageOf(writes: readonly DiskWrite[]): DiskImage {
  return writes.reduce(afterWrite, EMPTY_DISK);
}

function append(first: number, count: number, bytes: number, term = 1): DiskWrite {
  const entries = Array.from({ length: count }, (_, at) => entryAt(first + at, term, bytes));
  return { ...NO_WRITE, entries, hardState: { term, vote: 1, commit: 0 } };
}

/** The image of a folder, or why it is refused; a folder that is opened is written to and opened again. */
async function imageAt(path: string): Promise<DiskImage | string> {
  try {
    const { disk, image } = await openAt(path);
    const last = image.base.index + image.entries.length;
    const { term } = image.hardState;
    const write = { ...NO_WRITE, entries: [entryAt(last + 1, term, 700)] };
    await disk.write(write);
    await disk.close();
    const again = await openAt(path);
    await again.disk.close();
    if (!isDeepStrictEqual(again.image, afterWrite(image, write))) return "changed by writing";
    return image;
  } catch (error) {
    return faultOf(error).message;
  }
}

/** A victim that is restored to the folder's state before each use. */
function victimOf(path: string): { path: string; restore: () => void } {
  const victim = newFolder();
  const restore = (): void => {
    rmSync(victim, { recursive: true, force: true });
    copyFolder(path, victim);
  };
  return { path: victim, restore };
}

const SMALL_LIFE: DiskWrite[] = [
  { ...NO_WRITE, hardState: { term: 1, vote: 2, commit: 0 } },
  append(1, 3, 30),
  { ...NO_WRITE, worker: { assignments: [], reports: [], ending: [] } },
  append(3, 2, 500, 2),
  // A sector of it is all zeros, and meant to be.
  {
    ...NO_WRITE,
    entries: [{ term: 2, index: 5, kind: "normal", data: new Uint8Array(1500) }],
  },
];

/** Whether an image was refused as damage. */
function isDamage(found: DiskImage | string): boolean {
  return typeof found === "string" && found.includes("the log is damaged");
}

describe("damage", () => {
  test("a flipped byte anywhere is refused or harmless: never another log", async () => {
    const original = await folderOf(SMALL_LIFE);
    const sound = imageOf(SMALL_LIFE);
    const victim = victimOf(original);
    const prng = new Prng(3);
    const wrong: string[] = [];
    const seen = { refused: 0, harmless: 0 };
    for (const number of segmentsOf(original)) {
      const bytes = readFileSync(segment(original, number));
      const end = bytes.findLastIndex((byte) => byte !== 0) + 1;
      const offsets = Array.from({ length: end }, (_, at) => at);
      for (let more = 0; more < 40; more++) offsets.push(prng.between(end, bytes.length - 1));
      for (const offset of offsets) {
        const flipped = Buffer.from(bytes);
        flipped[offset] = (flipped[offset] ?? 0) ^ (1 << prng.below(8));
        victim.restore();
        writeFileSync(segment(victim.path, number), flipped);
        const found = await imageAt(victim.path);
        if (isDamage(found)) seen.refused++;
        // Only where nothing was ever written.
        else if (offset >= end && isDeepStrictEqual(found, sound)) seen.harmless++;
        else wrong.push(`byte ${offset} of segment ${number}`);
      }
    }
    expect(wrong).toEqual([]);
    expect(seen.refused).toBeGreaterThan(3000);
    expect(seen.harmless).toBeGreaterThan(20);
  });

  test("a sector of zeros is refused anywhere but in the last record", async () => {
    const original = await folderOf(SMALL_LIFE);
    const victim = victimOf(original);
    const bytes = readFileSync(segment(original, 1));
    const end = bytes.findLastIndex((byte) => byte !== 0) + 1;
    const lastRecord = bytes.lastIndexOf("owal");
    expect(lastRecord % SECTOR).toBe(0);
    const refused: number[] = [];
    for (let from = 0; from < end; from += SECTOR) {
      const zeroed = Buffer.from(bytes);
      zeroed.fill(0, from, from + SECTOR);
      victim.restore();
      writeFileSync(segment(victim.path, 1), zeroed);
      if (isDamage(await imageAt(victim.path))) refused.push(from);
    }
    expect(refused).toEqual(Array.from({ length: lastRecord / SECTOR }, (_, at) => at * SECTOR));
  });

  test("a file that is shorter or longer than it was made is refused, a shorter blank one is not", async () => {
    const original = await folderOf(SMALL_LIFE);
    const victim = victimOf(original);
    const codeWith = async (number: number, content: Buffer): Promise<string> => {
      victim.restore();
      writeFileSync(segment(victim.path, number), content);
      return (await faultAt(victim.path)).code;
    };
    const bytes = readFileSync(segment(original, 1));
    for (const length of [0, 1, SECTOR, 4096, bytes.length - SECTOR, bytes.length - 1])
      expect(await codeWith(1, bytes.subarray(0, length))).toBe("data-damaged");
    for (const more of [1, SECTOR, 64 * 1024]) {
      const longer = Buffer.concat([bytes, Buffer.alloc(more)]);
      expect(await codeWith(1, longer)).toBe("data-damaged");
    }
    for (const length of [0, 1, 4095])
      expect(await codeWith(2, Buffer.alloc(length))).toBe("data-damaged");
    for (const length of [SECTOR, 4096]) {
      victim.restore();
      writeFileSync(segment(victim.path, 2), Buffer.alloc(length));
      expect(await imageAt(victim.path)).toEqual(imageOf(SMALL_LIFE));
    }
  });

  test("a segment that is missing is refused; a blank one is needed by nobody", async () => {
    const life = Array.from({ length: 300 }, (_, at) => append(at + 1, 1, 1500));
    const original = await folderOf(life);
    const victim = victimOf(original);
    const numbers = segmentsOf(original);
    expect(numbers).toEqual([1, 2, 3, 4, 5]);
    const opened: number[][] = [];
    const messages: string[] = [];
    for (let lost = 0; lost < 2 ** numbers.length; lost++) {
      victim.restore();
      const missing = numbers.filter((number) => ((lost >> (number - 1)) & 1) === 1);
      for (const number of missing) rmSync(segment(victim.path, number));
      const found = await imageAt(victim.path);
      if (typeof found === "string") messages.push(found);
      else if (isDeepStrictEqual(found, imageOf(life))) opened.push(missing);
    }
    expect(opened).toEqual([[], [5]]);
    expect(messages).toHaveLength(30);
    for (const message of messages) expect(message).toMatch(/ (missing|blank)/u);
  });

  test("a segment that is blank, another one or in another's place is refused", async () => {
    const life = Array.from({ length: 300 }, (_, at) => append(at + 1, 1, 1500));
    const original = await folderOf(life);
    const victim = victimOf(original);
    const numbers = segmentsOf(original);
    const messages: string[] = [];
    const tell = async (): Promise<void> => {
      messages.push((await faultAt(victim.path)).message);
      victim.restore();
    };
    victim.restore();
    for (const number of numbers.slice(0, 4)) {
      const bytes = readFileSync(segment(original, number));
      writeFileSync(segment(victim.path, number), Buffer.alloc(bytes.length));
      await tell();
      for (const other of numbers.filter((one) => one !== number)) {
        copyFileSync(segment(original, other), segment(victim.path, number));
        await tell();
        copyFileSync(segment(original, other), segment(victim.path, number));
        copyFileSync(segment(original, number), segment(victim.path, other));
        await tell();
      }
    }
    copyFileSync(segment(original, 4), segment(victim.path, 6));
    await tell();
    expect(messages).toHaveLength(37);
    for (const message of messages)
      expect(message).toMatch(/the log is damaged: .*(blank|holds segment|does not go on)/u);
  });

  test("an older version of a segment that was closed is refused", async () => {
    const path = newFolder();
    const { disk } = await openAt(path);
    await writeAll(disk, [append(1, 20, 1500)]);
    const older = readFileSync(segment(path, 1));
    await writeAll(
      disk,
      Array.from({ length: 40 }, (_, at) => append(21 + at, 1, 1500)),
    );
    await disk.close();
    writeFileSync(segment(path, 1), older);
    expect((await faultAt(path)).message).toContain(
      "segment 2: it does not go on from the one before",
    );
  });
});

/** The files of a log, by number. */
type Files = ReadonlyMap<number, Buffer>;

function filesOf(path: string): Files {
  return new Map(segmentsOf(path).map((number) => [number, readFileSync(segment(path, number))]));
}

/** Waits for the blank segment that is made beside the writes. */
async function nextIsThere(path: string): Promise<void> {
  while (
    !(
      filesOf(path)
        .get(segmentsOf(path).at(-1) ?? 0)
        ?.every((byte) => byte === 0) ?? false
    )
  )
    await setImmediate();
}

/** What a crash may leave between two states: of the files that changed, one is half written. */
function* tornStates(before: Files, after: Files, prng: Prng): Generator<[kept: number, Files]> {
  const state = new Map(before);
  for (const [number, written] of after) {
    const old = before.get(number);
    // A blank file may come at any time.
    if (old === undefined) continue;
    const changed: number[] = [];
    for (let at = 0; at < written.length; at += SECTOR)
      if (written.compare(old, at, at + SECTOR, at, at + SECTOR) !== 0) changed.push(at);
    const all = 2 ** changed.length;
    const isMany = changed.length > 9;
    for (let pick = 0; pick < (isMany ? 200 : all); pick++) {
      const torn = Buffer.from(old);
      let kept = 0;
      for (const [bit, at] of changed.entries()) {
        if (isMany ? prng.chance(500) : ((pick >> bit) & 1) === 0) continue;
        written.copy(torn, at, at, at + SECTOR);
        kept++;
      }
      yield [kept / changed.length, new Map([...state, [number, torn]])];
    }
    state.set(number, written);
  }
}

/** Checks all that a crash in the last of these writes may leave. Returns how often it was there, and not. */
async function tear(writes: readonly DiskWrite[]): Promise<{ before: number; after: number }> {
  const path = newFolder();
  const { disk } = await openAt(path);
  const last = present(writes.at(-1), "a write");
  await writeAll(disk, writes.slice(0, -1));
  if (last.cut !== null) await disk.saveSnapshot(last.cut.meta, chunksOf(last.cut.meta));
  const victim = newFolder();
  copyFolder(path, victim);
  await nextIsThere(path);
  const before = filesOf(path);
  await disk.write(last);
  const after = filesOf(path);
  await disk.close();
  const images = [imageOf(writes.slice(0, -1)), imageOf(writes)] as const;
  const seen = { before: 0, after: 0 };
  for (const [kept, files] of tornStates(before, after, new Prng(9))) {
    for (const number of segmentsOf(victim)) rmSync(segment(victim, number));
    for (const [number, bytes] of files) writeFileSync(segment(victim, number), bytes);
    // Opening removes the snapshot that a torn cut does not name.
    for (const name of readdirSync(join(path, "snapshots")))
      copyFileSync(join(path, "snapshots", name), join(victim, "snapshots", name));
    const found = await imageAt(victim);
    const isAfter = isDeepStrictEqual(found, images[1]);
    const isBefore = isDeepStrictEqual(found, images[0]);
    if (isBefore === isAfter || (isAfter && kept === 0))
      throw new Error(`${kept} of the sectors: ${JSON.stringify(found)}`);
    seen[isAfter ? "after" : "before"]++;
  }
  return seen;
}

function hard(term: number): DiskWrite {
  return { ...NO_WRITE, hardState: { term, vote: 1, commit: 0 } };
}

describe("a torn write", () => {
  const zeros: DiskWrite = {
    ...hard(1),
    entries: [{ term: 1, index: 1, kind: "conf", data: new Uint8Array(2500) }],
  };
  // Leaves so little of the first segment that the next write but the smallest begins the second.
  const filler = append(1, 1, 63_000);

  test.each<[what: string, writes: DiskWrite[], after: number]>([
    ["the first, of one sector", [hard(1)], 1],
    ["an entry over eight sectors", [hard(1), append(1, 1, 3900)], 1],
    ["many entries over nine sectors", [hard(1), append(1, 8, 520)], 1],
    ["entries that replace others", [append(1, 4, 100), append(2, 3, 900, 2)], 1],
    ["an entry of zeros", [zeros], 1],
    ["an entry after one of zeros", [zeros, append(2, 1, 2000)], 1],
    ["the first of a new segment", [filler, append(2, 1, 2500)], 1],
    [
      "the first of a new segment, with zeros",
      [filler, { ...zeros, entries: zeros.entries.map((e) => ({ ...e, index: 2 })) }],
      1,
    ],
    ["the last that fits into a segment", [filler, hard(2)], 1],
    ["a long one", [hard(1), append(1, 1, 30_000)], 0],
    [
      "a cut",
      [
        { ...append(1, 20, 40), hardState: { term: 1, vote: 1, commit: 20 } },
        {
          ...NO_WRITE,
          cut: cutTo(metaAt(15, 1), { index: 10, term: 1 }),
          entries: entriesFrom(21, 9, 1),
        },
      ],
      1,
    ],
  ])("%s is there as a whole or not at all", async (_, writes, after) => {
    const seen = await tear(writes);
    expect(seen.before).toBeGreaterThan(0);
    expect(seen.after).toBeGreaterThanOrEqual(after);
  });
});

describe("segments that are not needed any more", () => {
  const life = Array.from({ length: 300 }, (_, at) => append(at + 1, 1, 1500));
  const committed = { ...NO_WRITE, hardState: { term: 1, vote: 1, commit: 300 } };
  const cut: DiskWrite = { ...NO_WRITE, cut: cutTo(metaAt(250, 1), { index: 200, term: 1 }) };

  test("go after a cut, and a crash at any point of it opens with the same log", async () => {
    const path = newFolder();
    const { disk } = await openAt(path);
    await writeAll(disk, [...life, committed]);
    const before = filesOf(path);
    expect([...before.keys()]).toEqual([1, 2, 3, 4, 5]);
    await writeAll(disk, [cut]);
    await disk.close();
    const left = segmentsOf(path);
    expect(left[0]).toBeGreaterThan(1);
    const sound = imageOf([...life, committed, cut]);
    const victim = victimOf(path);
    for (let oldest = 1; oldest <= (left[0] ?? 0); oldest++) {
      victim.restore();
      for (let number = oldest; number < (left[0] ?? 0); number++)
        writeFileSync(segment(victim.path, number), present(before.get(number), "a segment"));
      expect(await imageAt(victim.path)).toEqual(sound);
      // What a crash left goes at the start.
      expect(segmentsOf(victim.path)[0]).toBe(left[0]);
    }
    victim.restore();
    rmSync(segment(victim.path, left[0] ?? 0));
    expect(await imageAt(victim.path)).toContain("entry 201 is missing");
  });

  test("go also when the log is dropped or replaced, and what else they held is kept", async () => {
    const identity = {
      clusterId: "c",
      node: nodeId("n"),
      raftId: 7,
      peers: [],
      joinSecret: "c2VjcmV0",
    };
    const worker = { assignments: [], reports: [], ending: [] };
    const replaced = [
      { ...NO_WRITE, identity, worker },
      ...life,
      append(1, 60, 1500, 2),
      append(61, 60, 1500, 2),
    ];
    const path = await folderOf(replaced);
    expect(segmentsOf(path)[0]).toBeGreaterThan(2);
    expect(await imageAt(path)).toEqual(imageOf(replaced));
    const dropped = [
      ...replaced,
      {
        ...NO_WRITE,
        cut: cutTo(metaAt(900, 3), { index: 900, term: 3 }, true),
        hardState: { term: 3, vote: 0, commit: 900 },
      },
    ];
    const other = await folderOf(dropped);
    const image = imageOf(dropped);
    expect(await imageAt(other)).toEqual(image);
    expect(image).toMatchObject({ identity, worker });
    expect(segmentsOf(other)).toHaveLength(2);
  });

  test("an entry as large as can be gets a segment of its own size", async () => {
    const large = append(1, 1, 8 * 1024 * 1024);
    const writes = [large, append(2, 1, 100), append(3, 2, 5 * 1024 * 1024), append(5, 1, 10)];
    const path = await folderOf(writes);
    const found = await imageAt(path);
    expect(isDeepStrictEqual(found, imageOf(writes))).toBe(true);
  });
});
