import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { nodeFacts } from "../test/fixtures/cluster.ts";
import { orch } from "../test/fixtures/orch-process.ts";
import { newClusterId } from "./cluster-id.ts";
import { bootstrap } from "./core/bootstrap.ts";
import { KEY_FILE, openDataDir } from "./data-dir.ts";
import { openDisk } from "./disk.ts";
import { loadIdentityKey, nodeIdOf } from "./libp2p/identity.ts";
import { answerAt } from "./recover.ts";

let folder = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "orch-r-"));
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** What `orch node init` leaves in a folder. */
async function found(dataDir: string): Promise<void> {
  const opened = await openDataDir(dataDir, "0.1.0");
  const { disk } = await openDisk(opened);
  const self = nodeIdOf(await loadIdentityKey(join(dataDir, KEY_FILE)));
  const secret = randomBytes(32).toString("base64url");
  const facts = { ...nodeFacts("n1"), addresses: ["/ip4/10.0.0.1/tcp/7411"] };
  await disk.write(bootstrap(newClusterId(), secret, self, facts, 1));
  await disk.close();
  opened.release();
}

test("recover tells the port to join at; repeated before the node ran, it changes nothing", async () => {
  const dataDir = join(folder, "n1");
  await found(dataDir);
  const recover = ["cluster", "recover", "--data-dir", dataDir, "--yes"];
  const done = await orch(recover);
  expect(done).toMatchObject({ code: 0, stderr: "" });
  const steps = /This is cluster [\s\S]+$/.exec(done.stdout)?.[0] ?? "";
  expect(steps).toMatch(/orch node join 10\.0\.0\.1:7411 --token orch1-\S+\n/);
  expect(done.stdout).toContain("Survivor:");
  const again = await orch(recover);
  expect(again).toMatchObject({ code: 0, stderr: "" });
  expect(again.stdout).toBe(
    `${dataDir} was recovered already, and its node has not run since: nothing was changed.\n${steps}`,
  );
});

test.each([
  ["Ctrl-C interrupts the question", "\u0003", "interrupted"],
  ["Ctrl-D is no answer", "\u0004", null],
  ["a line is the answer", "yes\r", "yes"],
])("%s", async (_, keys, answer) => {
  const input = new PassThrough();
  const asked = answerAt(input, new PassThrough());
  input.write(keys);
  expect(await asked).toBe(answer);
});
