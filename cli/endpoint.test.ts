import { expect, test } from "vitest";
import { chooseEndpoints, parseHost } from "./endpoint.ts";
import type { EndpointSources } from "./endpoint.ts";

const NOTHING: EndpointSources = { hosts: null, token: null, sockets: [], dev: null };
const DEV = { hosts: ["unix:///tmp/d/n1/orch.sock"], pid: 7 };

function hosts(sources: Partial<EndpointSources>): string[] {
  return chooseEndpoints({ ...NOTHING, ...sources }).map(({ host }) => host);
}

test("named hosts are tried in their order, and nothing else is", () => {
  const named = "unix:///a.sock, http://10.0.0.1:7401,http://[::1]:1";
  expect(hosts({ hosts: named, sockets: ["/b.sock"], dev: DEV })).toEqual([
    "unix:///a.sock",
    "http://10.0.0.1:7401",
    "http://[::1]:1",
  ]);
});

test("else sockets, then TCP with a token, then a running orch dev", () => {
  expect(hosts({ sockets: ["/a.sock", "/b.sock"], token: "t", dev: DEV })).toEqual([
    "unix:///a.sock",
    "unix:///b.sock",
    "http://127.0.0.1:7401",
    "unix:///tmp/d/n1/orch.sock",
  ]);
});

test("TCP without a token does not stand before orch dev", () => {
  expect(hosts({ dev: DEV })).toEqual(["unix:///tmp/d/n1/orch.sock"]);
  expect(hosts({})).toEqual(["http://127.0.0.1:7401"]);
});

test("only an endpoint of orch dev carries its pid, only TCP the token", () => {
  const [socket, tcp, dev] = chooseEndpoints({ ...NOTHING, sockets: ["/a"], token: "t", dev: DEV });
  expect([socket?.token, tcp?.token, dev?.token]).toEqual([null, "t", null]);
  expect([socket?.devPid, tcp?.devPid, dev?.devPid]).toEqual([null, null, 7]);
});

test("the port is 7401 unless given", () => {
  expect(parseHost("http://node1", null).origin).toBe("http://node1:7401");
  expect(parseHost("http://node1:80", null).origin).toBe("http://node1");
  expect(parseHost("http://node1:8080/", null).origin).toBe("http://node1:8080");
});

test.each([
  "node1",
  "tcp://node1",
  "unix://",
  "unix:relative",
  "http://",
  "http://a/b",
  ",",
  "ftp://a",
])("%j is no host", (host) => {
  expect(() => chooseEndpoints({ ...NOTHING, hosts: host })).toThrow(/no address of a node's API/);
});
