import { expect, test } from "vitest";
import { BRAKE_PERCENT, TestCluster } from "../../test/fixtures/cluster.ts";
import { BrakeLog } from "./brake-log.ts";

const HOLD_MS = 315_000;

test("the brake's beginning and end are said once each, with the reason", () => {
  const notes: string[] = [];
  const log = new BrakeLog((text) => notes.push(text));
  const cluster = new TestCluster();
  cluster.now = Date.UTC(2026, 0, 31, 3, 7, 30);
  cluster.admit(...Array.from("abcdef"));
  const look = (): string[] => {
    log.look(cluster.state, BRAKE_PERCENT, cluster.now);
    return notes.splice(0);
  };
  const fall = (): void => {
    for (const name of "abcd") cluster.liveness(name, "down");
  };
  expect(look()).toEqual([]);
  fall();
  expect(look()).toEqual([
    "the brake is on: 4 of 6 nodes went down within a minute; their tasks are not replaced before 2026-01-31T03:12:30.000Z, unless `orch cluster release` is run or enough of them are back",
  ]);
  cluster.liveness("e", "down");
  expect(look(), "one more").toEqual([]);
  cluster.liveness("a", "ready");
  cluster.liveness("b", "ready");
  expect(look()).toEqual(["the brake is off: enough are back"]);
  fall();
  expect(look()).toHaveLength(1);
  cluster.now += HOLD_MS;
  expect(look()).toEqual(["the brake is off: its time is over"]);
  for (const name of "abcd") cluster.liveness(name, "ready");
  fall();
  expect(look()).toHaveLength(1);
  cluster.apply({ kind: "brake-release" });
  expect(look()).toEqual(["the brake is off: it was released"]);
});
