import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Fault, fault, OrchError } from "../lib/errors.ts";
import { ClusterState } from "../state/cluster.ts";
import type { NodeFacts } from "../state/node-record.ts";
import { admit, encodeHello, identityFrom } from "./admission.ts";
import { type Api, startApi } from "./api/server.ts";
import { NodeBackend } from "./backend.ts";
import { newClusterId } from "./cluster-id.ts";
import { type NodeSettings, SETTINGS_FILE } from "./config.ts";
import { bootstrap } from "./core/bootstrap.ts";
import { LOG_BOUNDS } from "./core/defaults.ts";
import { damaged, type DataDir, KEY_FILE, openDataDir } from "./data-dir.ts";
import { openDisk } from "./disk.ts";
import { epochMs } from "./clock.ts";
import { NodeDriver } from "./driver.ts";
import { Keeping } from "./keeper/keeping.ts";
import { type Engines, findEngines, runtimeFolder } from "./engines.ts";
import { endTasks } from "./ephemeral.ts";
import { writeSecret } from "./files.ts";
import { hostPortOf, peerAddresses } from "./join-target.ts";
import { loadIdentityKey, nodeIdOf } from "./libp2p/identity.ts";
import { requestJoin } from "./libp2p/join.ts";
import { createNetwork } from "./libp2p/libp2p.ts";
import { LIMITS } from "./libp2p/limits.ts";
import { formatToken, parseToken } from "./libp2p/token.ts";
import { notingRemoval, refuseRemoved } from "./removed.ts";
import { followAddresses, nodeFacts, ownAddresses } from "./machine.ts";
import type { Network } from "./network.ts";
import { refuseTakenPorts } from "./ports.ts";
import { readState } from "./snapshot-transfer.ts";
import {
  type Disk,
  type DiskImage,
  EMPTY_DISK,
  type Identity,
  NO_WRITE,
  afterWrite,
} from "./storage.ts";
import { usageMeter } from "./usage.ts";
import { orchVersion } from "./version.ts";

/** A leader that ends in order lets another take over, but does not wait for ever for it. */
const HAND_OVER_MS = 2_000;

/** How the node comes to its place in a cluster. */
export type Entry =
  | { readonly kind: "init" }
  | { readonly kind: "join"; readonly peer: string; readonly token: string }
  | { readonly kind: "start" };

/** A node that nobody can reach yet. */
export interface PreparedNode {
  /**
   * Takes part in the cluster and serves the API; resolves to what a person at the terminal wants to know.
   * Throws OrchError when it cannot; then nothing is left open.
   */
  start(): Promise<readonly string[]>;
  /** Ends it in order, also while it starts. */
  stop(): Promise<void>;
}

export interface RunOptions {
  readonly log: (line: string) => void;
  /** The node cannot go on; called at most once. */
  readonly fatal: (reason: Fault) => void;
  /** The node has left its cluster as it was asked to: it is to be stopped. Its API still says so. */
  readonly left: () => void;
}

/** What is open and must be closed again, last first. */
class Closers {
  readonly #steps: (() => void | Promise<void>)[] = [];
  add(step: () => void | Promise<void>): void {
    this.#steps.unshift(step);
  }
  async run(): Promise<void> {
    for (const step of this.#steps.splice(0)) await step();
  }
}

/**
 * Does all that comes before others can reach the node, so that its caller can hear signals from then on.
 * Throws OrchError when it cannot; then nothing is left open.
 */
export async function prepareNode(
  settings: NodeSettings,
  entry: Entry,
  options: RunOptions,
): Promise<PreparedNode> {
  const closers = new Closers();
  const orElseClose = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      await closers.run();
      throw error;
    }
  };
  const parts = await orElseClose(prepare(settings, entry, options, closers));
  let started: Promise<Api> | null = null;
  return {
    start: async () => {
      started = orElseClose(start(settings, parts, closers));
      return [...parts.greeting, ...apiLines(await started)];
    },
    stop: async () => {
      // One that could not start has closed everything, and `start` told why.
      const api = await started?.catch(() => null);
      if (api === null) return;
      if (settings.ephemeral) await end(parts, api);
      else await parts.driver.handOver(HAND_OVER_MS);
      await closers.run();
      if (settings.ephemeral) rmSync(parts.dataDir.path, { recursive: true, force: true });
    },
  };
}

/** What a node is made of before it listens. */
interface Parts {
  readonly dataDir: DataDir;
  readonly disk: Disk;
  readonly engines: Engines;
  readonly keeping: Keeping;
  readonly driver: NodeDriver;
  readonly key: Newcomer["key"];
  readonly greeting: readonly string[];
  readonly log: RunOptions["log"];
}

