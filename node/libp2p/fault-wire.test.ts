import { expect, test } from "vitest";
import { fault } from "../../lib/errors.ts";
import { decodeFault, decodeJson, encodeFault } from "./fault-wire.ts";

test("a fault comes back as it was", () => {
  const reason = fault("not-found", "no such log", "Look elsewhere.", {
    path: "x",
    nested: { n: 1 },
  });
  expect(decodeFault(encodeFault(reason))).toEqual(reason);
});

test.each([
  "",
  "null",
  "[]",
  "{",
  '{"code":"nonsense","message":"x"}',
  '{"code":"toString","message":"x"}',
  '{"code":"bug"}',
])("%j becomes a fault that says so", (text) => {
  expect(decodeFault(Buffer.from(text))).toMatchObject({ code: "unknown" });
});

test("only objects are read", () => {
  expect(decodeJson(Buffer.from('{"a":1}'))).toEqual({ a: 1 });
  expect(decodeJson(Buffer.from("[1]"))).toBeNull();
  expect(decodeJson(Buffer.from([0xff, 0xfe]))).toBeNull();
});
