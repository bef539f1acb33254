import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { NODE_FLAGS } from "../../cli/become-node.ts";
import type { Target } from "./lane.ts";
import type { Door, NodeArguments, NodeStatus } from "./messages.ts";
import { type Child, freePort, type Processes, until } from "./processes.ts";

/** A cluster of three processes on this machine. */
export interface System {
  readonly name: string;
  readonly door: Door;
  readonly pids: readonly number[];
  /** For what it can tell of itself; empty: nothing. */
  readonly nodes: readonly Child[];
  /** The ports on which its members reach each other. */
  readonly peerPorts: readonly number[];
  /** Where clients connect: to the leader's node, or to all. */
  targets(spread: boolean): Promise<readonly Target[]>;
}

const NODES = 3;
const HOST = "127.0.0.1";

/** Bench nodes: the consensus without the HTTP API. */
export async function startOrch(processes: Processes): Promise<System> {
  const nodes: Child[] = [];
  const pids: number[] = [];
  const peerPorts: number[] = [];
  let entry: NodeArguments["join"] = null;
  for (let number = 1; number <= NODES; number++) {
    const port = await freePort();
    const name = `orch-${number}`;
    const told: NodeArguments = { name, dataDir: `${processes.folder}/${name}`, port, join: entry };
    const { child, pid } = await processes.fork("node.ts", [JSON.stringify(told)], `${name}.log`);
    nodes.push(child);
    pids.push(pid);
    peerPorts.push(port);
    const [first] = nodes;
    if (first === undefined || entry !== null) continue;
    const token = await until("a cluster of one", async () => {
      const status = await first.ask<NodeStatus>({ kind: "status" });
      return status.leads ? status.token : null;
    });
    entry = { peer: `${HOST}:${port}`, token };
  }
  const status = (): Promise<NodeStatus[]> =>
    Promise.all(nodes.map((node) => node.ask<NodeStatus>({ kind: "status" })));
  const targets = (spread: boolean): Promise<Target[]> =>
    until("three voters and a manager", async () => {
      const all = await status();
      const whole = all.every(({ voters, ready }) => voters === NODES && ready);
      const wanted = all.filter(({ leads }) => leads || spread);
      if (!whole || wanted.length !== (spread ? NODES : 1)) return null;
      return wanted.map(({ port }) => ({ host: HOST, port, token: "" }));
    });
  await targets(false);
  return { name: "orch", door: "frames", pids, nodes, peerPorts, targets };
}

const RaftShape = z.object({ role: z.string(), voters: z.array(z.number()), ready: z.boolean() });
const TokenShape = z.object({ token: z.string() });

/** Whole nodes as users run them, asked over the public HTTP API. */
export async function startOrchApi(processes: Processes): Promise<System> {
  const pids: number[] = [];
  const peerPorts: number[] = [];
  const nodes: Target[] = [];
  let words = ["init"];
  for (let number = 1; number <= NODES; number++) {
    const [listen, port] = [await freePort(), await freePort()];
    const name = `api-${number}`;
    const dataDir = join(processes.folder, name);
    const flags = {
      name,
      "data-dir": dataDir,
      listen: `${HOST}:${listen}`,
      api: `${HOST}:${port}`,
      driver: "process",
    };
    pids.push(
      processes.spawn(
        process.execPath,
        [
          ...NODE_FLAGS,
          join(import.meta.dirname, "../../node/main.ts"),
          ...words,
          ...Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value]),
          "--no-worker",
          "--ephemeral",
        ],
        `${name}.log`,
      ),
    );
    peerPorts.push(listen);
    const node = await until(`${name} is ready`, async () => {
      const token = readFileSync(join(dataDir, "admin.token"), "utf8").trim();
      const found = { host: HOST, port, token };
      return RaftShape.parse(await get(found, "/debug/raft")).ready ? found : null;
    });
    nodes.push(node);
    if (number > 1) continue;
    const joinToken = TokenShape.parse(await get(node, "/v1/nodes/token")).token;
    words = ["join", `${HOST}:${listen}`, "--token", joinToken];
  }
  const targets = (spread: boolean): Promise<Target[]> =>
    until("three voters and a manager", async () => {
      const all = await Promise.all(
        nodes.map(async (node) => RaftShape.parse(await get(node, "/debug/raft"))),
      );
      if (!all.every(({ voters, ready }) => voters.length === NODES && ready)) return null;
      const leads = nodes.filter((_, i) => all[i]?.role === "leader");
      if (leads.length !== 1) return null;
      return spread ? nodes : leads;
    });
  await targets(false);
  return { name: "orch API", door: "http", pids, nodes: [], peerPorts, targets };
}

