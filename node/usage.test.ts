import { expect, test } from "vitest";
import { parseInterfaces, realOnes, type Traffic, trafficBetween } from "./usage.ts";

/** As Linux prints it; `eth0` has no blank before its figures. */
const TEXT = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0     0       0          0
  eth0:190712543    7339    0    0    0     0          0         0   595653    4972    0    0    0     0       0          0
veth1.2@if3:   70       1    0    0    0     0          0         0       80       1    0    0    0     0       0          0
`;

function at(rxBytes: number, txBytes: number): Traffic {
  return { rxBytes, txBytes };
}

test("the kernel's table is read without the loopback", () => {
  expect([...parseInterfaces(TEXT)]).toEqual([
    ["eth0", { rxBytes: 190_712_543, txBytes: 595_653 }],
    ["veth1.2@if3", { rxBytes: 70, txBytes: 80 }],
  ]);
  expect([...parseInterfaces("")]).toEqual([]);
  expect([...parseInterfaces("eth0: 1 2 3\neth1: one two\n")]).toEqual([]);
});

test("what containers send counts once: at the hardware, where there is some", () => {
  const all = parseInterfaces(TEXT);
  expect([...realOnes(all, (name) => name === "eth0").keys()]).toEqual(["eth0"]);
  expect([...realOnes(all, () => false).keys()]).toEqual(["eth0", "veth1.2@if3"]);
});

test("what moved is the sum over those that are there both times, and never less than nothing", () => {
  const before = new Map([
    ["a", at(100, 10)],
    ["b", at(1_000, 1_000)],
    ["gone", at(5, 5)],
  ]);
  const now = new Map([
    ["a", at(150, 30)],
    ["b", at(7, 1_001)],
    ["new", at(9_999, 9_999)],
  ]);
  expect(trafficBetween(before, now)).toEqual(at(50, 21));
  expect(trafficBetween(null, now)).toBeNull();
  expect(trafficBetween(before, null)).toBeNull();
});
