import { expect, it } from "vitest";
import { judgeSole } from "./sole.ts";

/** `<kind> <run> <slot>` each, a tenth of a second apart; a run is `<task>/<process>`. */
function told(...steps: readonly string[]): string {
  return steps
    .map((step, at) => {
      const [kind, run = "", slot = "1"] = step.split(" ");
      const [task, process] = run.split("/");
      return `${kind} lock.web.${slot} ${task} ${process} ${(at / 10).toFixed(2)}\n`;
    })
    .join("");
}

it("finds nothing wrong with runs of a slot that follow each other, told of their end or killed", () => {
  const text = told("start a/1", "beat a/1", "stop a/1", "start b/2", "beat b/2", "start c/3");
  expect(judgeSole(text)).toEqual({ runs: 3, stopped: 1, violations: [] });
});

it("lets different slots run at once", () => {
  const text = told("start a/1 1", "start b/2 2", "beat a/1 1", "beat b/2 2", "stop a/1 1");
  expect(judgeSole(text).violations).toEqual([]);
});

it("has nothing to say of an empty file", () => {
  expect(judgeSole("")).toEqual({ runs: 0, stopped: 0, violations: [] });
});

it("finds a run that begins before the one before it has told its end", () => {
  const { violations } = judgeSole(told("start a/1", "start b/2", "stop a/1"));
  expect(violations).toHaveLength(1);
  expect(violations[0]).toContain("two runs of one slot at once");
  expect(violations[0]).toContain("start lock.web.1 b 2 0.10");
});

it("finds a run that shows a sign of life after the next has begun, and is killed then", () => {
  expect(judgeSole(told("start a/1", "start b/2", "beat a/1")).violations).toHaveLength(1);
});

it("finds a second attempt of the same task beside the first", () => {
  expect(judgeSole(told("start a/1", "start a/2", "beat a/1")).violations).toHaveLength(1);
});

it("finds a run within a longer one, and one after it that the longer one outlives, too", () => {
  const text = told("start a/1", "start b/2", "stop b/2", "start c/3", "stop c/3", "beat a/1");
  expect(judgeSole(text).violations).toHaveLength(2);
});

it("finds a run that goes on after it told its end", () => {
  const { violations } = judgeSole(told("start a/1", "stop a/1", "beat a/1"));
  expect(violations[0]).toContain("goes on after its end");
});

it("does not judge what it cannot read", () => {
  expect(() => judgeSole("start lock.web.1 a 1 0.1")).toThrow("no end");
  expect(() => judgeSole("start lock.web.1\n")).toThrow("no line of a task");
  expect(() => judgeSole(told("beat a/1"))).toThrow("has not begun");
  expect(() => judgeSole(told("start a/1", "start a/1"))).toThrow("starts twice");
});
