import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { USAGE } from "../test/fixtures/cluster.ts";
import { decodeDigest, encodeDigest } from "./digest.ts";

const DIGEST = { usage: USAGE, tasks: 5, orchVersion: "0.1.0", count: 6 };

function bytes(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

describe("a gossiped digest", () => {
  it("comes back as it went out", () => {
    const count = fc.maxSafeNat();
    const digest = fc.record({
      usage: fc.record({
        cpuMilli: count,
        memoryMib: count,
        diskMib: count,
        load1Milli: count,
        networkRxBytesPerS: fc.option(count),
        networkTxBytesPerS: fc.option(count),
      }),
      tasks: count,
      orchVersion: fc.string({ maxLength: 64 }),
      count,
    });
    fc.assert(
      fc.property(digest, (d) => {
        expect(decodeDigest(encodeDigest(d))).toEqual(d);
      }),
    );
  });

  it.each([
    ["null", null],
    ["a list", []],
    ["text", "digest"],
    ["no count", { ...DIGEST, count: undefined }],
    ["a count that is text", { ...DIGEST, count: "6" }],
    ["a count in parts", { ...DIGEST, count: 6.5 }],
    ["tasks beyond what is exact", { ...DIGEST, tasks: 2 ** 53 }],
    ["no version", { ...DIGEST, orchVersion: null }],
    ["no usage", { ...DIGEST, usage: null }],
    ["usage that is a number", { ...DIGEST, usage: 3 }],
    ["usage without the disk", { ...DIGEST, usage: { ...USAGE, diskMib: undefined } }],
    ["fewer tasks than none", { ...DIGEST, tasks: -1 }],
    ["a version that fills the screen", { ...DIGEST, orchVersion: "1".repeat(65) }],
    [
      "usage without the network",
      { ...DIGEST, usage: { ...USAGE, networkRxBytesPerS: undefined } },
    ],
    ["network beyond what is exact", { ...DIGEST, usage: { ...USAGE, networkTxBytesPerS: 1e300 } }],
    ["network in words", { ...DIGEST, usage: { ...USAGE, networkTxBytesPerS: "fast" } }],
    ["usage in parts", { ...DIGEST, usage: { ...USAGE, load1Milli: 0.5 } }],
  ])("is refused with %s", (_what, value) => {
    expect(decodeDigest(bytes(DIGEST))).toEqual(DIGEST);
    expect(decodeDigest(bytes(value))).toBeNull();
  });

  it("is taken from a newer orch, without what that has more", () => {
    const usage = { ...USAGE, gpuMilli: 7 };
    expect(decodeDigest(bytes({ ...DIGEST, usage, mood: "good" }))).toEqual(DIGEST);
  });

  it("tells that the machine says nothing of its network", () => {
    const usage = { ...USAGE, networkRxBytesPerS: null, networkTxBytesPerS: null };
    const digest = { ...DIGEST, usage };
    expect(decodeDigest(encodeDigest(digest))).toEqual(digest);
  });

  it("is refused as anything but JSON in UTF-8, cut short or not", () => {
    const whole = encodeDigest(DIGEST);
    for (let length = 0; length < whole.length; length++) {
      expect(decodeDigest(whole.subarray(0, length))).toBeNull();
    }
    expect(decodeDigest(new Uint8Array([...whole, 0xff]))).toBeNull();
    fc.assert(
      fc.property(fc.uint8Array(), (junk) => {
        expect(decodeDigest(junk)).toBeNull();
      }),
    );
  });
});
