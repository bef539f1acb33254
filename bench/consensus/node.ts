import { createServer, type Socket } from "node:net";
import { randomBytes, randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import { Session } from "node:inspector/promises";
import { arch, platform } from "node:os";
import { join } from "node:path";
import { performance, type EventLoopUtilization } from "node:perf_hooks";
import { OrchError } from "../../lib/errors.ts";
import { admit, encodeHello, identityFrom } from "../../node/admission.ts";
import { NodeBackend } from "../../node/backend.ts";
import { bootstrap } from "../../node/core/bootstrap.ts";
import { LOG_BOUNDS } from "../../node/core/defaults.ts";
import type { Request, Response } from "../../node/core/request.ts";
import { type DataDir, KEY_FILE, openDataDir } from "../../node/data-dir.ts";
import { openDisk } from "../../node/disk.ts";
import { epochMs } from "../../node/clock.ts";
import { NodeDriver } from "../../node/driver.ts";
import { Keeping } from "../../node/keeper/keeping.ts";
import { Engines } from "../../node/engines.ts";
import { loadIdentityKey, nodeIdOf } from "../../node/libp2p/identity.ts";
import { requestJoin } from "../../node/libp2p/join.ts";
import { createNetwork } from "../../node/libp2p/libp2p.ts";
import { isStrayNetworkError } from "../../node/libp2p/stray.ts";
import { formatToken, parseToken } from "../../node/libp2p/token.ts";
import { usageMeter } from "../../node/usage.ts";
import { afterWrite, type Disk, type DiskImage, EMPTY_DISK, NO_WRITE } from "../../node/storage.ts";
import { orchVersion } from "../../node/version.ts";
import { ClusterState } from "../../state/cluster.ts";
import { FEATURE_LEVEL } from "../../state/feature-level.ts";
import type { NodeFacts } from "../../state/node-record.ts";
import { encodeFrame, FRAME, KEY_BYTES, takeFrame } from "./frames.ts";
import type { NodeArguments, NodeAsk, NodeStatus, NodeWatched } from "./messages.ts";
import { median } from "./numbers.ts";
import { readQuery, writeCommand } from "./operations.ts";
import { Cutter, TurnWriter } from "./turn-writer.ts";

/**
 * A node as node/run.ts makes it (disk, driver, libp2p), without engines and the API: the load generator's frames
 * go straight into `driver.request`, so that what is measured is the consensus.
 */

const REQUEST_MS = 10_000;
/** Longer than any cell: a slow disk here is slow for all. */
const REPLACE_AFTER_MS = 600_000;

type Key = Awaited<ReturnType<typeof loadIdentityKey>>;

/** Milliseconds of each durable write since `watch`. */
let writeTimes: number[] = [];

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error: unknown) => {
    if (error instanceof Error && isStrayNetworkError(error)) return;
    say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    process.exit(1);
  });
}
// Whoever started it is gone.
process.on("disconnect", () => process.exit(0));

const told = argumentsOf(process.argv[2]);
const driver = await start(told);
const port = await serve(driver);
answerParent(driver, port);
process.send?.({ kind: "ready" });

function argumentsOf(text: string | undefined): NodeArguments {
  const value: NodeArguments = JSON.parse(text ?? "");
  return value;
}

async function start({
  name,
  dataDir,
  port: listen,
  join: peer,
}: NodeArguments): Promise<NodeDriver> {
  const version = orchVersion();
  const dir = await openDataDir(dataDir, version);
  const { disk } = await openDisk(dir);
  timeWrites(disk);
  const key = await loadIdentityKey(join(dir.path, KEY_FILE));
  const address = `/ip4/127.0.0.1/tcp/${listen}`;
  const facts: NodeFacts = {
    name,
    addresses: [address],
    datacenter: "dc1",
    labels: {},
    os: platform(),
    arch: arch(),
    resources: { cpuMilli: 1_000, memoryMib: 1_000, diskMib: 1_000 },
    drivers: [],
    publishAddress: "127.0.0.1",
    portRange: { first: 20_000, last: 32_000 },
    orchVersion: version,
    featureLevel: FEATURE_LEVEL,
    mayVote: true,
    mayWork: false,
  };
  const image = peer === null ? await found(disk, key, facts) : await enter(disk, key, facts, peer);
  return run(dir, disk, image, key, facts);
}

function timeWrites(disk: Disk): void {
  const write = disk.write.bind(disk);
  disk.write = async (data) => {
    const startMs = performance.now();
    await write(data);
    writeTimes.push(performance.now() - startMs);
  };
}

async function found(disk: Disk, key: Key, facts: NodeFacts): Promise<DiskImage> {
  const secret = randomBytes(32).toString("base64url");
  const clusterId = randomBytes(8).toString("hex");
  const write = bootstrap(clusterId, secret, nodeIdOf(key), facts, epochMs());
  await disk.write(write);
  return afterWrite(EMPTY_DISK, write);
}

