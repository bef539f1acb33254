import * as fc from "fast-check";
import { expect, test } from "vitest";
import { checkOrigin, isLoopbackHost, tokenCheck } from "./guard.ts";

test.each([
  ["127.0.0.1", true],
  ["127.255.0.9", true],
  ["localhost", true],
  ["LOCALHOST", true],
  ["::1", true],
  ["[::1]", true],
  ["0.0.0.0", false],
  ["::", false],
  ["10.0.0.1", false],
  ["127.0.0.256", false],
  ["127.0.0.1.evil.example", false],
  ["localhost.evil.example", false],
  ["evil.example", false],
  ["", false],
])("%s is this machine's own: %s", (host, own) => {
  expect(isLoopbackHost(host)).toBe(own);
});

test.each([
  ["127.0.0.1:7401", undefined],
  ["localhost", undefined],
  ["[::1]:7401", undefined],
  ["localhost:9000", "http://localhost:3000"],
  ["127.0.0.1:7401", "https://127.0.0.1"],
])("Host %s and Origin %s may call", (host, origin) => {
  expect(checkOrigin(host, origin)).toBeNull();
});

test.each([
  [undefined, undefined],
  ["", undefined],
  ["evil.example:7401", undefined],
  ["127.0.0.1:7401@evil.example", undefined],
  ["localhost:", undefined],
  ["localhost:7401", "http://evil.example"],
  ["localhost:7401", "http://localhost.evil.example:7401"],
  ["localhost:7401", "null"],
  ["localhost:7401", "file://"],
  ["localhost:7401", ""],
])("Host %s and Origin %s may not", (host, origin) => {
  expect(checkOrigin(host, origin)?.code).toBe("forbidden");
});

test("only the right token is let in, and the refusal says where it is", () => {
  const check = tokenCheck("s3cret", "/data/admin.token", "/data/orch.sock");
  expect(check("Bearer s3cret")).toBeNull();
  expect(check("bearer s3cret")).toBeNull();
  for (const sent of [
    undefined,
    "",
    "Bearer",
    "Bearer ",
    "s3cret",
    "Basic s3cret",
    "Bearer s3cre",
    "Bearer s3cret x",
  ]) {
    const refusal = check(sent);
    expect(refusal?.code).toBe("unauthorized");
    expect(refusal?.hint).toContain("/data/admin.token");
    expect(JSON.stringify(refusal)).not.toContain("s3cret");
  }
});

test("no other token is let in", () => {
  const check = tokenCheck("s3cret", "f", "s");
  fc.assert(
    fc.property(fc.string(), (sent) => {
      fc.pre(sent.trim() !== "s3cret");
      expect(check(`Bearer ${sent}`)).not.toBeNull();
    }),
  );
});
