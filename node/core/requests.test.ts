import { describe, expect, it } from "vitest";
import { idOf } from "../../test/fixtures/cluster.ts";
import { FORWARD_RETRY_MS, REQUESTS_MAX, TICK_MS } from "./defaults.ts";
import type { NodeMessage } from "./message.ts";
import type { Request, Response } from "./request.ts";
import { Requests } from "./requests.ts";

const [A, B] = [idOf("a"), idOf("b")];
const WRITE: Request = {
  kind: "write",
  key: "k1",
  command: { kind: "job-stop", job: "web", service: null },
};
const READ: Request = { kind: "read", query: { kind: "nodes" }, stale: false };
const DONE: Response = { kind: "ok", index: 7, manager: "a", body: { changed: true } };

class Desk {
  now = 1_000_000;
  readonly sent: { to: string; message: NodeMessage }[] = [];
  readonly replies: [number, Response][] = [];
  readonly requests = new Requests({
    send: (to, message) => this.sent.push({ to, message }),
    reply: (id, response) => this.replies.push([id, response]),
    knownIndex: () => 7,
  });

  submit(id: number, request: Request, timeoutMs = 10_000): void {
    this.requests.submit(id, request, timeoutMs, this.now);
  }

  /** Flushes after that time; returns to whom something was sent. */
  flush(manager: typeof A | null, afterMs = 0): string[] {
    this.now += afterMs;
    const before = this.sent.length;
    this.requests.tick(this.now);
    this.requests.flush(manager, this.now);
    return this.sent.slice(before).map(({ to }) => to);
  }

  tryAgain(id: number, tried: boolean): void {
    this.requests.forwarded(id, { kind: "try-again", manager: null, tried }, this.now);
  }

  /** The codes that were replied. */
  codes(): string[] {
    return this.replies.map(([id, response]) =>
      response.kind === "ok" ? `${id} ok` : `${id} ${response.fault.code}`,
    );
  }
}

describe("a request", () => {
  it("goes to the manager and its answer comes back, once", () => {
    const desk = new Desk();
    desk.submit(1, WRITE);
    expect(desk.flush(A)).toEqual([A]);
    expect(desk.sent).toEqual([
      { to: A, message: { kind: "forward", id: 1, request: WRITE, since: 7 } },
    ]);
    desk.requests.forwarded(1, { kind: "answered", response: DONE }, desk.now);
    desk.requests.forwarded(1, { kind: "answered", response: DONE }, desk.now);
    expect(desk.replies).toEqual([[1, DONE]]);
    expect(desk.flush(B, 60_000)).toEqual([]);
    expect(desk.replies).toHaveLength(1);
  });

  it("waits for a manager", () => {
    const desk = new Desk();
    desk.submit(1, READ);
    expect(desk.flush(null, 5000)).toEqual([]);
    expect(desk.flush(A)).toEqual([A]);
  });

  it("is sent again, the same, when no answer comes", () => {
    const desk = new Desk();
    desk.submit(1, WRITE);
    desk.flush(A);
    expect(desk.flush(A, FORWARD_RETRY_MS - 1)).toEqual([]);
    expect(desk.flush(A, 1)).toEqual([A]);
    expect(desk.sent[1]).toEqual(desk.sent[0]);
  });

  it("goes at once to another manager, under the same key", () => {
    const desk = new Desk();
    desk.submit(1, WRITE);
    desk.flush(A);
    expect(desk.flush(null)).toEqual([]);
    expect(desk.flush(B)).toEqual([B]);
    expect(desk.sent[1]?.message).toEqual({ kind: "forward", id: 1, request: WRITE, since: 7 });
  });

  it("is asked again a tick after a refusal to serve it, and no sooner", () => {
    const desk = new Desk();
    desk.submit(1, WRITE);
    desk.flush(A);
    desk.tryAgain(1, false);
    expect(desk.flush(A, TICK_MS - 1)).toEqual([]);
    expect(desk.flush(A, 1)).toEqual([A]);
  });

  it("that nobody waits for is not answered", () => {
    const desk = new Desk();
    desk.tryAgain(9, true);
    desk.requests.forwarded(9, { kind: "answered", response: DONE }, desk.now);
    expect(desk.replies).toEqual([]);
  });
});

describe("at the deadline", () => {
  it("a request that was never sent changed nothing", () => {
    const desk = new Desk();
    desk.submit(1, WRITE, 3000);
    desk.submit(2, READ, 3000);
    desk.flush(null, 2999);
    expect(desk.codes()).toEqual([]);
    desk.flush(null, 1);
    expect(desk.codes()).toEqual(["1 no-manager", "2 no-manager"]);
    const late = "no manager answered in time";
    expect(desk.replies.map(([, reply]) => reply)).toMatchObject([
      { fault: { message: `${late}: nothing was changed` } },
      { fault: { message: late } },
    ]);
    expect(desk.flush(A)).toEqual([]);
  });

  it("a write without an answer may have been done, and says under which key", () => {
    const desk = new Desk();
    desk.submit(1, WRITE, 3000);
    desk.submit(2, READ, 3000);
    desk.flush(A);
    desk.flush(A, 3000);
    expect(desk.codes()).toEqual(["1 unknown", "2 no-manager"]);
    expect(desk.replies[0]?.[1]).toMatchObject({ fault: { details: { key: "k1" } } });
  });

  it("a write that everyone refused to take was not done", () => {
    const desk = new Desk();
    desk.submit(1, WRITE, 3000);
    desk.flush(A);
    desk.tryAgain(1, false);
    desk.flush(B);
    desk.tryAgain(1, false);
    desk.flush(null, 3000);
    expect(desk.codes()).toEqual(["1 no-manager"]);
  });

  it("a write that a manager had begun may have been done, whatever the next one says", () => {
    const desk = new Desk();
    desk.submit(1, WRITE, 3000);
    desk.flush(A);
    desk.tryAgain(1, true);
    desk.flush(B);
    desk.tryAgain(1, false);
    desk.flush(null, 3000);
    expect(desk.codes()).toEqual(["1 unknown"]);
  });

  it("a write that one manager never answered may have been done, whatever the next one says", () => {
    const desk = new Desk();
    desk.submit(1, WRITE, 3000);
    desk.flush(A);
    desk.flush(B);
    desk.tryAgain(1, false);
    desk.flush(null, 3000);
    expect(desk.codes()).toEqual(["1 unknown"]);
  });
});

describe("the bound", () => {
  it("refuses more than may wait, and takes others once some are answered", () => {
    const desk = new Desk();
    for (let id = 1; id <= REQUESTS_MAX; id++) desk.submit(id, READ);
    expect(desk.codes()).toEqual([]);
    desk.submit(REQUESTS_MAX + 1, READ);
    expect(desk.codes()).toEqual([`${REQUESTS_MAX + 1} overloaded`]);
    desk.flush(A);
    desk.requests.forwarded(5, { kind: "answered", response: DONE }, desk.now);
    desk.submit(REQUESTS_MAX + 2, READ);
    expect(desk.codes().slice(1)).toEqual(["5 ok"]);
  });
});
