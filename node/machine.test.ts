import { networkInterfaces } from "node:os";
import { expect, test } from "vitest";
import { ownAddresses } from "./machine.ts";

const advertise = ["/dns/me.example/tcp/7400"];

test("a node is reached where it listens, and where it says beside that", () => {
  const listen = ["/ip4/127.0.0.1/tcp/7400", "/ip6/::1/tcp/7401"];
  expect(ownAddresses({ advertise, listen }, [])).toEqual([...advertise, ...listen]);
  expect(ownAddresses({ advertise: listen, listen }, [])).toEqual(listen);
});

test("everywhere means the machine's interfaces, as they are now", () => {
  const own = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ family, internal }) => family === "IPv4" && !internal)
    .map(({ address }) => `/ip4/${address}/tcp/7400`);
  const addresses = ownAddresses({ advertise: [], listen: ["/ip4/0.0.0.0/tcp/7400"] }, []);
  expect(addresses).toEqual(own.length > 0 ? own : ["/ip4/127.0.0.1/tcp/7400"]);
});

test("a port that was left to the machine is the one that it gave", () => {
  const listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.2/tcp/0"];
  const listeners = ["/ip4/127.0.0.2/tcp/4002", "/ip4/127.0.0.1/tcp/4001"];
  expect(ownAddresses({ advertise: [], listen }, listeners)).toEqual([
    "/ip4/127.0.0.1/tcp/4001",
    "/ip4/127.0.0.2/tcp/4002",
  ]);
  expect(ownAddresses({ advertise: [], listen }, [])).toEqual(listen);
  const all = ownAddresses({ advertise: [], listen: ["/ip4/0.0.0.0/tcp/0"] }, listeners);
  expect(all.every((address) => address.endsWith("/tcp/4002"))).toBe(true);
});
