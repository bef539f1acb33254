import { expect, test } from "vitest";
import { mergeByTime, ResumePoint } from "./log-merge.ts";
import type { SourceLine } from "./log-merge.ts";

async function* lines(
  source: string,
  times: readonly string[],
): AsyncGenerator<SourceLine<string>, void> {
  for (const time of times) yield { source, stream: "stdout", time, text: `${source}@${time}` };
}

test("streams in order merge into one that is, and ties keep the streams' order", async () => {
  const merged = [];
  for await (const line of mergeByTime([
    lines("a", ["1", "4", "4"]),
    lines("b", []),
    lines("c", ["2", "4", "5"]),
  ])) {
    merged.push(line.text);
  }
  expect(merged).toEqual(["a@1", "c@2", "a@4", "a@4", "c@4", "c@5"]);
});

test("after a break nothing is printed twice and nothing is lost", () => {
  const resume = new ResumePoint();
  expect(resume.since).toBeNull();
  expect(["1", "2", "2"].map((time) => resume.accept(time))).toEqual([true, true, true]);
  expect(resume.since).toBe("2");
  resume.restart();
  // The node sends from time 2 on: two lines that came before, one of the same time that did not, and more.
  expect(["2", "2", "2", "3"].map((time) => resume.accept(time))).toEqual([
    false,
    false,
    true,
    true,
  ]);
  resume.restart();
  expect(["3", "3"].map((time) => resume.accept(time))).toEqual([false, true]);
});
