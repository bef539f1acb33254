import { expect, test } from "vitest";
import { Histogram } from "./histogram.ts";

test("counts what took at most so long, and beyond the last bound only in all", () => {
  const histogram = new Histogram();
  for (const ms of [0.1, 0.25, 0.3, 3, 5_000]) histogram.add(ms);
  const { buckets, count, sumMs } = histogram.view();
  expect(count).toBe(5);
  expect(sumMs).toBeCloseTo(5_003.65);
  expect(buckets[0]).toEqual({ atMostMs: 0.25, count: 2 });
  expect(buckets[1]).toEqual({ atMostMs: 0.5, count: 3 });
  expect(buckets.find(({ atMostMs }) => atMostMs === 4)?.count).toBe(4);
  expect(buckets.at(-1)).toEqual({ atMostMs: 2_048, count: 4 });
});
