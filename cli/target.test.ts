import { expect, test } from "vitest";
import { looksLikeTaskId, parseTarget } from "./target.ts";

test("the number of parts says what a target names", () => {
  expect(parseTarget("hello")).toEqual({ kind: "job-or-task", name: "hello" });
  expect(parseTarget("k3f-1")).toEqual({ kind: "job-or-task", name: "k3f-1" });
  expect(parseTarget("hello.web")).toEqual({ kind: "service", job: "hello", service: "web" });
  expect(parseTarget("hello.web.12")).toEqual({
    kind: "slot",
    job: "hello",
    service: "web",
    slot: "hello.web.12",
  });
});

test.each(["", ".", "hello.", "a.b.c.d", "a b", "../x", "a/b"])("%j is no target", (text) => {
  expect(() => parseTarget(text)).toThrow(/names nothing that can run/);
});

test("task ids are told from most job names", () => {
  expect(["k3f-1", "1-12"].every(looksLikeTaskId)).toBe(true);
  expect(["hello", "my-app", "k3f-", "K3F-1"].some(looksLikeTaskId)).toBe(false);
});
