import { createServer } from "node:net";
import type { Server } from "node:net";
import { fault, OrchError } from "../lib/errors.ts";

/** Ports for the nodes of one machine. Another program may take one in between: the node then says so. */

/** As many TCP ports on 127.0.0.1 as asked for, all different, that nobody listens on now. */
export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = [];
  try {
    for (let made = 0; made < count; made += 1) servers.push(await listen("127.0.0.1", 0));
    return servers.map(portOf);
  } finally {
    await Promise.all(servers.map(close));
  }
}

/** Where the published ports of one node's tasks listen. */
interface PublishPlan {
  readonly address: string;
  readonly firstPort: number;
  readonly lastPort: number;
}

const FIRST_PORT = 20_000;
const PORTS_PER_NODE = 500;
/** Below the ports that the system gives to outgoing connections. */
const LAST_PORT = 32_767;
/** So many of a range's first ports are tried: the scheduler begins there, and so would another dev cluster have. */
const PROBED = 3;

/** A loopback address for each node where the system has more than one, and a range of ports that is free. */
export async function publishPlans(count: number): Promise<PublishPlan[]> {
  const addresses = await publishAddresses(count);
  const span = count * PORTS_PER_NODE;
  for (let base = FIRST_PORT; base + span - 1 <= LAST_PORT; base += span) {
    const plans = addresses.map((address, index) => ({
      address,
      firstPort: base + index * PORTS_PER_NODE,
      lastPort: base + (index + 1) * PORTS_PER_NODE - 1,
    }));
    if (await allFree(plans)) return plans;
  }
  throw new OrchError(
    fault(
      "port-in-use",
      `no ${span} free ports between ${FIRST_PORT} and ${LAST_PORT}`,
      "End other dev clusters, or use fewer --nodes.",
    ),
  );
}

async function publishAddresses(count: number): Promise<string[]> {
  const own = Array.from({ length: count }, (_, index) => `127.0.0.${index + 1}`);
  const usable = await Promise.all(own.map((address) => isFree(address, 0)));
  return usable.every(Boolean) ? own : own.map(() => "127.0.0.1");
}

async function allFree(plans: readonly PublishPlan[]): Promise<boolean> {
  for (const { address, firstPort } of plans) {
    for (let port = firstPort; port < firstPort + PROBED; port += 1) {
      if (!(await isFree(address, port))) return false;
    }
  }
  return true;
}

async function isFree(address: string, port: number): Promise<boolean> {
  try {
    await close(await listen(address, port));
    return true;
  } catch {
    return false;
  }
}

function listen(address: string, port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ host: address, port, exclusive: true }, () => {
      resolve(server);
    });
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
  });
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
