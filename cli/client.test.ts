import { expect, test } from "vitest";
import { parseFault, pathOf } from "./client.ts";

const AT = { host: "http://127.0.0.1:7401" };

test("a node's fault arrives as it was sent", () => {
  const sent = { code: "conflict", message: "m", details: { a: 1 }, hint: "h" };
  expect(parseFault(409, JSON.stringify(sent), AT)).toEqual(sent);
});

test.each([
  [503, "<html>", "no-manager"],
  [401, "", "unauthorized"],
  [500, "null", "bug"],
  [400, '{"code":"made-up","message":"x"}', "bug"],
])("a body that is no fault (%d) becomes one", (status, body, code) => {
  expect(parseFault(status, body, AT)).toMatchObject({ code, details: { status, body } });
});

test("names are escaped", () => {
  expect(pathOf("jobs", "a/../b", "/stop")).toBe("/v1/jobs/a%2F..%2Fb/stop");
});
