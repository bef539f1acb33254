import { expect, test } from "vitest";
import { JOIN_RATES, JoinLimiter } from "./join-limiter.ts";

const rates = {
  ...JOIN_RATES,
  perAddressBurst: 3,
  perAddressPerSecond: 1,
  globalBurst: 5,
  globalPerSecond: 1,
  freeFailures: 2,
  maxAddresses: 3,
};

test("one address has its burst, then its rate", () => {
  const limiter = new JoinLimiter(rates, 0);
  expect([0, 0, 0, 0].map((now) => limiter.allow("a", now))).toEqual([true, true, true, false]);
  expect(limiter.allow("a", 900)).toBe(false);
  expect(limiter.allow("a", 1_000)).toBe(true);
});

test("all addresses together have theirs", () => {
  const limiter = new JoinLimiter({ ...rates, maxAddresses: 100 }, 0);
  expect(Array.from({ length: 7 }, (_, i) => limiter.allow(`${i}`, 0))).toEqual([
    true,
    true,
    true,
    true,
    true,
    false,
    false,
  ]);
});

test("after some failed proofs an address waits, twice as long each time and not for ever", () => {
  const limiter = new JoinLimiter({ ...rates, perAddressBurst: 1e6, globalBurst: 1e6 }, 0);
  limiter.failed("a", 0);
  limiter.failed("a", 0);
  expect(limiter.allow("a", 0)).toBe(true);
  limiter.failed("a", 0);
  expect(limiter.allow("a", 999)).toBe(false);
  expect(limiter.allow("b", 999)).toBe(true);
  expect(limiter.allow("a", 1_000)).toBe(true);
  limiter.failed("a", 1_000);
  expect(limiter.allow("a", 2_999)).toBe(false);
  for (let i = 0; i < 100; i++) limiter.failed("a", 3_000);
  expect(limiter.allow("a", 3_000 + rates.lastWaitMs)).toBe(true);
});

test("a good proof clears the failures", () => {
  const limiter = new JoinLimiter(rates, 0);
  for (let i = 0; i < 2; i++) limiter.failed("a", 0);
  limiter.succeeded("a", 0);
  for (let i = 0; i < 2; i++) limiter.failed("a", 0);
  expect(limiter.allow("a", 0)).toBe(true);
});

test("it remembers a bounded number of addresses, the latest", () => {
  const limiter = new JoinLimiter({ ...rates, globalBurst: 1e6 }, 0);
  for (let i = 0; i < 10; i++) limiter.failed("noisy", 0);
  expect(limiter.allow("noisy", 0)).toBe(false);
  for (let i = 0; i < 3; i++) limiter.allow(`${i}`, 0);
  expect(limiter.allow("noisy", 0)).toBe(true);
});
