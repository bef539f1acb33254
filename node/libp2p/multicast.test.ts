import { expect, test } from "vitest";
import { linksOf } from "./multicast.ts";

const one = { netmask: "", mac: "", cidr: null } as const;
const interfaces = {
  lo: [
    { ...one, family: "IPv4" as const, address: "127.0.0.1", internal: true },
    { ...one, family: "IPv6" as const, address: "::1", internal: true, scopeid: 0 },
  ],
  eth0: [
    { ...one, family: "IPv4" as const, address: "10.0.0.2", internal: false },
    { ...one, family: "IPv4" as const, address: "10.0.0.3", internal: false },
    { ...one, family: "IPv6" as const, address: "2001:db8::2", internal: false, scopeid: 0 },
  ],
  eth1: [{ ...one, family: "IPv4" as const, address: "10.0.1.2", internal: false }],
};

function links(...addresses: readonly string[]): string[] {
  return linksOf(addresses, interfaces).map(
    ({ family, name, address }) => `${family} ${name} ${address}`,
  );
}

test("the interfaces are those that are listened on, each once for a family", () => {
  expect(links("/ip4/10.0.0.2/tcp/1", "/ip4/10.0.0.3/tcp/1")).toEqual(["4 eth0 10.0.0.2"]);
  expect(links("/ip4/10.0.1.2/tcp/1", "/ip6/2001:db8::2/tcp/1")).toEqual([
    "6 eth0 2001:db8::2",
    "4 eth1 10.0.1.2",
  ]);
  expect(links("/ip4/10.9.9.9/tcp/1", "/dns4/eth0/tcp/1")).toEqual([]);
});

test("the whole IPv4 loopback is one interface; IPv6 has no multicast there", () => {
  expect(links("/ip4/127.0.0.9/tcp/1", "/ip6/::1/tcp/1")).toEqual(["4 lo 127.0.0.1"]);
});

test("a machine of very many interfaces uses some of them", () => {
  const many = Object.fromEntries(
    Array.from({ length: 40 }, (_, i) => [
      `br${i}`,
      [{ ...one, family: "IPv4" as const, address: `10.1.${i}.1`, internal: false }],
    ]),
  );
  const addresses = Array.from({ length: 40 }, (_, i) => `/ip4/10.1.${i}.1/tcp/1`);
  expect(linksOf(addresses, many)).toHaveLength(16);
});
