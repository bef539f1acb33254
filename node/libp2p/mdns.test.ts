import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodePacket, encodeAnswer, encodeQuestions } from "./mdns.ts";

const SERVICE = "_orch-0123456789";
const LABEL = "0123456789abcdef0123456789abcdef";

/** A packet: header, then the parts as they are. */
function packet(flags: number, questions: number, answers: number, ...parts: Buffer[]): Buffer {
  const header = Buffer.alloc(12);
  for (const [at, value] of [0, flags, questions, answers].entries())
    header.writeUInt16BE(value, 2 * at);
  return Buffer.concat([header, ...parts]);
}

function name(...labels: readonly string[]): Buffer {
  return Buffer.concat(
    labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])),
  );
}

const END = Buffer.from([0]);
const TXT_IN = Buffer.from([0, 16, 0, 1]);

describe("what is said is heard", () => {
  it("questions for many", () => {
    const labels = [LABEL, "b", "c"];
    const bytes = encodeQuestions(SERVICE, labels);
    expect(decodePacket(SERVICE, bytes)).toEqual({ questions: labels, answers: [] });
  });

  it("an answer with its texts", () => {
    const texts = ["t=1", "a=/ip4/10.0.0.1/tcp/7400", "x".repeat(255), ""];
    const bytes = encodeAnswer(SERVICE, LABEL, texts);
    expect(decodePacket(SERVICE, bytes)).toEqual({
      questions: [],
      answers: [{ label: LABEL, texts }],
    });
  });

  it("as RFC 1035 has it on the wire", () => {
    const question = name(LABEL, SERVICE, "_udp", "local");
    expect(Buffer.from(encodeQuestions(SERVICE, [LABEL]))).toEqual(
      packet(0, 1, 0, question, END, TXT_IN),
    );
    expect(Buffer.from(encodeAnswer(SERVICE, LABEL, ["hi"]))).toEqual(
      packet(
        0x84_00,
        0,
        1,
        question,
        END,
        // TXT, IN with the flush bit, 120 s, three bytes.
        Buffer.from([0, 16, 0x80, 1, 0, 0, 0, 120, 0, 3]),
        name("hi"),
      ),
    );
  });

  it("in any case of letters, and where a name points back", () => {
    const first = name(LABEL.toUpperCase(), SERVICE, "_UDP", "Local");
    // The second name is a label and a pointer to the service in the first: header and label are before it.
    const back = Buffer.from([0xc0, 12 + 1 + LABEL.length]);
    const bytes = packet(0, 2, 0, first, END, TXT_IN, name("other"), back, TXT_IN);
    expect(decodePacket(SERVICE, bytes)?.questions).toEqual([LABEL, "other"]);
  });
});

describe("what is not for us is passed over", () => {
  it("another cluster's, another service's, another type's", () => {
    expect(decodePacket(SERVICE, encodeQuestions("_orch-other", [LABEL]))).toBeNull();
    expect(
      decodePacket(SERVICE, packet(0, 1, 0, name(LABEL, SERVICE, "_tcp", "local"), END, TXT_IN)),
    ).toBeNull();
    const pointer = Buffer.from([0, 12, 0, 1]);
    const asked = name(LABEL, SERVICE, "_udp", "local");
    expect(decodePacket(SERVICE, packet(0, 1, 0, asked, END, pointer))).toBeNull();
  });

  it("a question's known answers, and an answer's questions", () => {
    const asked = encodeQuestions(SERVICE, [LABEL]);
    const said = encodeAnswer(SERVICE, LABEL, ["t=1"]);
    // The same bytes with the other meaning.
    asked[2] = 0x84;
    said[2] = 0;
    expect([decodePacket(SERVICE, asked), decodePacket(SERVICE, said)]).toEqual([null, null]);
  });
});

describe("nonsense", () => {
  it("is not waited for: a name that points at itself, or ahead, or never ends", () => {
    for (const to of [12, 14, 40]) {
      const loop = Buffer.from([0xc0, to]);
      const bytes = packet(0, 1, 0, loop, TXT_IN, name(SERVICE));
      expect(decodePacket(SERVICE, bytes)).toBeNull();
    }
    const long = Array.from({ length: 20 }, () => name("x".repeat(60)));
    expect(decodePacket(SERVICE, packet(0, 1, 0, ...long, name(SERVICE), END, TXT_IN))).toBeNull();
  });

  it("is not read beyond a bound", () => {
    const many = Array.from({ length: 100 }, (_, i) => `l${i}`);
    expect(decodePacket(SERVICE, encodeQuestions(SERVICE, many))?.questions).toHaveLength(64);
    const huge = Buffer.concat([encodeQuestions(SERVICE, [LABEL]), Buffer.alloc(9_000)]);
    expect(decodePacket(SERVICE, huge)).toBeNull();
  });

  it("never throws, cut or changed anywhere", () => {
    const whole = [
      encodeQuestions(SERVICE, [LABEL, "b"]),
      encodeAnswer(SERVICE, LABEL, ["t=1", "a=/ip4/10.0.0.1/tcp/7400"]),
    ];
    for (const bytes of whole) {
      for (let end = 0; end < bytes.length; end++)
        expect(() => decodePacket(SERVICE, bytes.subarray(0, end))).not.toThrow();
    }
    fc.assert(
      fc.property(fc.nat(1), fc.nat(1_000), fc.nat(255), fc.nat(1_000), (which, at, value, cut) => {
        const bytes = Uint8Array.from(whole[which] ?? []);
        bytes[at % bytes.length] = value;
        decodePacket(SERVICE, bytes.subarray(0, bytes.length - (cut % 8)));
      }),
    );
  });
});
