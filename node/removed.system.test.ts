import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Fault, fault } from "../lib/errors.ts";
import { nodeId } from "../state/ids.ts";
import { clearRemoved, notingRemoval, refuseRemoved } from "./removed.ts";

const IDENTITY = {
  clusterId: "c1",
  node: nodeId("n-1"),
  raftId: 1,
  peers: [],
  joinSecret: "c2VjcmV0",
};
let folder = "";
const told: (Fault | "left")[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "orch-r-"));
  told.length = 0;
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function noting(): ReturnType<typeof notingRemoval> {
  return notingRemoval(folder, IDENTITY, {
    fatal: (reason) => told.push(reason),
    left: () => told.push("left"),
  });
}

test("a node that left does not start from its folder again, until it is recovered", () => {
  noting().left();
  expect(told).toEqual(["left"]);
  expect(() => refuseRemoved(folder)).toThrow(/node n-1 of cluster c1, .*: it left on request/);
  clearRemoved(folder);
  expect(() => refuseRemoved(folder)).not.toThrow();
});

test("nor does one that was removed; any other end is no reason", () => {
  const full = fault("data-unwritable", "the disk is full", "");
  noting().fatal(full);
  expect(() => refuseRemoved(folder)).not.toThrow();
  const removed = fault("removed", "no member any more", "");
  noting().fatal(removed);
  expect(told).toEqual([full, removed]);
  expect(() => refuseRemoved(folder)).toThrow(/no member any more/);
});

test("a folder that cannot be written does not keep the node from ending", () => {
  rmSync(folder, { recursive: true });
  noting().left();
  expect(told).toEqual(["left"]);
});
