import { randomBytes } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePorts } from "../../cli/dev-ports.ts";
import { present } from "../../lib/assert.ts";
import type { JobView, TaskView } from "../../node/core/view-types.ts";
import { formatToken, parseToken } from "../../node/libp2p/token.ts";
import type { Finished } from "../fixtures/orch-process.ts";
import { orch } from "../fixtures/orch-process.ts";
import type { RealNode } from "../fixtures/real-cluster.ts";
import { RealCluster, sleepers } from "../fixtures/real-cluster.ts";

// What is wrong is said in a sentence, with what to do next and its own exit code; nothing is half done.

let cluster: RealCluster | null = null;
let folder = "";
let token = "";
let address = { listen: "", api: "" };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "orch-t-"));
  cluster = await RealCluster.start({ nodes: 1 });
  token = (await node().orch("node", "token", "-q")).stdout.trim();
  const [listen, api] = await freePorts(2);
  address = { listen: `127.0.0.1:${listen}`, api: `127.0.0.1:${api}` };
});

afterAll(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

function node(): RealNode {
  return present(cluster, "a cluster runs").node(1);
}

/** How a refusal looks: its exit code, on stderr a message and a hint, no trace, and nothing on stdout. */
function refused(code: number, message: RegExp, hint: RegExp): Finished {
  const text = new RegExp(`^(?!.*\\n {4}at ).*${message.source}[^]*^hint: .*${hint.source}`, "mu");
  return { code, stdout: "", stderr: expect.stringMatching(text) };
}

function service(...lines: readonly string[]): string {
  return ["services:", "  web:", ...lines.map((line) => `    ${line}`), ""].join("\n");
}

function ports(): string[] {
  return ["--listen", address.listen, "--api", address.api];
}

function otherSecret(): string {
  const parsed = parseToken(token);
  if ("code" in parsed) throw new Error(parsed.message);
  return formatToken({ clusterId: parsed.clusterId, secret: new Uint8Array(randomBytes(32)) });
}

/** Runs `orch node` with its own folder and free ports until it ends by itself. */
function start(words: readonly string[], dataDir: string, flags = ports()): Promise<Finished> {
  const own = ["--data-dir", dataDir, "--driver", "process", "--name", "other"];
  return orch(["node", ...words, ...own, ...flags]);
}

describe("a Compose file", () => {
  test.each([
    ["wrong YAML", service("image: [x"), /compose\.yaml:4:1: .+/u, /YAML/u],
    ["an unknown key", service("image: x", "imagee: y"), /compose\.yaml:4:5: .*imagee/u, /image/u],
    ["a wrong type", service("image: 5"), /compose\.yaml:3:12: .*must be text/u, /Quote it/u],
    ["a port out of range", service("image: x", 'ports: ["70000:80"]'), /:4:13: .*70000/u, /8080/u],
    [
      "1e9 replicas",
      service("image: x", "deploy: {replicas: 1000000000}"),
      /:4:24: .*at most 100000, not 1000000000/u,
      /0 to 100000/u,
    ],
    [
      "what is not supported",
      service("build: .", "healthcheck: {test: x}"),
      /:3:5: .*build/u,
      /\S/u,
    ],
    ["no services", "name: x\n", /services/u, /services/u],
  ])("with %s is refused, with its place", async (_what, compose, message, hint) => {
    const file = join(mkdtempSync(join(folder, "job-")), "compose.yaml");
    writeFileSync(file, compose);
    expect(await node().orch("run", file)).toEqual(refused(1, message, hint));
    expect(await node().get<JobView[]>("/v1/jobs")).toEqual([]);
  });

  test("that is not there, or is empty, is refused", async () => {
    const there = await node().orch("run", join(folder, "none.yaml"));
    expect(there).toEqual(refused(64, /none\.yaml: there is no such file/u, /Compose file/u));
    const host = { ORCH_HOST: `unix://${node().socketPath}` };
    expect(await orch(["run", "-", "--name", "x"], host, "")).toEqual(refused(1, /\S/u, /\S/u));
  });

  test("with an image that no node can run waits and says so; no replicas are a warning", async () => {
    const waits = await node().orch("run", "--image", "x:1", "--name", "waits", "--timeout", "2s");
    expect(waits).toEqual(refused(1, /waits does not run/u, /orch (?:job status|logs) waits/u));
    const [task] = await node().get<TaskView[]>("/v1/tasks?job=waits");
    expect(task).toMatchObject({ state: "pending" });
    expect(task?.message).toMatch(/no node fits: .*(?:docker|driver|image)/u);

    const file = join(folder, "none.yaml");
    writeFileSync(file, sleepers(0));
    const empty = await node().orch("run", file, "--name", "empty");
    expect(empty.code).toBe(0);
    expect(empty.stderr).toMatch(/^warning: .*none\.yaml:\d+:\d+: .*0 replicas/mu);
  });
});

describe("a node", () => {
  test("does not join with a wrong token or where nobody is, and nobody hears of it", async () => {
    const dataDir = join(folder, "joiner");
    const foreign = formatToken({
      clusterId: "abcdefghijklmnop",
      secret: new Uint8Array(randomBytes(32)),
    });
    const peer = node().listen;
    const join1 = (target: string, word: string): Promise<Finished> =>
      start(["join", target, "--token", word], dataDir);
    expect(await join1(peer, otherSecret())).toEqual(
      refused(77, /token|secret/u, /orch node token/u),
    );
    expect(await join1(peer, token.slice(0, -4))).toEqual(
      refused(77, /cut off/u, /orch node token/u),
    );
    expect(await join1(peer, foreign)).toEqual(refused(77, /cluster/u, /token/u));
    const [free] = await freePorts(1);
    const nobody = `127.0.0.1:${free}`;
    expect(await join1(nobody, token)).toEqual(
      refused(69, new RegExp(`${nobody}.*ECONNREFUSED`, "u"), /port/u),
    );
    const url = await join1(`http://${nobody}`, token);
    expect(url).toEqual(refused(69, /no node's API answers.*ECONNREFUSED/u, /host:port/u));
    expect(await join1(node().api, token)).toEqual(refused(69, /cannot reach a node/u, /\S/u));
    expect(await start(["join", peer], dataDir)).toEqual(refused(64, /token/u, /orch node token/u));
    expect(await join1("a b", token)).toEqual(
      refused(64, /"a b" is not an address/u, /host:port/u),
    );
    expect(await node().get<unknown[]>("/v1/nodes")).toHaveLength(1);
  });

  test("does not start on a folder in use, or twice, or one that holds no node", async () => {
    const inUse = new RegExp(`in use by process ${node().pid}`, "u");
    expect(await start(["start"], node().dataDir)).toEqual(refused(1, inUse, /--data-dir/u));
    expect(await start(["init"], node().dataDir)).toEqual(refused(1, inUse, /--data-dir/u));
    const empty = join(folder, "empty");
    expect(await start(["start"], empty)).toEqual(
      refused(1, /holds no node yet/u, /orch node init/u),
    );
    writeFileSync(join(folder, "file"), "");
    const noFolder = await start(["init"], join(folder, "file"));
    expect(noFolder).toEqual(refused(1, /cannot read the folder: ENOTDIR/u, /\S/u));
    mkdirSync(join(folder, "foreign"));
    writeFileSync(join(folder, "foreign", "thesis.txt"), "");
    const foreign = await start(["init"], join(folder, "foreign"));
    expect(foreign).toEqual(refused(1, /thesis\.txt/u, /empty/u));
  });

  test("whose port is taken founds nothing: the same command works once it is free", async () => {
    const dataDir = join(folder, "founder");
    const free = ports();
    const listen = await start(["init"], dataDir, ["--listen", node().listen, ...free.slice(2)]);
    expect(listen).toEqual(
      refused(1, new RegExp(`${node().listen}.*another program`, "u"), /--listen/u),
    );
    const api = await start(["init"], dataDir, [...free.slice(0, 2), "--api", node().api]);
    expect(api).toEqual(refused(1, new RegExp(`${node().api}.*another program`, "u"), /--api/u));
    const foreign = await start(["init"], dataDir, [
      "--listen",
      "203.0.113.1:7400",
      ...free.slice(2),
    ]);
    expect(foreign).toEqual(refused(1, /203\.0\.113\.1:7400.*not available/u, /--listen/u));
    const open = await start(["init"], dataDir, [...free.slice(0, 2), "--api", "0.0.0.0:7401"]);
    expect(open).toEqual(refused(64, /--api: .*0\.0\.0\.0.*TLS/u, /127\.0\.0\.1:7401/u));
    expect(await start(["start"], dataDir)).toEqual(
      refused(1, /holds no node yet/u, /orch node init/u),
    );
  });

  test("does not start on a folder of a newer orch or one that lost a part, nor found twice", async () => {
    const [listen, api] = await freePorts(2);
    const own = await RealCluster.start({ nodes: 1 });
    try {
      const { dataDir } = own.node(1);
      await own.node(1).end("SIGKILL");
      const flags = ["--listen", `127.0.0.1:${listen}`, "--api", `127.0.0.1:${api}`];
      const copy = (name: string): string => {
        const to = join(folder, name);
        cpSync(dataDir, to, { recursive: true, filter: (path) => !path.endsWith(".sock") });
        return to;
      };
      const twice = await start(["init"], dataDir, flags);
      expect(twice).toEqual(
        refused(1, /already holds node 12D3Koo\w+ of cluster \w+/u, /orch node start/u),
      );
      const newer = copy("newer");
      writeFileSync(join(newer, "format.json"), '{"format":2,"createdBy":"orch 9.0.0"}');
      const old = await start(["start"], newer, flags);
      expect(old).toEqual(refused(1, /has format 2, made by orch 9\.0\.0/u, /newer orch/u));
      for (const part of ["log", "log.id", "format.json", "identity.key"]) {
        const half = copy(`half-${part}`);
        rmSync(join(half, part), { recursive: true });
        const lost = await start(["start"], half, flags);
        expect(lost).toEqual(
          refused(1, new RegExp(part.replace(".", "\\."), "u"), /orch node join/u),
        );
      }
      const swapped = copy("swapped");
      cpSync(join(node().dataDir, "identity.key"), join(swapped, "identity.key"));
      const other = await start(["start"], swapped, flags);
      expect(other).toEqual(
        refused(1, /identity\.key is not the key of the node/u, /orch node join/u),
      );
    } finally {
      await own.stop();
    }
  });

  test("says which flag is wrong", async () => {
    const at = join(folder, "flags");
    expect(await start(["init", "--frob"], at)).toEqual(
      refused(64, /unknown option '--frob'/u, /--help/u),
    );
    expect(await start(["init"], at, ["--listen", "here"])).toEqual(
      refused(64, /--listen: "here"/u, /7400/u),
    );
    const label = await start(["init"], at, ["--label", "ssd"]);
    expect(label).toEqual(refused(64, /--label: "ssd"/u, /zone=eu/u));
  });
});

describe("a command", () => {
  test("without a node, a token or a meaning is refused with its own exit code", async () => {
    const none = { ORCH_HOST: `unix://${folder}/none.sock` };
    expect(await orch(["ps"], none)).toEqual(
      refused(69, /no node reachable.*none\.sock/u, /orch node init/u),
    );
    const api = `http://${node().api}`;
    const bare = await orch(["ps", "--host", api]);
    expect(bare).toEqual(refused(77, /needs a token/u, /admin\.token/u));
    const wrong = await orch(["ps", "--host", api, "--token", "wrong"]);
    expect(wrong).toEqual(refused(77, /token is not the one/u, /admin\.token/u));
    expect(await node().orch("frob")).toEqual(refused(64, /unknown command 'frob'/u, /--help/u));
    expect(await node().orch("ps", "--frob")).toEqual(
      refused(64, /unknown option '--frob'/u, /--help/u),
    );
    expect(await node().orch("logs", "nothing")).toEqual(refused(1, /nothing/u, /\S/u));
    expect(await node().orch("stop", "nothing")).toEqual(refused(1, /nothing/u, /\S/u));

    for (const headers of [{}, { authorization: "Bearer wrong" }] as const) {
      const answer = await fetch(`${api}/v1/jobs`, { headers });
      expect(answer.status).toBe(401);
      expect(await answer.json()).toMatchObject({
        code: "unauthorized",
        message: expect.stringContaining("token"),
        hint: expect.stringContaining("admin.token"),
      });
    }
    expect((await fetch(`${api}/healthz`)).status).toBe(200);
  });
});
