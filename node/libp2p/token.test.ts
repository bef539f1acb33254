import { randomBytes } from "node:crypto";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { formatToken, parseToken } from "./token.ts";

const token = { clusterId: "0123456789abcdef", secret: randomBytes(32) };
const word = formatToken(token);

test("a token comes back as it was, for every secret", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.stringMatching(/^[a-z0-9]{16}$/),
      (secret, clusterId) => {
        const parsed = parseToken(formatToken({ clusterId, secret }));
        expect(parsed).toEqual({ clusterId, secret });
      },
    ),
  );
});

test("its form is one word with the cluster's id in it", () => {
  expect(word).toMatch(/^orch1-0123456789abcdef-[a-z2-7]{52}-[a-z2-7]{8}$/);
});

test("white space around it and its case do not matter", () => {
  expect(parseToken(`  ${word.toUpperCase()}\n`)).toEqual({
    ...token,
    secret: new Uint8Array(token.secret),
  });
});

test("every cut of it is malformed", () => {
  for (let length = 0; length < word.length; length++) {
    expect(parseToken(word.slice(0, length))).toMatchObject({ code: "token-malformed" });
  }
});

test("every single wrong letter is found", () => {
  for (let at = 0; at < word.length; at++) {
    const wrong = word[at] === "a" ? "b" : "a";
    expect(parseToken(word.slice(0, at) + wrong + word.slice(at + 1)), `letter ${at}`).toEqual({
      code: "token-malformed",
      message: "the token is cut off or mistyped",
      hint: "Copy it again, whole, from `orch node token`.",
      details: {},
    });
  }
});

test("something else is malformed", () => {
  for (const text of [
    "",
    "orch1",
    "orch2" + word.slice(5),
    `${word}-x`,
    `${word} ${word}`,
    "http://10.0.0.1:7401",
  ]) {
    expect(parseToken(text)).toMatchObject({ code: "token-malformed" });
  }
});
