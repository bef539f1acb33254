import { once } from "node:events";
import { createServer } from "node:net";
import { fault, OrchError } from "../lib/errors.ts";
import type { NodeSettings } from "./config.ts";

/**
 * Refuses addresses that this node could not listen on, before it founds or joins a cluster: one that
 * failed only afterwards would leave a half-made member behind. Throws OrchError port-in-use or invalid.
 */
export async function refuseTakenPorts({
  listen,
  api,
}: Pick<NodeSettings, "listen" | "api">): Promise<void> {
  for (const address of listen) {
    const match = /^\/ip[46]\/([^/]+)\/tcp\/(\d+)$/.exec(address);
    if (match !== null) await probe("--listen", match[1] ?? "", Number(match[2]));
  }
  await probe("--api", api.host, api.port);
}

async function probe(flag: "--listen" | "--api", host: string, port: number): Promise<void> {
  const server = createServer();
  try {
    server.listen({ host, port, exclusive: true });
    await once(server, "listening");
  } catch (error) {
    const address = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
    const taken = error instanceof Error && "code" in error && error.code === "EADDRINUSE";
    const reason = error instanceof Error ? error.message : String(error);
    throw new OrchError(
      taken
        ? fault(
            "port-in-use",
            `cannot listen on ${address}: another program uses that port`,
            `Stop that program, or choose another address with ${flag}.`,
            { address, flag },
          )
        : fault(
            "invalid",
            `cannot listen on ${address}: ${reason}`,
            `Choose an address of this machine, and a port that orch may use, with ${flag}.`,
            { address, flag },
          ),
      error,
    );
  }
  server.close();
  await once(server, "close");
}
