import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeDigest, encodeDigest } from "./digest.ts";

const USAGE = { cpuMilli: 1, memoryMib: 2, diskMib: 3, load1Milli: 4 };
const DIGEST = { usage: USAGE, tasks: 5, orchVersion: "0.1.0", count: 6 };

function bytes(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

describe("a gossiped digest", () => {
  it("comes back as it went out", () => {
    const count = fc.maxSafeNat();
    const digest = fc.record({
      usage: fc.option(
        fc.record({ cpuMilli: count, memoryMib: count, diskMib: count, load1Milli: count }),
      ),
      tasks: count,
      orchVersion: fc.string(),
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
    ["no usage", { ...DIGEST, usage: undefined }],
    ["usage that is a number", { ...DIGEST, usage: 3 }],
    ["usage without the disk", { ...DIGEST, usage: { ...USAGE, diskMib: undefined } }],
    ["usage in parts", { ...DIGEST, usage: { ...USAGE, load1Milli: 0.5 } }],
  ])("is refused with %s", (_what, value) => {
    expect(decodeDigest(bytes(DIGEST))).toEqual(DIGEST);
    expect(decodeDigest(bytes(value))).toBeNull();
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
