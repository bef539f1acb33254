import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { nodeFacts, idOf, serviceSpec, TestCluster } from "../test/fixtures/cluster.ts";
import { backupLines, BackupReader } from "./backup.ts";
import { SnapshotError } from "./snapshot-shape.ts";

const ABOUT = { index: 7, time: "2026-01-31T12:00:00.000Z", orchVersion: "0.1.0" };

function busy(): TestCluster {
  const cluster = new TestCluster();
  cluster.apply({
    kind: "cluster-init",
    clusterId: "c1",
    joinSecret: "hush-hush",
    featureLevel: 1,
  });
  cluster.apply({ kind: "node-admit", node: idOf("a"), facts: nodeFacts("a") });
  cluster.put("shop", serviceSpec("web", { replicas: 3 }));
  cluster.apply({ kind: "config-put", name: "app", data: "YT0x", ifVersion: null });
  cluster.settle();
  return cluster;
}

function whole(cluster: TestCluster): string[] {
  const lines = [...backupLines(cluster.state.freeze(), ABOUT)];
  const sha256 = createHash("sha256").update("x").digest("hex");
  return [...lines, JSON.stringify({ lines: lines.length, sha256 })];
}

function read(lines: readonly string[]): ReturnType<BackupReader["finish"]> {
  const reader = new BackupReader();
  for (const line of lines) reader.add(line);
  return reader.finish();
}

describe("a backup", () => {
  it("holds what it is of, and the state", () => {
    const cluster = busy();
    const { head, state } = read(whole(cluster));
    expect(head).toEqual({ orchBackup: 1, clusterId: "c1", ...ABOUT });
    expect([...state.jobs.values()]).toEqual([...cluster.state.jobs.values()]);
    expect([...state.configs.values()]).toEqual([...cluster.state.configs.values()]);
    expect([...state.tasks.values()]).toEqual([...cluster.state.tasks.values()]);
  });

  it("does not hold the join secret, nor what was answered to whom", () => {
    const cluster = busy();
    const put = { kind: "config-put", name: "x", data: "", ifVersion: null } as const;
    cluster.state.apply(cluster.state.lastIndex + 1, {
      command: put,
      timeMs: 1,
      key: "my-key",
      since: 0,
    });
    const text = whole(cluster).join("\n");
    expect(text).not.toContain("hush-hush");
    expect(text).not.toContain("my-key");
    // The state itself is as it was.
    expect(cluster.state.joinSecret).toBe("hush-hush");
    expect(cluster.state.answered("my-key", put)).toMatchObject({ kind: "done" });
  });

  it("gives its end to whoever compares the sum", () => {
    const reader = new BackupReader();
    const ends = whole(busy()).map((line) => reader.add(line));
    expect(ends.slice(0, -1).every((end) => end === null)).toBe(true);
    expect(ends.at(-1)).toMatchObject({ lines: ends.length - 1 });
  });

  it.each<[string, (lines: readonly string[]) => readonly string[], string]>([
    ["empty", () => [], "before its last one"],
    ["without its end", (lines) => lines.slice(0, -1), "before its last one"],
    ["with a line missing", (lines) => lines.toSpliced(2, 1), ""],
    ["with a line twice", (lines) => lines.toSpliced(2, 0, lines[2] ?? ""), ""],
    ["with something behind its end", (lines) => [...lines, "{}"], "more follows"],
    ["not text of ours", () => ["hello"], "not JSON"],
    ["a snapshot without a head", (lines) => lines.slice(1), "its first line"],
    ["of a newer orch", (lines) => lines.with(0, '{"orchBackup":2}'), "format 2"],
  ])("%s is refused", (_, change, message) => {
    const changed = change(whole(busy()));
    expect(() => read(changed)).toThrow(SnapshotError);
    expect(() => read(changed)).toThrow(message);
  });
});
