import { expect, test } from "vitest";
import { parsePeer } from "./address.ts";

test.each([
  ["10.0.0.1", "/ip4/10.0.0.1/tcp/7400"],
  ["10.0.0.1:9", "/ip4/10.0.0.1/tcp/9"],
  ["node-1", "/dns/node-1/tcp/7400"],
  [" node-1.example.org:7400 ", "/dns/node-1.example.org/tcp/7400"],
  ["::1", "/ip6/::1/tcp/7400"],
  ["[::1]", "/ip6/::1/tcp/7400"],
  ["[fd00::1]:7401", "/ip6/fd00::1/tcp/7401"],
  ["/ip4/10.0.0.1/tcp/7400", "/ip4/10.0.0.1/tcp/7400"],
])("%s is %s", (text, address) => {
  expect(parsePeer(text)).toBe(address);
});

test.each([
  "",
  "host:",
  "host:0",
  "host:65536",
  "host:port",
  "[10.0.0.1]:1",
  "a b",
  "http://host:1",
  "/ip4/10.0.0",
  "[::1",
])("%j is no address", (text) => {
  expect(parsePeer(text)).toBeNull();
});
