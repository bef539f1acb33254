import { describe, expect, it } from "vitest";
import { nodeId } from "../state/ids.ts";
import { identityFrom } from "./admission.ts";

const self = nodeId("joiner");
const secret = new Uint8Array(32);
const answer = Buffer.from(JSON.stringify({ clusterId: "c1", raftId: 7, peers: [] }));
const found = (address: string): unknown =>
  identityFrom(self, answer, secret, { id: nodeId("server"), address }).door;

describe("the door by which a node joined", () => {
  it("is kept when it was a name: the name leads to the node wherever that is", () => {
    for (const kind of ["dns", "dns4", "dns6", "dnsaddr"]) {
      const address = `/${kind}/first.example/tcp/7400`;
      expect(found(address)).toEqual({ id: "server", address });
    }
  });

  it("is not kept when it was an address", () => {
    expect(found("/ip4/10.0.0.1/tcp/7400")).toBeUndefined();
    expect(found("/ip6/2001:db8::1/tcp/7400/p2p/server")).toBeUndefined();
    expect(identityFrom(self, answer, secret, null).door).toBeUndefined();
  });
});
