import { expect, it } from "vitest";
import { type Input, type Output, Recorder } from "../linearizability/history.ts";
import { plannedFaults } from "./plan.ts";
import { violationOf } from "./verdict.ts";

/** One operation after another; null: the outcome is unknown. */
function historyOf(...steps: readonly (readonly [Input, Output | null])[]): Recorder["history"] {
  const recorder = new Recorder();
  for (const [input, output] of steps) {
    const handle = recorder.called("c", "r", input);
    if (output !== null) recorder.returned(handle, output);
  }
  return recorder.history;
}

const put = (value: string): Input => ({ kind: "put", value });
const written = (version: number): Output => ({ kind: "written", version });
const found = (value: string, version: number): Output => ({ kind: "found", value, version });
const final = (version: number, value: string): Map<string, { version: number; value: string }> =>
  new Map([["r", { version, value }]]);

function first(seed: number, network: boolean): string[] {
  const lines: string[] = [];
  for (const planned of plannedFaults(seed, 5, network)) {
    if (lines.push(JSON.stringify(planned)) === 300) break;
  }
  return lines;
}

it("finds nothing wrong where a write of unknown outcome explains a version", () => {
  const history = historyOf(
    [put("a"), written(1)],
    [put("b"), null],
    [put("c"), written(3)],
    [{ kind: "get" }, found("c", 3)],
  );
  expect(violationOf(history, final(3, "c"))).toBeNull();
});

it("finds an acknowledged write that is gone", () => {
  const history = historyOf([put("a"), written(1)], [put("b"), written(2)]);
  expect(violationOf(history, final(1, "a"))).toContain("the last version is 1");
  expect(violationOf(history, new Map())).toContain("the last version is 0");
});

it("finds a version that nobody asked for: a write that was made twice", () => {
  const history = historyOf([put("a"), written(1)], [put("b"), written(3)]);
  expect(violationOf(history, final(3, "b"))).toContain("versions 2 were told to nobody");
});

it("counts a write whose value was seen as the version at which it was, not as another one", () => {
  const history = historyOf(
    [put("a"), null],
    [{ kind: "get" }, found("a", 1)],
    [put("b"), written(3)],
  );
  expect(violationOf(history, final(3, "b"))).toContain("versions 2 were told to nobody");
});

it("finds a read of what was overwritten", () => {
  const history = historyOf(
    [put("a"), written(1)],
    [put("b"), written(2)],
    [{ kind: "get" }, found("a", 1)],
  );
  expect(violationOf(history, final(2, "b"))).toContain("went back");
});

it("plans the same faults for the same seed, and none of the network without namespaces", () => {
  expect(first(7, true)).toEqual(first(7, true));
  expect(first(7, true)).not.toEqual(first(8, true));
  expect(first(7, false).filter((line) => /"(cut|loss)"/.test(line))).toEqual([]);
  expect(first(7, true).filter((line) => /"(cut|loss)"/.test(line))).not.toEqual([]);
  // An address that changes under a running node takes a namespace as well.
  expect(first(7, false).filter((line) => line.includes('"live"'))).toEqual([]);
  expect(first(7, true).filter((line) => line.includes('"live"'))).not.toEqual([]);
  for (const kind of ["kill", "kill-many", "pause", "restart", "transfer", "move", "member"])
    expect(first(7, false).filter((line) => line.includes(`"${kind}"`))).not.toEqual([]);
});
