import { describe, expect, it } from "vitest";
import { Prng } from "../../lib/prng.ts";
import { ClusterState } from "../../state/cluster.ts";
import { idOf, nodeFacts } from "../../test/fixtures/cluster.ts";
import { EMPTY_DISK } from "../storage.ts";
import { bootstrap } from "./bootstrap.ts";
import { LOG_BOUNDS } from "./defaults.ts";
import { Replica } from "./replica.ts";

const FACTS = nodeFacts("a", { labels: { zone: "eu" } });

describe("the disk of a cluster's first node", () => {
  const write = bootstrap("c1", "secret", idOf("a"), FACTS, 5000);

  it("says who the node is, and that it has voted for nobody", () => {
    expect(write.identity).toEqual({
      clusterId: "c1",
      node: "id-a",
      raftId: 1,
      peers: [],
      joinSecret: "secret",
    });
    expect(write.hardState).toEqual({ term: 1, vote: 0, commit: 3 });
    expect(write.entries.map(({ term, index }) => [term, index])).toEqual([
      [1, 1],
      [1, 2],
      [1, 3],
    ]);
  });

  it("holds a log that makes it the one voter and the one member", () => {
    const image = {
      ...EMPTY_DISK,
      hardState: { term: 1, vote: 0, commit: 3 },
      entries: write.entries,
    };
    const replica = new Replica(1, image, new ClusterState(), new Prng(1), LOG_BOUNDS);
    const { applied } = replica.take([]);
    expect(applied.map(({ outcome }) => outcome?.kind ?? null)).toEqual([null, "done", "done"]);
    expect(replica.membership).toMatchObject({ voters: [1], learners: [] });
    expect(replica.holdsLog).toBe(true);
    const { state } = replica;
    expect([state.clusterId, state.joinSecret]).toEqual(["c1", "secret"]);
    expect([...state.nodes.values()]).toMatchObject([
      { ...FACTS, id: "id-a", raftId: 1, liveness: "ready", joinedAtMs: 5000 },
    ]);
  });

  it("is the same for the same founding", () => {
    expect(bootstrap("c1", "secret", idOf("a"), FACTS, 5000)).toEqual(write);
  });
});