async function prepare(
  settings: NodeSettings,
  entry: Entry,
  options: RunOptions,
  closers: Closers,
): Promise<Parts> {
  const version = orchVersion();
  const dataDir = await openDataDir(settings.dataDir, version);
  closers.add(() => dataDir.release());
  const opened = await openDisk(dataDir);
  closers.add(() => opened.disk.close());
  refuseWrongEntry(entry, opened.image.identity, settings.dataDir);
  refuseRemoved(dataDir.path);
  const key = await identityKey(dataDir, opened.image.identity);
  const self = nodeIdOf(key);
  await refuseTakenPorts(settings);
  const before = opened.image.worker?.assignments ?? [];
  const hasImages = before.some(({ container }) => container.image !== null);
  const found = await findEngines(settings.driver, dataDir.path, hasImages);
  options.log(found.told);
  const facts = nodeFacts(settings, settings.worker ? found.names : [], version);
  const { image, greeting } = await enter(entry, opened.image, opened.disk, { key, facts, self });
  const { identity } = image;
  if (identity === null) throw new Error("a node that entered a cluster has an identity");
  const state =
    image.snapshot === null ? new ClusterState() : await readState(opened.disk, image.snapshot);
  const engines = found.open(identity.clusterId, self);
  closers.add(() => engines.close());
  const { address } = found;
  const keeping = new Keeping({
    folder: runtimeFolder(dataDir.path),
    docker: address === null ? null : { address, clusterId: identity.clusterId, nodeId: self },
    now: epochMs,
    log: options.log,
  });
  const driver = new NodeDriver({
    config: {
      identity,
      facts,
      orchVersion: version,
      logBounds: LOG_BOUNDS,
      replaceAfterMs: settings.replaceAfterMs,
      brakePercent: settings.brakePercent,
      leaseUntilMs: keeping.leaseUntilMs(),
    },
    image,
    state,
    disk: opened.disk,
    engines,
    keeping,
    measure: usageMeter(dataDir.path),
    ...notingRemoval(dataDir.path, identity, options),
    log: options.log,
  });
  closers.add(() => driver.stop());
  const about = `orch ${version}: node ${settings.name} (${self})`;
  const lines = [about, ...greeting];
  return {
    dataDir,
    disk: opened.disk,
    engines,
    keeping,
    driver,
    key,
    greeting: lines,
    log: options.log,
  };
}

async function start(settings: NodeSettings, parts: Parts, closers: Closers): Promise<Api> {
  const { dataDir, disk, engines, driver } = parts;
  const network = await connect(settings, parts);
  closers.add(() => network.close());
  const api = await serve(settings, dataDir, new NodeBackend(driver, network, engines, disk));
  closers.add(() => api.close());
  driver.start(network);
  const stopFollowing = followAddresses(
    () => ownAddresses(settings, network.addresses()),
    (addresses) => driver.deliver({ kind: "moved", addresses }),
    LIMITS.lookMs,
  );
  closers.add(stopFollowing);
  await writeSecret(join(dataDir.path, SETTINGS_FILE), `${JSON.stringify(settings.told)}\n`);
  return api;
}

/** Ends what the node runs, before it leaves for ever. */
async function end({ engines, keeping, driver }: Parts, api: Api | undefined): Promise<void> {
  await api?.close();
  driver.stop();
  await endTasks(engines, driver.node.worker.assignments);
  keeping.end();
}

function apiLines(api: Api): string[] {
  const { socketPath, url } = api.addresses;
  return [`  API: unix://${socketPath}${url === null ? "" : `, ${url} (token in admin.token)`}`];
}

/** The node's key. Read after the disk, which refuses a member's folder without one: here it would be made anew. */
async function identityKey(dataDir: DataDir, identity: Identity | null): Promise<Newcomer["key"]> {
  const path = join(dataDir.path, KEY_FILE);
  const key = await loadIdentityKey(path);
  if (identity !== null && nodeIdOf(key) !== identity.node) {
    throw damaged(dataDir.path, `${KEY_FILE} is not the key of the node whose log this is`);
  }
  return key;
}

