import { expect, test } from "vitest";
import { wants } from "./dev-driver.ts";

test.each([
  ["services: {a: {image: x}, b: {command: [c]}}", "docker"],
  ["x-base: &b {image: x}\nservices:\n  a: {<<: *b}", "docker"],
  ["services: {a: {command: [c]}}", "process"],
  ["services: {}", "unknown"],
  ["a: [", "unknown"],
  ["", "unknown"],
])("%j wants %s", (compose, wanted) => {
  expect(wants(compose)).toBe(wanted);
});
