import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { present } from "../../lib/assert.ts";
import type { ConfigContentView, EventView, WriteView } from "../../node/core/view-types.ts";
import { MAX_CONFIG_BYTES } from "../../state/config.ts";
import { RealCluster } from "../fixtures/real-cluster.ts";

let cluster: RealCluster | null = null;
const folder = mkdtempSync(join(tmpdir(), "orch-t-"));

afterEach(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

function fileOf(name: string, content: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

test("a config through any node: all read the same bytes, and of those who race one wins", async () => {
  cluster = await RealCluster.start({ nodes: 3 });
  const { nodes } = cluster;
  const first = present(nodes[0], "three nodes run");
  const largest = Uint8Array.from({ length: MAX_CONFIG_BYTES }, (_, i) => i * 7);
  const file = fileOf("largest", largest);
  expect(await first.orch("config", "set", "app", file, "--if-version", "0")).toMatchObject({
    code: 0,
    stderr: "config app is set, version 1\n",
  });
  for (const node of nodes) {
    const config = await node.get<ConfigContentView>("/v1/configs/app");
    expect(config).toMatchObject({ version: 1, sizeBytes: MAX_CONFIG_BYTES });
    expect(Buffer.compare(Buffer.from(config.data, "base64url"), largest)).toBe(0);
  }

  const race = await Promise.all(
    nodes.map((node, i) => {
      const mine = fileOf(`race-${i}`, `from ${i}`);
      return node.orch("config", "set", "app", mine, "--if-version", "1", "--json");
    }),
  );
  const losers = race.filter(({ code }) => code !== 0);
  expect(losers.map(({ code, stderr }) => [code, JSON.parse(stderr).code])).toEqual([
    [1, "version-mismatch"],
    [1, "version-mismatch"],
  ]);
  const winner = race.findIndex(({ code }) => code === 0);
  const written: WriteView = JSON.parse(race[winner]?.stdout ?? "");
  expect(written).toEqual({ version: 2, changed: true });
  for (const node of nodes) {
    expect(await node.orch("config", "get", "app")).toEqual({
      code: 0,
      stdout: `from ${winner}`,
      stderr: "",
    });
  }

  const last = present(nodes[2], "three nodes run");
  expect(await last.orch("config", "rm", "app")).toMatchObject({ code: 0 });
  expect(await first.orch("config", "get", "app")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('no config "app"'),
  });
  await last.orch("config", "set", "app", file, "--if-version", "0");
  const events = (await first.orch("events", "--json")).stdout.trim().split("\n");
  const seen = events
    .map((line): EventView => JSON.parse(line))
    .filter(({ type }) => type === "config");
  expect(seen.map(({ config, message }) => [config, message])).toEqual([
    ["app", "version 1 was set"],
    ["app", "version 2 was set"],
    ["app", "removed at version 2"],
    ["app", "version 3 was set"],
  ]);
});