async function get({ host, port, token }: Target, path: string): Promise<unknown> {
  const response = await fetch(`http://${host}:${port}${path}`, {
    headers: { authorization: `Bearer ${token}` },
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

export const ETCD = "/usr/bin/etcd";
const EtcdStatus = z.object({ header: z.object({ member_id: z.string() }), leader: z.string() });

/** What `etcd --version` says first; null: the Debian package etcd-server is not installed. */
export function etcdVersion(): string | null {
  if (!existsSync(ETCD)) return null;
  return execFileSync(ETCD, ["--version"], { encoding: "utf8" }).split("\n")[0] ?? "";
}

/** The arguments of a member with etcd's own defaults; `cluster`: name=url of all, with commas. */
export function etcdWords(
  name: string,
  dataDir: string,
  client: number,
  peer: number,
  cluster: string,
): string[] {
  const flags = {
    name,
    "data-dir": dataDir,
    "listen-client-urls": url(client),
    "advertise-client-urls": url(client),
    "listen-peer-urls": url(peer),
    "initial-advertise-peer-urls": url(peer),
    "initial-cluster": cluster,
    "initial-cluster-state": "new",
    logger: "zap",
    "log-level": "error",
  };
  return Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
}

function url(port: number): string {
  return `http://${HOST}:${port}`;
}

/** etcd with its own defaults. */
export async function startEtcd(processes: Processes): Promise<System> {
  const ports: { client: number; peer: number }[] = [];
  for (let i = 0; i < NODES; i++) ports.push({ client: await freePort(), peer: await freePort() });
  const cluster = ports.map(({ peer }, i) => `etcd-${i + 1}=${url(peer)}`).join(",");
  const pids = ports.map(({ client, peer }, i) => {
    const name = `etcd-${i + 1}`;
    const dataDir = join(processes.folder, name);
    mkdirSync(dataDir, { mode: 0o700 });
    const words = etcdWords(name, dataDir, client, peer, cluster);
    return processes.spawn(ETCD, words, `${name}.log`);
  });
  const targets = (spread: boolean): Promise<Target[]> =>
    until("an etcd leader", async () => {
      const all = await Promise.all(
        ports.map(async ({ client }) => {
          const response = await fetch(`${url(client)}/v3/maintenance/status`, {
            method: "POST",
            body: "{}",
          });
          return EtcdStatus.parse(await response.json());
        }),
      );
      const wanted = ports.filter((_, i) => {
        const status = all[i];
        return spread || (status !== undefined && status.leader === status.header.member_id);
      });
      if (wanted.length === 0) return null;
      return wanted.map(({ client }) => ({ host: HOST, port: client, token: "" }));
    });
  await targets(false);
  const peerPorts = ports.map(({ peer }) => peer);
  return { name: "etcd", door: "grpc", pids, nodes: [], peerPorts, targets };
}

/**
 * The bytes that the members have sent each other over TCP so far, whatever is in them; null where there is no `ss`.
 * Both ends of every connection are on this machine, and each knows what it has sent.
 */
export function wireBytes({ peerPorts }: System): number | null {
  const filter = peerPorts.flatMap((port) => [`sport = :${port}`, `dport = :${port}`]).join(" or ");
  try {
    const text = execFileSync("ss", ["-tinH", "state", "established", `( ${filter} )`], {
      encoding: "utf8",
    });
    return [...text.matchAll(/\bbytes_sent:(\d+)/g)].reduce(
      (sum, [, count]) => sum + Number(count),
      0,
    );
  } catch {
    return null;
  }
}
