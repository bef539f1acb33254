import { expect, it } from "vitest";
import { makeClock } from "./clock.ts";

const START = 1_700_000_000_000;

/** A machine whose clocks go on as they are told. */
function machine(): {
  now: () => number;
  pass: (ms: number) => void;
  sleep: (ms: number) => void;
  set: (ms: number) => void;
} {
  let [monotonic, wall, uptime] = [5_000, START, 90_000];
  const now = makeClock({
    monotonicMs: () => monotonic,
    wallMs: () => wall,
    uptimeMs: () => uptime,
  });
  return {
    now,
    pass: (ms) => {
      [monotonic, wall, uptime] = [monotonic + ms, wall + ms, uptime + ms];
    },
    sleep: (ms) => {
      [wall, uptime] = [wall + ms, uptime + ms];
    },
    set: (ms) => {
      wall += ms;
    },
  };
}

it("counts what passes, and the time for which the machine slept", () => {
  const { now, pass, sleep } = machine();
  expect(now()).toBe(START);
  pass(1_000);
  expect(now()).toBe(START + 1_000);
  sleep(60_000);
  expect(now(), "at once").toBe(START + 61_000);
  pass(10);
  sleep(5_000);
  expect(now()).toBe(START + 66_010);
});

it("takes no notice of what is done to the wall clock", () => {
  const { now, pass, set, sleep } = machine();
  for (const ms of [3_600_000, -7_200_000, 1]) {
    set(ms);
    pass(100);
  }
  expect(now()).toBe(START + 300);
  sleep(1_000);
  set(-1_000_000);
  expect(now()).toBe(START + 1_300);
});
