import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { nodeId } from "../../state/ids.ts";
import { joinProof, sameProof } from "./join-proof.ts";
import { vouchProof, type VouchProofOf } from "./vouch-proof.ts";

const secret = randomBytes(32);
const of: VouchProofOf = {
  clusterId: "0123456789abcdef",
  nonce: randomBytes(32),
  asker: nodeId("asker"),
  voucher: nodeId("voucher"),
  list: Buffer.from("who the members are"),
};

test("the same facts give the same proof", () => {
  expect(sameProof(vouchProof(secret, of), vouchProof(secret, { ...of }))).toBe(true);
});

test("any other fact gives another proof", () => {
  const proof = vouchProof(secret, of);
  const { clusterId, nonce, asker, voucher } = of;
  const others = [
    vouchProof(randomBytes(32), of),
    vouchProof(secret, { ...of, clusterId: "0123456789abcdeg" }),
    vouchProof(secret, { ...of, nonce: randomBytes(32) }),
    vouchProof(secret, { ...of, asker: of.voucher, voucher: of.asker }),
    vouchProof(secret, { ...of, asker: nodeId("askerv"), voucher: nodeId("oucher") }),
    vouchProof(secret, { ...of, list: Buffer.from("who the members arf") }),
    vouchProof(secret, { ...of, list: new Uint8Array() }),
    joinProof(secret, "server", {
      clusterId,
      joinerNonce: nonce,
      serverNonce: nonce,
      joiner: asker,
      server: voucher,
    }),
  ];
  for (const other of others) expect(sameProof(proof, other)).toBe(false);
});
