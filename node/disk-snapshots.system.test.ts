import { spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { present } from "../lib/assert.ts";
import { faultOf } from "../lib/errors.ts";
import { Prng } from "../lib/prng.ts";
import {
  chunksFrom,
  chunksOf,
  cutTo,
  entriesFrom,
  entryAt,
  metaAt,
  saveAndCut,
  snapshotOf,
  sumOf,
  TWENTY,
} from "../test/compliance/disk-data.ts";
import {
  copyFolder,
  faultAt,
  helper,
  killHelpers,
  mount,
  nextLine,
  openAt,
} from "../test/fixtures/disk-folders.ts";
import { NO_WRITE } from "./storage.ts";

const isRoot = process.getuid?.() === 0;
const scratch = mkdtempSync(join(tmpdir(), "orch-snapshots-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
afterEach(killHelpers);

let folders = 0;
function newFolder(): string {
  return join(scratch, `node-${++folders}`);
}

function filesOf(path: string): string[] {
  return readdirSync(join(path, "snapshots")).toSorted();
}

/** The path of the folder's one snapshot. */
function fileOf(path: string): string {
  const [file, ...others] = filesOf(path);
  expect(others).toEqual([]);
  return join(path, "snapshots", present(file, "a snapshot was saved"));
}

/** A folder whose log goes from 11 to 20 and begins from a snapshot of entry 15, closed. */
async function cutFolder(): Promise<string> {
  const path = newFolder();
  const { disk } = await openAt(path);
  await disk.write(TWENTY);
  await saveAndCut(disk, metaAt(15, 1), 10);
  await disk.close();
  return path;
}

describe("the snapshots' folder", () => {
  test("holds one file once older ones have gone, and no part of orch is left over", async () => {
    const path = await cutFolder();
    const first = fileOf(path);
    const { disk } = await openAt(path);
    await saveAndCut(disk, metaAt(18, 1), 12);
    await disk.close();
    expect(fileOf(path)).not.toBe(first);
  });

  test("is cleared at the start of what serves nothing, and of nothing else", async () => {
    const path = await cutFolder();
    const whole = filesOf(path);
    const folder = join(path, "snapshots");
    const left = [
      "3.new",
      "9-1-2-00000000.snapshot",
      "99-1-2-00000000.snapshot",
      "15-1-2-00000000.part",
    ];
    for (const name of [...left, "notes.txt"]) writeFileSync(join(folder, name), "x");
    for (const index of [30, 50, 40])
      writeFileSync(join(folder, `${index}-1-2-00000000.part`), "x");
    const { disk } = await openAt(path);
    await disk.close();
    // The newest part may be gone on with.
    expect(filesOf(path)).toEqual([...whole, "50-1-2-00000000.part", "notes.txt"].toSorted());
  });

  test("with a crash between the marker and the removal of older files opens with the new one", async () => {
    const path = await cutFolder();
    const before = newFolder();
    copyFolder(path, before);
    const { disk } = await openAt(path);
    await disk.saveSnapshot(metaAt(18, 1), chunksOf(metaAt(18, 1)));
    const unmarked = newFolder();
    copyFolder(path, unmarked);
    await disk.write({ ...NO_WRITE, cut: cutTo(metaAt(18, 1), { index: 12, term: 1 }) });
    await disk.close();
    const marked = newFolder();
    copyFolder(path, marked);
    for (const name of filesOf(before))
      copyFileSync(join(before, "snapshots", name), join(marked, "snapshots", name));
    expect(filesOf(unmarked)).toHaveLength(2);
    expect(filesOf(marked)).toHaveLength(2);
    for (const [folder, index, base] of [
      [unmarked, 15, 10],
      [marked, 18, 12],
    ] as const) {
      const opened = await openAt(folder);
      expect(opened.image.snapshot).toEqual(metaAt(index, 1));
      expect(opened.image.base.index).toBe(base);
      expect(await snapshotOf(opened)).toEqual(chunksOf(metaAt(index, 1)));
      await opened.disk.close();
      fileOf(folder);
    }
  });

  test("a received part that is torn or damaged is gone on with after its last sound chunk", async () => {
    const path = newFolder();
    const meta = metaAt(40, 2);
    const chunks = chunksOf(meta, 6);
    const { disk } = await openAt(path);
    const inbox = await disk.receiveSnapshot(meta, sumOf(chunks));
    for (const chunk of chunks.slice(0, 5)) await inbox.add(chunk);
    await disk.close();
    const bytes = readFileSync(fileOf(path));
    const ends = [28];
    for (const chunk of chunks.slice(0, 5)) ends.push((ends.at(-1) ?? 0) + 12 + chunk.length);
    expect(ends.at(-1)).toBe(bytes.length);
    const tails: [held: number, content: Buffer][] = [
      [0, Buffer.alloc(0)],
      [0, bytes.subarray(0, 20)],
      [0, Buffer.alloc(bytes.length)],
      [5, Buffer.concat([bytes, Buffer.alloc(4096)])],
    ];
    for (let held = 1; held < 5; held++) {
      const [from = 0, to = 0] = [ends[held], ends[held + 1]];
      tails.push([held, bytes.subarray(0, to - 1)], [held, bytes.subarray(0, from + 5)]);
      const zeroed = Buffer.from(bytes);
      zeroed.fill(0, from);
      tails.push([held, zeroed]);
      const flipped = Buffer.from(bytes);
      flipped[to - 1] = (flipped[to - 1] ?? 0) ^ 4;
      tails.push([held, flipped]);
    }
    for (const [held, content] of tails) {
      const victim = newFolder();
      copyFolder(path, victim);
      writeFileSync(fileOf(victim), content);
      const opened = await openAt(victim);
      const again = await opened.disk.receiveSnapshot(meta, sumOf(chunks));
      expect(again.held).toBe(held);
      for (const chunk of chunks.slice(held)) await again.add(chunk);
      await again.finish(meta, sumOf(chunks));
      expect(await chunksFrom(opened.disk, meta)).toEqual(chunks);
      await opened.disk.close();
    }
  });
});

describe("a damaged snapshot", () => {
  test("any flipped byte, any cut and any addition is refused", async () => {
    const original = newFolder();
    const { disk } = await openAt(original);
    await disk.write(TWENTY);
    const meta = metaAt(15, 1);
    await disk.saveSnapshot(meta, chunksOf(meta, 4, 40));
    await disk.write({ ...NO_WRITE, cut: cutTo(meta, { index: 10, term: 1 }) });
    await disk.close();
    const file = fileOf(original);
    const bytes = readFileSync(file);
    expect(bytes.length).toBeLessThan(500);
    const { child, lines } = helper("inspect");
    const ask = async (content: Uint8Array): Promise<string> => {
      writeFileSync(file, content);
      child.stdin?.write(`${original}\n`);
      return (await nextLine(lines)) ?? "the process crashed";
    };
    const prng = new Prng(1);
    for (let offset = 0; offset < bytes.length; offset++) {
      const flipped = Buffer.from(bytes);
      flipped[offset] = (flipped[offset] ?? 0) ^ (1 << prng.below(8));
      const answer = await ask(flipped);
      expect(answer, `byte ${offset}`).toContain('"code":"data-damaged"');
      expect(answer).toContain("the snapshot of entry 15 is damaged");
    }
    for (let length = 0; length < bytes.length; length += 7)
      expect(await ask(bytes.subarray(0, length))).toContain('"code":"data-damaged"');
    expect(await ask(Buffer.concat([bytes, Buffer.alloc(1)]))).toContain('"code":"data-damaged"');
    expect(await ask(bytes)).toMatch(/^[0-9a-f]{64}$/u);
  });

  test("a missing one is refused, and the folder is left as it is", async () => {
    const path = await cutFolder();
    writeFileSync(join(path, "snapshots/1.new"), "x");
    rmSync(join(path, "snapshots", filesOf(path).find((name) => name.endsWith("snapshot")) ?? ""));
    const refused = await faultAt(path);
    expect(refused).toMatchObject({ code: "data-damaged" });
    expect(refused.message).toContain("the snapshot of entry 15 is missing (snapshots/15-1-5-");
    expect(refused.hint).toContain("orch node join");
    expect(filesOf(path)).toEqual(["1.new"]);
    rmSync(join(path, "snapshots"), { recursive: true });
    expect((await faultAt(path)).message).toContain("the snapshot of entry 15 is missing");
  });

  test("a whole one that is not the one of the marker is refused", async () => {
    const path = await cutFolder();
    const other = newFolder();
    const opened = await openAt(other);
    await opened.disk.write(TWENTY);
    const contents: [meta: ReturnType<typeof metaAt>, bytes: number][] = [
      [metaAt(14, 1), 3000],
      [metaAt(15, 1), 2999],
      [{ ...metaAt(15, 1), membership: metaAt(16, 1).membership }, 3000],
    ];
    for (const [meta, bytes] of contents) {
      await opened.disk.saveSnapshot(meta, chunksOf(meta, 5, bytes));
      const [name = ""] = filesOf(other);
      renameSync(join(other, "snapshots", name), fileOf(path));
      expect((await faultAt(path)).message).toContain("the snapshot of entry 15 is damaged");
    }
    await opened.disk.close();
  });

  test("that is damaged while the node runs is told to who reads it", async () => {
    const path = await cutFolder();
    const { disk } = await openAt(path);
    const file = fileOf(path);
    const bytes = readFileSync(file);
    bytes[bytes.length - 300] = (bytes[bytes.length - 300] ?? 0) ^ 1;
    writeFileSync(file, bytes);
    const failure = await chunksFrom(disk, metaAt(15, 1)).catch((error: unknown) => error);
    expect(faultOf(failure).code).toBe("data-damaged");
    await disk.close();
  });
});

describe("kill -9", () => {
  test("among snapshots and cuts: nothing acknowledged is lost, and the snapshot is there", async () => {
    const path = newFolder();
    const prng = new Prng(2);
    let acknowledged = 0;
    // An entry whose acknowledgement the kill took is there in the next round, and counts from then on.
    let last = 0;
    let cuts = 0;
    for (let round = 0; round < 25; round++) {
      const { child, lines } = helper("compact", path);
      const first = Number(/^from (\d+)$/u.exec((await nextLine(lines)) ?? "")?.[1]);
      expect(first).toBe(last + 1);
      const wanted = prng.below(30);
      for (let count = 0; count < wanted; count++) acknowledged = Number(await nextLine(lines));
      // Somewhere inside of the next write, save or receipt.
      const until = performance.now() + prng.below(6000) / 1000;
      while (performance.now() < until);
      child.kill("SIGKILL");
      for (;;) {
        const line = await nextLine(lines);
        if (line === null) break;
        acknowledged = Number(line);
      }
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      const opened = await openAt(path);
      const { base, entries, hardState, snapshot } = opened.image;
      const kept = Math.max(last, acknowledged);
      last = base.index + entries.length;
      expect(last - kept).toBeGreaterThanOrEqual(0);
      expect(last - kept).toBeLessThanOrEqual(1);
      expect(hardState.commit).toBe(last);
      expect(entries).toEqual(entriesOf(base.index + 1, last));
      expect(snapshot?.index ?? 0).toBe(last < 4 ? 0 : last - (last % 4) - 1);
      expect(await snapshotOf(opened)).toEqual(snapshot && chunksOf(snapshot));
      await opened.disk.close();
      cuts = Math.floor(last / 4);
    }
    expect(cuts).toBeGreaterThan(20);
  });
});

function entriesOf(first: number, last: number): ReturnType<typeof entryAt>[] {
  return Array.from({ length: last + 1 - first }, (_, at) => entryAt(first + at, 1, 100));
}

describe.runIf(isRoot)("a disk that fills up", () => {
  const mounts: string[] = [];
  afterEach(() => {
    for (const path of mounts.splice(0)) spawnSync("umount", ["-l", path]);
  });

  async function smallDisk(): Promise<{ small: string; path: string }> {
    const small = mount(newFolder(), 1024);
    mounts.push(small);
    const path = join(small, "data");
    const { disk } = await openAt(path);
    await disk.write(TWENTY);
    await saveAndCut(disk, metaAt(15, 1), 10);
    await disk.close();
    return { small, path };
  }

  const large = Array.from({ length: 40 }, () => Buffer.alloc(64 * 1024, 7));

  test.each(["saved", "received"])(
    "under a snapshot that is %s ends the disk, and it opens as before",
    async (how) => {
      const { small, path } = await smallDisk();
      const { disk } = await openAt(path);
      const meta = metaAt(18, 1);
      const receive = async (): Promise<void> => {
        const inbox = await disk.receiveSnapshot(meta, sumOf(large));
        for (const chunk of large) await inbox.add(chunk);
      };
      const work = how === "saved" ? disk.saveSnapshot(meta, large) : receive();
      const refused = await work.catch((error: unknown) => error);
      expect(faultOf(refused)).toMatchObject({
        code: "data-unwritable",
        message: expect.stringMatching(/no space/iu),
      });
      // Also a write for which there would be space again.
      await expect(disk.write(NO_WRITE)).rejects.toBe(refused);
      await expect(disk.saveSnapshot(meta, [])).rejects.toBe(refused);
      await expect(disk.receiveSnapshot(meta, sumOf([]))).rejects.toBe(refused);
      await disk.close();
      fileOf(path);
      expect(spawnSync("mount", ["-o", "remount,size=8m", small]).status).toBe(0);
      const again = await openAt(path);
      expect(again.image).toMatchObject({
        snapshot: metaAt(15, 1),
        entries: entriesFrom(11, 10, 1),
      });
      expect(await snapshotOf(again)).toEqual(chunksOf(metaAt(15, 1)));
      expect((await again.disk.receiveSnapshot(meta, sumOf(large))).held).toBe(0);
      await again.disk.saveSnapshot(meta, large);
      await again.disk.close();
    },
  );
});
