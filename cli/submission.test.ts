import { expect, test } from "vitest";
import { jobNameOf, mentioned } from "./submission.ts";

test("only variables that the file mentions leave this machine", () => {
  const compose = "image: $IMAGE:${TAG:-1}\ncommand: [echo, $$HOME, '${A?no ${B}}']";
  const environment = { IMAGE: "web", TAG: "2", A: "a", B: "b", SECRET: "s" };
  const found = mentioned(compose, environment);
  expect(found).toEqual({ IMAGE: "web", TAG: "2", A: "a", B: "b" });
  expect(mentioned("image: $MISSING", environment)).toEqual({});
});

test.each([
  ["My Project", "myproject"],
  ["_under.score_", "underscore_"],
  ["Über", "ber"],
  ["...", "job"],
])("a folder %j makes the job %j", (folder, name) => {
  expect(jobNameOf(folder)).toBe(name);
});
