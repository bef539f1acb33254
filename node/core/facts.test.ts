import { expect, test } from "vitest";
import { nodeFacts } from "../../test/fixtures/cluster.ts";
import { sameFacts } from "./facts.ts";

const FACTS = nodeFacts("web", { labels: { a: "1", b: "2" } });

const OTHER = {
  addresses: ["/ip4/10.0.0.2/tcp/7400"],
  datacenter: "dc2",
  labels: { a: "1", b: "3" },
  os: "darwin",
  arch: "arm64",
  resources: { ...FACTS.resources, diskMib: 1 },
  drivers: ["process"],
  publishAddress: "10.0.0.2",
  portRange: { first: 20_000, last: 20_001 },
  orchVersion: "0.2.0",
  featureLevel: 2,
  mayVote: false,
  mayWork: false,
} as const;

test.each(Object.entries(OTHER))("another %s is news", (field, value) => {
  expect(sameFacts(FACTS, { ...FACTS, [field]: value })).toBe(false);
});

test("every fact counts", () => {
  expect(["name", ...Object.keys(OTHER)].toSorted()).toEqual(Object.keys(FACTS).toSorted());
});

test("a name that the cluster made of the asked one is none, nor is the order of labels", () => {
  const turned = { ...FACTS, labels: { b: "2", a: "1" } };
  expect(sameFacts(FACTS, turned)).toBe(true);
  expect(sameFacts({ ...FACTS, name: "web-2" }, FACTS)).toBe(true);
  expect(sameFacts({ ...FACTS, name: "web-x" }, FACTS)).toBe(false);
  expect(sameFacts({ ...FACTS, name: "db" }, FACTS)).toBe(false);
});
