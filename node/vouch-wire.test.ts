import { expect, test } from "vitest";
import { idOf } from "../test/fixtures/cluster.ts";
import type { Vouch } from "./core/message.ts";
import { decodeVouch, encodeVouch } from "./vouch-wire.ts";

const VOUCH: Vouch = {
  members: [
    {
      id: idOf("a"),
      raftId: 1,
      name: "grüß",
      addresses: ["/ip4/10.0.0.1/tcp/7400"],
      holdsLog: true,
    },
    { id: idOf("b"), raftId: 2, name: "b", addresses: [], holdsLog: false },
  ],
  index: 17,
};

test("a list is read as it was written", () => {
  expect(decodeVouch(encodeVouch(VOUCH))).toEqual(VOUCH);
});

test.each([
  ["nothing", ""],
  ["no JSON", "{"],
  ["no object", "[]"],
  ["no index", '{"members":[]}'],
  ["a negative index", '{"members":[],"index":-1}'],
  ["an index that is no safe integer", '{"members":[],"index":1e300}'],
  ["no members", '{"index":1}'],
  [
    "a member without a number",
    '{"members":[{"id":"a","name":"a","addresses":[],"holdsLog":true}],"index":1}',
  ],
  [
    "a member of number 0",
    '{"members":[{"id":"a","raftId":0,"name":"a","addresses":[],"holdsLog":true}],"index":1}',
  ],
])("%s is no list", (_what, text) => {
  expect(decodeVouch(Buffer.from(text))).toBeNull();
});

test("bytes that are no text are no list", () => {
  expect(decodeVouch(new Uint8Array([0xff, 0xfe]))).toBeNull();
});
