import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { nodeId } from "../../state/ids.ts";
import { joinProof, sameProof, type JoinProofOf } from "./join-proof.ts";

const secret = randomBytes(32);
const of: JoinProofOf = {
  clusterId: "0123456789abcdef",
  joinerNonce: randomBytes(32),
  serverNonce: randomBytes(32),
  joiner: nodeId("joiner"),
  server: nodeId("server"),
};

test("the same facts give the same proof", () => {
  expect(sameProof(joinProof(secret, "server", of), joinProof(secret, "server", { ...of }))).toBe(
    true,
  );
});

test("any other fact gives another proof", () => {
  const proof = joinProof(secret, "server", of);
  const others = [
    joinProof(randomBytes(32), "server", of),
    joinProof(secret, "joiner", of),
    joinProof(secret, "server", { ...of, clusterId: "0123456789abcdeg" }),
    joinProof(secret, "server", { ...of, joinerNonce: randomBytes(32) }),
    joinProof(secret, "server", { ...of, serverNonce: randomBytes(32) }),
    joinProof(secret, "server", { ...of, joiner: of.server, server: of.joiner }),
    joinProof(secret, "server", { ...of, joiner: nodeId("joinerser"), server: nodeId("ver") }),
  ];
  for (const other of others) expect(sameProof(proof, other)).toBe(false);
});

test("a proof of another length is no proof", () => {
  const proof = joinProof(secret, "server", of);
  expect(sameProof(proof, proof.subarray(1))).toBe(false);
  expect(sameProof(proof, new Uint8Array())).toBe(false);
});
