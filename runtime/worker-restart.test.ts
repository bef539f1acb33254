import { expect, test } from "vitest";
import type { RestartPolicy } from "../state/spec.ts";
import { verdict } from "./worker-restart.ts";

const policy: RestartPolicy = {
  condition: "any",
  delayMs: 5_000,
  maxAttempts: 2,
  windowMs: 60_000,
};
const crash = { exitCode: 1, restarts: 0, ranMs: 10, missed: false };

test.each([
  { why: "first crash", fields: {}, end: {}, is: { kind: "restart", delayMs: 5_000, restarts: 1 } },
  {
    why: "second",
    fields: {},
    end: { restarts: 1 },
    is: { kind: "restart", delayMs: 10_000, restarts: 2 },
  },
  { why: "one too many", fields: {}, end: { restarts: 2 }, is: { kind: "failed", attempts: 3 } },
  {
    why: "a long run",
    fields: {},
    end: { restarts: 2, ranMs: 60_000 },
    is: { kind: "restart", delayMs: 5_000, restarts: 1 },
  },
  {
    why: "almost a long run",
    fields: {},
    end: { restarts: 2, ranMs: 59_999 },
    is: { kind: "failed", attempts: 3 },
  },
  {
    why: "no limit",
    fields: { maxAttempts: null },
    end: { restarts: 1_000 },
    is: { kind: "restart", delayMs: 60_000, restarts: 1_001 },
  },
  {
    why: "no restart allowed",
    fields: { maxAttempts: 0 },
    end: {},
    is: { kind: "failed", attempts: 1 },
  },
  {
    why: "no delay is a little delay",
    fields: { delayMs: 0 },
    end: {},
    is: { kind: "restart", delayMs: 100, restarts: 1 },
  },
  {
    why: "a delay over a minute stays",
    fields: { delayMs: 90_000 },
    end: { restarts: 1 },
    is: { kind: "restart", delayMs: 90_000, restarts: 2 },
  },
  {
    why: "missed",
    fields: {},
    end: { missed: true, restarts: 2 },
    is: { kind: "restart", delayMs: 0, restarts: 2 },
  },
  {
    why: "missed, but never again",
    fields: { condition: "none" as const },
    end: { missed: true },
    is: { kind: "failed", attempts: 1 },
  },
  {
    why: "unknown code",
    fields: { condition: "on-failure" as const },
    end: { exitCode: null },
    is: { kind: "restart", delayMs: 5_000, restarts: 1 },
  },
  {
    why: "success",
    fields: { condition: "on-failure" as const },
    end: { exitCode: 0 },
    is: { kind: "complete" },
  },
])("$why", ({ fields, end, is }) => {
  expect(verdict({ ...policy, ...fields }, { ...crash, ...end })).toEqual(is);
});
