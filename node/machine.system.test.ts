import { expect, test, vi } from "vitest";
import { followAddresses } from "./machine.ts";

const patient = { timeout: 10_000, interval: 1 };

test("a change is told once it stands, and what comes and goes is not", async () => {
  let now = ["a"];
  let looks = 0;
  const told: (readonly string[])[] = [];
  const stop = followAddresses(
    () => {
      looks += 1;
      // Every other look finds an interface that the next one does not.
      return looks < 20 && looks % 2 === 0 ? [...now, "passing"] : now;
    },
    (addresses) => told.push(addresses),
    5,
  );
  expect(told).toEqual([["a"]]);
  await vi.waitFor(() => expect(looks).toBeGreaterThan(25), patient);
  expect(told).toEqual([["a"]]);
  now = ["a", "b"];
  await vi.waitFor(() => expect(told).toEqual([["a"], ["a", "b"]]), patient);
  now = ["b"];
  await vi.waitFor(() => expect(told).toHaveLength(3), patient);
  stop();
  expect(told.at(-1)).toEqual(["b"]);
});
