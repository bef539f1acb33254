import { expect, it } from "vitest";
import { idOf } from "../../test/fixtures/cluster.ts";
import { REQUESTS_MAX } from "./defaults.ts";
import { EarlyRequests } from "./early-requests.ts";
import type { NodeMessage } from "./message.ts";
import type { Request } from "./request.ts";

const A = idOf("a");
const B = idOf("b");
const READ: Request = { kind: "read", query: { kind: "nodes" }, stale: false };

function desk(): { early: EarlyRequests; sent: NodeMessage[] } {
  const sent: NodeMessage[] = [];
  return { early: new EarlyRequests((_to, message) => sent.push(message)), sent };
}

function away(id: number, manager: typeof A | null): NodeMessage {
  return { kind: "forwarded", id, outcome: { kind: "try-again", manager, tried: false } };
}

it("keeps what comes to a leader, and hands it out once", () => {
  const { early, sent } = desk();
  early.came({ from: A, id: 1, request: READ, since: 5 }, true, null);
  expect(early.take()).toEqual([{ from: A, id: 1, request: READ, since: 5 }]);
  expect(early.take()).toEqual([]);
  expect(sent).toEqual([]);
});

it("points at the manager when it does not lead, or no longer", () => {
  const { early, sent } = desk();
  early.came({ from: A, id: 1, request: READ, since: 5 }, false, B);
  early.came({ from: A, id: 2, request: READ, since: 5 }, true, null);
  expect(sent).toEqual([away(1, B)]);
  early.sendAway(B);
  expect(sent).toEqual([away(1, B), away(2, B)]);
  expect(early.take()).toEqual([]);
});

it("keeps a bounded number", () => {
  const { early, sent } = desk();
  for (let id = 1; id <= REQUESTS_MAX + 1; id++) {
    early.came({ from: A, id, request: READ, since: 5 }, true, null);
  }
  expect(sent).toEqual([away(REQUESTS_MAX + 1, null)]);
});