function refuseWrongEntry(entry: Entry, identity: Identity | null, dataDir: string): void {
  if (entry.kind === "start" && identity === null) {
    throw new OrchError(
      fault(
        "not-initialized",
        `${dataDir} holds no node yet`,
        "Make a cluster with `orch node init`, or join one with `orch node join <peer> --token T`.",
      ),
    );
  }
  if (entry.kind !== "start" && identity !== null) {
    throw new OrchError(
      fault(
        "already-initialized",
        `${dataDir} already holds node ${identity.node} of cluster ${identity.clusterId}`,
        "Run it with `orch node start`, or name another folder with --data-dir.",
      ),
    );
  }
}

interface Newcomer {
  readonly key: Awaited<ReturnType<typeof loadIdentityKey>>;
  readonly facts: NodeFacts;
  readonly self: ReturnType<typeof nodeIdOf>;
}

/** Founds a cluster, joins one, or goes on: what the disk holds then, and what to tell a person. */
async function enter(
  entry: Entry,
  image: DiskImage,
  disk: Disk,
  newcomer: Newcomer,
): Promise<{ image: DiskImage; greeting: string[] }> {
  if (entry.kind === "start") return { image, greeting: [] };
  if (entry.kind === "join") {
    const identity = await joinCluster(entry, newcomer);
    await disk.write({ ...NO_WRITE, identity });
    return { image: { ...image, identity }, greeting: [`  joined cluster ${identity.clusterId}`] };
  }
  const { facts, self } = newcomer;
  const clusterId = newClusterId();
  const secret = randomBytes(32);
  const write = bootstrap(clusterId, secret.toString("base64url"), self, facts, epochMs());
  await disk.write(write);
  const token = formatToken({ clusterId, secret: new Uint8Array(secret) });
  const greeting = [
    `  founded cluster ${clusterId}`,
    `  add a machine:  orch node join ${hostPortOf(facts.addresses[0])} --token ${token}`,
  ];
  return { image: afterWrite(EMPTY_DISK, write), greeting };
}

async function joinCluster(
  entry: Extract<Entry, { kind: "join" }>,
  { key, facts, self }: Newcomer,
): Promise<Identity> {
  const token = parseToken(entry.token);
  if ("code" in token) throw new OrchError(token);
  let failure: unknown;
  for (const peer of await peerAddresses(entry.peer)) {
    try {
      const signal = AbortSignal.timeout(60_000);
      const hello = encodeHello(facts);
      const { answer, server, address } = await requestJoin({ key, peer, token, hello, signal });
      return identityFrom(self, answer, token.secret, { id: server, address });
    } catch (error) {
      // Only an address that nobody answers at is worth trying another.
      if (!(error instanceof OrchError) || error.fault.code !== "unreachable") throw error;
      failure = error;
    }
  }
  throw failure;
}

async function connect(
  settings: NodeSettings,
  { key, driver, engines, disk, log }: Parts,
): Promise<Network> {
  const { clusterId } = driver.node.local();
  // The network is made before the backend that serves its streams, which needs the network.
  let backend: NodeBackend | null = null;
  const network = await createNetwork({
    key,
    listen: settings.listen,
    announce: settings.advertise,
    ...(settings.discovery ? { discovery: { clusterId, log } } : {}),
    events: {
      onFrame: (from, frame) => driver.frame(from, frame),
      onPeerUp: (peer) => driver.deliver({ kind: "peer-up", peer }),
      onPeerLost: (peer) => driver.deliver({ kind: "peer-lost", peer }),
      onDialable: (peer, dialable) => driver.deliver({ kind: "dialable", peer, dialable }),
      onGossip: (from, payload) => driver.gossip(from, payload),
      onBulk: (_from, request, signal) => {
        backend ??= new NodeBackend(driver, network, engines, disk);
        return backend.serve(request, signal);
      },
      onJoin: (joiner, hello) =>
        admit(joiner, hello, driver.node, (request, timeoutMs) =>
          driver.request(request, timeoutMs),
        ),
      onVouch: (asker) => driver.vouch(asker),
      onVouched: (by, list) => driver.vouched(by, list),
    },
  });
  return network;
}

async function serve(settings: NodeSettings, dataDir: DataDir, backend: NodeBackend): Promise<Api> {
  return startApi({
    backend,
    socketPath: join(dataDir.path, "orch.sock"),
    tcp: settings.api,
    adminToken: await adminToken(join(dataDir.path, "admin.token")),
    orchVersion: orchVersion(),
  });
}

/** The token of the TCP API: made once, kept in the data folder, readable by its owner only. */
async function adminToken(path: string): Promise<string> {
  const known = await readFile(path, "utf8").catch(() => "");
  if (known.trim() !== "") return known.trim();
  const token = randomBytes(32).toString("base64url");
  await writeSecret(path, `${token}\n`);
  return token;
}