async function enter(
  disk: Disk,
  key: Key,
  facts: NodeFacts,
  { peer, token: text }: NonNullable<NodeArguments["join"]>,
): Promise<DiskImage> {
  const token = parseToken(text);
  if ("code" in token) throw new OrchError(token);
  const signal = AbortSignal.timeout(60_000);
  const { answer } = await requestJoin({ key, peer, token, hello: encodeHello(facts), signal });
  const identity = identityFrom(nodeIdOf(key), answer, token.secret, null);
  await disk.write({ ...NO_WRITE, identity });
  return { ...EMPTY_DISK, identity };
}

async function run(
  dir: DataDir,
  disk: Disk,
  image: DiskImage,
  key: Key,
  facts: NodeFacts,
): Promise<NodeDriver> {
  const { identity } = image;
  if (identity === null) throw new Error("a node that entered a cluster has an identity");
  const engines = new Engines([]);
  const made = new NodeDriver({
    config: {
      identity,
      facts,
      orchVersion: facts.orchVersion,
      logBounds: LOG_BOUNDS,
      replaceAfterMs: REPLACE_AFTER_MS,
      brakePercent: 100,
      leaseUntilMs: 0,
    },
    image,
    state: new ClusterState(),
    disk,
    engines,
    keeping: new Keeping({ folder: dir.path, docker: null, now: epochMs, log: say }),
    measure: usageMeter(dir.path),
    fatal: (reason) => {
      say(JSON.stringify(reason));
      process.exit(1);
    },
    left: () => process.exit(0),
    log: say,
  });
  // The network is made before the backend that serves its streams, which needs the network.
  let backend: NodeBackend | null = null;
  const network = await createNetwork({
    key,
    listen: [...facts.addresses],
    announce: [],
    events: {
      onFrame: (from, frame) => made.frame(from, frame),
      onPeerUp: (peer) => made.deliver({ kind: "peer-up", peer }),
      onPeerLost: (peer) => made.deliver({ kind: "peer-lost", peer }),
      onDialable: () => {},
      onGossip: (from, payload) => made.gossip(from, payload),
      onBulk: (_from, request, signal) => {
        backend ??= new NodeBackend(made, network, engines, disk);
        return backend.serve(request, signal);
      },
      onJoin: (joiner, hello) =>
        admit(joiner, hello, made.node, (request, timeoutMs) => made.request(request, timeoutMs)),
      onVouch: (asker) => made.vouch(asker),
      onVouched: (by, list) => made.vouched(by, list),
    },
  });
  made.start(network);
  return made;
}

async function serve(to: NodeDriver): Promise<number> {
  const server = createServer({ noDelay: true }, (socket) => answerClients(to, socket));
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

function answerClients(to: NodeDriver, socket: Socket): void {
  const writer = new TurnWriter(socket);
  const cutter = new Cutter((bytes) =>
    takeFrame(bytes, (id, kind, body) => {
      void to.request(requestOf(kind, body), REQUEST_MS).then((response) => {
        const done = response.kind === "ok";
        writer.add(encodeFrame(id, done ? FRAME.ok : FRAME.refused, bodyOf(kind, response)));
      });
    }),
  );
  socket.on("data", (chunk: Buffer) => cutter.push(chunk));
  socket.on("error", () => undefined);
}

function requestOf(kind: number, body: Buffer): Request {
  const key = body.toString("latin1", 0, KEY_BYTES);
  if (kind === FRAME.read) return { kind: "read", query: readQuery(key), stale: false };
  const command = writeCommand(key, body.subarray(KEY_BYTES));
  return { kind: "write", key: randomUUID(), command };
}

const NOTHING = Buffer.alloc(0);

function bodyOf(kind: number, response: Response): Buffer {
  if (kind !== FRAME.read || response.kind === "refused") return NOTHING;
  return Buffer.from(JSON.stringify(response.body));
}

function answerParent(of: NodeDriver, at: number): void {
  let session: Session | null = null;
  let before: EventLoopUtilization = performance.eventLoopUtilization();
  process.on("message", (ask: NodeAsk) => {
    void (async () => {
      switch (ask.kind) {
        case "status":
          process.send?.(statusOf(of, at));
          return;
        case "watch":
          if (ask.profile) {
            session = new Session();
            session.connect();
            await session.post("Profiler.enable");
            await session.post("Profiler.setSamplingInterval", { interval: 1_000 });
            await session.post("Profiler.start");
          }
          before = performance.eventLoopUtilization();
          writeTimes = [];
          process.send?.({});
          return;
        case "watched": {
          const { utilization } = performance.eventLoopUtilization(before);
          const writeP50Ms = median(writeTimes);
          const watched: NodeWatched = { utilization, writes: writeTimes.length, writeP50Ms };
          if (session !== null && ask.profile !== null) {
            const { profile } = await session.post("Profiler.stop");
            writeFileSync(ask.profile, JSON.stringify(profile));
            session.disconnect();
            session = null;
          }
          process.send?.(watched);
          return;
        }
      }
    })();
  });
}

function statusOf(of: NodeDriver, at: number): NodeStatus {
  const { role, voters, ready } = of.node.local();
  const { clusterId, joinSecret } = of.node.replica.state;
  const secret = new Uint8Array(Buffer.from(joinSecret, "base64url"));
  const leads = role === "leader" && of.node.isManager;
  const token = joinSecret === "" ? "" : formatToken({ clusterId, secret });
  return { port: at, token, leads, voters: voters.length, ready };
}
