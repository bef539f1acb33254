import { spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { faultOf } from "../lib/errors.ts";
import { Prng } from "../lib/prng.ts";
import { diskCompliance } from "../test/compliance/disk.ts";
import { chunksOf, entryAt } from "../test/compliance/disk-data.ts";
import type { DiskHarness } from "../test/compliance/disk-data.ts";
import {
  copyFolder,
  faultAt,
  helper,
  kill,
  killHelpers,
  limitedHelper,
  mount,
  nextLine,
  openAt,
} from "../test/fixtures/disk-folders.ts";
import { nodeId } from "../state/ids.ts";
import { openDataDir } from "./data-dir.ts";
import { type Disk, type DiskImage, type DiskWrite, EMPTY_DISK, NO_WRITE } from "./storage.ts";

const IDENTITY = {
  clusterId: "c",
  node: nodeId("n"),
  raftId: 1,
  peers: [],
  joinSecret: "c2VjcmV0",
};
const isRoot = process.getuid?.() === 0;

const scratch = mkdtempSync(join(tmpdir(), "orch-disk-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

afterEach(killHelpers);

let folders = 0;
function newFolder(): string {
  return join(scratch, `node-${++folders}`);
}

/** A folder with a node's whole life in it, closed. */
async function usedFolder(writes: readonly DiskWrite[] = []): Promise<string> {
  const path = newFolder();
  const { disk } = await openAt(path);
  await disk.write({ ...NO_WRITE, identity: IDENTITY, hardState: { term: 1, vote: 1, commit: 0 } });
  for (const write of writes) {
    if (write.cut !== null) await disk.saveSnapshot(write.cut.meta, chunksOf(write.cut.meta));
    await disk.write(write);
  }
  await disk.close();
  return path;
}

async function openAndClose(path: string): Promise<DiskImage> {
  const { disk, image } = await openAt(path);
  await disk.close();
  return image;
}

// A copy of the files at this moment is what a killed process leaves: one write is in flight, and the page
// cache outlives the process.
diskCompliance("a write-ahead log", () => {
  let path = newFolder();
  const opened = new Set<Disk>();
  const harness: DiskHarness = {
    open: async () => {
      const made = await openAt(path);
      opened.add(made.disk);
      return made;
    },
    crash: () => {
      const next = newFolder();
      copyFolder(path, next);
      path = next;
      return Promise.resolve();
    },
    end: async () => {
      for (const disk of opened) await disk.close();
    },
  };
  return Promise.resolve(harness);
});

describe("the data folder", () => {
  test("is private, names its format and belongs to one process", async () => {
    const path = newFolder();
    const dir = await openDataDir(path, "1.2.3");
    expect(statSync(path).mode & 0o777).toBe(0o700);
    expect(JSON.parse(readFileSync(join(path, "format.json"), "utf8"))).toEqual({
      format: 1,
      createdBy: "orch 1.2.3",
    });
    const refused = await faultAt(path);
    expect(refused.code).toBe("data-in-use");
    expect(refused.details).toEqual({ dir: path, pid: process.pid });
    dir.release();
    dir.release();
    const again = await openDataDir(path, "1.2.3");
    again.release();
  });

  test("a folder that others may read is made private", async () => {
    const path = newFolder();
    mkdirSync(path, { mode: 0o755 });
    const dir = await openDataDir(path, "1.2.3");
    dir.release();
    expect(statSync(path).mode & 0o777).toBe(0o700);
  });

  test("a refusal names the process that holds it; a kill frees it", async () => {
    const path = newFolder();
    const { child, lines } = helper("hold", path);
    expect(await nextLine(lines)).toBe("held");
    const refused = await faultAt(path);
    expect(refused.code).toBe("data-in-use");
    expect(refused.message).toContain(`process ${child.pid}`);
    expect(refused.message).toContain(path);
    await kill(child);
    const dir = await openDataDir(path, "1.2.3");
    dir.release();
  });

  test("of many starts at once exactly one wins", async () => {
    for (let round = 0; round < 3; round++) {
      const path = newFolder();
      const starts = Array.from({ length: 5 }, () => helper("hold", path));
      const answers = await Promise.all(starts.map(({ lines }) => nextLine(lines)));
      const winner = starts[answers.indexOf("held")];
      expect(answers.filter((answer) => answer === "held")).toHaveLength(1);
      for (const answer of answers.filter((other) => other !== "held")) {
        expect(JSON.parse(answer ?? "")).toMatchObject({
          code: "data-in-use",
          details: { dir: path, pid: winner?.child.pid },
        });
      }
      for (const { child } of starts) child.kill("SIGKILL");
    }
  });

  test("of a newer orch is refused with the way out", async () => {
    const path = await usedFolder();
    writeFileSync(
      join(path, "format.json"),
      JSON.stringify({ format: 2, createdBy: "orch 9.0.0" }),
    );
    const refused = await faultAt(path);
    expect(refused.code).toBe("data-newer");
    expect(refused.message).toContain("orch 9.0.0");
    expect(refused.hint).toContain("newer orch");
  });

  test.each(["", "{}", '{"format":"1"}', '{"format":0}', "not json"])(
    "with the format file %j is refused",
    async (text) => {
      const path = await usedFolder();
      writeFileSync(join(path, "format.json"), text);
      expect(await faultAt(path)).toMatchObject({
        code: "data-damaged",
        message: expect.stringContaining("format.json"),
      });
    },
  );

  test.each([
    [["format.json"], "format.json is missing"],
    [["log.id"], "log.id is missing"],
    [["log"], "the log is missing (the folder log), but the node's key (identity.key) is there"],
    [["log", "log.id"], "the log is missing"],
    [["log/0000000000000001.wal", "log/0000000000000002.wal"], "(log holds no segment)"],
    [["log", "log.id", "format.json"], "format.json is missing, but there is identity.key"],
    [["identity.key"], "the node's key (identity.key) is missing, but the log of node n is there"],
    [["log", "identity.key"], "and so is the node's key"],
  ])("that lost %j is refused, and says so", async (lost, message) => {
    const path = await usedFolder();
    for (const name of lost) rmSync(join(path, name), { recursive: true });
    const refused = await faultAt(path);
    expect(refused.code).toBe("data-damaged");
    expect(refused.message).toContain(message);
    expect(refused.message).toContain(path);
    expect(refused.hint).toContain("orch node join");
  });

  test("with the log of another folder, or a new one, is refused", async () => {
    const path = await usedFolder();
    const other = await usedFolder();
    rmSync(join(path, "log"), { recursive: true });
    renameSync(join(other, "log"), join(path, "log"));
    expect(await faultAt(path)).toMatchObject({
      code: "data-damaged",
      message: expect.stringContaining("log.id differs"),
    });
    writeFileSync(join(path, "log/0000000000000001.wal"), "");
    expect(await faultAt(path)).toMatchObject({
      code: "data-damaged",
      message: expect.stringContaining("segment 1: its file is cut off at byte 0"),
    });
  });

  test("of something else is left alone", async () => {
    const path = newFolder();
    mkdirSync(path);
    chmodSync(path, 0o755);
    writeFileSync(join(path, "letter.txt"), "dear");
    expect((await faultAt(path)).code).toBe("data-damaged");
    expect(readdirSync(path)).toEqual(["letter.txt"]);
    expect(statSync(path).mode & 0o777).toBe(0o755);
  });

  test("whose making was interrupted anywhere is made again", async () => {
    const whole = newFolder();
    const made = await openDataDir(whole, "1.2.3");
    made.release();
    const states: ((path: string) => void)[] = [
      (path) => {
        logless(path);
        rmSync(join(path, "format.json"));
        rmSync(join(path, "log.id"));
        writeFileSync(join(path, "log-new/0000000000000001.wal"), "half");
      },
      (path) => {
        logless(path);
        renameSync(join(path, "format.json"), join(path, "format.json.tmp"));
      },
      logless,
    ];
    for (const interrupt of states) {
      const path = newFolder();
      copyFolder(whole, path);
      interrupt(path);
      const { disk, image } = await openAt(path);
      expect(image.identity).toBeNull();
      await disk.write({ ...NO_WRITE, identity: IDENTITY });
      await disk.close();
      expect(existsSync(join(path, "log-new"))).toBe(false);
    }
  });
});

/** As a creation leaves it that was interrupted before its last step. */
function logless(path: string): void {
  renameSync(join(path, "log"), join(path, "log-new"));
}

describe("kill -9", () => {
  test("nothing that was acknowledged is lost, wherever it strikes", async () => {
    const path = newFolder();
    const prng = new Prng(1);
    let acknowledged = 0;
    // An entry whose acknowledgement the kill took is there in the next round, and counts from then on.
    let last = 0;
    for (let round = 0; round < 25; round++) {
      const { child, lines } = helper("append", path);
      const first = Number(/^from (\d+)$/u.exec((await nextLine(lines)) ?? "")?.[1]);
      expect(first).toBe(last + 1);
      const wanted = prng.below(40);
      for (let count = 0; count < wanted; count++) acknowledged = Number(await nextLine(lines));
      // Somewhere inside of the next write.
      const until = performance.now() + prng.below(1500) / 1000;
      while (performance.now() < until);
      child.kill("SIGKILL");
      for (;;) {
        const line = await nextLine(lines);
        if (line === null) break;
        acknowledged = Number(line);
      }
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      const { disk, image } = await openAt(path);
      await disk.close();
      const kept = Math.max(last, acknowledged);
      last = image.entries.length;
      expect(last).toBeGreaterThanOrEqual(kept);
      expect(last).toBeLessThanOrEqual(kept + 1);
      expect(image.hardState.commit).toBe(last);
      expect(image.entries).toEqual(image.entries.map((_, at) => entryAt(at + 1, 1, 100)));
    }
    expect(acknowledged).toBeGreaterThan(100);
  });
});

describe("a write that is cut short", () => {
  test("ends the disk; what was acknowledged is there, and the rest goes", async () => {
    const messages: string[] = [];
    // Every third record has two sectors, the others one: one of these limits is in the middle of it.
    for (const limit of [40_960, 41_472, 41_984, 42_496]) {
      const path = await usedFolder();
      const { lines } = limitedHelper(limit, "append", path);
      const told: string[] = [];
      for (;;) {
        const line = await nextLine(lines);
        if (line === null) break;
        told.push(line);
      }
      messages.push(told.at(-1) ?? "");
      const acknowledged = Number(told.at(-2));
      expect(acknowledged).toBeGreaterThan(20);
      const { disk, image } = await openAt(path);
      const written = Array.from({ length: acknowledged + 1 }, (_, at) => entryAt(at + 1, 1, 100));
      expect(image.entries).toEqual(written.slice(0, -1));
      await disk.write({ ...NO_WRITE, entries: written.slice(-1) });
      await disk.close();
      expect((await openAndClose(path)).entries).toEqual(written);
    }
    for (const message of messages) expect(message).toContain('"code":"data-unwritable"');
    expect(messages.some((message) => message.includes("bytes were written"))).toBe(true);
  });
});

describe.runIf(isRoot)("a disk that refuses", () => {
  const mounts: string[] = [];
  afterEach(() => {
    for (const path of mounts.splice(0)) spawnSync("umount", ["-l", path]);
  });

  test("a full one rejects the write and all later ones, and loses nothing acknowledged", async () => {
    const small = mount(newFolder(), 512);
    mounts.push(small);
    const path = join(small, "data");
    const { disk } = await openAt(path);
    let acknowledged = 0;
    let refused: unknown = null;
    while (refused === null) {
      const entries = [entryAt(acknowledged + 1, 1, 3000)];
      try {
        await disk.write({
          ...NO_WRITE,
          entries,
          hardState: { term: 1, vote: 1, commit: acknowledged },
        });
        acknowledged++;
      } catch (error) {
        refused = error;
      }
    }
    expect(acknowledged).toBeGreaterThan(10);
    expect(faultOf(refused)).toMatchObject({
      code: "data-unwritable",
      message: expect.stringMatching(/no space/iu),
    });
    await expect(disk.write(NO_WRITE)).rejects.toBe(refused);
    await disk.close();
    const written = Array.from({ length: acknowledged }, (_, at) => entryAt(at + 1, 1, 3000));
    const next = { ...NO_WRITE, entries: [entryAt(acknowledged + 1, 1, 9000)] };
    const second = await openAt(path);
    expect(second.image.entries).toEqual(written);
    await expect(second.disk.write(next)).rejects.toThrow(/no space/iu);
    await second.disk.close();
    expect(spawnSync("mount", ["-o", "remount,size=4m", small]).status).toBe(0);
    const again = await openAt(path);
    expect(again.image.entries).toEqual(written);
    await again.disk.write(next);
    await again.disk.close();
  });

  test("one that is full takes what fits into the segments that are there", async () => {
    const small = mount(newFolder(), 2048);
    mounts.push(small);
    const path = join(small, "data");
    const { disk } = await openAt(path);
    const log = join(path, "log");
    while (!existsSync(join(log, "0000000000000002.wal"))) await setImmediate();
    const filler = join(small, "filler");
    expect(() => writeFileSync(filler, Buffer.alloc(4 * 1024 * 1024))).toThrow(/ENOSPC/u);
    const write = async (index: number): Promise<void> => {
      const entries = [entryAt(index, 1, 3000)];
      await disk.write({ ...NO_WRITE, entries, hardState: { term: 1, vote: 1, commit: 0 } });
    };
    // Into the second segment, after which nothing can be made.
    for (let index = 1; index <= 30; index++) await write(index);
    // What could not be made beforehand is made when it is needed.
    rmSync(filler);
    for (let index = 31; index <= 100; index++) await write(index);
    await disk.close();
    expect((await openAndClose(path)).entries).toHaveLength(100);
  });

  test("one that is too full for a data folder is refused before there is one", async () => {
    const small = mount(newFolder(), 48);
    mounts.push(small);
    const path = join(small, "data");
    expect((await faultAt(path)).code).toBe("data-unwritable");
    expect(spawnSync("mount", ["-o", "remount,size=4m", small]).status).toBe(0);
    expect(await openAndClose(path)).toEqual(EMPTY_DISK);
  });

  test("a read-only one is refused at the start", async () => {
    const small = mount(newFolder(), 2048);
    mounts.push(small);
    const path = join(small, "data");
    const { disk } = await openAt(path);
    await disk.close();
    expect(spawnSync("mount", ["-o", "remount,ro", small]).status).toBe(0);
    const refused = await faultAt(path);
    expect(refused.code).toBe("data-unwritable");
    expect(refused.message).toContain(path);
    expect((await faultAt(join(small, "new"))).code).toBe("data-unwritable");
  });
});
