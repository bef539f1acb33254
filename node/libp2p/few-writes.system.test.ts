import { once } from "node:events";
import { connect, createServer, type Server, Socket } from "node:net";
import { afterEach, expect, test, vi } from "vitest";
import { LocalNetworks } from "../../test/fixtures/local-network.ts";

const patient = { timeout: 20_000, interval: 1 };
const FRAMES = 200;

const networks = new LocalNetworks();
const servers: Server[] = [];

afterEach(async () => {
  await networks.close();
  for (const server of servers.splice(0)) server.close();
});

/** Stands before a listener and counts the bytes that come from it. */
async function counter(port: number): Promise<{ port: number; back: { bytes: number } }> {
  const back = { bytes: 0 };
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ host: "127.0.0.1", port, noDelay: true });
    far.on("data", (chunk: Buffer) => {
      back.bytes += chunk.byteLength;
    });
    near.pipe(far).pipe(near);
    for (const socket of [near, far]) socket.on("error", () => undefined);
  });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return { port: address.port, back };
}

test("a frame is one write, and nothing comes back for it", async () => {
  const [a, b] = [await networks.open(), await networks.open()];
  const listening = Number(/\/tcp\/(\d+)/.exec(b.network.addresses()[0] ?? "")?.[1]);
  const { port, back } = await counter(listening);
  const members = new Set([a.network.self, b.network.self]);
  for (const { network } of [a, b]) network.admit(members, null);
  a.network.connect([{ id: b.network.self, addresses: [`/ip4/127.0.0.1/tcp/${port}`] }]);
  await vi.waitFor(() => expect([a.log.up.length, b.log.up.length]).toEqual([1, 1]), patient);

  const before = back.bytes;
  const writes = vi.spyOn(Socket.prototype, "write");
  for (let count = 1; count <= FRAMES; count++) {
    a.network.send(b.network.self, Buffer.alloc(300, "x"));
    await vi.waitFor(() => expect(b.log.frames).toHaveLength(count), patient);
  }
  // noise's length alone.
  const pieces = writes.mock.calls.filter(
    ([data]) => data instanceof Uint8Array && data.byteLength === 2,
  );
  writes.mockRestore();
  expect(pieces).toEqual([]);
  // Some room for gossip and keepalives: an answer of 30 bytes to each frame would be far above.
  expect(back.bytes - before).toBeLessThan(FRAMES * 15);
});
